//! The names of a store's files, and back. See `docs/format.md`, section 1.

use crate::model::id::{IndexId, MarkNonce, PackId};
use crate::model::name::RunName;
use crate::store::reserve;

/// What the store is.
pub const STORE: &str = "qbak.json";
/// The same once more: nothing else in a store has only one place.
pub const STORE_COPY: &str = "qbak-copy.json";
/// The folder of finished snapshots.
pub const SNAPSHOTS: &str = "snapshots";
/// The folder of runs.
pub const RUNS: &str = "runs";
/// The folder of groups.
pub const GROUPS: &str = "groups";
/// The folder of records of damage.
pub const DAMAGED: &str = "damaged";
/// The folder of acceptances.
pub const ACCEPTED: &str = "accepted";
/// The folder of pins.
pub const PINS: &str = "pins";
/// The folder of prunes: claims, marks, decisions.
pub const MARKS: &str = "marks";
/// The folder of records of what was proven.
pub const VERIFIED: &str = "verified";

/// A snapshot's file.
pub fn snapshot(name: RunName) -> String {
    format!("{SNAPSHOTS}/{name}.json")
}

/// A run's record.
pub fn run(name: RunName) -> String {
    format!("{RUNS}/{name}.json")
}

/// A run's checkpoint.
pub fn checkpoint(name: RunName, number: u32) -> String {
    format!("{RUNS}/{name}.{number}.json")
}

/// A group's folder.
pub fn group(name: RunName) -> String {
    format!("{GROUPS}/{name}")
}

/// A pack's file.
pub fn pack(group: RunName, id: PackId) -> String {
    let hex = id.to_string();
    format!("{GROUPS}/{group}/packs/{}/{hex}.pack", &hex[..2])
}

/// An index file.
pub fn index(group: RunName, id: IndexId) -> String {
    format!("{GROUPS}/{group}/index/{id}.idx")
}

/// The record of a pack's damage.
pub fn damaged(id: PackId) -> String {
    format!("{DAMAGED}/{id}.json")
}

/// A snapshot's acceptance.
pub fn accepted(name: RunName) -> String {
    format!("{ACCEPTED}/{name}.json")
}

/// A snapshot's pin.
pub fn pin(name: RunName) -> String {
    format!("{PINS}/{name}.json")
}

/// A prune's claim to its number.
pub fn claim(number: u32) -> String {
    format!("{MARKS}/{number:08}.json")
}

/// A prune's mark.
pub fn mark(number: u32, nonce: MarkNonce) -> String {
    format!("{MARKS}/{number:08}.{nonce}.json")
}

/// What was decided of the packs under a mark.
pub fn decision(number: u32) -> String {
    format!("{MARKS}/{number:08}.decision.json")
}

/// What a file's name says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// `qbak.json` and its copy, the README, the rescue script, the locks, the reserve.
    Furniture,
    /// A snapshot or tombstone.
    Snapshot(RunName),
    /// A run's record.
    Run(RunName),
    /// A checkpoint.
    Checkpoint(RunName, u32),
    /// A pack.
    Pack(RunName, PackId),
    /// An index file.
    Index(RunName, IndexId),
    /// A prune's claim.
    Claim(u32),
    /// A prune's mark.
    Mark(u32, MarkNonce),
    /// A prune's decision.
    Decision(u32),
    /// A record of damage, an acceptance, a pin or a proof.
    Note,
    /// Not one of ours.
    Foreign,
}

/// Reads a name.
pub fn meaning(name: &str) -> Meaning {
    parse(name).unwrap_or(Meaning::Foreign)
}

fn parse(name: &str) -> Option<Meaning> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [STORE | STORE_COPY | "README.txt" | "rescue.py" | "lock" | "lock-prune"] => Some(Meaning::Furniture),
        [reserve::FOLDER, file] => reserve::is_part(file).then_some(Meaning::Furniture),
        [SNAPSHOTS, file] => file.strip_suffix(".json")?.parse().ok().map(Meaning::Snapshot),
        [RUNS, file] => {
            let stem = file.strip_suffix(".json")?;
            match stem.split_once('.') {
                None => stem.parse().ok().map(Meaning::Run),
                Some((name, number)) => {
                    let n: u32 = number.parse().ok()?;
                    (n.to_string() == number).then_some(Meaning::Checkpoint(name.parse().ok()?, n))
                }
            }
        }
        [MARKS, file] => {
            let stem = file.strip_suffix(".json")?;
            let (digits, rest) = stem.split_once('.').map_or((stem, None), |(n, rest)| (n, Some(rest)));
            let number: u32 = digits.parse().ok()?;
            let exact = digits.bytes().all(|b| b.is_ascii_digit()) && format!("{number:08}") == digits;
            match rest {
                _ if !exact || number == 0 => None,
                None => Some(Meaning::Claim(number)),
                Some("decision") => Some(Meaning::Decision(number)),
                Some(nonce) => Some(Meaning::Mark(number, nonce.parse().ok()?)),
            }
        }
        [GROUPS, group, "packs", two, file] => {
            let id: PackId = file.strip_suffix(".pack")?.parse().ok()?;
            (file.get(..2)? == *two).then_some(Meaning::Pack(group.parse().ok()?, id))
        }
        [GROUPS, group, "index", file] => {
            Some(Meaning::Index(group.parse().ok()?, file.strip_suffix(".idx")?.parse().ok()?))
        }
        [DAMAGED | VERIFIED, file] => {
            file.strip_suffix(".json")?.parse::<PackId>().ok().map(|_| Meaning::Note)
        }
        [ACCEPTED | PINS, file] => file.strip_suffix(".json")?.parse::<RunName>().ok().map(|_| Meaning::Note),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let name: RunName = "2026-11-21T22-48-21Z".parse().unwrap();
        assert_eq!(meaning(&snapshot(name)), Meaning::Snapshot(name));
        assert_eq!(meaning(&run(name)), Meaning::Run(name));
        assert_eq!(meaning(&checkpoint(name, 12)), Meaning::Checkpoint(name, 12));
        assert_eq!(meaning(&pack(name, PackId([3; 32]))), Meaning::Pack(name, PackId([3; 32])));
        assert_eq!(meaning(&index(name, IndexId([3; 32]))), Meaning::Index(name, IndexId([3; 32])));
        assert_eq!(meaning(&claim(7)), Meaning::Claim(7));
        assert_eq!(meaning(&decision(123_456_789)), Meaning::Decision(123_456_789));
        assert_eq!(meaning(&mark(7, MarkNonce([9; 8]))), Meaning::Mark(7, MarkNonce([9; 8])));
        assert_eq!(meaning("reserve/8"), Meaning::Furniture);
        for foreign in [
            "x",
            "reserve/9",
            "marks/7.json",
            "marks/00000000.json",
            "marks/00000007.x.json",
            "marks/+0000007.json",
            "snapshots/a.json",
            "runs/2026-11-21T22-48-21Z.01.json",
            "groups/g/packs/aa/bb.pack",
            ".DS_Store",
        ] {
            assert_eq!(meaning(foreign), Meaning::Foreign, "{foreign}");
        }
    }
}
