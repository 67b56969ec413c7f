//! DATE: how a person names a snapshot. Text to value only; which snapshot it is, `plan::select` finds out.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Days, Months, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};

use super::name::RunName;
use super::time::Timestamp;
use super::zone::{self, Twice};

/// A DATE as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DateSpec {
    /// `latest` (0) or `latest~N`: by sequence, not by time.
    Latest(u32),
    /// A snapshot's whole name.
    Name(RunName),
    /// The start of a name, past the day.
    Prefix(String),
    /// The newest at or before a moment.
    Before(When),
}

/// A moment as a person writes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The end of a local day.
    Day(NaiveDate),
    /// A local wall-clock time.
    Wall(NaiveDateTime),
    /// A time with its zone.
    Moment(Timestamp),
    /// The end of the local day so many days ago.
    DaysAgo(u32),
    /// The end of the local day so many calendar months ago.
    MonthsAgo(u32),
    /// So many hours ago.
    HoursAgo(u32),
}

/// What a [`When`] means at a given now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The last moment that counts.
    pub at_or_before: Timestamp,
    /// Whether it lies ahead: a later day than today, a later moment than now.
    pub future: bool,
    /// The local day that was asked for, when it was a whole day.
    pub day: Option<NaiveDate>,
}

/// A text that is no DATE.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "“{0}” is not a date; write latest, latest~2, 2026-11-21, 2026-11-21T22:48, yesterday, \"3 weeks ago\", \
     or a snapshot's name"
)]
pub struct BadDate(String);

/// The largest N of `latest~N` and `N days ago`.
const MOST: u32 = 999_999;

impl When {
    /// The moment meant, as of `now` in `zone`.
    pub fn bound<Z: TimeZone>(self, now: Timestamp, zone: &Z) -> Bound {
        let today = zone::day(now, zone);
        let whole = |day: NaiveDate| Bound {
            at_or_before: zone::end_of_day(day, zone),
            future: day > today,
            day: Some(day),
        };
        let moment = |t: Timestamp| Bound { at_or_before: t, future: t > now, day: None };
        match self {
            Self::Day(day) => whole(day),
            Self::DaysAgo(n) => {
                whole(today.checked_sub_days(Days::new(u64::from(n))).unwrap_or(NaiveDate::MIN))
            }
            Self::MonthsAgo(n) => whole(today.checked_sub_months(Months::new(n)).unwrap_or(NaiveDate::MIN)),
            // An hour that comes twice: the later one, so that nothing of that time of day is passed over.
            Self::Wall(wall) => moment(zone::instant(wall, zone, Twice::Later)),
            Self::Moment(t) => moment(t),
            Self::HoursAgo(n) => {
                let nanos = TimeDelta::hours(i64::from(n)).num_nanoseconds().unwrap_or(i64::MAX);
                moment(Timestamp::from_nanos(now.nanos().saturating_sub(nanos)))
            }
        }
    }
}

impl FromStr for DateSpec {
    type Err = BadDate;

    fn from_str(text: &str) -> Result<Self, BadDate> {
        let trimmed = text.trim();
        let read = || {
            if let Some(rest) = trimmed.strip_prefix("latest") {
                return match rest.strip_prefix('~') {
                    Some(n) => number(n).map(Self::Latest),
                    None => rest.is_empty().then_some(Self::Latest(0)),
                };
            }
            if let Ok(name) = trimmed.parse::<RunName>() {
                return Some(Self::Name(name));
            }
            ago(trimmed)
                .or_else(|| absolute(trimmed))
                .map(Self::Before)
                .or_else(|| is_prefix(trimmed).then(|| Self::Prefix(trimmed.to_owned())))
        };
        read().ok_or_else(|| BadDate(text.chars().take(60).collect()))
    }
}

/// Digits alone, at most [`MOST`].
fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= 6 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().filter(|n| *n <= MOST)
}

/// `yesterday`, `3 weeks ago`.
fn ago(text: &str) -> Option<When> {
    if text == "yesterday" {
        return Some(When::DaysAgo(1));
    }
    let mut words = text.split_ascii_whitespace();
    let (n, unit, last) = (number(words.next()?)?, words.next()?, words.next()?);
    if last != "ago" || words.next().is_some() {
        return None;
    }
    match unit {
        "day" | "days" => Some(When::DaysAgo(n)),
        "week" | "weeks" => n.checked_mul(7).filter(|days| *days <= MOST).map(When::DaysAgo),
        "month" | "months" => Some(When::MonthsAgo(n)),
        "hour" | "hours" => Some(When::HoursAgo(n)),
        _ => None,
    }
}

