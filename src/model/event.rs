//! What an operation tells while it works. Text, JSON lines, progress bars and tests are observers.

use super::key::Key;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A new phase of the work begins; its totals, where they are known. `bytes` counts content, not transfer.
    Phase {
        /// What it is, a short present participle: "listing", "copying", "downloading". Two words ("checking packs")
        /// say what is counted where that is not objects.
        name: &'static str,
        /// How many objects (or packs, snapshots) there are to do.
        objects: Option<u64>,
        /// How many bytes there are to do.
        bytes: Option<u64>,
    },
    /// The totals became known, or grew.
    Total {
        /// Objects to do.
        objects: u64,
        /// Bytes to do.
        bytes: u64,
    },
    /// So much more was done.
    Advance {
        /// Objects finished.
        objects: u64,
        /// Bytes finished.
        bytes: u64,
    },
    /// One object could not be handled; the work goes on.
    Failed {
        /// Which.
        key: Key,
        /// Why, one clear sentence.
        reason: String,
    },
    /// Something a person should know; one clear sentence. Said once.
    Warning(String),
    /// Something worth a line when asked for details.
    Note(String),
}

/// Takes events. Called from many tasks at once; must not block for long.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: Event);
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event) {}
}
