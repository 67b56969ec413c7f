//! What the scenario tests share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses its own part; a helper that fails is a test that fails"
)]

pub mod badplaces;
pub mod bucket;
pub mod disk;
pub mod faulty;
pub mod forge;
pub mod gate;
pub mod history;
pub mod matrix;
pub mod quota;
pub mod rig;
pub mod tree;
pub mod weeks;

use std::path::Path;
use std::sync::{Arc, Mutex};

use qbak::model::clock::SystemClock;
use qbak::model::entry::Entry;
use qbak::model::event::{Event, Observer};
use qbak::op::Cancel;
use qbak::op::snapshot::{Context, Options};
use qbak::repo::Repository;
use qbak::repo::blobs::{BlobReader, Groups};
use qbak::repo::manifest_reader::{ManifestReader, Span};
use qbak::source::Source;
use qbak::source::folder::FolderSource;
use qbak::store::Store;

/// So many cases of a property, or as many as `PROPTEST_CASES` asks for.
#[expect(clippy::disallowed_methods, reason = "a switch for whoever looks for more")]
pub fn cases(few: u32) -> proptest::test_runner::Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    proptest::test_runner::Config {
        cases: asked.unwrap_or(few),
        failure_persistence: None,
        ..Default::default()
    }
}

/// What breaks the binary on purpose (see `tests/controls.sh`): passed on where nothing else of the environment is.
#[expect(clippy::disallowed_methods, reason = "the processes that a test starts are broken as it is itself")]
pub fn controls() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os("QBAK_CONTROL").map(|control| ("QBAK_CONTROL", control))
}

/// Keeps every event.
#[derive(Default)]
pub struct Recorder(pub Mutex<Vec<Event>>);

impl Observer for Recorder {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// Writes a file and the folders above it.
pub fn write(root: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A new store in a folder.
pub async fn new_store(folder: &Path) -> Repository {
    std::fs::create_dir_all(folder).unwrap();
    Repository::init(Store::local(folder).unwrap(), qbak::model::time::Timestamp::from_seconds(1), "test")
        .await
        .unwrap()
}

/// A folder as a source.
pub fn folder(path: &Path) -> Arc<dyn Source> {
    Arc::new(
        FolderSource::open(
            path,
            &std::env::temp_dir(),
            Arc::new(SystemClock),
            Arc::new(qbak::model::event::Silent),
        )
        .unwrap(),
    )
}

/// A run's context.
pub fn context(repo: &Repository, source: Arc<dyn Source>) -> Context {
    Context {
        repo: repo.clone(),
        source,
        clock: Arc::new(SystemClock),
        observer: Arc::new(Recorder::default()),
        cancel: Cancel::never(),
    }
}

/// Options with temporary files in the system's folder.
pub fn options() -> Options {
    Options::new(std::env::temp_dir())
}

/// The entries of the newest snapshot.
pub async fn entries(repo: &Repository) -> Vec<Entry> {
    let snapshots = repo.snapshots().await.unwrap();
    let last = snapshots.finished.last().unwrap();
    let groups = Arc::new(Groups::new(repo).await.unwrap());
    let blobs = BlobReader::new(repo, groups, last.group, &last.needs);
    ManifestReader::new(blobs, last.name, &last.manifest, Span::all()).collect().await.unwrap()
}

/// The bytes of an entry.
pub async fn bytes(repo: &Repository, entry: &Entry) -> Vec<u8> {
    let snapshots = repo.snapshots().await.unwrap();
    let last = snapshots.finished.last().unwrap();
    let groups = Arc::new(Groups::new(repo).await.unwrap());
    let blobs = BlobReader::new(repo, groups, last.group, &last.needs);
    let mut out = Vec::new();
    for id in blobs.blocks(entry.content.unwrap(), entry.size).await.unwrap() {
        out.extend_from_slice(&blobs.read(qbak::format::pack::BlobKind::Data, &id).await.unwrap());
    }
    out
}

/// Everything that must hold at any moment does, apart from damage that is recorded and from files that a test has spoilt.
pub async fn sound(repo: &Repository, spoilt: &[String]) {
    let broken = unsound(repo, spoilt).await;
    assert!(broken.is_empty(), "{broken:#?}");
}

/// What does not hold that should.
pub async fn unsound(repo: &Repository, spoilt: &[String]) -> Vec<String> {
    let known = repo.damage().await.unwrap();
    qbak::op::check::broken(repo)
        .await
        .unwrap()
        .into_iter()
        .filter(|f| !f.pack.is_some_and(|p| known.contains_key(&p)))
        .filter(|f| !f.file.as_ref().is_some_and(|file| spoilt.contains(file)))
        .map(|f| f.what)
        .collect()
}

/// A verification's context.
pub fn verification(repo: &Repository) -> qbak::op::verify::Context {
    qbak::op::verify::Context {
        repo: repo.clone(),
        clock: Arc::new(SystemClock),
        observer: Arc::new(Recorder::default()),
        cancel: Cancel::never(),
    }
}

/// Every file under a folder, by its name from there.
pub fn files(root: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (std::collections::BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}
