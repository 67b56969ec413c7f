//! Why an operation ended without its result, by what it means for the caller. Exit codes follow from these.

use crate::repo::RepoError;
use crate::source::SourceError;
use crate::store::StoreError;
use crate::store::lease::{Holder, LeaseError};

/// An operation ended without its result.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The repository failed.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Another run or prune holds the store.
    #[error("the store is in use{}", held(.0.as_ref()))]
    InUse(Option<Holder>),
    /// It was told to stop; the same command goes on from what is whole.
    #[error("interrupted: what is whole stays, and the same command goes on from it")]
    Interrupted,
    /// What it writes to takes no more; a reader that has gone away is `BrokenPipe`.
    #[error("the output cannot be written: {0}")]
    Output(#[source] std::io::Error),
    /// It was asked for something that makes no sense here (exit 2).
    #[error("{0}")]
    Usage(String),
    /// It cannot be done (exit 1).
    #[error("{0}")]
    Failed(String),
    /// Damage stands in the way (exit 4).
    #[error("{0}")]
    Damage(String),
    /// It looks wrong and was refused (exit 6).
    #[error("{0}")]
    Refused(String),
}

fn held(holder: Option<&Holder>) -> String {
    match holder {
        Some(h) => format!(": {} by process {} on {} since {}", h.what, h.pid, h.host, h.since),
        None => String::new(),
    }
}

impl From<StoreError> for OpError {
    fn from(e: StoreError) -> Self {
        Self::Repo(e.into())
    }
}

impl From<LeaseError> for OpError {
    fn from(e: LeaseError) -> Self {
        match e {
            LeaseError::Held(holder) => Self::InUse(holder),
            LeaseError::Store(e) => e.into(),
        }
    }
}

impl From<tokio::task::JoinError> for OpError {
    fn from(e: tokio::task::JoinError) -> Self {
        Self::Repo(e.into())
    }
}
