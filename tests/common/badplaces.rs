//! An object store some places of which the disk cannot read, and one that cannot be reached.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What the operating system says of a place that the disk cannot read.
pub const EIO: i32 = 5;
/// What it says of a server that does not answer.
pub const ETIMEDOUT: i32 = 110;
/// What it says of a file that is not for us.
pub const EACCES: i32 = 13;

/// Reads that touch one of these bytes fail so.
#[derive(Debug, Clone)]
pub struct Bad {
    pub file: String,
    pub bytes: Range<u64>,
    pub errno: i32,
}

#[derive(Debug)]
pub struct BadPlaces {
    inner: Arc<dyn ObjectStore>,
    pub bad: Mutex<Vec<Bad>>,
}

impl BadPlaces {
    /// A store over `inner` with these bad places, and the place to change them.
    pub fn over(inner: Arc<dyn ObjectStore>, bad: Vec<Bad>) -> (qbak::store::Store, Arc<Self>) {
        let this = Arc::new(Self { inner, bad: Mutex::new(bad) });
        (qbak::store::Store::over(Arc::clone(&this) as _, None, "bad:".into()), this)
    }
}

impl fmt::Display for BadPlaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for BadPlaces {
    async fn put_opts(&self, at: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(at, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let bad = self.bad.lock().unwrap().clone();
        if !options.head
            && let mine = bad.into_iter().filter(|b| b.file == at.as_ref()).collect::<Vec<_>>()
            && !mine.is_empty()
        {
            let size = self.inner.head(at).await?.size;
            let asked = match &options.range {
                Some(GetRange::Bounded(r)) => r.clone(),
                _ => 0..size,
            };
            if let Some(hit) = mine.iter().find(|b| b.bytes.start < asked.end && asked.start < b.bytes.end) {
                let source = Box::new(std::io::Error::from_raw_os_error(hit.errno));
                return Err(Error::Generic { store: "bad", source });
            }
        }
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(all)
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
