//! `diff`: what changed between two snapshots, or since one. Equal stretches are skipped unread; a live source is
//! listed, never downloaded. Memory does not grow with the number of objects.

mod found;
mod pairs;

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::event::{Event, Observer};
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::op::open::{Catalog, Opened};
use crate::op::spool::Sorted;
use crate::op::{Cancel, OpError};
use crate::source::Source;

use found::{Found, unpack};
use pairs::Pairs;

/// What a comparison works with.
pub struct Context {
    /// Where temporary files go.
    pub spool: PathBuf,
    /// Is told what happens.
    pub observer: Arc<dyn Observer>,
    /// Says stop.
    pub cancel: Cancel,
}

/// The newer side.
pub enum To<'a> {
    /// A snapshot.
    Snapshot(&'a Opened),
    /// The source as its listing shows it now.
    Live(Arc<dyn Source>),
}

/// How a key differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sort {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has other content, or is another kind of thing.
    Changed,
    /// It is new, with the content of a key that is gone.
    Renamed,
    /// It has the same content and other metadata.
    Metadata,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How it differs.
    pub sort: Sort,
    /// The key: the new one, unless it is gone.
    pub key: Key,
    /// What a renamed object was called.
    pub from: Option<Key>,
    /// Its size before; 0 where there was none.
    pub old_size: u64,
    /// Its size now; 0 where there is none.
    pub new_size: u64,
}

/// The differences in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// New keys, renamed ones apart.
    pub added: u64,
    /// Keys that are gone, renamed ones apart.
    pub removed: u64,
    /// Other content.
    pub changed: u64,
    /// New keys with the content of one that is gone.
    pub renamed: u64,
    /// Same content, other metadata.
    pub metadata: u64,
    /// Could not be read on the newer side: nobody knows whether they changed.
    pub unread: u64,
    /// Bytes of what was added or changed.
    pub new_bytes: u64,
    /// Bytes of what was removed, or stood there before it was changed.
    pub old_bytes: u64,
}

impl Summary {
    /// Whether there is any difference.
    pub fn is_empty(&self) -> bool {
        self.added + self.removed + self.changed + self.renamed + self.metadata == 0
    }
}

/// The result: the changes in the order of their keys, and the summary.
#[derive(Debug)]
pub struct Diff {
    sorted: Sorted,
    /// In numbers.
    pub summary: Summary,
}

impl Diff {
    /// The next change; `None` after the last.
    ///
    /// # Errors
    /// The temporary files cannot be read.
    pub fn next_change(&mut self) -> Result<Option<Change>, OpError> {
        self.sorted.take_next()?.map(unpack).transpose()
    }
}

/// The snapshot before one, by sequence: what `diff DATE` alone compares with.
pub fn before(catalog: &Catalog, name: RunName) -> Option<RunName> {
    let finished = &catalog.snapshots.finished;
    let at = finished.iter().position(|s| s.name == name).unwrap_or(finished.len());
    at.checked_sub(1).and_then(|n| finished.get(n)).map(|s| s.name)
}

/// Compares; without an older side everything is new.
///
/// # Errors
/// The store or source cannot be read, a manifest is damaged, or it was told to stop.
pub async fn diff(ctx: &Context, from: Option<&Opened>, to: To<'_>) -> Result<Diff, OpError> {
    let mut pairs = Pairs::new(ctx, from, to);
    let mut found = Found::new(&ctx.spool);
    ctx.observer.event(Event::Phase { name: "comparing", objects: None, bytes: None });
    while let Some(pair) = pairs.next().await? {
        if ctx.cancel.is_set() {
            return Err(OpError::Interrupted);
        }
        found.pair(pair)?;
    }
    found.unread(pairs.hidden());
    let (sorted, summary) = found.finish()?;
    Ok(Diff { sorted, summary })
}
