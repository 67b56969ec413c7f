//! A bucket, a store and the real binary between them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use qbak::emulator::{Action, Backing, Config, Kind, Memory, Record, Role, Rule, Service};
use qbak::kodo::sign::Credentials;
use qbak::repo::Repository;
use qbak::store::Store;
use serde_json::Value;

pub const ACCESS: &str = "AK-canary-access";
pub const SECRET: &str = "SK-canary-secret-never-to-be-seen";

/// A bucket in memory whose domain and source host have addresses of their own, an empty store, and a configuration
/// that joins them.
pub struct Bucket {
    pub service: Service,
    pub folder: tempfile::TempDir,
}

/// What the binary said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// The last JSON line.
    pub fn summary(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_else(|| panic!("nothing was said: {self:?}"));
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The JSON lines of a type.
    pub fn lines(&self, kind: &str) -> Vec<Value> {
        let all = self.stdout.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        all.filter(|v| v["type"] == kind).collect()
    }

    /// What was said beside the result, by type: warnings, notes, progress.
    pub fn asides(&self, kind: &str) -> Vec<Value> {
        let all = self.stderr.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
        all.filter(|v| v["type"] == kind).collect()
    }

    /// A number of the last line.
    pub fn number(&self, field: &str) -> u64 {
        self.summary()[field].as_u64().unwrap_or_else(|| panic!("no number {field}: {self:?}"))
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

impl Bucket {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let credentials = Credentials::new(ACCESS, SECRET).unwrap();
        let mut config = Config::new(Backing::Catalog(Arc::new(Memory::new())), "bkt", credentials);
        config.separate_source_host = true;
        config.separate_domain_host = true;
        config.log_limit = 1_000_000;
        change(&mut config);
        let service = Service::start(config).await.unwrap();
        let bucket = Self { service, folder: tempfile::tempdir().unwrap() };
        bucket.configure("");
        std::fs::create_dir(bucket.store_folder()).unwrap();
        let store = Store::local(&bucket.store_folder()).unwrap();
        Repository::init(store, qbak::model::time::Timestamp::from_seconds(1), "test").await.unwrap();
        bucket
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn store_folder(&self) -> PathBuf {
        self.path("store")
    }

    /// Writes the configuration; `more` is appended.
    pub fn configure(&self, more: &str) {
        self.configure_with(&format!("domain = \"{}\"", self.service.domain_url()), more);
    }

    /// The same with other lines in `[kodo]`.
    pub fn configure_with(&self, kodo: &str, more: &str) {
        let text = format!(
            "store = \"./store\"\nsource = \"kodo://bkt\"\n[kodo]\nuc = \"{}\"\n{kodo}\n{more}\n",
            self.service.uc_url()
        );
        std::fs::write(self.path("qbak.toml"), text).unwrap();
    }

    pub fn put(&self, key: &str, bytes: impl AsRef<[u8]>) {
        self.service.put(key, bytes.as_ref()).unwrap();
    }

    pub fn delete(&self, key: &str) {
        assert!(self.service.catalog().delete(key).unwrap(), "{key} was not there");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qbak"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("TMPDIR", std::env::temp_dir())
            .env("QINIU_ACCESS_KEY", ACCESS)
            .env("QINIU_SECRET_KEY", SECRET)
            .envs(super::controls())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the binary to its end. No secret is ever in what it says; no file of the store that is there for good changes,
    /// and only a prune or a healing takes any away.
    pub async fn qbak(&self, args: &[&str]) -> Said {
        let before = self.fixed();
        let said = Self::said(self.command(args)).await;
        let after = self.fixed();
        for (file, stamp) in before {
            let gone = (args.contains(&"prune") || args.contains(&"heal")) && !after.contains_key(&file);
            assert!(gone || after.get(&file) == Some(&stamp), "{args:?} changed {}", file.display());
        }
        said
    }

    /// Snapshots, packs and index files, with what would show that one was written again.
    fn fixed(&self) -> BTreeMap<PathBuf, (u64, Option<SystemTime>)> {
        let mut files = Vec::new();
        for folder in ["groups", "snapshots"] {
            walk(&self.store_folder().join(folder), &mut files);
        }
        let stamp = |(path, size): (PathBuf, u64)| {
            let time = path.metadata().and_then(|m| m.modified()).ok();
            (path, (size, time))
        };
        files.into_iter().map(stamp).collect()
    }

    /// The same for somebody who has no keys.
    pub async fn without_keys(&self, args: &[&str]) -> Said {
        let mut command = self.command(args);
        command.env_remove("QINIU_ACCESS_KEY").env_remove("QINIU_SECRET_KEY");
        Self::said(command).await
    }

    /// The same with more in its environment.
    pub async fn qbak_with(&self, args: &[&str], vars: &[(&str, &str)]) -> Said {
        let mut command = self.command(args);
        command.envs(vars.iter().copied());
        Self::said(command).await
    }

    /// The same with so many MiB of address space, so that what would take more memory ends it.
    pub async fn qbak_within(&self, mib: u64, args: &[&str]) -> Said {
        let plain = self.command(&[]);
        let script = format!("ulimit -v {}; exec \"$0\" \"$@\"", mib << 10);
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).arg(plain.get_program()).args(args).current_dir(self.folder.path());
        command.env_clear().envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
        // Without this each thread may set tens of MiB of addresses aside.
        command.env("MALLOC_ARENA_MAX", "1");
        command.stdin(Stdio::null());
        Self::said(command).await
    }

    async fn said(mut command: Command) -> Said {
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert!(!said.stdout.contains(SECRET) && !said.stderr.contains(SECRET), "a secret was printed");
        said
    }

    /// `qbak --json snapshot …`
    pub async fn snapshot(&self, args: &[&str]) -> Said {
        let all: Vec<&str> = ["--json", "-v", "snapshot"].into_iter().chain(args.iter().copied()).collect();
        self.qbak(&all).await
    }

    /// Starts the binary.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    /// The downloads since the log was cleared.
    pub fn downloads(&self) -> Vec<Record> {
        let all = self.service.requests();
        all.into_iter().filter(|r| r.kind == Kind::Download && r.method == "GET").collect()
    }

    /// Slows every download down.
    pub fn slow(&self, pause: Duration) -> u64 {
        self.service.faults().add(Rule::on(Kind::Download).does(Action::Latency(pause)))
    }

    pub async fn repo(&self) -> Repository {
        Repository::open(Store::local(&self.store_folder()).unwrap()).await.unwrap()
    }

    /// The newest snapshot's objects and their bytes. Everything that must hold of it and of the store does; older snapshots are
    /// what some tests hurt.
    pub async fn newest(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let repo = self.repo().await;
        let newest = repo.snapshots().await.unwrap().finished.pop().map(|s| s.name);
        let broken = qbak::op::check::broken(&repo).await.unwrap();
        let mut broken = broken.iter();
        let ours = broken.find(|f| f.snapshots.is_empty() || f.snapshots.iter().any(|s| Some(*s) == newest));
        assert_eq!(ours, None);
        let mut all = BTreeMap::new();
        for entry in super::entries(&repo).await {
            if entry.content.is_some() {
                all.insert(entry.key.bytes().to_vec(), super::bytes(&repo, &entry).await);
            }
        }
        all
    }

    /// All packs of the store, with their sizes.
    pub fn packs(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        walk(&self.store_folder().join("groups"), &mut found);
        found.retain(|(p, _)| p.extension().is_some_and(|e| e == "pack"));
        found.sort();
        found
    }
}

fn walk(folder: &Path, found: &mut Vec<(PathBuf, u64)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(m) if m.is_dir() => walk(&path, found),
            Ok(m) => found.push((path, m.len())),
            Err(_) => {}
        }
    }
}

/// A rule for downloads from one of the hosts.
pub fn downloads_at(role: Role) -> Rule {
    Rule::on(Kind::Download).at(role)
}
