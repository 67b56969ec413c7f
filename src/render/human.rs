//! Numbers and times as people read them.

use std::time::Duration;

use chrono::TimeZone;

pub use crate::model::size::human as size;
use crate::model::time::Timestamp;
use crate::model::zone;

/// `1,234,567`
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 object`, `1,234 objects`: the word takes an s, or is given both ways as `copy/copies`.
pub fn counted(n: u64, word: &str) -> String {
    let (one, many) = word.split_once('/').map_or((word, None), |(one, many)| (one, Some(many)));
    match (n, many) {
        (1, _) => format!("1 {one}"),
        (_, Some(many)) => format!("{} {many}", count(n)),
        (_, None) => format!("{} {one}s", count(n)),
    }
}

/// The two largest units: `0.4 s`, `12 s`, `2 min 3 s`, `1 h 5 min`, `3 days 4 h`.
pub fn duration(d: Duration) -> String {
    let seconds = d.as_secs();
    if seconds < 10 {
        // Tenths, rounded; 9.96 s must not become 10.0 s.
        let tenths = ((d.as_millis() + 50) / 100).min(99);
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let pair = |big: u64, big_name: &str, small: u64, small_name: &str| {
        if small == 0 {
            format!("{big} {big_name}")
        } else {
            format!("{big} {big_name} {small} {small_name}")
        }
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => pair(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => pair(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => {
            let days = seconds / 86_400;
            pair(days, if days == 1 { "day" } else { "days" }, seconds % 86_400 / 3600, "h")
        }
    }
}

/// A local time to the second: `2026-11-22 06:48:21`.
pub fn local_time<Z: TimeZone>(t: Timestamp, zone: &Z) -> String {
    zone::local(t, zone).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// How far `t` lies from `from`, in one unit: `3 days before`, `2 h after`, `at that moment`.
pub fn distance(t: Timestamp, from: Timestamp) -> String {
    let seconds = t.nanos().abs_diff(from.nanos()) / 1_000_000_000;
    let side = if t < from { "before" } else { "after" };
    match seconds {
        0 => "at that moment".to_owned(),
        1..120 => format!("{seconds} s {side}"),
        120..7200 => format!("{} min {side}", seconds / 60),
        7200..172_800 => format!("{} h {side}", seconds / 3600),
        _ => format!("{} days {side}", count(seconds / 86_400)),
    }
}

/// Text from outside (a server's message, a path) as it may be printed: no control characters, no turned direction.
pub fn clean(text: &str) -> String {
    crate::model::key::Key::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
        assert_eq!(counted(1, "object"), "1 object");
        assert_eq!(counted(0, "object"), "0 objects");
        assert_eq!(counted(2000, "copy/copies"), "2,000 copies");
    }

    #[test]
    fn durations() {
        for (millis, text) in [
            (0, "0.0 s"),
            (440, "0.4 s"),
            (9_960, "9.9 s"),
            (12_900, "12 s"),
            (123_000, "2 min 3 s"),
            (3_600_000, "1 h"),
            (3_900_000, "1 h 5 min"),
            (90_000_000, "1 day 1 h"),
            (273_600_000, "3 days 4 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn distances() {
        let at = Timestamp::from_seconds;
        for (t, text) in [
            (0, "3 days before"),
            (259_200, "at that moment"),
            (259_199, "1 s before"),
            (259_500, "5 min after"),
            (259_200 + 7200, "2 h after"),
        ] {
            assert_eq!(distance(at(t), at(259_200)), text);
        }
        assert_eq!(
            local_time(at(0), &chrono::FixedOffset::east_opt(8 * 3600).unwrap()),
            "1970-01-01 08:00:00"
        );
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        assert_eq!(clean("a\x1b[2Jb\r\n目录"), "a\\x1b[2Jb\\x0d\\x0a目录");
    }
}
