//! Where two manifests differ: both trees are walked side by side, and what they have in common is skipped unread.

use std::vec::IntoIter;

use super::RepoError;
use super::blobs::BlobReader;
use super::manifest_reader;
use crate::format::manifest::{MAX_HEIGHT, Reference};
use crate::format::pack::BlobKind;
use crate::format::records::ManifestRecord;
use crate::model::entry::Entry;
use crate::model::key::Key;
use crate::model::name::RunName;

/// A key whose entries differ; at least one side has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The old manifest's.
    pub old: Option<Entry>,
    /// The new manifest's.
    pub new: Option<Entry>,
}

/// One of the two trees: what of it has not been passed yet.
#[derive(Debug)]
struct Side {
    blobs: BlobReader,
    snapshot: RunName,
    /// Pieces with the level they lie at, the next one last.
    stack: Vec<(u32, Reference)>,
    /// What is left of the segment that was read last.
    entries: IntoIter<Entry>,
    last: Option<Key>,
    read: u64,
}

impl Side {
    fn new(blobs: BlobReader, snapshot: RunName, manifest: &ManifestRecord) -> Self {
        let level = manifest.height.min(MAX_HEIGHT);
        let stack = manifest.refs.iter().rev().map(|r| (level, r.clone())).collect();
        Self { blobs, snapshot, stack, entries: Vec::new().into_iter(), last: None, read: 0 }
    }

    /// Opens the next piece: a page becomes its references, a segment its entries.
    async fn expand(&mut self) -> Result<(), RepoError> {
        let Some((level, reference)) = self.stack.pop() else { return Ok(()) };
        self.read += 1;
        if level > 0 {
            let bytes = manifest_reader::read(&self.blobs, BlobKind::Page, &reference).await?;
            let below = manifest_reader::page(self.snapshot, &reference, &bytes)?;
            self.stack.extend(below.into_iter().rev().map(|r| (level - 1, r)));
            return Ok(());
        }
        let bytes = manifest_reader::read(&self.blobs, BlobKind::Segment, &reference).await?;
        let snapshot = self.snapshot;
        let first = reference.first.clone();
        let entries =
            tokio::task::spawn_blocking(move || manifest_reader::segment(snapshot, &reference, &bytes))
                .await??;
        if self.last.as_ref().is_some_and(|last| *last >= first) {
            let what = format!("its keys are out of order at {first}");
            return Err(RepoError::Manifest { snapshot, what });
        }
        self.last = entries.last().map(|e| e.key.clone());
        self.entries = entries.into_iter();
        Ok(())
    }

    /// Whether a key below `key`, or `key` itself, may still come from a piece that is not open.
    fn may_hold(&self, key: &Key) -> bool {
        self.stack.last().is_some_and(|(_, r)| r.first <= *key)
    }
}

/// The differences of two manifests, in key order.
#[derive(Debug)]
pub struct ManifestDiff {
    old: Side,
    new: Side,
}

/// What to do next.
enum Step {
    Old,
    New,
    Both,
    Expand { old: bool },
    Skip,
    End,
}

impl ManifestDiff {
    /// Compares two snapshots' manifests, each with its reader and name.
    pub fn new(
        old: (BlobReader, RunName, &ManifestRecord),
        new: (BlobReader, RunName, &ManifestRecord),
    ) -> Self {
        Self { old: Side::new(old.0, old.1, old.2), new: Side::new(new.0, new.1, new.2) }
    }

    /// How many pages and segments have been read.
    pub fn pieces_read(&self) -> u64 {
        self.old.read + self.new.read
    }

    /// The next key that differs; `None` after the last.
    ///
    /// # Errors
    /// A piece is missing or damaged.
    pub async fn next(&mut self) -> Result<Option<Pair>, RepoError> {
        loop {
            let pair = match self.step() {
                Step::End => return Ok(None),
                Step::Skip => {
                    self.old.stack.pop();
                    self.new.stack.pop();
                    continue;
                }
                Step::Expand { old: true } => {
                    self.old.expand().await?;
                    continue;
                }
                Step::Expand { old: false } => {
                    self.new.expand().await?;
                    continue;
                }
                Step::Old => Pair { old: self.old.entries.next(), new: None },
                Step::New => Pair { old: None, new: self.new.entries.next() },
                Step::Both => Pair { old: self.old.entries.next(), new: self.new.entries.next() },
            };
            if pair.old != pair.new {
                return Ok(Some(pair));
            }
        }
    }

    fn step(&self) -> Step {
        match (self.old.entries.as_slice().first(), self.new.entries.as_slice().first()) {
            (Some(a), Some(b)) => match a.key.cmp(&b.key) {
                std::cmp::Ordering::Less => Step::Old,
                std::cmp::Ordering::Greater => Step::New,
                std::cmp::Ordering::Equal => Step::Both,
            },
            (Some(a), None) if self.new.may_hold(&a.key) => Step::Expand { old: false },
            (Some(_), None) => Step::Old,
            (None, Some(b)) if self.old.may_hold(&b.key) => Step::Expand { old: true },
            (None, Some(_)) => Step::New,
            (None, None) => pieces(self.old.stack.last(), self.new.stack.last()),
        }
    }
}

/// Which of two pieces to open when both sides stand between segments.
fn pieces(old: Option<&(u32, Reference)>, new: Option<&(u32, Reference)>) -> Step {
    let ((old_level, a), (new_level, b)) = match (old, new) {
        (None, None) => return Step::End,
        (Some(_), None) => return Step::Expand { old: true },
        (None, Some(_)) => return Step::Expand { old: false },
        (Some(a), Some(b)) => (a, b),
    };
    if old_level == new_level && a.id == b.id && a.digest == b.digest {
        return Step::Skip;
    }
    // Apart from each other, the first one comes first. Else the higher one: below it may lie what the other side has too.
    if a.last < b.first {
        return Step::Expand { old: true };
    }
    if b.last < a.first {
        return Step::Expand { old: false };
    }
    Step::Expand { old: (*old_level, &b.first) >= (*new_level, &a.first) }
}
