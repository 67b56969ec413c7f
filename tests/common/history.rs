//! A store in memory that remembers: what may never happen to a file over its whole life is noticed when it happens. What must hold
//! at each moment is `qbak::op::check`'s business; what only a history shows is this one's:
//!
//! | | what | where |
//! |---|---|---|
//! | I3 | a run's name has one fate: a snapshot or a tombstone, once | [`Log::write`], [`Memory::breach`] |
//! | I4 | packs, index files, snapshots and records never change, and no name is used twice | [`Log::write`] |
//! | I7 | nothing is deleted by whoever could not read everything | `faulty::Control::rash` |
//! | I11 | what a crash leaves behind is gone after the next run and two prunes | [`leftovers`] |
//! | I8 | a pack goes only while a claimed, decided, open mark names it and the decision does not keep it; a snapshot only behind a claim | [`Memory::breach`] |
//! | I13 | the last snapshot is never deleted | [`Log::delete`] |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use qbak::format::record::{self, Record};
use qbak::format::records::{ClaimRecord, DecisionRecord, MarkRecord};
use qbak::model::time::Timestamp;
use qbak::repo::Repository;
use qbak::repo::names::{self, Meaning};

/// The store.
#[derive(Debug, Default)]
pub struct Memory {
    inner: InMemory,
    log: Mutex<Log>,
    /// Nanoseconds since the epoch; 0: as it is outside.
    clock: AtomicI64,
}

/// What has happened so far.
#[derive(Debug, Clone, Default)]
struct Log {
    /// Every name that ever stood for something that may not come again.
    ever: BTreeSet<String>,
    problems: Vec<String>,
    /// When files were written, where somebody has set the clock.
    times: BTreeMap<String, i64>,
}

/// Files that never change and whose names are never used again. A run's record is no such file: a run that stored
/// nothing takes it back, and another one of the same second may have the name.
fn is_once(name: &str) -> bool {
    let prune = matches!(names::meaning(name), Meaning::Claim(_) | Meaning::Mark(..) | Meaning::Decision(_));
    prune || matches!(names::meaning(name), Meaning::Snapshot(_) | Meaning::Pack(..) | Meaning::Index(..))
}

fn is_fixed(name: &str) -> bool {
    is_once(name) || matches!(names::meaning(name), Meaning::Run(_) | Meaning::Checkpoint(..))
}

fn is_tombstone(bytes: &[u8]) -> bool {
    bytes.starts_with(b"{\"qbak\":\"tombstone\"")
}

fn decode<R: Record>(bytes: &[u8]) -> Option<R> {
    record::decode(bytes).ok()
}

impl Log {
    fn date(&self, file: &mut ObjectMeta) {
        if let Some(nanos) = self.times.get(file.location.as_ref()).filter(|n| **n != 0) {
            file.last_modified = Timestamp::from_nanos(*nanos).utc();
        }
    }

    /// I3, I4.
    fn write(&mut self, name: &str, before: Option<&Bytes>, bytes: &Bytes) {
        if is_fixed(name) && before.is_some_and(|b| b != bytes) {
            self.problems.push(format!("I4: {name} was replaced"));
        }
        // The name of a removed snapshot may come to hold a tombstone: a run that began under it looks, and takes another name; one
        // that finishes meanwhile may take it for cut off.
        let again = is_once(name) && !self.ever.insert(name.to_owned()) && before.is_none();
        if again && !is_tombstone(bytes) {
            self.problems.push(format!("I4: {name} was written a second time"));
        }
    }

    /// I13.
    fn delete(&mut self, name: &str, before: &Bytes, other_snapshots: usize) {
        let snapshot = matches!(names::meaning(name), Meaning::Snapshot(_)) && !is_tombstone(before);
        if snapshot && other_snapshots == 0 {
            self.problems.push(format!("I13: the last snapshot {name} was deleted"));
        }
    }
}

impl Memory {
    pub fn new() -> Self {
        Self::default()
    }

    /// Another store with the same past.
    pub fn fork(&self) -> Self {
        let log = Log { problems: Vec::new(), ..self.log.lock().unwrap().clone() };
        let clock = AtomicI64::new(self.clock.load(Ordering::SeqCst));
        Self { inner: self.inner.fork(), log: Mutex::new(log), clock }
    }

    /// Sets the store's own clock, which dates its files.
    pub fn set_clock(&self, now: Timestamp) {
        self.clock.store(now.nanos(), Ordering::SeqCst);
    }

    /// What happened that may never happen.
    pub fn problems(&self) -> Vec<String> {
        self.log.lock().unwrap().problems.clone()
    }

