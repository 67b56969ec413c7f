//! A slice of a store, for checks that prove the whole in N turns without remembering anything.

use std::str::FromStr;

use chrono::TimeZone;

use super::time::Timestamp;
use super::zone;

/// `K/N`, or `week/N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slice {
    /// The K-th of N parts, from 1.
    Part {
        /// Which.
        k: u32,
        /// Of how many.
        n: u32,
    },
    /// The part that the number of the week says.
    Week {
        /// Of how many.
        n: u32,
    },
}

/// A text that is no slice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("“{0}” is not a slice; write K/N with K from 1 to N, such as 2/8, or week/8")]
pub struct BadSlice(String);

/// More slices than this prove nothing in anybody's lifetime.
const MOST: u32 = 100_000;

impl Slice {
    /// The part meant at `now`: which, from 1, and of how many. Weeks begin on a local Monday, and N weeks in a row
    /// have N different parts, over the end of a year too.
    pub fn part<Z: TimeZone>(self, now: Timestamp, zone: &Z) -> (u32, u32) {
        match self {
            Self::Part { k, n } => (k, n),
            Self::Week { n } => {
                use chrono::Datelike as _;
                // Day 1 of the count is a Monday.
                let week = (i64::from(zone::day(now, zone).num_days_from_ce()) - 1).div_euclid(7);
                let k = week.rem_euclid(i64::from(n.max(1)));
                (u32::try_from(k).unwrap_or(0) + 1, n)
            }
        }
    }
}

impl FromStr for Slice {
    type Err = BadSlice;

    fn from_str(text: &str) -> Result<Self, BadSlice> {
        let number = |t: &str| -> Option<u32> {
            let digits = !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| t.parse().ok()).flatten().filter(|n| (1..=MOST).contains(n))
        };
        let read = || {
            let (k, n) = text.trim().split_once('/')?;
            let n = number(n)?;
            if k == "week" {
                return Some(Self::Week { n });
            }
            number(k).filter(|k| *k <= n).map(|k| Self::Part { k, n })
        };
        read().ok_or_else(|| BadSlice(text.chars().take(30).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::zone::tests::{Berlin, at};
    use super::*;

    #[test]
    fn slices_parse() {
        assert_eq!("2/8".parse(), Ok(Slice::Part { k: 2, n: 8 }));
        assert_eq!("week/8".parse(), Ok(Slice::Week { n: 8 }));
        for bad in ["", "0/8", "9/8", "8", "/8", "1/", "1/0", "week", "1/2/3", "+1/2", "1/100001"] {
            assert!(bad.parse::<Slice>().is_err(), "{bad}");
        }
    }

    #[test]
    fn weeks_in_a_row_have_every_part() {
        let week = 7 * 86_400;
        let start = at("2026-11-23T00:00:00+01:00").seconds();
        let part = |seconds| Slice::Week { n: 8 }.part(Timestamp::from_seconds(seconds), &Berlin).0;
        let mut seen: Vec<u32> = (0..8).map(|i| part(start + i * week)).collect();
        assert_eq!(part(start), part(start + week - 1), "Monday to Sunday");
        assert_ne!(part(start - 1), part(start));
        seen.sort_unstable();
        assert_eq!(seen, (1..=8).collect::<Vec<_>>());
    }
}