/// `2026-11-21`, `2026-11-21T22:48[:21][Z|+08:00]`, the same with a blank.
fn absolute(text: &str) -> Option<When> {
    let day = read_day(text.get(..10)?)?;
    let rest = &text[10..];
    if rest.is_empty() {
        return Some(When::Day(day));
    }
    let time = rest.strip_prefix(['T', 't', ' '])?;
    let end = time.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(time.len());
    let (clock, zone) = time.split_at(end);
    let layout = match clock.len() {
        5 => "%H:%M",
        8 => "%H:%M:%S",
        _ => return None,
    };
    let clock = chrono::NaiveTime::parse_from_str(clock, layout).ok()?;
    let wall = day.and_time(clock);
    match zone.trim_start() {
        "" => Some(When::Wall(wall)),
        "Z" | "z" => Some(When::Moment(moment(wall.and_utc()))),
        offset => {
            let shape = offset.len() == 6 && offset.as_bytes()[3] == b':' && offset.is_ascii();
            let text = shape.then(|| format!("{}{offset}", wall.format("%Y-%m-%dT%H:%M:%S")))?;
            Some(When::Moment(moment(DateTime::parse_from_rfc3339(&text).ok()?.to_utc())))
        }
    }
}

/// A moment in whole seconds, also at the ends of what a timestamp holds, so that it can be printed and typed again.
fn moment(t: DateTime<Utc>) -> Timestamp {
    const LAST: i64 = i64::MAX / 1_000_000_000;
    Timestamp::from_seconds(t.timestamp().clamp(-LAST, LAST))
}

fn read_day(text: &str) -> Option<NaiveDate> {
    let shape = text.bytes().enumerate().all(|(i, b)| match i {
        4 | 7 => b == b'-',
        _ => b.is_ascii_digit(),
    });
    shape.then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()).flatten()
}

/// Whether a text is the start of some snapshot's name and goes past the day.
fn is_prefix(text: &str) -> bool {
    // `2026-11-21T22-48-21Z` with every digit a 0.
    const SHAPE: &[u8] = b"0000-00-00T00-00-00Z";
    let fits = text.bytes().zip(SHAPE).all(|(b, s)| if *s == b'0' { b.is_ascii_digit() } else { b == *s });
    (11..SHAPE.len()).contains(&text.len()) && fits && read_day(&text[..10]).is_some()
}