    /// I3, I8: what is wrong with deleting this file now.
    fn breach(&self, name: &str, before: &Bytes) -> Option<String> {
        let marks: Vec<String> = self.all().into_iter().filter(|f| f.starts_with("marks/")).collect();
        let claims = || marks.iter().filter_map(|f| self.record::<ClaimRecord>(f));
        let decided = |n: u32| self.record::<DecisionRecord>(&names::decision(n));
        let why = match names::meaning(name) {
            Meaning::Snapshot(run) => {
                let claimed = claims().any(|c| c.snapshots.contains(&run));
                let what = if is_tombstone(before) {
                    "a tombstone was deleted"
                } else {
                    "a snapshot went without a claim"
                };
                (!claimed).then_some(what)?
            }
            Meaning::Pack(_, pack) => {
                let may_go = claims().any(|c| {
                    let mark = self.record::<MarkRecord>(&names::mark(c.number, c.nonce));
                    let named = mark.is_some_and(|m| m.groups.iter().any(|g| g.packs.contains(&pack)));
                    named && decided(c.number).is_some_and(|d| !d.keep_all && !d.keep.contains(&pack))
                });
                (!may_go).then_some("a pack went that no open, decided mark names")?
            }
            Meaning::Mark(number, nonce) => {
                let mark: MarkRecord = decode(before)?;
                claims().find(|c| c.number == number && c.nonce == nonce)?;
                let Some(decision) = decided(number) else {
                    return Some(format!("I8: {name}: a mark went before the decision"));
                };
                let stays = |p: &_| decision.keep_all || decision.keep.contains(p);
                let left = mark.groups.iter().flat_map(|g| g.packs.iter().map(|p| (g.group, *p)));
                let mut left =
                    left.filter(|(group, p)| !stays(p) && self.bytes(&names::pack(*group, *p)).is_some());
                left.next().map(|_| "a mark went before its packs")?
            }
            Meaning::Claim(_) | Meaning::Decision(_) => "claims and decisions stay",
            _ => return None,
        };
        Some(format!("I3 or I8: {name}: {why}"))
    }

    fn record<R: Record>(&self, name: &str) -> Option<R> {
        decode(&self.bytes(name)?)
    }

    fn now(&self, at: &Path) -> Option<Bytes> {
        let found = self.inner.get(at).now_or_never().unwrap().ok()?;
        found.bytes().now_or_never().unwrap().ok()
    }

    fn finished(&self) -> usize {
        let all = self.inner.list(Some(&Path::from(names::SNAPSHOTS)));
        let all: Vec<_> = all.collect().now_or_never().unwrap();
        let all = all.into_iter().filter_map(|f| self.now(&f.ok()?.location));
        all.filter(|bytes| !is_tombstone(bytes)).count()
    }

    /// Damage: what a bad disk does to a file, which no program may. No part of the history.
    pub fn spoil(&self, name: &str, bytes: Option<Vec<u8>>) {
        let at = Path::parse(name).unwrap();
        match bytes {
            Some(bytes) => drop(self.inner.put(&at, bytes.into()).now_or_never().unwrap().unwrap()),
            None => self.inner.delete(&at).now_or_never().unwrap().unwrap(),
        }
    }

    /// The names of all files.
    pub fn all(&self) -> Vec<String> {
        let all: Vec<_> = self.inner.list(None).collect().now_or_never().unwrap();
        all.into_iter().map(|f| f.unwrap().location.to_string()).collect()
    }

    /// A file as it stands.
    pub fn bytes(&self, name: &str) -> Option<Bytes> {
        self.now(&Path::parse(name).unwrap())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let problems = self.problems();
        assert!(std::thread::panicking() || problems.is_empty(), "{problems:#?}");
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Memory {
    async fn put_opts(&self, at: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let mut log = self.log.lock().unwrap();
        let (before, bytes) = (self.now(at), Bytes::from(payload.clone()));
        let done = self.inner.put_opts(at, payload, opts).now_or_never().unwrap()?;
        log.write(at.as_ref(), before.as_ref(), &bytes);
        log.times.insert(at.to_string(), self.clock.load(Ordering::SeqCst));
        Ok(done)
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = self.inner.get_opts(at, options).await?;
        self.log.lock().unwrap().date(&mut found.meta);
        Ok(found)
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(at, ranges).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // Looked at when the stream is polled; the store must live as long as that, which an `Arc` of the map would
        // need: the inner store is itself one.
        let paths: Vec<Result<Path>> = all.collect().now_or_never().unwrap_or_default();
        let done: Vec<Result<Path>> = paths
            .into_iter()
            .map(|path| {
                let path = path?;
                let mut log = self.log.lock().unwrap();
                let before = self.now(&path);
                self.inner.delete(&path).now_or_never().unwrap()?;
                if let Some(before) = before {
                    log.problems.extend(self.breach(path.as_ref(), &before));
                    log.delete(path.as_ref(), &before, self.finished());
                }
                Ok(path)
            })
            .collect();
        futures::stream::iter(done).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// I11: what lies about that no snapshot needs, by name. After a run and two prunes: nothing, but for files that are
/// kept on purpose (tombstones, claims, decisions).
pub async fn leftovers(repo: &Repository) -> Vec<String> {
    qbak::op::check::leftovers(repo).await.unwrap().into_iter().map(|f| f.what).collect()
}
