//! A share of a whole, as `30%`.

use std::fmt;
use std::str::FromStr;

/// From 0 % to 100 %, to the hundredth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

/// A text that is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("“{0}” is not a share; write a percentage from 0% to 100%, such as 30% or 2.5%")]
pub struct BadShare(String);

impl Share {
    /// So many percent; more than 100 counts as 100.
    pub const fn percent(percent: u16) -> Self {
        Self(if percent > 100 { 10_000 } else { percent * 100 })
    }

    /// Hundredths of a percent, 0 to 10,000.
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// Whether `part` of `whole` is more than this share.
    pub fn is_exceeded(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 10_000 > u128::from(whole) * u128::from(self.0)
    }
}

impl FromStr for Share {
    type Err = BadShare;

    fn from_str(text: &str) -> Result<Self, BadShare> {
        let read = || {
            let number = text.trim().strip_suffix('%')?.trim_end();
            let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
            let digits =
                |t: &str, most| (1..=most).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
            if !digits(whole, 3) || !digits(fraction, 2) {
                return None;
            }
            let scale = if fraction.len() == 1 { 10 } else { 1 };
            let value = whole.parse::<u32>().ok()? * 100 + fraction.parse::<u32>().ok()? * scale;
            u16::try_from(value).ok().filter(|v| *v <= 10_000).map(Self)
        };
        read().ok_or_else(|| BadShare(text.chars().take(20).collect()))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_parse_print_and_compare() {
        for (text, hundredths, printed) in [
            ("30%", 3000, "30%"),
            ("2.5 %", 250, "2.5%"),
            ("0.05%", 5, "0.05%"),
            ("100%", 10_000, "100%"),
            ("0%", 0, "0%"),
        ] {
            let share: Share = text.parse().unwrap();
            assert_eq!((share.hundredths(), share.to_string().as_str()), (hundredths, printed), "{text}");
        }
        for bad in ["", "%", "30", "0.3", "101%", "-1%", "1.234%", "1e1%", "1.%", "+1%", "100.01%"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
        let third = Share::percent(30);
        assert!(third.is_exceeded(31, 100) && !third.is_exceeded(30, 100) && !third.is_exceeded(0, 0));
        assert!(!Share::percent(100).is_exceeded(u64::MAX, u64::MAX));
    }
}