/// As it may be typed again.
impl fmt::Display for DateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest(0) => f.write_str("latest"),
            Self::Latest(n) => write!(f, "latest~{n}"),
            Self::Name(name) => write!(f, "{name}"),
            Self::Prefix(text) => f.write_str(text),
            Self::Before(when) => match when {
                When::Day(day) => write!(f, "{day}"),
                When::Wall(wall) => write!(f, "{}", wall.format("%Y-%m-%dT%H:%M:%S")),
                When::Moment(t) => write!(f, "{t}"),
                When::DaysAgo(n) => write!(f, "{n} days ago"),
                When::MonthsAgo(n) => write!(f, "{n} months ago"),
                When::HoursAgo(n) => write!(f, "{n} hours ago"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::zone::tests::{Berlin, at};
    use super::*;

    fn spec(text: &str) -> DateSpec {
        text.parse().unwrap()
    }

    fn wall(text: &str) -> DateSpec {
        DateSpec::Before(When::Wall(text.parse().unwrap()))
    }

    #[test]
    fn every_form_of_the_contract() {
        let moment = |t| DateSpec::Before(When::Moment(at(t)));
        for (text, expected) in [
            ("latest", DateSpec::Latest(0)),
            ("latest~3", DateSpec::Latest(3)),
            ("2026-11-21T22-48-21Z", DateSpec::Name("2026-11-21T22-48-21Z".parse().unwrap())),
            ("2026-11-21T", DateSpec::Prefix("2026-11-21T".into())),
            ("2026-11-21T22", DateSpec::Prefix("2026-11-21T22".into())),
            ("2026-11-21T22-48-21", DateSpec::Prefix("2026-11-21T22-48-21".into())),
            ("2026-11-21", DateSpec::Before(When::Day("2026-11-21".parse().unwrap()))),
            ("2026-11-21T22:48", wall("2026-11-21T22:48:00")),
            ("2026-11-21 22:48", wall("2026-11-21T22:48:00")),
            ("2026-11-21 22:48:21", wall("2026-11-21T22:48:21")),
            ("2026-11-21T22:48Z", moment("2026-11-21T22:48:00Z")),
            ("2026-11-21 22:48:21+08:00", moment("2026-11-21T14:48:21Z")),
            ("2736-11-21T22:48Z", moment("2262-04-11T23:47:16Z")),
            ("0001-01-01T00:00+01:00", moment("1677-09-21T00:12:44Z")),
            ("2026-11-21T22:48 -03:30", moment("2026-11-22T02:18:00Z")),
            ("yesterday", DateSpec::Before(When::DaysAgo(1))),
            ("1 day ago", DateSpec::Before(When::DaysAgo(1))),
            ("3 weeks ago", DateSpec::Before(When::DaysAgo(21))),
            (" 2 months  ago ", DateSpec::Before(When::MonthsAgo(2))),
            ("12 hours ago", DateSpec::Before(When::HoursAgo(12))),
        ] {
            assert_eq!(spec(text), expected, "{text}");
            assert_eq!(spec(&expected.to_string()), expected, "{text} printed and read again");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            "Latest",
            "latest~",
            "latest~-1",
            "latest~+1",
            "latest~1000000",
            "142858 weeks ago",
            "latest~~1",
            "2026-11",
            "2026-13-01",
            "2026-02-29",
            "2026-1-1",
            "20261121",
            "2026-11-21T22:4",
            "2026-11-21T25:00",
            "2026-11-21T22:48:61",
            "2026-11-21T22:48+0800",
            "2026-11-21T22:48+25:00",
            "2026-11-21T22-48-21Zx",
            "2026-13-21T22",
            "3 years ago",
            "three days ago",
            "3 days",
            "3 days ago now",
            "2026-11-2é",
            "2026-11-21T22:48+é:00",
        ] {
            assert!(bad.parse::<DateSpec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bounds_follow_the_wall_clock() {
        let now = at("2026-10-26T08:00:00+01:00");
        for (text, last, future) in [
            ("yesterday", "2026-10-26T00:00:00+01:00", false),
            ("0 days ago", "2026-10-27T00:00:00+01:00", false),
            ("2026-10-26", "2026-10-27T00:00:00+01:00", false),
            ("2026-10-27", "2026-10-28T00:00:00+01:00", true),
            ("1 week ago", "2026-10-20T00:00:00+02:00", false),
            ("8 months ago", "2026-02-27T00:00:00+01:00", false),
        ] {
            let DateSpec::Before(when) = spec(text) else { unreachable!() };
            let bound = when.bound(now, &Berlin);
            assert_eq!(bound.at_or_before.nanos(), at(last).nanos() - 1, "{text}");
            assert_eq!((bound.future, bound.day.is_some()), (future, true), "{text}");
        }
        for (text, last, future) in [
            ("30 hours ago", "2026-10-25T01:00:00Z", false),
            ("2026-10-25T02:30", "2026-10-25T02:30:00+01:00", false),
            ("2026-03-29T02:30", "2026-03-29T01:00:00Z", false),
            ("2026-10-26T08:01", "2026-10-26T08:01:00+01:00", true),
        ] {
            let DateSpec::Before(when) = spec(text) else { unreachable!() };
            let bound = when.bound(now, &Berlin);
            assert_eq!((bound.at_or_before, bound.future), (at(last), future), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[0-9TZ:+ ~a-z-]{0,26}|.*", nanos: i64) {
            if let Ok(DateSpec::Before(when)) = text.parse::<DateSpec>() {
                let _ = when.bound(Timestamp::from_nanos(nanos), &Berlin);
            }
        }

        #[test]
        fn any_name_and_every_start_of_it_past_the_day_parse(seconds in 0i64..253_402_300_799) {
            let name = RunName::at(Timestamp::from_seconds(seconds)).to_string();
            for end in 11..name.len() {
                assert_eq!(spec(&name[..end]), DateSpec::Prefix(name[..end].to_owned()));
            }
        }
    }
}
