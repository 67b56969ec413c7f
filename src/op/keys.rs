//! Questions about a snapshot's keys that jump about: is there this key, is there one that begins so. Each takes at
//! most one way down the manifest's tree; the last few pieces of it are kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use super::open::Opened;
use crate::format::manifest::Reference;
use crate::format::pack::BlobKind;
use crate::format::records::ManifestRecord;
use crate::model::id::BlobId;
use crate::model::key::Key;
use crate::repo::RepoError;
use crate::repo::manifest_reader::{page, read, segment};
use crate::target::keymap::KeySpace;

/// How many pieces of the tree are kept; each has at most 1 MiB.
const KEPT: usize = 12;

/// A snapshot's keys. As a [`KeySpace`] it is only for worker threads, since it may wait for the store.
#[derive(Debug)]
pub struct Keys {
    opened: Opened,
    runtime: Handle,
    kept: Mutex<VecDeque<(BlobId, Piece)>>,
    problem: Mutex<Option<RepoError>>,
}

#[derive(Debug, Clone)]
enum Piece {
    Page(Arc<Vec<Reference>>),
    Segment(Arc<Vec<Key>>),
}

impl Keys {
    /// The keys of a snapshot. Must be called within a runtime.
    pub fn new(opened: &Opened) -> Self {
        Self {
            opened: opened.clone(),
            runtime: Handle::current(),
            kept: Mutex::default(),
            problem: Mutex::default(),
        }
    }

    /// The first key at or after these bytes.
    ///
    /// # Errors
    /// A piece of the tree is missing or damaged, or the store cannot be read.
    pub async fn first_from(&self, from: &[u8]) -> Result<Option<Key>, RepoError> {
        let mut first: Option<Key> = None;
        for manifest in self.opened.manifests() {
            let found = self.first_in(manifest, from).await?;
            first = match (first, found) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        Ok(first)
    }

    async fn first_in(&self, manifest: &ManifestRecord, from: &[u8]) -> Result<Option<Key>, RepoError> {
        let behind = |r: &Reference| r.last.bytes() < from;
        let mut level = manifest.height;
        let mut at = manifest.refs.get(manifest.refs.partition_point(behind)).cloned();
        while let Some(reference) = at {
            if reference.first.bytes() >= from {
                return Ok(Some(reference.first));
            }
            match self.piece(level, &reference).await? {
                Piece::Page(refs) => at = refs.get(refs.partition_point(behind)).cloned(),
                Piece::Segment(keys) => {
                    return Ok(keys.get(keys.partition_point(|k| k.bytes() < from)).cloned());
                }
            }
            level = level.saturating_sub(1);
        }
        Ok(None)
    }

    async fn piece(&self, level: u32, reference: &Reference) -> Result<Piece, RepoError> {
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = kept.iter().position(|(id, _)| *id == reference.id)
                && let Some(found) = kept.remove(at)
            {
                let piece = found.1.clone();
                kept.push_front(found);
                return Ok(piece);
            }
        }
        let (blobs, name) = (&self.opened.blobs, self.opened.name);
        let piece = if level == 0 {
            let bytes = read(blobs, BlobKind::Segment, reference).await?;
            let entries = segment(name, reference, &bytes)?;
            Piece::Segment(Arc::new(entries.into_iter().map(|e| e.key).collect()))
        } else {
            let bytes = read(blobs, BlobKind::Page, reference).await?;
            Piece::Page(Arc::new(page(name, reference, &bytes)?))
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front((reference.id, piece.clone()));
        kept.truncate(KEPT);
        Ok(piece)
    }

    /// What kept a question from being answered, if it was more than damage (what cannot be read is no key: it cannot
    /// be restored either).
    pub fn problem(&self) -> Option<RepoError> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ask(&self, from: &[u8]) -> Option<Key> {
        match self.runtime.block_on(self.first_from(from)) {
            Ok(key) => key,
            Err(e) if e.is_damage() => None,
            Err(e) => {
                self.problem.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                None
            }
        }
    }
}

impl KeySpace for Keys {
    fn contains(&self, key: &[u8]) -> bool {
        self.ask(key).is_some_and(|k| k.bytes() == key)
    }

    fn has_key_under(&self, prefix: &[u8]) -> bool {
        self.ask(prefix).is_some_and(|k| k.bytes().starts_with(prefix))
    }
}
