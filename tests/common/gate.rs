//! An object store that stops before one of its operations until it is let go: whoever uses it sleeps between two steps,
//! for as long as the test likes.

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
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::{Notify, Semaphore};

/// When it stops, and how it is let go.
#[derive(Debug)]
pub struct Gate {
    done: AtomicU64,
    at: u64,
    arrived: Notify,
    pass: Semaphore,
}

impl Gate {
    /// Waits until the operation is reached.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Lets it go on.
    pub fn open(&self) {
        self.pass.add_permits(1_000_000);
    }

    async fn step(&self) {
        if self.done.fetch_add(1, Ordering::SeqCst) >= self.at {
            self.arrived.notify_one();
            drop(self.pass.acquire().await);
        }
    }
}

/// The store.
#[derive(Debug, Clone)]
pub struct GatedStore {
    inner: Arc<dyn ObjectStore>,
    gate: Arc<Gate>,
}

impl GatedStore {
    /// Over `inner`; stops before operation number `at` (from 0), and before every one that comes beside it.
    pub fn new(inner: Arc<dyn ObjectStore>, at: u64) -> (Self, Arc<Gate>) {
        let (done, arrived, pass) = (AtomicU64::new(0), Notify::new(), Semaphore::new(0));
        let gate = Arc::new(Gate { done, at, arrived, pass });
        (Self { inner, gate: Arc::clone(&gate) }, gate)
    }

    /// A store over it.
    pub fn store(self) -> qbak::store::Store {
        qbak::store::Store::over(Arc::new(self), None, "gated:".into())
    }
}

impl fmt::Display for GatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gated({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for GatedStore {
    async fn put_opts(&self, at: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.gate.step().await;
        self.inner.put_opts(at, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.gate.step().await;
        self.inner.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.gate.step().await;
        self.inner.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.gate.step().await;
        self.inner.get_ranges(at, ranges).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        all.then(move |path| {
            let store = store.clone();
            async move {
                let path = path?;
                store.gate.step().await;
                let one = futures::stream::iter([Ok(path.clone())]).boxed();
                store.inner.delete_stream(one).next().await.unwrap_or(Ok(path))
            }
        })
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listing = async move {
            store.gate.step().await;
            store.inner.list(prefix.as_ref())
        };
        futures::stream::once(listing).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.gate.step().await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.gate.step().await;
        self.inner.copy_opts(from, to, options).await
    }
}
