//! DURATION: `1y6m2w3d12h`, `30min`. Months and days are the calendar's, hours and minutes are exact.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{Days, Months, NaiveDateTime, TimeZone};

use super::time::Timestamp;
use super::zone::{self, local};

/// A stretch of calendar time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CalendarDuration {
    /// Months; a year is twelve.
    pub months: u32,
    /// Days; a week is seven.
    pub days: u32,
    /// Seconds: the hours and minutes.
    pub seconds: u64,
}

/// A text that is no DURATION.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("“{text}” is not a duration: {why}; write 1y6m2w3d12h (m: months) or 30min")]
pub struct BadDuration {
    text: String,
    why: &'static str,
}

/// The longest there is, in years: no store is that old.
const MOST_YEARS: u64 = 1000;

impl CalendarDuration {
    /// The moment so long before `now`: months and days are taken off the local date at the same wall-clock time
    /// (31 March less a month is the last day of February), then the hours and minutes as they pass.
    pub fn before<Z: TimeZone>(&self, now: Timestamp, zone: &Z) -> Timestamp {
        let there = local(now, zone);
        let day = there
            .checked_sub_months(Months::new(self.months))
            .and_then(|t| t.checked_sub_days(Days::new(u64::from(self.days))))
            .unwrap_or(NaiveDateTime::MIN);
        // Without months and days the wall clock is not asked, so that an hour that comes twice stays itself.
        let moved = if self.months == 0 && self.days == 0 {
            now
        } else {
            zone::instant(day, zone, zone::Twice::Later)
        };
        let nanos = i64::try_from(self.seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
        Timestamp::from_nanos(moved.nanos().saturating_sub(nanos))
    }

    /// The same as a stretch of exact time, a day being 24 hours; none where months or years are in it.
    pub fn exact(&self) -> Option<Duration> {
        (self.months == 0).then(|| Duration::from_secs(u64::from(self.days) * 86_400 + self.seconds))
    }
}

impl FromStr for CalendarDuration {
    type Err = BadDuration;

    fn from_str(text: &str) -> Result<Self, BadDuration> {
        let bad = |why| BadDuration { text: text.chars().take(40).collect(), why };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad("it is empty"));
        }
        let mut out = Self::default();
        let mut seen = Vec::new();
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, next) = after.split_at(letters);
            if number.is_empty() {
                return Err(bad("a number is missing before a unit"));
            }
            let n: u64 = number.parse().map_err(|_| bad("a number is too large"))?;
            if seen.contains(&unit) {
                return Err(bad("a unit stands there twice"));
            }
            let most = |per_year: u64| n <= MOST_YEARS * per_year;
            let fits = match unit {
                "y" => most(1),
                "m" => most(12),
                "w" => most(53),
                "d" => most(366),
                "h" => most(366 * 24),
                "min" => most(366 * 24 * 60),
                "" => return Err(bad("a unit is missing after a number")),
                _ => return Err(bad("the units are y, m, w, d, h and min")),
            };
            if !fits {
                return Err(bad("it is longer than 1000 years"));
            }
            let small = u32::try_from(n).map_err(|_| bad("a number is too large"))?;
            match unit {
                "y" => out.months += small * 12,
                "m" => out.months += small,
                "w" => out.days += small * 7,
                "d" => out.days += small,
                "h" => out.seconds += n * 3600,
                _ => out.seconds += n * 60,
            }
            seen.push(unit);
            rest = next;
        }
        // Each part fits by itself; what they come to must fit too, or it could not be written and read again.
        let years = MOST_YEARS;
        let long = u64::from(out.months) > 12 * years
            || u64::from(out.days) > 366 * years
            || out.seconds > 366 * years * 86_400;
        if long {
            return Err(bad("it is longer than 1000 years"));
        }
        Ok(out)
    }
}

/// The shortest way to write it: `1y6m17d12h`.
impl fmt::Display for CalendarDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.seconds / 60;
        let parts = [
            (u64::from(self.months / 12), "y"),
            (u64::from(self.months % 12), "m"),
            (u64::from(self.days), "d"),
            (minutes / 60, "h"),
            (minutes % 60, "min"),
        ];
        if parts.iter().all(|(n, _)| *n == 0) {
            return f.write_str("0min");
        }
        parts.iter().filter(|(n, _)| *n > 0).try_for_each(|(n, unit)| write!(f, "{n}{unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::zone::tests::{Berlin, at};
    use super::*;

    fn d(text: &str) -> CalendarDuration {
        text.parse().unwrap()
    }

    #[test]
    fn parses_and_prints() {
        assert_eq!(
            d("1y6m2w3d12h"),
            CalendarDuration { months: 18, days: 17, seconds: 12 * 3600 },
            "the contract's example"
        );
        assert_eq!(d("30min"), CalendarDuration { seconds: 1800, ..Default::default() });
        assert_eq!(d("1y6m2w3d12h").to_string(), "1y6m17d12h");
        assert_eq!(d("90min").to_string(), "1h30min");
        assert_eq!(d("0d").to_string(), "0min");
        for bad in [
            "",
            "y",
            "1",
            "1x",
            "1y2",
            "1d1d",
            "-1d",
            "1.5d",
            "1 d",
            "2000y",
            "99999999999999999999d",
            "1D",
            "1000y1m",
            "53000w",
            "9102w340967d",
            "8784000h1min",
        ] {
            assert!(bad.parse::<CalendarDuration>().is_err(), "{bad}");
        }
    }

    #[test]
    fn months_are_not_exact() {
        assert_eq!(d("1d2h").exact(), Some(Duration::from_secs(26 * 3600)));
        assert_eq!(d("1m").exact(), None);
    }

    #[test]
    fn subtraction_follows_the_calendar() {
        for (now, duration, then) in [
            // A day before the morning after the clocks went forward is the same wall-clock time: 23 hours.
            ("2026-03-29T12:00:00+02:00", "1d", "2026-03-28T12:00:00+01:00"),
            ("2026-03-29T12:00:00+02:00", "24h", "2026-03-28T11:00:00+01:00"),
            // The wall-clock time that the change left out: the moment of the change.
            ("2026-03-30T02:30:00+02:00", "1d", "2026-03-29T03:00:00+02:00"),
            // The hour that comes twice: the later one; with hours alone it stays itself.
            ("2026-10-26T02:30:00+01:00", "1d", "2026-10-25T02:30:00+01:00"),
            ("2026-10-25T02:30:00+02:00", "30min", "2026-10-25T02:00:00+02:00"),
            ("2026-03-31T10:00:00+02:00", "1m", "2026-02-28T10:00:00+01:00"),
            ("2024-02-29T10:00:00+01:00", "1y", "2023-02-28T10:00:00+01:00"),
            ("2026-11-22T10:00:00+01:00", "1y6m2w3d12h", "2025-05-04T22:00:00+02:00"),
        ] {
            let (now, then) = (at(now), at(then));
            assert_eq!(d(duration).before(now, &Berlin).rfc3339(), then.rfc3339(), "{duration}");
        }
    }

    #[test]
    fn the_far_past_saturates() {
        let now = Timestamp::from_seconds(0);
        assert!(d("1000y").before(now, &chrono::Utc) < now);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[0-9a-z]{0,24}|.*", nanos: i64) {
            if let Ok(duration) = text.parse::<CalendarDuration>() {
                let now = Timestamp::from_nanos(nanos);
                assert!(duration.before(now, &Berlin) <= now);
                let again: CalendarDuration = duration.to_string().parse().unwrap();
                assert_eq!(again.to_string(), duration.to_string());
            }
        }
    }
}
