//! What a healing came to.

use super::Loss;
use super::survey::Need;
use crate::format::pack::BlobKind;
use crate::model::id::BlobId;
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::op::check::Finding;

/// Where a blob came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// It was still whole in a hurt pack of its own group.
    Pack,
    /// Another group's copy.
    Group(RunName),
    /// The live source.
    Source,
}

/// One blob that was healed, or that was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: BlobKind,
    /// Its id.
    pub id: BlobId,
    /// The group that needs it.
    pub group: RunName,
    /// Where it came from.
    pub from: Option<From>,
    /// Why it did not come back.
    pub reason: Option<String>,
    /// Nothing that is known of can bring it back.
    pub for_good: bool,
    /// The first keys that need it; of a piece of a manifest its first and last key.
    pub keys: Vec<Key>,
    /// How many entries of snapshots need it.
    pub entries: u64,
    /// The snapshots that need it.
    pub snapshots: Vec<RunName>,
}

/// So many blobs are named; the rest is counted.
const MOST: usize = 10_000;

/// What a healing came to; with `dry_run`, what it would come to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The source that was asked.
    pub source: Option<String>,
    /// Why the source could not be asked, if that was needed.
    pub no_source: Option<String>,
    /// Needed blobs that had no copy to be relied on where they should be.
    pub damaged: u64,
    /// Of these: still whole in a hurt pack, copied from another group, fetched from the source.
    pub from_packs: u64,
    /// See above.
    pub from_groups: u64,
    /// See above.
    pub from_source: u64,
    /// Of these: lost for good, as far as is known.
    pub lost: u64,
    /// Of these: not to be had now.
    pub postponed: u64,
    /// The first of what was healed.
    pub healed: Vec<Item>,
    /// The first of what was not.
    pub missing: Vec<Item>,
    /// Small records that were mended, and index files that were made again.
    pub records: u64,
    /// See above.
    pub indexes: u64,
    /// Damaged packs that were deleted.
    pub retired: u64,
    /// Bytes of new packs.
    pub written_bytes: u64,
    /// Bytes that came from the source.
    pub downloaded_bytes: u64,
    /// Damage that is left.
    pub left: Vec<Finding>,
    /// How much damage is left in all.
    pub damage_left: u64,
    /// Nothing was changed.
    pub dry_run: bool,
    /// How long it took.
    pub seconds: f64,
}

impl Report {
    /// Whether all is whole now (or would be).
    pub fn is_whole(&self) -> bool {
        self.lost + self.postponed + self.damage_left == 0
    }

    pub(super) fn healed(&mut self, need: Need, from: From) {
        match from {
            From::Pack => self.from_packs += 1,
            From::Group(_) => self.from_groups += 1,
            From::Source => self.from_source += 1,
        }
        if self.healed.len() < MOST {
            self.healed.push(item(need, Some(from), None));
        }
    }

    pub(super) fn lost(&mut self, need: Need, loss: Loss) {
        if loss.for_good {
            self.lost += 1;
        } else {
            self.postponed += 1;
        }
        if self.missing.len() < MOST {
            self.missing.push(item(need, None, Some(loss)));
        }
    }
}

fn item(need: Need, from: Option<From>, loss: Option<Loss>) -> Item {
    Item {
        kind: need.kind,
        id: need.id,
        group: need.home,
        from,
        for_good: loss.as_ref().is_some_and(|l| l.for_good),
        reason: loss.map(|l| l.reason),
        keys: need.keys.into_iter().collect(),
        entries: need.entries,
        snapshots: need.snapshots.into_iter().collect(),
    }
}
