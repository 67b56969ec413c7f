//! Local time: between moments and a zone's wall clock, where the clocks change too.

use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};

use super::time::Timestamp;

/// Which of the two moments a wall-clock time names that comes twice when the clocks go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twice {
    /// The first time round.
    Earlier,
    /// The second time round.
    Later,
}

/// What the zone's wall clock shows at `t`.
pub fn local<Z: TimeZone>(t: Timestamp, zone: &Z) -> NaiveDateTime {
    t.utc().with_timezone(zone).naive_local()
}

/// The moment at which the zone's wall clock shows `wall`. A time that is left out when the clocks go forward stands
/// for the moment they do.
pub fn instant<Z: TimeZone>(wall: NaiveDateTime, zone: &Z, twice: Twice) -> Timestamp {
    let of = |t: DateTime<Z>| Timestamp::from(t.to_utc());
    // Far outside what a timestamp holds no zone needs to be asked (and its arithmetic could overflow).
    let (first, last) = (Timestamp::from_nanos(i64::MIN), Timestamp::from_nanos(i64::MAX));
    let margin = TimeDelta::days(3);
    if wall <= first.utc().naive_utc() + margin {
        return first;
    }
    if wall >= last.utc().naive_utc() - margin {
        return last;
    }
    match zone.from_local_datetime(&wall) {
        LocalResult::Single(t) => of(t),
        LocalResult::Ambiguous(a, b) => {
            let (a, b) = (of(a), of(b));
            if twice == Twice::Earlier { a.min(b) } else { a.max(b) }
        }
        LocalResult::None => change(wall, zone),
    }
}

/// The first moment whose wall-clock time is past `wall`, which the change jumps over.
fn change<Z: TimeZone>(wall: NaiveDateTime, zone: &Z) -> Timestamp {
    let middle = wall.and_utc().timestamp();
    // No zone is more than a day from UTC; a search by halves needs no table of changes.
    let (mut before, mut after) = (middle - 2 * 86_400, middle + 2 * 86_400);
    while after - before > 1 {
        let half = before + (after - before) / 2;
        if local(Timestamp::from_seconds(half), zone) > wall { after = half } else { before = half }
    }
    Timestamp::from_seconds(after)
}

/// The last nanosecond of a local day.
pub fn end_of_day<Z: TimeZone>(day: NaiveDate, zone: &Z) -> Timestamp {
    let next = day.succ_opt().unwrap_or(NaiveDate::MAX).and_time(NaiveTime::MIN);
    Timestamp::from_nanos(instant(next, zone, Twice::Later).nanos().saturating_sub(1))
}

/// The local day that `t` lies in.
pub fn day<Z: TimeZone>(t: Timestamp, zone: &Z) -> NaiveDate {
    local(t, zone).date()
}

#[cfg(test)]
pub(crate) mod tests {
    use chrono::{FixedOffset, Utc};

    use super::*;

    /// A zone with summer time for tests: one hour ahead, two from 2026-03-29T01:00Z to 2026-10-25T01:00Z and in the
    /// same stretch of every other year by the day of the year.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Berlin;

    /// A zone whose clocks go forward at midnight of 2026-09-06 (00:00 becomes 01:00) and back at midnight of
    /// 2026-04-05 (00:00 becomes 23:00).
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Santiago;

    fn hours(h: i32) -> FixedOffset {
        FixedOffset::east_opt(h * 3600).unwrap()
    }

    pub(crate) fn at(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc().into()
    }

    fn berlin(utc: &NaiveDateTime) -> FixedOffset {
        use chrono::Datelike as _;
        let summer = |month, day| {
            NaiveDate::from_ymd_opt(utc.year(), month, day).unwrap().and_hms_opt(1, 0, 0).unwrap()
        };
        if (summer(3, 29)..summer(10, 25)).contains(utc) { hours(2) } else { hours(1) }
    }

