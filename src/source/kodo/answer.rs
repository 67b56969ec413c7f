//! Whether the head of an answer to a download is the right one: pure, so that every lie has its test.

use crate::control::{self, Control};

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The whole object's size, as listed.
    pub size: u64,
    /// First byte asked for, after what is there of the block already.
    pub start: u64,
    /// One past the last byte asked for.
    pub end: u64,
    /// A Range header was sent.
    pub ranged: bool,
    /// The block is the whole object.
    pub whole: bool,
    /// The object's hash, as listed.
    pub hash: Option<&'a str>,
    /// The ETag that came with the bytes that are there already.
    pub pin: Option<&'a str>,
}

/// What came back, before the body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Head<'a> {
    /// The status.
    pub status: u16,
    /// `Content-Length`.
    pub length: Option<u64>,
    /// `Content-Range`.
    pub range: Option<&'a str>,
    /// `ETag`.
    pub etag: Option<&'a str>,
}

/// What to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Take {
    /// The body begins at the block's start: what is there already goes.
    FromStart,
    /// The body goes on where what is there ends.
    Onwards,
    /// The block is empty, and so is the object.
    Nothing,
    /// It is not the object that was listed.
    Changed,
    /// Its size is not the listed one, and nothing shows which object it is: a broken answer, or another object.
    Odd(String),
    /// It is not an answer to what was asked: why.
    Again(String),
    /// It is a refusal.
    Refused,
}

/// Judges the head of an answer.
pub fn judge(ask: Ask<'_>, head: Head<'_>) -> Take {
    match head.status {
        200 | 206 => {}
        416 if ask.size == 0 => return Take::Nothing,
        // Asked beyond its end: it is shorter than it was.
        416 => return Take::Changed,
        _ => return Take::Refused,
    }
    let shown = head.etag.map(bare);
    let confirmed = match (shown, ask.hash) {
        (Some(shown), Some(listed)) if shown == listed => true,
        // Some caches put an ETag of their own in place; only one that reads as a hash of Kodo's is evidence.
        (Some(shown), Some(_)) if is_hash(shown) => return Take::Changed,
        _ => false,
    };
    // The same object with another size is a broken answer; any other may be another object.
    let off = |why: String| if confirmed { Take::Again(why) } else { Take::Odd(why) };

    if head.status == 200 {
        if ask.ranged && !ask.whole {
            return Take::Again(
                "the host ignores Range and would send the whole object for each block".into(),
            );
        }
        return match head.length {
            Some(n) if n != ask.size => off(format!("the host sends {n} bytes of {}", ask.size)),
            _ => Take::FromStart,
        };
    }
    if !ask.ranged {
        return Take::Again("the host sends a part of what was asked for".into());
    }
    let Some((first, last, total)) = head.range.and_then(content_range) else {
        return Take::Again("the host sends a part without saying which".into());
    };
    if total.is_some_and(|t| t != ask.size) {
        return off(format!("the host says that it has {} bytes", total.unwrap_or_default()));
    }
    let length = last.checked_sub(first).and_then(|n| n.checked_add(1));
    if first != ask.start
        || last.checked_add(1) != Some(ask.end)
        || head.length.is_some_and(|n| Some(n) != length)
    {
        return Take::Again(format!(
            "the host sends bytes {first} to {last} where {} to {} were asked for",
            ask.start,
            ask.end.saturating_sub(1)
        ));
    }
    if ask.pin.is_some() && ask.pin != head.etag && !control::off(Control::NoVersionPin) {
        return Take::Again("the rest is of another version than the beginning".into());
    }
    Take::Onwards
}

/// An ETag without weakness mark, quotes, and the suffix of a compressed transfer.
pub fn bare(etag: &str) -> &str {
    let etag = etag.trim();
    let etag = etag.strip_prefix("W/").unwrap_or(etag);
    let etag = etag.strip_prefix('"').and_then(|e| e.strip_suffix('"')).unwrap_or(etag);
    etag.strip_suffix(".gz").unwrap_or(etag)
}

/// Whether an ETag can stand in an If-Range: only a strong one can.
pub fn is_strong(etag: &str) -> bool {
    etag.len() >= 2 && etag.starts_with('"') && etag.ends_with('"')
}

fn is_hash(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    text.len() == 28 && text.starts_with(['F', 'l', 'n']) && text.bytes().all(plain)
}

