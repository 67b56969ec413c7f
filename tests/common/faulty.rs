//! An object store that can be cut off, refuse, lie or stand still at any of its operations: what a crash, a full disk, a lost reply and a
//! stopped process look like from above.
//!
//! What *torn* means here. A local store writes under another name (`name#1`), flushes, and links the whole file to its own name; an
//! object store shows a file when all of it has come. So on either a cut in the middle of a write leaves at most a prefix
//! under a name that no reader asks for: that is [`Fault::Torn`]. [`Fault::TornInPlace`] is worse than both: the prefix stands under
//! the file's own name, as on a network folder or a disk that lies about what was flushed. The files on whose creation
//! the protocol rests (snapshots, tombstones, claims, decisions) are not torn in place: whoever cannot rely on these has no store.
//!
//! Writes are never late: that a file can be read once it was written is asked of every store. Deletes may be.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::sync::watch;

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and nothing after it is, reading included: the process was killed before it.
    CutBefore,
    /// It is done, but nothing after it is: the process was killed before it heard of it.
    CutAfter,
    /// It is done and answers with an error; what follows works.
    LostReply,
    /// It is not done and answers with an error; what follows works.
    Refused,
    /// It and every later write fails as on a full disk; reading and deleting work.
    Full,
    /// A write leaves half of its bytes under a temporary name; nothing after it is done.
    Torn,
    /// A write leaves half of its bytes under its own name; nothing after it is done.
    TornInPlace,
    /// A delete is acknowledged, and done so many operations of this process later, or when [`Control::land`] says so.
    LateDelete(u64),
    /// It and everything after it waits until [`Control::thaw`]: the process was stopped, or its machine slept.
    Freeze,
}

/// Which operations are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// What changes the store: writes and deletes.
    Changes,
    /// Reads and listings too.
    All,
    /// Only writes.
    Writes,
    /// Only deletes.
    Deletes,
    /// Only reads and listings.
    Reads,
}

/// Which sort of operation asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Write,
    Delete,
    Read,
}

impl Counted {
    fn counts(self, kind: Kind) -> bool {
        match self {
            Self::All => true,
            Self::Changes => kind != Kind::Read,
            Self::Writes => kind == Kind::Write,
            Self::Deletes => kind == Kind::Delete,
            Self::Reads => kind == Kind::Read,
        }
    }
}

/// When and what.
#[derive(Debug)]
pub struct Control {
    inner: Arc<dyn ObjectStore>,
    /// Operations that were counted, and all of them.
    done: AtomicU64,
    all: AtomicU64,
    at: u64,
    fault: Fault,
    counted: Counted,
    /// The files (or folders) whose operations failed.
    failed: Mutex<Vec<String>>,
    /// Which operation the fault struck, in words.
    struck: Mutex<Option<String>>,
    /// A read failed; later a snapshot or pack was deleted all the same.
    rash: Mutex<Vec<String>>,
    reads_failed: Mutex<Vec<String>>,
    written: Mutex<Vec<String>>,
    late: Mutex<Vec<(u64, Path)>>,
    frozen: watch::Sender<bool>,
    thawed: watch::Sender<bool>,
}

