//! Where objects go when they are restored: a folder, which nothing ever leaves.

pub mod folder;
pub mod keymap;
pub mod same_name;
pub mod sidefile;

/// Why a target could not do something. `message` is one sentence for a person, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TargetError {
    /// What kind of failure it is.
    pub kind: TargetErrorKind,
    /// What failed and why.
    pub message: String,
}

/// What a [`TargetError`] means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetErrorKind {
    /// Something is there that may not be replaced.
    InTheWay,
    /// The target is full, over its quota, or read-only: the same for every object.
    Full,
    /// No permission.
    Denied,
    /// A name that leads out of the target.
    Unsafe,
    /// Anything else.
    Other,
}

impl TargetError {
    pub(crate) fn new(kind: TargetErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
