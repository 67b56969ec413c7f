//! A listing is not a moment: a store that shows a claim, and not the mark that was written before it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use qbak::format::records::MarkedGroup;
use qbak::model::id::PackId;
use qbak::model::name::RunName;
use qbak::model::time::Timestamp;
use qbak::repo::chain::{Chain, Claimed, Pruner};
use qbak::repo::names;
use qbak::repo::repository::Repository;
use qbak::store::Store;

/// A store whose next listing was begun before the last marks were written.
#[derive(Debug)]
struct Late {
    inner: Arc<dyn ObjectStore>,
    late: AtomicBool,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "late({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Late {
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
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(all)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let all = self.inner.list(prefix);
        if !self.late.swap(false, Ordering::SeqCst) {
            return all;
        }
        let is_mark = |name: &str| matches!(names::meaning(name), names::Meaning::Mark(..));
        all.filter(move |item| {
            let shown = item.as_ref().map_or(true, |meta| !is_mark(meta.location.as_ref()));
            futures::future::ready(shown)
        })
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn an_open_prune_is_not_taken_to_be_closed() {
    let inner = Arc::new(object_store::memory::InMemory::new());
    let late = Arc::new(Late { inner, late: AtomicBool::new(false) });
    let store = Store::over(Arc::clone(&late) as Arc<dyn ObjectStore>, None, "late:".into());
    let repo = Repository::init(store, Timestamp::from_seconds(1), "test").await.unwrap();
    let chain = Chain::read(&repo).await.unwrap();
    let group = RunName::at(Timestamp::from_seconds(9));
    let doomed = vec![MarkedGroup { group, packs: vec![PackId([7; 32])], indexes: vec![] }];
    let me = Pruner { host: "h".into(), pid: 1, when: Timestamp::from_seconds(5) };
    let Claimed::Ours(ours, _) = chain.claim(&repo, vec![], doomed, &me).await.unwrap() else {
        panic!("nobody else wants it")
    };

    late.late.store(true, Ordering::SeqCst);
    let seen = Chain::read(&repo).await.unwrap();
    assert_eq!(seen.open.unwrap().mark, ours.mark);

    // Where the claim cannot be read, the name of its mark is not known, and any mark of its number holds the prune open.
    repo.store().replace(&names::claim(1), "spoilt").await.unwrap();
    late.late.store(true, Ordering::SeqCst);
    let seen = Chain::read(&repo).await.unwrap();
    assert_eq!(seen.open.unwrap().mark, ours.mark);

    ours.close(&repo).await.unwrap();
    assert!(Chain::read(&repo).await.unwrap().open.is_none());
}
