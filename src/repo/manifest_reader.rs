//! Reads a manifest: entries in key order, from any key on, only the pages and segments that are needed.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::RepoError;
use super::blobs::BlobReader;
use crate::format::manifest::{MAX_HEIGHT, Reference, lines};
use crate::format::pack::BlobKind;
use crate::format::records::ManifestRecord;
use crate::format::{FormatError, entry};
use crate::model::entry::Entry;
use crate::model::key::Key;
use crate::model::name::RunName;

/// Which keys are wanted: from a key on, or all with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Keys before this one are skipped.
    pub from: Key,
    /// Only keys that begin so.
    pub prefix: Key,
}

impl Span {
    /// Everything.
    pub fn all() -> Self {
        Self::prefix(Key::new(Vec::new()))
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: Key) -> Self {
        Self { from: prefix.clone(), prefix }
    }

    /// Everything from a key on.
    pub fn from(key: Key) -> Self {
        Self { from: key, prefix: Key::new(Vec::new()) }
    }

    fn may_hold(&self, reference: &Reference) -> bool {
        reference.last >= self.from && !self.is_past(&reference.first)
    }

    fn is_past(&self, key: &Key) -> bool {
        let prefix = self.prefix.bytes();
        key.bytes() > prefix && !key.bytes().starts_with(prefix)
    }

    fn holds(&self, key: &Key) -> bool {
        *key >= self.from && key.bytes().starts_with(self.prefix.bytes())
    }
}

/// A node that waits to be visited: how many levels of pages lie between it and the segments below it.
#[derive(Debug)]
struct Node {
    level: u32,
    reference: Reference,
}

type Decoded = JoinHandle<Result<Vec<Entry>, RepoError>>;

/// The entries of a snapshot, in key order.
#[derive(Debug)]
pub struct ManifestReader {
    blobs: BlobReader,
    snapshot: RunName,
    span: Span,
    /// To visit, the next one last. Bounded by the tree's height times its fan-out.
    stack: Vec<Node>,
    /// Segments that are read and decoded ahead.
    ahead: VecDeque<Decoded>,
    current: std::vec::IntoIter<Entry>,
    last: Option<Key>,
}

/// Segments read ahead.
const AHEAD: usize = 3;

impl ManifestReader {
    /// The entries of `manifest` in `span`.
    pub fn new(blobs: BlobReader, snapshot: RunName, manifest: &ManifestRecord, span: Span) -> Self {
        let level = manifest.height.min(MAX_HEIGHT);
        let mut stack: Vec<Node> = manifest
            .refs
            .iter()
            .filter(|r| span.may_hold(r))
            .map(|r| Node { level, reference: r.clone() })
            .collect();
        stack.reverse();
        let (ahead, current) = (VecDeque::new(), Vec::new().into_iter());
        Self { blobs, snapshot, span, stack, ahead, current, last: None }
    }

    /// The entries of loose segments, as checkpoints keep them: sorted within each, not among each other.
    pub fn segments(blobs: BlobReader, snapshot: RunName, refs: &[Reference]) -> Self {
        Self::new(blobs, snapshot, &ManifestRecord { height: 0, refs: refs.to_vec() }, Span::all())
    }

    /// The next entry; `None` after the last.
    ///
    /// # Errors
    /// A page or segment is missing or damaged, or contradicts the references to it. The reader can go on after an
    /// error: it then continues behind the damaged piece.
    pub async fn next(&mut self) -> Result<Option<Entry>, RepoError> {
        loop {
            for entry in self.current.by_ref() {
                if self.span.holds(&entry.key) {
                    if self.last.as_ref().is_some_and(|last| *last >= entry.key) {
                        let what = format!("its keys are out of order at {}", entry.key);
                        return Err(RepoError::Manifest { snapshot: self.snapshot, what });
                    }
                    self.last = Some(entry.key.clone());
                    return Ok(Some(entry));
                }
            }
            self.fill().await?;
            match self.ahead.pop_front() {
                Some(segment) => self.current = segment.await??.into_iter(),
                None => return Ok(None),
            }
        }
    }

    /// All that is left.
    ///
    /// # Errors
    /// As [`ManifestReader::next`].
    pub async fn collect(mut self) -> Result<Vec<Entry>, RepoError> {
        let mut all = Vec::new();
        while let Some(entry) = self.next().await? {
            all.push(entry);
        }
        Ok(all)
    }

    async fn fill(&mut self) -> Result<(), RepoError> {
        while self.ahead.len() < AHEAD
            && let Some(node) = self.stack.pop()
        {
            if node.level == 0 {
                let (blobs, snapshot) = (self.blobs.clone(), self.snapshot);
                self.ahead.push_back(tokio::spawn(async move {
                    let bytes = read(&blobs, BlobKind::Segment, &node.reference).await?;
                    tokio::task::spawn_blocking(move || segment(snapshot, &node.reference, &bytes)).await?
                }));
            } else {
                let bytes = read(&self.blobs, BlobKind::Page, &node.reference).await?;
                let below = page(self.snapshot, &node.reference, &bytes)?;
                let level = node.level - 1;
                let wanted = below.into_iter().rev().filter(|r| self.span.may_hold(r));
                self.stack.extend(wanted.map(|reference| Node { level, reference }));
            }
        }
        Ok(())
    }
}

/// Reads a piece of a manifest.
///
/// # Errors
/// It is missing or damaged.
pub async fn read(blobs: &BlobReader, kind: BlobKind, reference: &Reference) -> Result<Bytes, RepoError> {
    blobs.read_known(kind, &reference.id, reference.digest).await
}

/// The entries of a segment, checked against the reference to it.
///
/// # Errors
/// They contradict it.
pub fn segment(snapshot: RunName, reference: &Reference, bytes: &[u8]) -> Result<Vec<Entry>, RepoError> {
    let damaged = |e: FormatError| RepoError::Manifest {
        snapshot,
        what: format!("segment {} (keys {} to {}): {e}", reference.id, reference.first, reference.last),
    };
    let entries: Vec<Entry> =
        lines(bytes).map(entry::decode).collect::<Result<_, FormatError>>().map_err(damaged)?;
    let ends = entries.first().map(|e| &e.key) == Some(&reference.first)
        && entries.last().map(|e| &e.key) == Some(&reference.last);
    if !ends || entries.len() as u64 != reference.entries || !entries.is_sorted_by(|a, b| a.key < b.key) {
        return Err(damaged(FormatError::Damaged("it does not hold what the reference to it says".into())));
    }
    Ok(entries)
}

/// The references of a page, checked against the reference to it.
///
/// # Errors
/// They contradict it.
pub fn page(snapshot: RunName, reference: &Reference, bytes: &[u8]) -> Result<Vec<Reference>, RepoError> {
    let damaged = |e: FormatError| RepoError::Manifest {
        snapshot,
        what: format!("page {} (keys {} to {}): {e}", reference.id, reference.first, reference.last),
    };
    let refs: Vec<Reference> =
        lines(bytes).map(Reference::decode).collect::<Result<_, FormatError>>().map_err(damaged)?;
    let ends = refs.first().map(|r| &r.first) == Some(&reference.first)
        && refs.last().map(|r| &r.last) == Some(&reference.last);
    let entries: u64 = refs.iter().fold(0, |n, r| n.saturating_add(r.entries));
    if !ends || entries != reference.entries || !refs.is_sorted_by(|a, b| a.last < b.first) {
        return Err(damaged(FormatError::Damaged("it does not hold what the reference to it says".into())));
    }
    Ok(refs)
}
