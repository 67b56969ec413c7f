//! What earlier runs know: the parent snapshot, the checkpoints of runs that were cut off, and the baseline that a
//! suspect snapshot is compared with; each a stream in key order that is joined with the listing.

use std::collections::HashMap;
use std::sync::Arc;

use crate::format::manifest::Reference;
use crate::format::records::{Begun, SnapshotRecord};
use crate::model::entry::Entry;
use crate::model::event::{Event, Observer};
use crate::model::id::BlobId;
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::op::OpError;
use crate::repo::Repository;
use crate::repo::blobs::{BlobReader, Groups};
use crate::repo::manifest_reader::{ManifestReader, Span};

/// A manifest's entries with one entry of look-ahead, that steps over what is damaged.
pub(super) struct Cursor {
    reader: ManifestReader,
    peeked: Option<Entry>,
    observer: Arc<dyn Observer>,
    what: String,
    warned: bool,
}

impl Cursor {
    /// The entries of a finished snapshot.
    pub(super) fn snapshot(
        repo: &Repository,
        groups: &Arc<Groups>,
        s: &SnapshotRecord,
        observer: &Arc<dyn Observer>,
    ) -> Self {
        let blobs = BlobReader::new(repo, Arc::clone(groups), s.group, &s.needs);
        let reader = ManifestReader::new(blobs, s.name, &s.manifest, Span::all());
        Self::over(reader, format!("snapshot {}", s.name), observer)
    }

    /// The entries that a run's checkpoints keep.
    pub(super) fn checkpoint(
        repo: &Repository,
        groups: &Arc<Groups>,
        run: RunName,
        group: RunName,
        refs: &[Reference],
        observer: &Arc<dyn Observer>,
    ) -> Self {
        let blobs = BlobReader::new(repo, Arc::clone(groups), group, &[]);
        let reader = ManifestReader::segments(blobs, run, refs);
        Self::over(reader, format!("the checkpoints of {run}"), observer)
    }

    fn over(reader: ManifestReader, what: String, observer: &Arc<dyn Observer>) -> Self {
        Self { reader, peeked: None, observer: Arc::clone(observer), what, warned: false }
    }

    /// Steps up to `key` and returns its entry, if there is one; entries before it go to `passed`. `None`: to the end.
    ///
    /// # Errors
    /// The store cannot be reached. Damage is stepped over: what cannot be read is simply not known.
    pub(super) async fn until(
        &mut self,
        key: Option<&Key>,
        mut passed: impl FnMut(Entry),
    ) -> Result<Option<Entry>, OpError> {
        loop {
            let entry = match self.peeked.take() {
                Some(entry) => entry,
                None => match self.reader.next().await {
                    Ok(Some(entry)) => entry,
                    Ok(None) => return Ok(None),
                    Err(e) if e.is_damage() => {
                        if !std::mem::replace(&mut self.warned, true) {
                            let text = format!(
                                "{} cannot be read in full ({e}); what is not known is read again",
                                self.what
                            );
                            self.observer.event(Event::Warning(text));
                        }
                        continue;
                    }
                    Err(e) => return Err(e.into()),
                },
            };
            match key {
                Some(key) if entry.key == *key => return Ok(Some(entry)),
                Some(key) if entry.key > *key => {
                    self.peeked = Some(entry);
                    return Ok(None);
                }
                _ => passed(entry),
            }
        }
    }
}

/// Adds what an older run knows of objects that were begun: of one object, whoever came further counts.
pub(super) fn join_begun(known: &mut HashMap<Key, Begun>, older: HashMap<Key, Begun>) {
    for (key, begun) in older {
        match known.get(&key) {
            Some(newer)
                if newer.fingerprint != begun.fingerprint || newer.blocks.len() >= begun.blocks.len() => {}
            _ => drop(known.insert(key, begun)),
        }
    }
}

/// The blocks of a large object that an earlier run stored, if it is still the same object.
pub(super) fn begun_blocks(
    begun: &HashMap<Key, Begun>,
    listed: &crate::model::listed::Listed,
) -> Vec<BlobId> {
    match begun.get(&listed.key) {
        Some(b)
            if b.size == listed.size
                && b.put_time == listed.put_time
                && b.fingerprint.is_some()
                && b.fingerprint == listed.hash.as_ref().map(crate::model::listed::ListedHash::text) =>
        {
            b.blocks.clone()
        }
        _ => Vec::new(),
    }
}
