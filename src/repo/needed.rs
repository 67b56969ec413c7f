//! Which records of the store's groups are needed, and by which group: a bit each, nothing else.

use std::collections::HashMap;

use super::group::Group;
use super::merge::Spot;
use crate::model::name::RunName;

#[derive(Debug, Default, Clone)]
struct Bits(Vec<u64>);

impl Bits {
    fn of(count: u64) -> Self {
        Self(vec![0; usize::try_from(count.div_ceil(64)).unwrap_or(usize::MAX)])
    }

    fn at(n: u64) -> (usize, u64) {
        (usize::try_from(n / 64).unwrap_or(usize::MAX), 1 << (n % 64))
    }

    fn get(&self, n: u64) -> bool {
        let (word, bit) = Self::at(n);
        self.0.get(word).is_some_and(|w| w & bit != 0)
    }

    fn set(&mut self, n: u64, value: bool) {
        let (word, bit) = Self::at(n);
        if let Some(w) = self.0.get_mut(word) {
            if value { *w |= bit } else { *w &= !bit }
        }
    }
}

/// The records of one group that one group's snapshots need.
#[derive(Debug)]
struct Sheet {
    files: Vec<Bits>,
    loose: Bits,
}

impl Sheet {
    fn of(group: &Group) -> Self {
        let files = group.files().iter().map(|f| Bits::of(f.records())).collect();
        Self { files, loose: Bits::of(group.loose().len() as u64) }
    }

    fn bits(&self, spot: Spot) -> Option<&Bits> {
        match spot.file {
            Some(n) => self.files.get(n),
            None => Some(&self.loose),
        }
    }

    fn bits_mut(&mut self, spot: Spot) -> Option<&mut Bits> {
        match spot.file {
            Some(n) => self.files.get_mut(n),
            None => Some(&mut self.loose),
        }
    }
}

/// All of them. `home` is the group whose snapshots need a record, `holder` the group it lies in; they differ only where blobs
/// are shared, or where the home's own copy is damaged.
#[derive(Debug, Default)]
pub struct Needed(HashMap<(RunName, RunName), Sheet>);

impl Needed {
    /// Notes a record; whether it was not marked before.
    pub fn set(&mut self, home: RunName, holder: &Group, spot: Spot) -> bool {
        let sheet = self.0.entry((home, holder.name)).or_insert_with(|| Sheet::of(holder));
        match sheet.bits_mut(spot) {
            Some(bits) if !bits.get(spot.number) => {
                bits.set(spot.number, true);
                true
            }
            _ => false,
        }
    }

    /// Takes a mark back.
    pub fn clear(&mut self, home: RunName, holder: RunName, spot: Spot) {
        if let Some(bits) = self.0.get_mut(&(home, holder)).and_then(|s| s.bits_mut(spot)) {
            bits.set(spot.number, false);
        }
    }

    /// Whether a record is marked for this home.
    pub fn get(&self, home: RunName, holder: RunName, spot: Spot) -> bool {
        let bits = self.0.get(&(home, holder)).and_then(|s| s.bits(spot));
        bits.is_some_and(|b| b.get(spot.number))
    }

    /// The groups whose snapshots need something of this group, in order.
    pub fn homes(&self, holder: RunName) -> Vec<RunName> {
        let mut homes: Vec<RunName> =
            self.0.keys().filter(|(_, h)| *h == holder).map(|(home, _)| *home).collect();
        homes.sort_unstable();
        homes
    }
}