impl Control {
    /// How many operations were counted so far.
    pub fn operations(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// Whether the fault has come.
    pub fn has_struck(&self) -> bool {
        self.operations() > self.at
    }

    /// The operation that the fault struck.
    pub fn struck(&self) -> String {
        self.struck.lock().unwrap().clone().unwrap_or_else(|| "nothing".into())
    }

    /// The files whose operations failed.
    pub fn failed(&self) -> Vec<String> {
        self.failed.lock().unwrap().clone()
    }

    /// Snapshots and packs of others that were deleted although something could not be read before it was decided, and was not
    /// read since: a prune must not decide on less than everything.
    pub fn rash(&self) -> Vec<String> {
        self.rash.lock().unwrap().clone()
    }

    /// Does the deletes that are still outstanding.
    pub async fn land(&self) {
        self.land_until(u64::MAX).await;
    }

    async fn land_until(&self, now: u64) {
        let due: Vec<Path> = {
            let mut late = self.late.lock().unwrap();
            let due = late.iter().filter(|(at, _)| *at <= now).map(|(_, path)| path.clone()).collect();
            late.retain(|(at, _)| *at > now);
            due
        };
        for path in due {
            let _ = self.inner.delete(&path).await;
        }
    }

    /// Waits until it stands still.
    pub async fn frozen(&self) {
        self.frozen.subscribe().wait_for(|f| *f).await.unwrap();
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.thawed.send_replace(true);
    }

    /// Decides about an operation, when its turn has come.
    async fn ask(&self, kind: Kind, name: &str) -> Verdict {
        let now = self.all.fetch_add(1, Ordering::SeqCst);
        if matches!(self.fault, Fault::LateDelete(_)) {
            self.land_until(now).await;
        }
        let (verdict, words) = self.judge(kind, name, now);
        match &verdict {
            Verdict::Wait => {
                self.frozen.send_replace(true);
                self.thawed.subscribe().wait_for(|t| *t).await.unwrap();
                return Verdict::Go;
            }
            Verdict::Go | Verdict::Late(_) => self.keep_watch(kind, name),
            Verdict::GoAndFail | Verdict::Fail(_) | Verdict::Tear(_) => {
                self.failed.lock().unwrap().push(name.to_owned());
                // What is read once it is decided what goes changes nothing about that.
                let decided = self.written.lock().unwrap().iter().any(|w| w.ends_with(".decision.json"));
                if kind == Kind::Read && !decided {
                    self.reads_failed.lock().unwrap().push(words);
                }
            }
        }
        verdict
    }

    fn judge(&self, kind: Kind, name: &str, now: u64) -> (Verdict, String) {
        let words = format!("{kind:?} {name}");
        let cut = matches!(self.fault, Fault::CutBefore | Fault::CutAfter | Fault::Torn | Fault::TornInPlace);
        if !self.counted.counts(kind) {
            let verdict = match self.fault {
                _ if !self.has_struck() => Verdict::Go,
                Fault::Freeze => Verdict::Wait,
                _ if cut => Verdict::Fail(false),
                _ => Verdict::Go,
            };
            return (verdict, words);
        }
        let n = self.done.fetch_add(1, Ordering::SeqCst);
        if n == self.at {
            *self.struck.lock().unwrap() = Some(words.clone());
        }
        let verdict = match self.fault {
            _ if n < self.at => Verdict::Go,
            Fault::Full if kind == Kind::Write => Verdict::Fail(true),
            Fault::Full => Verdict::Go,
            Fault::Freeze => Verdict::Wait,
            Fault::LateDelete(k) if kind == Kind::Delete && n == self.at => {
                Verdict::Late(now.saturating_add(k))
            }
            Fault::CutAfter | Fault::LostReply if n == self.at => Verdict::GoAndFail,
            Fault::Refused if n == self.at => Verdict::Fail(false),
            Fault::Torn if kind == Kind::Write && n == self.at => Verdict::Tear(false),
            Fault::TornInPlace if kind == Kind::Write && n == self.at => Verdict::Tear(!is_truth(name)),
            Fault::LostReply | Fault::Refused | Fault::LateDelete(_) => Verdict::Go,
            Fault::CutBefore | Fault::CutAfter | Fault::Torn | Fault::TornInPlace => Verdict::Fail(false),
        };
        (verdict, words)
    }

    /// Notes what is done in spite of something that could not be read.
    fn keep_watch(&self, kind: Kind, name: &str) {
        match kind {
            Kind::Write => self.written.lock().unwrap().push(name.to_owned()),
            Kind::Read => self.reads_failed.lock().unwrap().retain(|f| *f != format!("{kind:?} {name}")),
            Kind::Delete => {
                let matters = name.starts_with("snapshots/") || name.ends_with(".pack");
                let own = self.written.lock().unwrap().iter().any(|w| w == name);
                let mut unread = self.reads_failed.lock().unwrap().clone();
                // A pack that cannot be copied stays, and the others go.
                unread.retain(|f| !f.ends_with(".pack") || f.ends_with(name));
                if matters && !own && !unread.is_empty() {
                    self.rash.lock().unwrap().push(format!("{name} was deleted after {unread:?} failed"));
                }
            }
        }
    }
}

/// Whether the protocol rests on this file being created whole or not at all.
fn is_truth(name: &str) -> bool {
    let mark = name.strip_prefix("marks/").and_then(|n| n.strip_suffix(".json"));
    name.starts_with("snapshots/") || mark.is_some_and(|n| !n.contains('.') || n.ends_with(".decision"))
}

/// What to do about an operation.
enum Verdict {
    Go,
    GoAndFail,
    /// Whether because the disk is full.
    Fail(bool),
    /// Whether in place.
    Tear(bool),
    /// Done when so many operations have begun.
    Late(u64),
    Wait,
}

fn failure(full: bool) -> Error {
    let kind = if full { std::io::ErrorKind::StorageFull } else { std::io::ErrorKind::Other };
    Error::Generic { store: "faulty", source: Box::new(std::io::Error::new(kind, "injected fault")) }
}

/// The store.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    control: Arc<Control>,
}

