//! Sorts what differs: what is one half of a renaming finds its other half, outside memory.

use std::path::Path;

use super::{Change, Sort, Summary};
use crate::model::entry::{Entry, State};
use crate::model::id::ContentId;
use crate::model::key::Key;
use crate::op::OpError;
use crate::op::spool::{Item, Sorted, Sorter};
use crate::plan::compare::{Relation, relate};
use crate::repo::RepoError;
use crate::repo::manifest_diff::Pair;

/// What was found: what is final goes to the output, what may be one half of a renaming waits for its other half.
pub(super) struct Found {
    output: Output,
    came: Sorter,
    went: Sorter,
}

/// What is final: sorted by key for whoever asks, and counted.
struct Output {
    summary: Summary,
    sorter: Sorter,
}

/// Bytes that each of the sorters keeps in memory.
const MEMORY: usize = 8 << 20;

impl Found {
    pub(super) fn new(spool: &Path) -> Self {
        let sorter = || Sorter::new(spool, MEMORY);
        let output = Output { summary: Summary::default(), sorter: sorter() };
        Self { output, came: sorter(), went: sorter() }
    }

    /// Keys of which nobody knows whether they changed.
    pub(super) fn unread(&mut self, more: u64) {
        self.output.summary.unread += more;
    }

    pub(super) fn pair(&mut self, pair: Pair) -> Result<(), OpError> {
        let Some(new) = pair.new else {
            return match pair.old {
                // Failed and vanished objects never count as removed: nobody knows whether they were there.
                Some(old) if matches!(old.state, State::Ok | State::Unavailable) => self.went(&old),
                _ => Ok(()),
            };
        };
        let old_size = pair.old.as_ref().map_or(0, |old| old.size);
        let sort = match relate(&new, pair.old.as_ref()) {
            Relation::Unchanged => return Ok(()),
            Relation::Unread => {
                self.unread(1);
                return Ok(());
            }
            Relation::Added => return self.came(&new),
            Relation::Changed => Sort::Changed,
            Relation::Metadata => Sort::Metadata,
        };
        self.output.put(Change { sort, key: new.key, from: None, old_size, new_size: new.size })
    }

    fn came(&mut self, new: &Entry) -> Result<(), OpError> {
        match new.content {
            Some(content) => Ok(self.came.push(half(content, &new.key), new.size.to_le_bytes().to_vec())?),
            None => self.output.put(added(new.key.clone(), new.size)),
        }
    }

    fn went(&mut self, old: &Entry) -> Result<(), OpError> {
        match old.content {
            Some(content) => Ok(self.went.push(half(content, &old.key), old.size.to_le_bytes().to_vec())?),
            None => self.output.put(removed(old.key.clone(), old.size)),
        }
    }

    /// Pairs what came with what went, content by content, each in key order.
    pub(super) fn finish(self) -> Result<(Sorted, Summary), OpError> {
        let Self { mut output, came, went } = self;
        let (mut came, mut went) = (came.finish()?, went.finish()?);
        let (mut new, mut old) = (came.take_next()?, went.take_next()?);
        loop {
            let content = |item: &Item| item.key.get(..CONTENT).map(<[u8]>::to_vec);
            let order = match (&new, &old) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(a), Some(b)) => content(a).cmp(&content(b)),
            };
            let here = if order.is_le() { new.take().map(whole).transpose()? } else { None };
            let there = if order.is_ge() { old.take().map(whole).transpose()? } else { None };
            match (here, there) {
                (Some((key, new_size)), Some((from, old_size))) => {
                    output.put(Change { sort: Sort::Renamed, key, from: Some(from), old_size, new_size })?;
                }
                (Some((key, size)), None) => output.put(added(key, size))?,
                (None, Some((key, size))) => output.put(removed(key, size))?,
                (None, None) => {}
            }
            if new.is_none() {
                new = came.take_next()?;
            }
            if old.is_none() {
                old = went.take_next()?;
            }
        }
        Ok((output.sorter.finish()?, output.summary))
    }
}

impl Output {
    fn put(&mut self, change: Change) -> Result<(), OpError> {
        let s = &mut self.summary;
        let (count, old, new) = match change.sort {
            Sort::Added => (&mut s.added, 0, change.new_size),
            Sort::Removed => (&mut s.removed, change.old_size, 0),
            Sort::Changed => (&mut s.changed, change.old_size, change.new_size),
            Sort::Renamed => (&mut s.renamed, 0, 0),
            Sort::Metadata => (&mut s.metadata, 0, 0),
        };
        *count += 1;
        s.old_bytes = s.old_bytes.saturating_add(old);
        s.new_bytes = s.new_bytes.saturating_add(new);
        let mut payload = vec![change.sort as u8];
        payload.extend_from_slice(&change.old_size.to_le_bytes());
        payload.extend_from_slice(&change.new_size.to_le_bytes());
        payload.extend_from_slice(change.from.as_ref().map_or(&[][..], |k| k.bytes()));
        Ok(self.sorter.push(change.key.bytes().to_vec(), payload)?)
    }
}

fn added(key: Key, size: u64) -> Change {
    Change { sort: Sort::Added, key, from: None, old_size: 0, new_size: size }
}

fn removed(key: Key, size: u64) -> Change {
    Change { sort: Sort::Removed, key, from: None, old_size: size, new_size: 0 }
}

/// The length of a content id in text, which half a renaming is sorted by first.
const CONTENT: usize = 28;

fn half(content: ContentId, key: &Key) -> Vec<u8> {
    let mut out = content.to_string().into_bytes();
    out.extend_from_slice(key.bytes());
    out
}

fn broken() -> OpError {
    RepoError::Spool("what was written there does not read back".into()).into()
}

/// The key and size of half a renaming.
fn whole(item: Item) -> Result<(Key, u64), OpError> {
    let key = item.key.get(CONTENT..).ok_or_else(broken)?.to_vec();
    let size = item.payload.as_slice().try_into().map_err(|_| broken())?;
    Ok((Key::new(key), u64::from_le_bytes(size)))
}

/// A change, as [`Output::put`] wrote it.
pub(super) fn unpack(item: Item) -> Result<Change, OpError> {
    let payload = &item.payload;
    let sorts = [Sort::Added, Sort::Removed, Sort::Changed, Sort::Renamed, Sort::Metadata];
    let sort = payload.first().and_then(|n| sorts.into_iter().find(|s| *s as u8 == *n)).ok_or_else(broken)?;
    let size = |at: usize| -> Result<u64, OpError> {
        let bytes = payload.get(at..at + 8).and_then(|b| b.try_into().ok()).ok_or_else(broken)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let (old_size, new_size) = (size(1)?, size(9)?);
    let from = payload.get(17..).ok_or_else(broken)?.to_vec();
    let from = (sort == Sort::Renamed).then(|| Key::new(from));
    Ok(Change { sort, key: Key::new(item.key), from, old_size, new_size })
}
