//! What a prune is asked for, and what it reports.

use std::path::PathBuf;

use crate::format::records::RunRecord;
use crate::model::name::RunName;
use crate::plan::retention::{Decision, Wish};

/// What a prune is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The rules, and what is named.
    pub wish: Wish,
    /// Only say what would be done. Takes no lease and writes nothing.
    pub dry_run: bool,
    /// Where temporary files go.
    pub spool: PathBuf,
    /// This machine's name.
    pub host: String,
    /// This process's number.
    pub pid: u32,
}

/// What becomes of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupReport {
    /// The group.
    pub group: RunName,
    /// All of it goes.
    pub whole: bool,
    /// Packs that stay as they are.
    pub kept: u64,
    /// Packs that go.
    pub deleted: u64,
    /// Packs of which what is needed is copied before they go.
    pub rewritten: u64,
    /// Why, pack by pack, for those that do not simply stay: the pack's file and the reason.
    pub why: Vec<(String, String)>,
}

/// A run that is at work: while it is, no packs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InTheWay {
    /// The run.
    pub run: RunName,
    /// On which machine.
    pub host: String,
    /// As which process.
    pub pid: u32,
}

impl InTheWay {
    pub(super) fn of(record: &RunRecord) -> Self {
        Self { run: record.name, host: record.host.clone(), pid: record.pid }
    }
}

/// What a prune did, or with `--dry-run` would do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// One for each finished snapshot, oldest first.
    pub decisions: Vec<Decision>,
    /// One for each unfinished run.
    pub runs: Vec<Decision>,
    /// One for each group of which anything goes.
    pub groups: Vec<GroupReport>,
    /// How many snapshots stay.
    pub kept: u64,
    /// How many snapshots go.
    pub removed: u64,
    /// By how much the store is smaller: what was deleted less what was written.
    pub freed_bytes: u64,
    /// Bytes of blobs that were copied because their packs went.
    pub moved_bytes: u64,
    /// Bytes that a later prune can free: they did not fit to be rewritten now, or an unfinished run may need them.
    pub pending_bytes: u64,
    /// Runs at work: because of them nothing was freed, and `pending_bytes` says how much can be later.
    pub in_the_way: Vec<InTheWay>,
    /// So many snapshots would go and are held back because a newer one is suspect (exit 6).
    pub held_back: usize,
    /// What was to be removed by name and was not, and why (exit 6).
    pub refused: Vec<String>,
    /// Needed blobs all copies of which are known to be damaged; their packs stay.
    pub damaged_blobs: u64,
    /// Nothing was written.
    pub dry_run: bool,
    /// How long it took.
    pub seconds: f64,
}

impl Report {
    /// Something was not removed because it looks wrong: exit 6.
    pub fn is_refused(&self) -> bool {
        self.held_back > 0 || !self.refused.is_empty()
    }
}
