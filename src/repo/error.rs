//! What can go wrong with a repository, by meaning.

use super::names;
use crate::format::FormatError;
use crate::format::pack::BlobKind;
use crate::model::id::BlobId;
use crate::model::name::RunName;
use crate::store::{StoreError, StoreErrorKind};

/// A repository could not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RepoError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the store is not what it should be.
    #[error("{name}: {error}")]
    File {
        /// The file.
        name: String,
        /// What is wrong with it.
        error: FormatError,
    },
    /// There is no store here.
    #[error("there is no qbak store at {0}")]
    NoStore(String),
    /// A store is here already.
    #[error("there is a qbak store at {0} already")]
    StoreExists(String),
    /// A blob is in no pack that can be read.
    #[error("{kind} blob {id} is in no pack of the store")]
    Missing {
        /// What it is.
        kind: BlobKind,
        /// Its id.
        id: BlobId,
    },
    /// Every copy of a blob is damaged; where the last one that was tried lies.
    #[error("{kind} blob {id} is damaged in {pack}: {what}")]
    Damaged {
        /// What it is.
        kind: BlobKind,
        /// Its id.
        id: BlobId,
        /// The pack's file.
        pack: String,
        /// What is wrong.
        what: String,
    },
    /// Two contents with one SHA-1.
    #[error("another content with the SHA-1 {id} is stored: this is a SHA-1 collision")]
    Collision {
        /// The id they share.
        id: BlobId,
    },
    /// A prune fenced the run off.
    #[error("run {0} was fenced off by another run or prune while it slept; nothing was lost, run it again")]
    Fenced(RunName),
    /// A manifest contradicts itself.
    #[error("the manifest of {snapshot} is damaged: {what}")]
    Manifest {
        /// Whose.
        snapshot: RunName,
        /// How.
        what: String,
    },
    /// The spool on local disk failed.
    #[error("the temporary folder: {0}")]
    Spool(String),
    /// The operating system gave no randomness, or a worker died.
    #[error("{0}")]
    System(String),
}

impl RepoError {
    /// What is wrong with one file. A store's version stands in its own record, which was read before any other file: a
    /// file that claims a newer one is damaged.
    pub(crate) fn file(name: impl Into<String>, error: FormatError) -> Self {
        let name = name.into();
        let error = match error {
            FormatError::Newer { found } if name != names::STORE && name != names::STORE_COPY => {
                FormatError::Damaged(format!(
                    "it claims format version {found}, which this store does not have"
                ))
            }
            error => error,
        };
        Self::File { name, error }
    }

    /// Whether it tells of lost or wrong bytes in the store, not of a store that cannot be reached.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::File { error, .. } => matches!(error, FormatError::Damaged(_)),
            Self::Missing { .. } | Self::Damaged { .. } | Self::Manifest { .. } => true,
            Self::Store(e) => is_gone(e),
            _ => false,
        }
    }
}

/// Whether a failed read tells of bytes that are lost, not of a store that cannot be reached.
pub(super) fn is_gone(e: &StoreError) -> bool {
    matches!(e.kind, StoreErrorKind::NotFound | StoreErrorKind::TooLong | StoreErrorKind::Damaged)
}

impl From<tokio::task::JoinError> for RepoError {
    fn from(e: tokio::task::JoinError) -> Self {
        Self::System(format!("a worker stopped: {e}"))
    }
}
