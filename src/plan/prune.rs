//! Which packs go, and which are written anew. Design, section 4: a pack is doomed when its group has no kept snapshot or when too
//! little of it is live.

use std::fmt;

use crate::format::pack::{FOOTER, HEADER, RECORD, TARGET};
use crate::model::id::PackId;

/// A pack with less than this part live is written anew. At one half a byte that is moved frees at least one, and a
/// group never takes more than twice what is live in it; what is left goes when the group goes, which is whole.
pub const LEAST_LIVE_PERCENT: u64 = 50;
/// A pack below this size is small: a quarter of what packs aim at. Checkpoints and small runs leave such packs.
pub const SMALL: u64 = TARGET as u64 / 4;
/// A group with more small packs of a kind than this has them joined. Each pack costs a request and a line of every
/// listing; joining them moves few bytes, and none of them again soon.
pub const MANY_SMALL: usize = 16;

/// What the decision needs to know of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// The pack.
    pub id: PackId,
    /// The size of its file; 0 when it is missing.
    pub size: u64,
    /// Whether it holds metadata.
    pub metadata: bool,
    /// How many blobs of it something needs.
    pub live: u64,
    /// The bytes of these blobs as they are stored.
    pub live_bytes: u64,
    /// A needed blob of it is known to be damaged, and no sound copy of it is where it is needed.
    pub damaged: bool,
    /// It may be what a run that was cut off had stored last.
    pub reserved: bool,
    /// Its file is there, but what it holds cannot be told.
    pub unreadable: bool,
}

impl Pack {
    /// The size of a pack that held only what is needed of this one.
    pub fn needed(&self) -> u64 {
        self.live_bytes + self.live * RECORD as u64 + (HEADER + FOOTER) as u64
    }
}

/// What becomes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Keep(Why),
    /// It goes.
    Delete(Why),
    /// What is live is copied into the groups that need it, then it goes.
    Rewrite(Why),
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// So much of it is needed, in percent.
    Live(u64),
    /// An unfinished run may have left it.
    Reserved,
    /// A run is at work, so nothing goes now.
    AtWork,
    /// A needed blob in it is damaged; it may still be mended.
    Damaged,
    /// What it holds cannot be told; something that is needed is damaged, and may lie whole in it.
    Unreadable,
    /// What it holds cannot be told, and nothing that is needed is missing.
    Wreck,
    /// Nothing in it is needed.
    Dead,
    /// Its group has no snapshot any more.
    GroupGone,
    /// Its group has too many small ones.
    Small,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live(percent) => write!(f, "{percent} % of it is needed"),
            Self::AtWork => f.write_str("a run is at work: it can go later"),
            Self::Reserved => f.write_str("an unfinished run may have left it"),
            Self::Damaged => f.write_str("a blob in it is needed and damaged"),
            Self::Unreadable => f.write_str("what it holds cannot be read"),
            Self::Wreck => f.write_str("what it holds cannot be read, and nothing is missing"),
            Self::Dead => f.write_str("nothing in it is needed"),
            Self::GroupGone => f.write_str("its group has no snapshot any more"),
            Self::Small => f.write_str("one of many small packs"),
        }
    }
}

/// What becomes of the packs of a group. `alive`: it has a kept snapshot, or a run that was cut off and may go on.
pub fn fates(alive: bool, packs: &[Pack]) -> Vec<(PackId, Fate)> {
    // Everything that is needed was found without the packs that cannot be read: only if a copy of it is damaged may a better
    // one lie in them. Else one write that was torn would be called damage for as long as the group lives.
    let hurt = packs.iter().any(|p| p.damaged);
    let mut fates: Vec<(PackId, Fate)> = packs.iter().map(|p| (p.id, fate(alive, hurt, p))).collect();
    for metadata in [false, true] {
        let small = |p: &Pack, f: &Fate| {
            matches!(f, Fate::Keep(Why::Live(_))) && p.metadata == metadata && p.size < SMALL
        };
        if packs.iter().zip(&fates).filter(|(p, (_, f))| small(p, f)).count() > MANY_SMALL {
            for (p, (_, f)) in packs.iter().zip(&mut fates) {
                if small(p, f) {
                    *f = Fate::Rewrite(Why::Small);
                }
            }
        }
    }
    fates
}

