//! Which packs a verification reads, and what is remembered of those it proved.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::records::VerifiedRecord;
use crate::model::id::PackId;
use crate::model::share::Share;
use crate::model::time::Timestamp;

/// Which of the packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// All.
    All,
    /// So many of them, chosen by a random seed.
    Sample {
        /// How many.
        share: Share,
        /// Random.
        seed: [u8; 32],
    },
    /// The `k`-th (from 1) of `n` parts: in `n` turns every pack comes once, whatever is added meanwhile.
    Slice {
        /// Which.
        k: u32,
        /// Of how many.
        n: u32,
    },
    /// Those that nobody has proven since they were written.
    Unproven,
}

/// Chooses; the order of `packs` is kept.
pub fn choose(choice: Choice, packs: &[PackId], proven: &BTreeMap<PackId, Timestamp>) -> Vec<PackId> {
    let pick = |wanted: &dyn Fn(&PackId) -> bool| packs.iter().copied().filter(|p| wanted(p)).collect();
    match choice {
        Choice::All => packs.to_vec(),
        Choice::Unproven => pick(&|p| !proven.contains_key(p)),
        Choice::Slice { k, n } => pick(&|p| number(p) % u64::from(n.max(1)) + 1 == u64::from(k)),
        Choice::Sample { share, seed } => {
            let mut order: Vec<([u8; 32], PackId)> =
                packs.iter().map(|p| (*blake3::keyed_hash(&seed, &p.0).as_bytes(), *p)).collect();
            order.sort_unstable();
            let count = (packs.len() * usize::from(share.hundredths())).div_ceil(10_000);
            let chosen: BTreeSet<PackId> = order.into_iter().take(count).map(|(_, p)| p).collect();
            pick(&|p| chosen.contains(p))
        }
    }
}

fn number(pack: &PackId) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&pack.0[..8]);
    u64::from_be_bytes(first)
}

/// So many records of proof are kept apart.
const MOST_RECORDS: usize = 16;

/// The records that say which pack was last proven when. The oldest are told as one, under the oldest of their times:
/// a proof may look older than it is, never younger.
pub fn fold(proven: &BTreeMap<PackId, Timestamp>) -> Vec<VerifiedRecord> {
    let mut by_time: BTreeMap<Timestamp, Vec<PackId>> = BTreeMap::new();
    for (pack, when) in proven {
        by_time.entry(*when).or_default().push(*pack);
    }
    while by_time.len() > MOST_RECORDS
        && let Some((oldest, mut packs)) = by_time.pop_first()
        && let Some((_, more)) = by_time.pop_first()
    {
        packs.extend(more);
        packs.sort_unstable();
        by_time.insert(oldest, packs);
    }
    by_time.into_iter().map(|(when, packs)| VerifiedRecord { when, packs }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packs(n: usize) -> Vec<PackId> {
        let mut packs: Vec<PackId> =
            (0..n).map(|i| PackId(*blake3::hash(&i.to_le_bytes()).as_bytes())).collect();
        packs.sort_unstable();
        packs
    }

    #[test]
    fn slices_add_up_to_the_whole() {
        let all = packs(500);
        let none = BTreeMap::new();
        let mut seen: Vec<PackId> =
            (1..=7).flat_map(|k| choose(Choice::Slice { k, n: 7 }, &all, &none)).collect();
        assert!(choose(Choice::Slice { k: 3, n: 7 }, &all, &none).len() > 30);
        seen.sort_unstable();
        assert_eq!(seen, all);
    }

    #[test]
    fn samples_have_their_size_and_differ_by_seed() {
        let (all, none) = (packs(200), BTreeMap::new());
        let sample =
            |percent, seed| choose(Choice::Sample { share: Share::percent(percent), seed }, &all, &none);
        assert_eq!(sample(10, [1; 32]).len(), 20);
        assert_eq!(sample(10, [1; 32]), sample(10, [1; 32]));
        assert_ne!(sample(10, [1; 32]), sample(10, [2; 32]));
        assert_eq!(sample(100, [1; 32]), all);
        assert_eq!(sample(0, [1; 32]), []);
        assert_eq!(
            choose(Choice::Sample { share: Share::percent(1), seed: [1; 32] }, &all[..3], &none).len(),
            1
        );
    }

    #[test]
    fn what_is_proven_is_not_read_again_and_old_proofs_are_folded() {
        let all = packs(40);
        let proven: BTreeMap<PackId, Timestamp> =
            (0..).zip(&all[..30]).map(|(i, p)| (*p, Timestamp::from_seconds(i))).collect();
        assert_eq!(choose(Choice::Unproven, &all, &proven), all[30..]);
        let records = fold(&proven);
        assert_eq!(records.len(), MOST_RECORDS);
        assert_eq!(records.iter().map(|r| r.packs.len()).sum::<usize>(), 30);
        for record in &records {
            assert!(record.packs.iter().all(|p| proven[p] >= record.when));
        }
    }
}
