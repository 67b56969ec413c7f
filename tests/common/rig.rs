//! A store, a folder that is backed up, and the real binary between them, which may be killed at any moment; and the judgement
//! of what is left: every snapshot that was ever acknowledged holds what it held.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use qbak::format::pack::BlobKind;
use qbak::format::records::SnapshotRecord;
use qbak::model::entry::Kind;
use qbak::model::name::RunName;
use qbak::repo::blobs::{BlobReader, Groups};
use qbak::repo::manifest_reader::{ManifestReader, Span};
use qbak::repo::{RepoError, Repository};
use qbak::store::Store;

use super::weeks::Tree;
use super::{controls, files, noise, write};

/// A test cannot be done here: says so, or fails where it must be done.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "set by .ci/run; a test that is skipped says so"
)]
pub fn skipped(missing: &str) {
    let required = std::env::var_os("QBAK_REQUIRE_OUTSIDE").is_some();
    assert!(!required, "needed here: {missing}");
    println!("skipped: {missing}");
}

/// Whether strace is here and may trace; otherwise that is said.
pub fn strace_works() -> bool {
    // Some sandboxes have the program and forbid what it does.
    let works = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    let works = works.is_ok_and(|o| o.status.success());
    if !works {
        skipped("an strace that may trace");
    }
    works
}

/// A variable of whoever runs the tests.
#[expect(clippy::disallowed_methods, reason = "a switch for whoever looks for more")]
pub fn wish(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The binary: the one that was built with the tests, or the one that `QBAK_BIN` names.
pub fn binary() -> PathBuf {
    wish("QBAK_BIN").map_or_else(|| env!("CARGO_BIN_EXE_qbak").into(), PathBuf::from)
}

/// A folder in memory where there is one: what is flushed there costs nothing.
pub fn quick_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The files that a snapshot holds: every byte is read.
async fn contents(repo: &Repository, s: &SnapshotRecord) -> Result<Tree, RepoError> {
    let groups = std::sync::Arc::new(Groups::new(repo).await?);
    let blobs = BlobReader::new(repo, groups, s.group, &s.needs);
    let entries = ManifestReader::new(blobs.clone(), s.name, &s.manifest, Span::all()).collect().await?;
    let mut tree = Tree::new();
    for entry in entries.iter().filter(|e| e.kind == Kind::Object) {
        let mut bytes = Vec::new();
        for id in blobs.blocks(entry.content.unwrap(), entry.size).await? {
            bytes.extend(blobs.read(BlobKind::Data, &id).await?);
        }
        tree.insert(entry.key.text().unwrap().to_owned(), bytes);
    }
    Ok(tree)
}

/// The three of them.
pub struct Rig {
    pub store: PathBuf,
    pub data: PathBuf,
    /// What each acknowledged snapshot must hold, and those of killed runs that turned out to be there.
    pub taken: BTreeMap<RunName, Tree>,
}

impl Rig {
    /// A new store, and a folder with nothing in it.
    pub fn new(store: &Path, data: &Path) -> Self {
        let rig = Self { store: store.to_owned(), data: data.to_owned(), taken: BTreeMap::new() };
        std::fs::create_dir_all(&rig.data).unwrap();
        rig.run(&["init"]);
        rig
    }

    /// Three snapshots in two groups, and a week since: a prune that keeps one of them drops a group, and writes a pack
    /// of the other anew.
    pub async fn with_weeks(store: &Path, data: &Path) -> Self {
        let mut rig = Self::new(store, data);
        for n in 0..9 {
            rig.write(&format!("{n}"), noise(n, 9_000));
        }
        rig.snapshot(&["--full"]).await;
        rig.write("folder/new", noise(20, 20_000));
        rig.snapshot(&["--full"]).await;
        for n in 0..7 {
            std::fs::remove_file(rig.data.join(format!("{n}"))).unwrap();
        }
        rig.write("8", noise(30, 9_000));
        rig.snapshot(&[]).await;
        rig.write("folder/newer", noise(40, 30_000));
        rig
    }

    /// The same, as it is now, elsewhere.
    pub fn fork(&self, to: &Path) -> Self {
        let copied = Command::new("cp").arg("-a").arg(&self.store).arg(to.join("store")).status().unwrap();
        assert!(copied.success());
        Self { store: to.join("store"), data: self.data.clone(), taken: self.taken.clone() }
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        write(&self.data, name, bytes);
    }

    /// What the source holds now.
    pub fn now(&self) -> Tree {
        files(&self.data)
    }

    /// A command behind another one (`strace …`), if one is given.
    pub fn command(&self, before: &[&str], words: &[&str]) -> Command {
        let binary = binary();
        let mut command = match before.split_first() {
            None => Command::new(binary),
            Some((first, more)) => {
                let mut command = Command::new(first);
                command.args(more).arg(binary);
                command
            }
        };
        let path = wish("PATH").unwrap_or_default();
        command.args(["-q", "--store"]).arg(&self.store).arg("--source").arg(&self.data).args(words);
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.data.parent().unwrap())
            .env("TMPDIR", std::env::temp_dir());
        command.envs(controls());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the binary, which must succeed.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Output {
        let output = self.command(&[], words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        output
    }

    /// A snapshot, which must succeed and is there.
    pub async fn snapshot(&mut self, words: &[&str]) -> RunName {
        self.run(&[&["snapshot"], words].concat());
        let name = self.names().await.pop().unwrap();
        assert!(self.taken.insert(name, self.now()).is_none(), "{name} was there before");
        name
    }

    pub async fn repo(&self) -> Repository {
        Repository::open(Store::local(&self.store).unwrap()).await.unwrap()
    }

    /// The finished snapshots.
    pub async fn names(&self) -> Vec<RunName> {
        self.repo().await.snapshots().await.unwrap().finished.iter().map(|s| s.name).collect()
    }

    /// Judges the store: nothing is damaged, and every snapshot holds what it must; those of `stay` are there. One that nobody
    /// knows of is that of a killed run, and holds what the source holds now.
    pub async fn judge(&mut self, stay: &[RunName], when: &str) {
        let output = self.command(&[], &["verify", "--data"]).output().unwrap();
        assert!(output.status.success(), "{when}: {output:?}");
        let repo = self.repo().await;
        let found = repo.snapshots().await.unwrap();
        assert!(found.unreadable.is_empty(), "{when}: {:?}", found.unreadable);
        for s in &found.finished {
            let tree = contents(&repo, s).await.unwrap_or_else(|e| panic!("{when}: {}: {e}", s.name));
            let expected = self.taken.get(&s.name).cloned().unwrap_or_else(|| self.now());
            assert!(tree == expected, "{when}: {} does not hold what it must", s.name);
            self.taken.insert(s.name, tree);
        }
        for name in stay {
            assert!(found.finished.iter().any(|s| s.name == *name), "{when}: {name} is gone");
        }
    }
}