impl FaultyStore {
    /// Over `inner`; at operation number `at` (from 0) of those `counted`, `fault` strikes.
    pub fn new(inner: Arc<dyn ObjectStore>, counted: Counted, at: u64, fault: Fault) -> (Self, Arc<Control>) {
        let control = Arc::new(Control {
            inner: Arc::clone(&inner),
            done: AtomicU64::new(0),
            all: AtomicU64::new(0),
            at,
            fault,
            counted,
            failed: Mutex::default(),
            struck: Mutex::default(),
            rash: Mutex::default(),
            reads_failed: Mutex::default(),
            written: Mutex::default(),
            late: Mutex::default(),
            frozen: watch::channel(false).0,
            thawed: watch::channel(false).0,
        });
        (Self { inner, control: Arc::clone(&control) }, control)
    }

    /// A store over it.
    pub fn store(self) -> qbak::store::Store {
        qbak::store::Store::over(Arc::new(self), None, "faulty:".into())
    }

    async fn run<T>(&self, kind: Kind, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.control.ask(kind, name).await {
            Verdict::Go => work.await,
            Verdict::GoAndFail => work.await.and(Err(failure(false))),
            Verdict::Fail(full) => Err(failure(full)),
            Verdict::Tear(_) | Verdict::Late(_) | Verdict::Wait => Err(failure(false)),
        }
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, at: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match self.control.ask(Kind::Write, at.as_ref()).await {
            Verdict::Tear(in_place) => {
                let whole = Bytes::from(payload);
                let half = PutPayload::from_bytes(whole.slice(..whole.len() / 2));
                let other = Path::parse(format!("{at}#1")).unwrap();
                let _ = self.inner.put_opts(if in_place { at } else { &other }, half, opts).await;
                Err(failure(false))
            }
            Verdict::GoAndFail => self.inner.put_opts(at, payload, opts).await.and(Err(failure(false))),
            Verdict::Fail(full) => Err(failure(full)),
            Verdict::Go | Verdict::Late(_) | Verdict::Wait => self.inner.put_opts(at, payload, opts).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let work = self.inner.put_multipart_opts(at, opts);
        let upload = self.run(Kind::Read, at.as_ref(), work).await?;
        Ok(Box::new(FaultyUpload { upload, store: self.clone(), name: at.to_string() }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.run(Kind::Read, at.as_ref(), self.inner.get_opts(at, options)).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.run(Kind::Read, at.as_ref(), self.inner.get_ranges(at, ranges)).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        all.then(move |path| {
            let store = store.clone();
            async move {
                let path = path?;
                let at = path.clone();
                let delete = store.inner.delete(&at);
                match store.control.ask(Kind::Delete, path.as_ref()).await {
                    Verdict::Late(due) => store.control.late.lock().unwrap().push((due, path.clone())),
                    Verdict::GoAndFail => return delete.await.and(Err(failure(false))),
                    Verdict::Fail(full) => return Err(failure(full)),
                    Verdict::Go | Verdict::Tear(_) | Verdict::Wait => delete.await?,
                }
                Ok(path)
            }
        })
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listing = async move {
            let name = prefix.as_ref().map(ToString::to_string).unwrap_or_default();
            match store.control.ask(Kind::Read, &name).await {
                // Some of it, then an error: a listing that breaks off must not pass for a complete one.
                Verdict::GoAndFail => {
                    let rest = futures::stream::iter([Err(failure(false))]);
                    store.inner.list(prefix.as_ref()).take(1).chain(rest).boxed()
                }
                Verdict::Fail(full) => futures::stream::iter([Err(failure(full))]).boxed(),
                _ => store.inner.list(prefix.as_ref()),
            }
        };
        listing.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let name = prefix.map(ToString::to_string).unwrap_or_default();
        self.run(Kind::Read, &name, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.run(Kind::Write, to.as_ref(), self.inner.copy_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    upload: Box<dyn MultipartUpload>,
    store: FaultyStore,
    name: String,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (store, name) = (self.store.clone(), self.name.clone());
        store.run(Kind::Write, &name, self.upload.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
