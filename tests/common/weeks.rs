//! A bucket that changes from week to week, snapshots of it in a store in memory, and what each of them must hold.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::ObjectStore;
use qbak::format::pack::BlobKind;
use qbak::format::records::{RunKind, SnapshotRecord};
use qbak::model::clock::FixedClock;
use qbak::model::content::{BLOCK, content_id, hash};
use qbak::model::entry::{Attributes, Kind};
use qbak::model::id::ContentId;
use qbak::model::key::Key;
use qbak::model::listed::{Listed, ListedHash};
use qbak::model::name::RunName;
use qbak::model::time::Timestamp;
use qbak::op::snapshot::{Context, Options, snapshot};
use qbak::op::{Cancel, prune};
use qbak::plan::retention::{Rules, Wish};
use qbak::repo::Repository;
use qbak::repo::blobs::{BlobReader, Groups};
use qbak::repo::manifest_reader::{ManifestReader, Span};
use qbak::source::{Identity, ReadError, Requests, Route, Source, SourceError, Verdict};
use qbak::store::Store;

use super::history::Memory;
use super::{Recorder, noise, sound};

/// Keys and contents.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// The bucket, the store, and what was taken from the one into the other.
pub struct Weeks {
    pub source: Arc<Mutex<Tree>>,
    pub memory: Arc<Memory>,
    pub repo: Repository,
    /// What each snapshot must hold.
    pub taken: BTreeMap<RunName, Tree>,
    /// The snapshots' records, oldest first.
    pub records: Vec<SnapshotRecord>,
    pub week: i64,
    pub share: bool,
}

/// A store over memory.
pub fn store(memory: &Arc<Memory>) -> Store {
    Store::over(Arc::clone(memory) as Arc<dyn ObjectStore>, None, "memory:".into())
}

/// A bucket in memory: lists etags as Kodo does.
struct Bucket {
    identity: Identity,
    tree: Arc<Mutex<Tree>>,
}

fn etag(bytes: &[u8]) -> ContentId {
    let ids: Vec<_> = bytes.chunks(BLOCK).map(|b| hash(b).id).collect();
    content_id(&ids)
}

/// What the snapshots of [`Weeks`] are of.
const SOURCE: &str = "kodo://weeks";

/// Objects with these keys are listed and cannot be read.
pub const ARCHIVED: &str = "archived/";

/// Metadata that says whose it is.
fn mime(bytes: &[u8]) -> String {
    format!("test/{}-{}", bytes.len(), bytes.first().copied().unwrap_or_default())
}

fn listed(key: &str, bytes: &[u8]) -> Listed {
    let attributes = Attributes { mime: Some(mime(bytes)), ..Attributes::default() };
    Listed {
        unavailable: key.starts_with(ARCHIVED).then(|| "it is archived".into()),
        size: bytes.len() as u64,
        hash: Some(ListedHash::Etag(etag(bytes))),
        put_time: Some(Timestamp::from_seconds(1)),
        attributes,
        ..Listed::new(key.into(), Kind::Object)
    }
}

#[async_trait]
impl Source for Bucket {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn list(&self) -> BoxStream<'_, Result<Vec<Listed>, SourceError>> {
        let all = self.tree.lock().unwrap().iter().map(|(k, v)| listed(k, v)).collect();
        futures::stream::iter([Ok(all)]).boxed()
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, SourceError> {
        let key = key.text().unwrap();
        Ok(self.tree.lock().unwrap().get(key).map(|v| listed(key, v)))
    }

    async fn read(&self, object: &Listed, range: Range<u64>, _: Route) -> Result<Bytes, ReadError> {
        let tree = self.tree.lock().unwrap();
        let bytes = tree.get(object.key.text().unwrap()).ok_or(ReadError::Vanished)?;
        Ok(Bytes::copy_from_slice(&bytes[range.start as usize..range.end as usize]))
    }

    async fn judge(&self, _: &Listed, _: Route) -> Result<Verdict, SourceError> {
        Ok(Verdict::Gone)
    }

    fn requests(&self) -> Requests {
        Requests::default()
    }
}

/// What a snapshot holds: every byte is read.
pub async fn held(repo: &Repository, s: &SnapshotRecord) -> Result<Tree, qbak::repo::RepoError> {
    let groups = Arc::new(Groups::new(repo).await?);
    held_by(&BlobReader::new(repo, groups, s.group, &s.needs), s).await
}

/// As [`held`], by a reader that is there already.
pub async fn held_by(blobs: &BlobReader, s: &SnapshotRecord) -> Result<Tree, qbak::repo::RepoError> {
    let mut tree = Tree::new();
    let ours = s.source.url == SOURCE;
    let entries = ManifestReader::new(blobs.clone(), s.name, &s.manifest, Span::all()).collect().await?;
    for entry in entries.iter().filter(|e| e.kind == Kind::Object) {
        let Some(content) = entry.content else {
            let archived = entry.key.bytes().starts_with(ARCHIVED.as_bytes());
            assert!(archived || !ours, "{} has no content", entry.key);
            continue;
        };
        let mut bytes = Vec::new();
        for id in blobs.blocks(content, entry.size).await? {
            bytes.extend_from_slice(&blobs.read(BlobKind::Data, &id).await?);
        }
        assert!(!ours || entry.attributes.mime == Some(mime(&bytes)), "{}", entry.key);
        tree.insert(entry.key.text().unwrap().to_owned(), bytes);
    }
    Ok(tree)
}