fn fate(alive: bool, hurt: bool, p: &Pack) -> Fate {
    if p.reserved {
        Fate::Keep(Why::Reserved)
    } else if p.damaged {
        Fate::Keep(Why::Damaged)
    } else if p.unreadable && alive {
        if hurt { Fate::Keep(Why::Unreadable) } else { Fate::Delete(Why::Wreck) }
    } else if p.live == 0 {
        Fate::Delete(if alive { Why::Dead } else { Why::GroupGone })
    } else if !alive {
        Fate::Rewrite(Why::GroupGone)
    } else {
        let percent = p.needed().min(p.size) * 100 / p.size.max(1);
        let why = Why::Live(percent);
        if percent < LEAST_LIVE_PERCENT { Fate::Rewrite(why) } else { Fate::Keep(why) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(n: u8, size: u64, live_bytes: u64) -> Pack {
        Pack {
            id: PackId([n; 32]),
            size,
            metadata: false,
            live: u64::from(live_bytes > 0),
            live_bytes,
            damaged: false,
            reserved: false,
            unreadable: false,
        }
    }

    #[test]
    fn one_pack() {
        let mib = 1 << 20;
        let p = || pack(1, 32 * mib, 20 * mib);
        let low = || pack(1, 32 * mib, 10 * mib);
        let dead = || pack(1, 32 * mib, 0);
        for (alive, pack, want) in [
            (true, p(), Fate::Keep(Why::Live(62))),
            (true, low(), Fate::Rewrite(Why::Live(31))),
            (true, dead(), Fate::Delete(Why::Dead)),
            (false, p(), Fate::Rewrite(Why::GroupGone)),
            (false, dead(), Fate::Delete(Why::GroupGone)),
            (true, Pack { reserved: true, ..dead() }, Fate::Keep(Why::Reserved)),
            (false, Pack { damaged: true, ..low() }, Fate::Keep(Why::Damaged)),
            (true, Pack { unreadable: true, ..dead() }, Fate::Delete(Why::Wreck)),
            (false, Pack { unreadable: true, ..dead() }, Fate::Delete(Why::GroupGone)),
            (true, Pack { size: 0, ..dead() }, Fate::Delete(Why::Dead)),
        ] {
            assert_eq!(fates(alive, std::slice::from_ref(&pack))[0].1, want, "{alive} {pack:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_stays_while_a_needed_blob_is_damaged() {
        let wreck = Pack { unreadable: true, ..pack(1, 1000, 0) };
        let hurt = Pack { damaged: true, ..pack(2, 1000, 900) };
        assert_eq!(fates(true, &[wreck.clone(), hurt])[0].1, Fate::Keep(Why::Unreadable));
        assert_eq!(fates(true, &[wreck, pack(2, 1000, 900)])[0].1, Fate::Delete(Why::Wreck));
    }

    #[test]
    fn a_pack_of_tiny_blobs_that_are_all_needed_is_not_mostly_waste() {
        let full = Pack { live: 1000, ..pack(1, 32 + 64 + 16 + 1000 * (68 + 20), 20_000) };
        assert!(matches!(fates(true, &[full])[0].1, Fate::Keep(Why::Live(99..))));
    }

    #[test]
    fn many_small_packs_are_joined_data_and_metadata_apart() {
        let small = |n, metadata| Pack { metadata, ..pack(n, 1000, 900) };
        let mut packs: Vec<Pack> = (0..16).map(|n| small(n, false)).collect();
        packs.extend((16..20).map(|n| small(n, true)));
        packs.push(pack(99, SMALL, SMALL));
        let rewritten = |packs: &[Pack]| {
            fates(true, packs).iter().filter(|(_, f)| matches!(f, Fate::Rewrite(Why::Small))).count()
        };
        assert_eq!(rewritten(&packs), 0);
        packs.push(small(50, false));
        assert_eq!(rewritten(&packs), 17);
        assert_eq!(
            fates(false, &packs).iter().filter(|(_, f)| *f == Fate::Rewrite(Why::GroupGone)).count(),
            22
        );
    }
}