/// `bytes first-last/total`, where the total may be `*`.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = match total.trim() {
        "*" => None,
        n => Some(n.parse().ok()?),
    };
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "lgV4TNEnA2AXSRVyDqVW4bohMKad";
    const OTHER: &str = "\"lhZWuy7H6BDwRPEg8SCwWrzJuMmX\"";

    fn whole() -> Ask<'static> {
        Ask { size: 10, start: 0, end: 10, ranged: false, whole: true, hash: Some(HASH), pin: None }
    }

    fn block() -> Ask<'static> {
        Ask { size: 100, start: 40, end: 80, ranged: true, whole: false, ..whole() }
    }

    fn again(take: Take) -> bool {
        matches!(take, Take::Again(_))
    }

    #[test]
    fn etags() {
        for text in ["\"abc\"", "W/\"abc\"", "\"abc.gz\"", "abc", " W/\"abc.gz\" "] {
            assert_eq!(bare(text), "abc", "{text}");
        }
        assert!(is_strong("\"a\"") && !is_strong("W/\"a\"") && !is_strong("a") && !is_strong("\""));
    }

    #[test]
    fn whole_objects() {
        let ok = Head {
            status: 200,
            length: Some(10),
            etag: Some("\"lgV4TNEnA2AXSRVyDqVW4bohMKad\""),
            range: None,
        };
        assert_eq!(judge(whole(), ok), Take::FromStart);
        for etag in [None, Some("\"5f1-made-up\""), Some("W/\"lgV4TNEnA2AXSRVyDqVW4bohMKad.gz\"")] {
            assert_eq!(judge(whole(), Head { etag, ..ok }), Take::FromStart, "{etag:?}");
        }
        assert_eq!(judge(whole(), Head { etag: Some(OTHER), ..ok }), Take::Changed);
        assert_eq!(judge(whole(), Head { length: None, ..ok }), Take::FromStart);
        assert!(again(judge(whole(), Head { length: Some(9), ..ok })));
        assert!(matches!(judge(whole(), Head { length: Some(9), etag: None, ..ok }), Take::Odd(_)));
        assert!(again(judge(whole(), Head { status: 206, range: Some("bytes 0-9/10"), ..ok })));
        for status in [403, 404, 500, 612, 304] {
            assert_eq!(judge(whole(), Head { status, ..ok }), Take::Refused);
        }
        assert_eq!(judge(whole(), Head { status: 416, ..ok }), Take::Changed);
        assert_eq!(judge(Ask { size: 0, end: 0, ..whole() }, Head { status: 416, ..ok }), Take::Nothing);
        // The rest of a whole object was asked for, and all of it comes: it is taken from the start.
        assert_eq!(judge(Ask { ranged: true, start: 4, ..whole() }, ok), Take::FromStart);
    }

    #[test]
    fn blocks() {
        let etag = Some("\"lgV4TNEnA2AXSRVyDqVW4bohMKad\"");
        let ok = Head { status: 206, length: Some(40), range: Some("bytes 40-79/100"), etag };
        assert_eq!(judge(block(), ok), Take::Onwards);
        assert_eq!(judge(block(), Head { range: Some("bytes 40-79/*"), length: None, ..ok }), Take::Onwards);
        assert!(again(judge(block(), Head { status: 200, length: Some(100), ..ok })));
        for range in [
            None,
            Some("bytes 0-39/100"),
            Some("bytes 40-78/100"),
            Some("bytes 41-80/100"),
            Some("bytes 79-40/100"),
            Some("bytes 40-18446744073709551615/100"),
            Some("bytes 0-18446744073709551615/100"),
            Some("bytes -79/100"),
            Some("items 40-79/100"),
            Some("bytes 40-79/99"),
        ] {
            assert!(again(judge(block(), Head { range, ..ok })), "{range:?}");
        }
        assert!(again(judge(block(), Head { length: Some(39), ..ok })));
        assert!(matches!(
            judge(block(), Head { range: Some("bytes 40-79/99"), etag: None, ..ok }),
            Take::Odd(_)
        ));
        assert_eq!(judge(block(), Head { etag: Some(OTHER), ..ok }), Take::Changed);
        assert_eq!(judge(Ask { hash: None, ..block() }, Head { etag: Some(OTHER), ..ok }), Take::Onwards);
    }

    #[test]
    fn two_versions_are_never_spliced() {
        let ask = Ask { hash: None, pin: Some("\"one\""), ..block() };
        let ok =
            Head { status: 206, length: Some(40), range: Some("bytes 40-79/100"), etag: Some("\"one\"") };
        assert_eq!(judge(ask, ok), Take::Onwards);
        for etag in [None, Some("\"two\""), Some("W/\"one\"")] {
            assert!(again(judge(ask, Head { etag, ..ok })), "{etag:?}");
        }
        let listed = Ask { hash: Some(HASH), ..ask };
        assert_eq!(judge(listed, Head { etag: Some(OTHER), ..ok }), Take::Changed);
    }
}
