//! An object store that holds so many bytes and no more: a disk that fills up, and has room again when something goes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// The store.
#[derive(Debug, Clone)]
pub struct Quota {
    inner: Arc<dyn ObjectStore>,
    capacity: u64,
}

impl Quota {
    /// Over `inner`, with room for so many bytes in all.
    pub fn new(inner: Arc<dyn ObjectStore>, capacity: u64) -> Self {
        Self { inner, capacity }
    }

    /// A store over it.
    pub fn store(self) -> qbak::store::Store {
        qbak::store::Store::over(Arc::new(self), None, "quota:".into())
    }

    async fn room_for(&self, bytes: u64) -> Result<()> {
        let files: Vec<ObjectMeta> = self.inner.list(None).try_collect().await?;
        if files.iter().map(|f| f.size).sum::<u64>() + bytes <= self.capacity {
            return Ok(());
        }
        let full = std::io::Error::new(std::io::ErrorKind::StorageFull, "no space left on the device");
        Err(Error::Generic { store: "quota", source: Box::new(full) })
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "quota({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Quota {
    async fn put_opts(&self, at: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.room_for(payload.content_length() as u64).await?;
        self.inner.put_opts(at, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(at, opts).await?;
        Ok(Box::new(Upload { upload, store: self.clone(), bytes: Arc::default() }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
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

#[derive(Debug)]
struct Upload {
    upload: Box<dyn MultipartUpload>,
    store: Quota,
    bytes: Arc<AtomicU64>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.bytes.fetch_add(data.content_length() as u64, Ordering::SeqCst);
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.room_for(self.bytes.load(Ordering::SeqCst)).await?;
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
