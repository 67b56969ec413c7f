//! Counts what a run found, in memory that does not grow with it: renames are matched by an external sort.

use std::path::Path;
use std::sync::Mutex;

use crate::format::records::Counts;
use crate::model::entry::{Entry, Kind, State};
use crate::model::id::ContentId;
use crate::op::OpError;
use crate::op::spool::Sorter;
use crate::plan::compare::{self, Relation};
use crate::plan::suspect::{Difference, Fate};

use super::order::Done;

/// Matches contents that came with contents that went.
#[derive(Debug)]
struct Moves(Sorter);

const CAME: u8 = 0;
const WENT: u8 = 1;

impl Moves {
    fn new(folder: &Path) -> Self {
        Self(Sorter::new(folder, 8 << 20))
    }

    fn note(&mut self, content: Option<ContentId>, which: u8) -> Result<(), OpError> {
        match content {
            Some(id) => Ok(self.0.push(id.to_string().into_bytes(), vec![which])?),
            None => Ok(()),
        }
    }

    /// How many keys that came can be paired with one that went, by equal content.
    fn count(self) -> Result<u64, OpError> {
        let mut sorted = self.0.finish()?;
        let (mut pairs, mut came, mut went) = (0, 0u64, 0u64);
        let mut current: Vec<u8> = Vec::new();
        while let Some(item) = sorted.take_next()? {
            if item.key != current {
                pairs += came.min(went);
                (came, went) = (0, 0);
                current = item.key;
            }
            if item.payload == [CAME] { came += 1 } else { went += 1 }
        }
        Ok(pairs + came.min(went))
    }
}

/// The counts of a run.
#[derive(Debug)]
pub(super) struct Tally {
    counts: Counts,
    moves: Moves,
    /// Against the baseline, where that is not the parent.
    baseline: Option<(Difference, Moves)>,
    overwritten: u64,
    emptied: u64,
    /// Objects of the baseline that were listed and deleted before they could be read.
    vanished: u64,
    had: u64,
    gone: u64,
}

impl Tally {
    /// `separate`: the baseline is another snapshot than the parent.
    pub(super) fn new(folder: &Path, separate: bool) -> Self {
        Self {
            counts: Counts::default(),
            moves: Moves::new(folder),
            baseline: separate.then(|| (Difference::default(), Moves::new(folder))),
            overwritten: 0,
            emptied: 0,
            vanished: 0,
            had: 0,
            gone: 0,
        }
    }

    /// An entry of the new snapshot; `in_baseline`: a separate baseline has its key.
    ///
    /// # Errors
    /// The temporary folder cannot be written.
    pub(super) fn entry(&mut self, done: &Done, in_baseline: bool) -> Result<(), OpError> {
        compare::count(&mut self.counts, &done.entry, done.relation);
        if done.relation == Relation::Added {
            self.moves.note(done.entry.content, CAME)?;
        }
        if let Some((_, moves)) = &mut self.baseline
            && !in_baseline
        {
            moves.note(done.entry.content, CAME)?;
        }
        self.overwritten += u64::from(matches!(done.fate, Fate::Overwritten | Fate::Emptied));
        self.emptied += u64::from(done.fate == Fate::Emptied);
        self.vanished += u64::from(done.fate == Fate::Gone);
        Ok(())
    }

    /// The parent has this entry; `gone`: the listing has not.
    ///
    /// # Errors
    /// The temporary folder cannot be written.
    pub(super) fn parent(&mut self, entry: &Entry, gone: bool) -> Result<(), OpError> {
        if !counts(entry) {
            return Ok(());
        }
        self.had += u64::from(entry.kind != Kind::Folder);
        if gone {
            self.counts.removed += 1;
            self.gone += u64::from(entry.kind != Kind::Folder);
            self.moves.note(entry.content, WENT)?;
        }
        Ok(())
    }

    /// The separate baseline has this entry; `gone`: the listing has not.
    ///
    /// # Errors
    /// The temporary folder cannot be written.
    pub(super) fn baseline(&mut self, entry: &Entry, gone: bool) -> Result<(), OpError> {
        let Some((difference, moves)) = &mut self.baseline else { return Ok(()) };
        if !counts(entry) || entry.kind == Kind::Folder {
            return Ok(());
        }
        difference.had += 1;
        if gone {
            difference.gone += 1;
            moves.note(entry.content, WENT)?;
        }
        Ok(())
    }

    /// What was counted, taken out of the hands that shared it.
    ///
    /// # Errors
    /// One of them died.
    pub(super) fn take(shared: &Mutex<Self>) -> Result<Self, OpError> {
        let mut tally =
            shared.lock().map_err(|_| OpError::Failed("a worker stopped while it counted".into()))?;
        Ok(std::mem::replace(&mut *tally, Self::new(Path::new("."), false)))
    }

    /// The final counts, and how the snapshot differs from the baseline.
    ///
    /// # Errors
    /// The temporary files cannot be read.
    pub(super) fn finish(self) -> Result<(Counts, Difference), OpError> {
        let mut counts = self.counts;
        counts.renamed = self.moves.count()?;
        counts.added = counts.added.saturating_sub(counts.renamed);
        counts.removed = counts.removed.saturating_sub(counts.renamed);
        let (had, gone) = match self.baseline {
            Some((d, moves)) => (d.had, d.gone.saturating_sub(moves.count()?)),
            None => (self.had, self.gone.saturating_sub(counts.renamed)),
        };
        let (emptied, overwritten) = (self.emptied, self.overwritten);
        Ok((counts, Difference { had, gone: gone + self.vanished, emptied, overwritten }))
    }
}

/// Entries that failed or vanished are none that an earlier snapshot had: nobody knows whether they were there.
fn counts(entry: &Entry) -> bool {
    matches!(entry.state, State::Ok | State::Unavailable)
}
