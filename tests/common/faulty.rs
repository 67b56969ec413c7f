//! An object store that can be cut off, refuse or lie at any of its operations: what a crash, a full disk and a lost reply look like
//! from above.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and nothing after it is, reading included: the process was killed before it.
    CutBefore,
    /// It is done, but nothing after it is: the process was killed before it heard of it.
    CutAfter,
    /// It is done and answers with an error; what follows works.
    LostReply,
    /// It and every later write fails as on a full disk; reading and deleting work.
    Full,
}

/// Which operations are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// What changes the store: writes and deletes.
    Changes,
    /// Reads and listings too.
    All,
}

/// When and what.
#[derive(Debug)]
pub struct Control {
    done: AtomicU64,
    at: u64,
    fault: Fault,
    counted: Counted,
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
}

/// Which sort of operation asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Write,
    Delete,
    Read,
}

/// What to do about an operation.
enum Verdict {
    Go,
    GoAndFail(Error),
    Fail(Error),
}

fn failure(full: bool) -> Error {
    let kind = if full { std::io::ErrorKind::StorageFull } else { std::io::ErrorKind::Other };
    Error::Generic { store: "faulty", source: Box::new(std::io::Error::new(kind, "injected fault")) }
}

impl Control {
    fn ask(&self, kind: Kind) -> Verdict {
        if kind == Kind::Read && self.counted == Counted::Changes {
            let cut = matches!(self.fault, Fault::CutBefore | Fault::CutAfter);
            return if cut && self.has_struck() { Verdict::Fail(failure(false)) } else { Verdict::Go };
        }
        let n = self.done.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            _ if n < self.at => Verdict::Go,
            Fault::Full if kind == Kind::Write => Verdict::Fail(failure(true)),
            Fault::Full => Verdict::Go,
            Fault::CutAfter | Fault::LostReply if n == self.at => Verdict::GoAndFail(failure(false)),
            Fault::LostReply => Verdict::Go,
            Fault::CutBefore | Fault::CutAfter => Verdict::Fail(failure(false)),
        }
    }
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
        let control = Arc::new(Control { done: AtomicU64::new(0), at, fault, counted });
        (Self { inner, control: Arc::clone(&control) }, control)
    }

    /// A store over it.
    pub fn store(self) -> qbak::store::Store {
        qbak::store::Store::over(Arc::new(self), None, "faulty:".into())
    }

    async fn run<T>(&self, kind: Kind, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.control.ask(kind) {
            Verdict::Go => work.await,
            Verdict::GoAndFail(e) => work.await.and(Err(e)),
            Verdict::Fail(e) => Err(e),
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
        self.run(Kind::Write, self.inner.put_opts(at, payload, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.run(Kind::Read, self.inner.put_multipart_opts(at, opts)).await?;
        Ok(Box::new(FaultyUpload { upload, store: self.clone() }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.run(Kind::Read, self.inner.get_opts(at, options)).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.run(Kind::Read, self.inner.get_ranges(at, ranges)).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        all.then(move |path| {
            let store = store.clone();
            async move {
                let path = path?;
                let one = futures::stream::iter([Ok(path.clone())]).boxed();
                let delete = async { store.inner.delete_stream(one).next().await.unwrap_or(Ok(path)) };
                store.run(Kind::Delete, delete).await
            }
        })
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.control.ask(Kind::Read) {
            Verdict::Go => self.inner.list(prefix),
            Verdict::GoAndFail(e) => {
                // Some of it, then an error: a listing that breaks off must not pass for a complete one.
                self.inner.list(prefix).take(1).chain(futures::stream::iter([Err(e)])).boxed()
            }
            Verdict::Fail(e) => futures::stream::iter([Err(e)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.run(Kind::Read, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.run(Kind::Write, self.inner.copy_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    upload: Box<dyn MultipartUpload>,
    store: FaultyStore,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let store = self.store.clone();
        store.run(Kind::Write, self.upload.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
