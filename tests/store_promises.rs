//! Stores that do not keep what they acknowledge: a run over one fails and names the file, and nothing was acknowledged.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use common::{context, folder, noise, options, write};
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use qbak::model::time::Timestamp;
use qbak::op::snapshot::snapshot;
use qbak::repo::Repository;
use qbak::store::Store;

/// Acknowledges packs, and keeps nothing of them, or half.
#[derive(Debug)]
struct Forgetful {
    inner: InMemory,
    half: bool,
}

impl fmt::Display for Forgetful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "forgetful")
    }
}

#[async_trait]
impl ObjectStore for Forgetful {
    async fn put_opts(&self, at: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if at.extension() != Some("pack") {
            return self.inner.put_opts(at, payload, opts).await;
        }
        if self.half {
            let bytes = bytes::Bytes::from(payload);
            let half = PutPayload::from_bytes(bytes.slice(..bytes.len() / 2));
            return self.inner.put_opts(at, half, opts).await;
        }
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, opts).await
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

#[tokio::test]
async fn a_store_that_keeps_nothing_is_noticed() {
    let data = tempfile::tempdir().unwrap();
    write(data.path(), "a", noise(1, 5000));
    for half in [false, true] {
        let store =
            Store::over(Arc::new(Forgetful { inner: InMemory::new(), half }), None, "forgetful:".into());
        let repo = Repository::init(store, Timestamp::from_seconds(1), "test").await.unwrap();
        let said = snapshot(&context(&repo, folder(data.path())), options()).await.unwrap_err().to_string();
        assert!(said.contains(".pack") && said.contains("cannot be trusted"), "{said}");
        assert!(repo.snapshots().await.unwrap().finished.is_empty());
    }
}
