//! What a person types: dates, sizes, durations, patterns, places.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use chrono::{FixedOffset, Utc};
use qbak::model::date::DateSpec;
use qbak::model::duration::CalendarDuration;
use qbak::model::glob::Glob;
use qbak::model::id::{BlobId, ContentId, PackId};
use qbak::model::key::Key;
use qbak::model::name::RunName;
use qbak::model::share::Share;
use qbak::model::size;
use qbak::model::slice::Slice;
use qbak::model::time::Timestamp;
use qbak::model::url::{Location, Role, Scheme};
use qbak::plan::select::{Candidate, Completeness, select};

use super::is_plain;

const NOW: i64 = 1_795_000_000;

/// A DATE, and which of forty snapshots it means.
pub fn date(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let spec = match text.parse::<DateSpec>() {
        Ok(spec) => spec,
        Err(e) => {
            assert!(e.to_string().len() < 600, "no message grows with what was typed");
            return false;
        }
    };
    assert_eq!(spec.to_string().parse::<DateSpec>().unwrap(), spec, "printed and read again");
    let candidate = |n: i64| Candidate {
        name: RunName::at(Timestamp::from_seconds(NOW - n * n * 20_011)),
        sequence: (100 - n) as u64,
        state: [Completeness::Complete, Completeness::Partial, Completeness::Incomplete][n as usize % 3],
        suspect: n % 5 == 0,
    };
    let all: Vec<Candidate> = (0..40).map(candidate).collect();
    let now = Timestamp::from_seconds(NOW + 60);
    for incomplete in [false, true] {
        for hours in [-12, 0, 8, 14] {
            let zone = FixedOffset::east_opt(hours * 3600).unwrap();
            let Ok(choice) = select(&all, &spec, now, &zone, incomplete) else { continue };
            assert!(all.contains(&choice.snapshot));
            assert!(incomplete || choice.snapshot.state != Completeness::Incomplete);
            if let Some(asked) = choice.asked {
                let fits = |c: &&Candidate| {
                    c.name.time() <= asked.at_or_before && (incomplete || c.state != Completeness::Incomplete)
                };
                let newest = all.iter().filter(fits).map(|c| c.name).max();
                assert_eq!(
                    newest,
                    Some(choice.snapshot.name),
                    "never a later one than asked, nor an earlier"
                );
            }
        }
    }
    true
}

/// SIZE, a rate, DURATION, a share, a slice, an id, a name.
pub fn measure(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let mut taken = false;
    if let Ok(bytes) = size::parse(text) {
        taken = true;
        assert_eq!(size::parse(&bytes.to_string()), Ok(bytes));
        assert!(is_plain(&size::human(bytes)));
    }
    if let Ok(rate) = size::parse_rate(text) {
        taken = true;
        assert!(rate > 0);
    }
    if let Ok(duration) = text.parse::<CalendarDuration>() {
        taken = true;
        assert_eq!(duration.to_string().parse::<CalendarDuration>(), Ok(duration), "printed and read again");
        for nanos in [0, NOW * 1_000_000_000, i64::MIN, i64::MAX] {
            let now = Timestamp::from_nanos(nanos);
            assert!(duration.before(now, &Utc) <= now, "never later");
        }
        let _ = duration.exact();
    }
    if let Ok(share) = text.parse::<Share>() {
        taken = true;
        assert_eq!(share.to_string().parse::<Share>(), Ok(share));
        assert!(!share.is_exceeded(0, u64::MAX) && !share.is_exceeded(0, 0));
        let _ = share.is_exceeded(u64::MAX, u64::MAX);
    }
    if let Ok(slice) = text.parse::<Slice>() {
        taken = true;
        let (part, of) = slice.part(Timestamp::from_seconds(NOW), &Utc);
        assert!(part >= 1 && part <= of, "{part}/{of}");
    }
    taken |= same(text, text.parse::<BlobId>()) | same(text, text.parse::<PackId>());
    taken |= same(text, text.parse::<ContentId>()) | same(text, text.parse::<RunName>());
    taken
}

/// What parses as an id has one spelling: its own.
fn same<T: ToString, E>(text: &str, parsed: Result<T, E>) -> bool {
    parsed.is_ok_and(|id| {
        assert_eq!(id.to_string(), text);
        true
    })
}

/// A GLOB, a line feed, and a key.
pub fn glob(data: &[u8]) -> bool {
    let at = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let (pattern, key) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let key = Key::new(key);
    let literal: Vec<u8> = key.bytes().iter().flat_map(|b| escaped(*b)).collect();
    if !key.bytes().is_empty() && literal.len() <= Glob::MAX && !key.bytes().ends_with(b"/") {
        assert!(Glob::new(&literal).unwrap().matches(&key), "a key's own text matches it");
    }
    let Ok(glob) = Glob::new(pattern) else { return false };
    assert_eq!(glob.text().bytes(), pattern);
    let _ = glob.matches(&key);
    // A pattern that ends in `**` reaches every longer key, too.
    let wide = [pattern, b"**"].concat();
    if let (true, Ok(wide)) = (pattern.contains(&b'/') && glob.matches(&key), Glob::new(&wide)) {
        let longer = [key.bytes(), b"/x"].concat();
        assert!(pattern.ends_with(b"*") || wide.matches(&Key::new(longer)), "{}", wide.text());
    }
    true
}

fn escaped(b: u8) -> Vec<u8> {
    if b"*?[\\".contains(&b) { vec![b'\\', b] } else { vec![b] }
}

/// A place: a source, a store, a target.
pub fn url(data: &[u8]) -> bool {
    let mut taken = false;
    for role in [Role::Source, Role::Store, Role::Target] {
        match Location::parse(OsStr::from_bytes(data), role) {
            Ok(place) => {
                taken = true;
                let shown = place.to_string();
                assert!(is_plain(&shown), "{shown}");
                let _ = place.supported(role);
                let Location::Bucket { scheme, bucket, prefix } = &place else { continue };
                assert!(!(role == Role::Store && *scheme == Scheme::Kodo));
                assert!(!bucket.is_empty() && !bucket.contains(['/', '@', ':', '?']));
                assert!(prefix.bytes().len() <= Key::MAX);
                if prefix.text().is_some_and(is_plain) {
                    assert_eq!(Location::parse(OsStr::new(&shown), role).unwrap(), place);
                }
            }
            Err(e) => assert!(is_plain(&e.to_string()) && e.to_string().len() < 600, "{e}"),
        }
    }
    taken
}