    fn santiago(utc: &NaiveDateTime) -> FixedOffset {
        let winter =
            at("2026-04-05T03:00:00Z").utc().naive_utc()..at("2026-09-06T04:00:00Z").utc().naive_utc();
        if winter.contains(utc) { hours(-4) } else { hours(-3) }
    }

    macro_rules! zone {
        ($zone:ident, $offset:ident) => {
            impl TimeZone for $zone {
                type Offset = FixedOffset;
                fn from_offset(_: &FixedOffset) -> Self {
                    $zone
                }
                fn offset_from_local_date(&self, d: &NaiveDate) -> LocalResult<FixedOffset> {
                    self.offset_from_local_datetime(&d.and_time(NaiveTime::MIN))
                }
                fn offset_from_local_datetime(&self, wall: &NaiveDateTime) -> LocalResult<FixedOffset> {
                    let mut fits = [-4, -3, 1, 2].map(hours).into_iter().filter(|o| {
                        let utc = *wall - TimeDelta::seconds(i64::from(o.local_minus_utc()));
                        $offset(&utc) == *o
                    });
                    match (fits.next(), fits.next()) {
                        (None, _) => LocalResult::None,
                        (Some(one), None) => LocalResult::Single(one),
                        (Some(later), Some(earlier)) => LocalResult::Ambiguous(earlier, later),
                    }
                }
                fn offset_from_utc_date(&self, d: &NaiveDate) -> FixedOffset {
                    $offset(&d.and_time(NaiveTime::MIN))
                }
                fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> FixedOffset {
                    $offset(utc)
                }
            }
        };
    }
    zone!(Berlin, berlin);
    zone!(Santiago, santiago);

    fn wall(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    #[test]
    fn a_time_left_out_is_the_moment_of_the_change() {
        for text in ["2026-03-29T02:00:00", "2026-03-29T02:30:00", "2026-03-29T02:59:59"] {
            assert_eq!(instant(wall(text), &Berlin, Twice::Later), at("2026-03-29T01:00:00Z"), "{text}");
        }
        assert_eq!(instant(wall("2026-03-29T03:00:00"), &Berlin, Twice::Later), at("2026-03-29T01:00:00Z"));
        assert_eq!(instant(wall("2026-03-29T01:59:59"), &Berlin, Twice::Later), at("2026-03-29T00:59:59Z"));
    }

    #[test]
    fn a_time_that_comes_twice_is_either() {
        let w = wall("2026-10-25T02:30:00");
        assert_eq!(instant(w, &Berlin, Twice::Earlier), at("2026-10-25T00:30:00Z"));
        assert_eq!(instant(w, &Berlin, Twice::Later), at("2026-10-25T01:30:00Z"));
    }

    #[test]
    fn days_end_where_the_next_begins() {
        let nano = |t: Timestamp| Timestamp::from_nanos(t.nanos() - 1);
        for (day, end) in [
            ("2026-03-28", "2026-03-28T23:00:00Z"),
            ("2026-03-29", "2026-03-29T22:00:00Z"),
            ("2026-10-25", "2026-10-25T23:00:00Z"),
        ] {
            assert_eq!(end_of_day(day.parse().unwrap(), &Berlin), nano(at(end)), "{day}");
        }
        // No midnight at all, and an hour before midnight that comes twice.
        assert_eq!(end_of_day("2026-09-05".parse().unwrap(), &Santiago), nano(at("2026-09-06T04:00:00Z")));
        assert_eq!(end_of_day("2026-04-04".parse().unwrap(), &Santiago), nano(at("2026-04-05T04:00:00Z")));
    }

    #[test]
    fn the_ends_of_time_saturate() {
        assert_eq!(instant(NaiveDateTime::MAX, &Berlin, Twice::Later).nanos(), i64::MAX);
        assert_eq!(instant(NaiveDateTime::MIN, &Utc, Twice::Later).nanos(), i64::MIN);
        assert_eq!(end_of_day(NaiveDate::MAX, &Utc).nanos(), i64::MAX - 1);
    }
}
