//! Where objects come from: buckets and folders. Read-only by construction.

pub mod folder;
pub mod kodo;
pub mod sorted;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::model::key::Key;
use crate::model::listed::Listed;

/// What a source is, for the snapshot that is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its URL without secrets: `kodo://bucket/prefix`, `s3://…`, or an absolute path.
    pub url: String,
    /// Only keys that begin with these bytes are listed (keys stay whole); empty: all.
    pub scope: Key,
}

/// Why a source could not do something. `message` is one sentence for a person, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What failed and why.
    pub message: String,
}

/// What a [`SourceError`] means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Credentials or permission: the same for every object.
    Denied,
    /// The bucket or folder is not there.
    Missing,
    /// The service or network failed after all retries.
    Unreachable,
    /// The service answered something it must not (a listing that does not advance, say).
    Protocol,
    /// The configuration is wrong.
    Config,
    /// Anything else.
    Other,
}

/// Which way to read an object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Route {
    /// The configured one.
    #[default]
    Usual,
    /// Past any cache or image processor, from the bucket's own source host.
    Origin,
}

/// Why bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is not the object that was listed any more.
    #[error("it changed while it was read")]
    Changed,
    /// It is gone.
    #[error("it is gone")]
    Vanished,
    /// It is there but cannot be read for now (archived, disabled).
    #[error("{0}")]
    Unavailable(String),
    /// It could not be read, after all retries.
    #[error(transparent)]
    Failed(#[from] SourceError),
}

/// What a second look says about an object whose bytes did not have the listed hash or that claims to have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It changed since it was listed: this is its new state.
    Changed(Box<Listed>),
    /// It is gone.
    Gone,
    /// It is unchanged, so what delivered the bytes altered them: read again by [`Route::Origin`].
    TryOrigin,
    /// It is unchanged, and there is no other way to read it: the likely cause.
    Altered(String),
}

/// How many requests a source has sent, by what they were for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requests {
    /// Listing pages.
    pub listings: u64,
    /// Object reads (GETs).
    pub reads: u64,
    /// Everything else: region query, stat, batch.
    pub others: u64,
}

/// A bucket or folder to back up.
#[async_trait]
pub trait Source: Send + Sync {
    /// What it is.
    fn identity(&self) -> &Identity;

    /// One cheap call that proves that the source is there and that the credentials work.
    async fn check(&self) -> Result<(), SourceError>;

    /// Everything in scope, page by page. Pages hold at most a few thousand objects and are normally in byte order of
    /// the key, but callers must not rely on that. Ends after the first error; ends without one only when complete.
    fn list(&self) -> BoxStream<'_, Result<Vec<Listed>, SourceError>>;

    /// One object as it is now; `None`: there is none of that key.
    async fn stat(&self, key: &Key) -> Result<Option<Listed>, SourceError>;

    /// Fills in metadata that the listing does not show. Called for new and changed objects only, at most 1,000 at
    /// a time; an object that cannot be looked up stays as it is.
    async fn details(&self, _objects: &mut [Listed]) -> Result<(), SourceError> {
        Ok(())
    }

    /// The bytes `range` of an object, at most 4 MiB, all of them or an error. `range` is a block of
    /// [`block_range`](crate::model::content::block_range) (or the whole of a smaller or empty object).
    async fn read(
        &self,
        object: &Listed,
        range: std::ops::Range<u64>,
        route: Route,
    ) -> Result<Bytes, ReadError>;

    /// The same without async, for sources that are local: the engine then reads, hashes and compresses in one go on
    /// a worker thread. `None`: only [`Source::read`].
    fn blocking(&self) -> Option<&dyn BlockingRead> {
        None
    }

    /// What became of an object whose bytes were not what the listing said.
    async fn judge(&self, object: &Listed, route: Route) -> Result<Verdict, SourceError>;

    /// The requests sent so far.
    fn requests(&self) -> Requests;
}

/// Reading on the calling thread.
pub trait BlockingRead: Send + Sync {
    /// As [`Source::read`].
    fn read_blocking(&self, object: &Listed, range: std::ops::Range<u64>) -> Result<Bytes, ReadError>;
}
