//! What a Kodo service, a download domain or a proxy on the way answers.

use qbak::kodo::encode;
use qbak::kodo::failure::{http_date, wait};
use qbak::kodo::fault::clean;
use qbak::kodo::list::Pager;
use qbak::kodo::wire::{
    Object, is_host, parse_batch, parse_error, parse_list_page, parse_region, parse_stat,
};
use qbak::model::content::MAX_CONTENT;
use qbak::model::key::Key;
use qbak::source::kodo::answer::{Ask, Head, Take, judge};
use qbak::source::kodo::convert::listed;

use super::is_plain;

/// A page of a listing.
pub fn list(data: &[u8]) -> bool {
    let page = match parse_list_page(data) {
        Ok(page) => page,
        Err(e) => {
            assert!(is_plain(&e.to_string()), "{e}");
            return false;
        }
    };
    assert!(page.items.len() <= 5000 && page.prefixes.len() <= 10_000);
    page.items.iter().for_each(object);
    let mut pager = Pager::new(Key::new(page.items.first().map(|o| o.key.clone()).unwrap_or_default()));
    let marker = page.marker.clone();
    match pager.take(page.clone()) {
        Ok(items) => {
            assert_eq!(items.len(), page.items.len());
            // The next query asks for the marker as it was given, and only an empty one is the end.
            match pager.query("bucket", 1000) {
                Some(query) => {
                    let pairs = encode::decode_query(&query);
                    assert_eq!(pairs.last().unwrap(), &("marker".to_owned(), marker.clone().into_bytes()));
                }
                None => assert!(marker.is_empty()),
            }
            // Given the same marker once more, it is not followed in circles.
            assert!(marker.is_empty() || pager.take(page).is_err());
        }
        Err(e) => assert!(is_plain(&e.to_string()), "{e}"),
    }
    true
}

/// What must hold of an object that was read.
fn object(object: &Object) {
    assert!(object.key.len() <= Key::MAX && object.size <= i64::MAX as u64);
    let parts = object.parts.iter().map(|(size, count)| u128::from(*size) * u128::from(*count)).sum::<u128>();
    assert!(object.parts.is_empty() || parts == u128::from(object.size), "parts add up or are none");
    let seen = listed(object.clone());
    assert_eq!((seen.key.bytes(), seen.size), (object.key.as_slice(), object.size));
    assert_eq!(seen.failed.is_some(), object.size > MAX_CONTENT, "what cannot be kept is named");
}

/// Any other answer.
pub fn answer(data: &[u8]) -> bool {
    let mut taken = false;
    if let Ok(found) = parse_stat(data) {
        taken = true;
        assert!(found.size <= i64::MAX as u64);
    }
    for expected in [1, 3] {
        if let Ok(answers) = parse_batch(data, expected) {
            taken = true;
            assert_eq!(answers.len(), expected);
            assert!(answers.iter().all(|a| is_plain(&a.error) && (a.object.is_none() || a.code == 200)));
        }
    }
    if let Some(said) = parse_error(data) {
        taken = true;
        assert!(is_plain(&said) && said.chars().count() <= 200);
        assert!(!said.to_ascii_lowercase().contains("token="), "no token is repeated");
    }
    match parse_region(data) {
        Ok(region) => {
            taken = true;
            assert!(!region.rs.is_empty() && !region.rsf.is_empty());
            for hosts in [&region.rs, &region.rsf, &region.up, &region.io, &region.io_src] {
                assert!(hosts.len() <= 16 && hosts.iter().all(|h| is_host(h)));
                // Nothing but a host: no path, no user, no other place.
                assert!(hosts.iter().all(|h| !h.contains(['/', '@', '?', '#', ' '])));
            }
        }
        Err(e) => assert!(is_plain(&e.to_string()), "{e}"),
    }
    taken
}

/// The head of an answer to a download: lines of status, length, Content-Range, ETag, Date, Retry-After.
pub fn head(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let mut lines = text.split('\n');
    let mut next = || lines.next().filter(|l| !l.is_empty());
    let status = next().and_then(|l| l.parse().ok()).unwrap_or(206);
    let length = next().and_then(|l| l.parse().ok());
    let (range, etag, date, retry) = (next(), next(), next(), next());
    let date = date.and_then(http_date);
    let pause = retry.and_then(|r| wait(r, date));
    let head = Head { status, length, range, etag };
    let hash = "lgV4TNEnA2AXSRVyDqVW4bohMKad";
    let block =
        Ask { size: 100, start: 40, end: 80, ranged: true, whole: false, hash: Some(hash), pin: None };
    let mut taken = date.is_some() || pause.is_some();
    for pin in [None, Some("\"one\"")] {
        let take = judge(Ask { pin, ..block }, head);
        // Only an answer that says to hold these very bytes goes on where others end.
        if take == Take::Onwards {
            taken = true;
            assert_eq!(status, 206);
            let said: Vec<u64> = numbers(range.unwrap());
            assert!(matches!(said.as_slice(), [40, 79] | [40, 79, 100]), "{range:?}");
            assert!(length.is_none_or(|n| n == 40) && (pin.is_none() || pin == etag));
        }
        assert_ne!(take, Take::FromStart, "the whole object is no answer to a request for a block");
        assert_ne!(take, Take::Nothing);
    }
    let whole = Ask { start: 0, end: 100, ranged: false, whole: true, ..block };
    if judge(whole, head) == Take::FromStart {
        taken = true;
        assert!(status == 200 && length.is_none_or(|n| n == 100));
    }
    taken
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect()
}

/// Keys in URLs and entries, there and back; texts of the other side made fit for a line.
pub fn spelling(data: &[u8]) -> bool {
    let path = encode::path(data);
    assert_eq!(encode::decode_path(&path), data);
    assert!(path.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#'));
    assert!(!path.split('/').any(|s| s == "." || s == ".."), "no proxy has a reason to tidy {path} up");
    assert_eq!(
        encode::decode_entry(&encode::entry("b", Some(data))),
        Some(("b".into(), Some(data.to_vec())))
    );
    assert_eq!(encode::decode_query(&encode::query([("k", data)])), [("k".to_owned(), data.to_vec())]);
    let text = String::from_utf8_lossy(data);
    let _ = (encode::decode_entry(&text), encode::decode_query(&text), encode::from_b64u(&text));
    let said = clean(&text);
    assert!(is_plain(&said) && said.chars().count() <= 200);
    assert!(!said.to_ascii_lowercase().contains("token="));
    if is_host(&text) {
        assert!(!text.contains(['/', '@', '?', '#']));
    }
    true
}