impl Weeks {
    pub async fn new() -> Self {
        let memory = Arc::new(Memory::new());
        let repo = Repository::init(store(&memory), Timestamp::from_seconds(1), "test").await.unwrap();
        Self {
            source: Arc::default(),
            memory,
            repo,
            taken: BTreeMap::new(),
            records: Vec::new(),
            week: 0,
            share: false,
        }
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.source.lock().unwrap().insert(name.to_owned(), bytes.as_ref().to_vec());
    }

    pub fn delete(&self, name: &str) {
        self.source.lock().unwrap().remove(name);
    }

    /// The moment it is now: a week later with each snapshot.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_767_520_800 + self.week * 7 * 86_400)
    }

    /// The snapshots' context, over any store.
    pub fn context(&self, repo: &Repository) -> Context {
        Context {
            repo: repo.clone(),
            source: Arc::new(Bucket {
                identity: Identity { url: SOURCE.into(), scope: Key::new(Vec::new()) },
                tree: Arc::clone(&self.source),
            }),
            clock: Arc::new(FixedClock(self.now())),
            observer: Arc::new(Recorder::default()),
            cancel: Cancel::never(),
        }
    }

    pub fn options(&self, kind: RunKind) -> Options {
        Options {
            kind: Some(kind),
            share: self.share,
            host: "here".into(),
            pid: 1,
            ..Options::new(std::env::temp_dir())
        }
    }

    /// A week passes, and a snapshot is made.
    pub async fn snapshot(&mut self, kind: RunKind) -> SnapshotRecord {
        self.week += 1;
        let report = snapshot(&self.context(&self.repo), self.options(kind)).await.unwrap();
        let record = self.repo.snapshots().await.unwrap().finished.pop().unwrap();
        assert_eq!(record.name, report.snapshot);
        let mut tree = self.source.lock().unwrap().clone();
        tree.retain(|key, _| !key.starts_with(ARCHIVED));
        self.taken.insert(record.name, tree);
        self.records.push(record.clone());
        record
    }

    pub fn prune_context(&self, repo: &Repository) -> (prune::Context, Arc<Recorder>) {
        let observer = Arc::new(Recorder::default());
        let context = prune::Context {
            repo: repo.clone(),
            clock: Arc::new(FixedClock(self.now())),
            observer: observer.clone(),
            cancel: Cancel::never(),
        };
        (context, observer)
    }

    pub async fn prune(&self, wish: Wish) -> Result<prune::Report, qbak::op::OpError> {
        prune::prune(&self.prune_context(&self.repo).0, prune_options(wish), &chrono::Utc).await
    }

    /// Every snapshot of the store holds what it must, those are the ones expected, and all else that must hold does.
    pub async fn check(&self, repo: &Repository, expected: &[RunName]) {
        let found = repo.snapshots().await.unwrap();
        assert!(found.unreadable.is_empty());
        let names: Vec<RunName> = found.finished.iter().map(|s| s.name).collect();
        assert_eq!(names, expected);
        for s in &found.finished {
            assert_eq!(held(repo, s).await.unwrap(), self.taken[&s.name], "{}", s.name);
        }
        sound(repo, &[]).await;
        assert!(self.memory.problems().is_empty(), "{:#?}", self.memory.problems());
    }

    /// The names of all files of the store.
    pub async fn files(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.repo.store().list_all("").await.unwrap().into_iter().map(|f| f.name).collect();
        names.sort();
        names
    }

    /// The bytes of all files of the store.
    pub async fn size(&self) -> u64 {
        self.repo.store().list_all("").await.unwrap().iter().map(|f| f.size).sum()
    }
}

pub fn prune_options(wish: Wish) -> prune::Options {
    prune::Options { wish, dry_run: false, spool: std::env::temp_dir(), host: "here".into(), pid: 1 }
}

/// `--keep N`.
pub fn keep(n: u32) -> Wish {
    Wish { rules: Rules { keep: Some(n), ..Rules::default() }, ..Wish::default() }
}

/// `--remove`.
pub fn remove(names: &[RunName]) -> Wish {
    Wish { remove: names.iter().copied().collect(), ..Wish::default() }
}

/// Weeks in which every sort of work is to be done: a whole group goes, dead packs, packs to rewrite, blobs shared into
/// another group, an unfinished run's leftovers.
pub async fn plenty(share: bool) -> Weeks {
    let mut weeks = Weeks::new().await;
    weeks.share = share;
    for n in 0..6 {
        weeks.write(&format!("stays/{n}"), noise(n, 20 << 10));
        weeks.write(&format!("goes/{n}"), noise(50 + n, 30 << 10));
    }
    weeks.write("large", vec![7; (4 << 20) + 5]);
    weeks.snapshot(RunKind::Full).await;
    weeks.write("week", "2");
    weeks.snapshot(RunKind::Incremental).await;
    (0..6).for_each(|n| weeks.delete(&format!("goes/{n}")));
    weeks.write("comes", noise(70, 50 << 10));
    for n in 0..6 {
        weeks.write(&format!("brief/{n}"), noise(80 + n, 40 << 10));
    }
    weeks.snapshot(RunKind::Full).await;
    (0..6).for_each(|n| weeks.delete(&format!("brief/{n}")));
    weeks.write("week", "4");
    weeks.snapshot(RunKind::Incremental).await;
    weeks.write("week", "5");
    weeks.snapshot(RunKind::Incremental).await;
    weeks
}
