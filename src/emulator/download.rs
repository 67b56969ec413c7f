//! Downloads: GET and HEAD of an object, with Range.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED,
};

use super::body::file_payload;
use super::catalog::{Data, Lookup, Opened};
use super::inject;
use super::reply::{Payload, Reply};
use super::request::Request;
use super::route::{Kind, Role};
use super::rules::Action;
use super::state::{State, blocking};
use super::{auth, mime};
use crate::model::time::Timestamp;

/// What a Range header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// The whole object: no Range, or one that is not understood.
    All,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that are not there.
    Nothing,
}

/// Reads a Range header for an object of `size` bytes; of several ranges none is served.
fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some((first, last)) =
        header.and_then(|h| h.strip_prefix("bytes=")).and_then(|spec| spec.trim().split_once('-'))
    else {
        return Wanted::All;
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) || (first.is_empty() && last.is_empty()) {
        return Wanted::All;
    }
    let big = |s: &str| s.parse::<u64>().unwrap_or(u64::MAX);
    if first.is_empty() {
        let n = big(last).min(size);
        return if n == 0 { Wanted::Nothing } else { Wanted::Part(size - n..size) };
    }
    let start = big(first);
    let end = if last.is_empty() { size } else { big(last).saturating_add(1).min(size) };
    if !last.is_empty() && big(last) < start {
        Wanted::All
    } else if start >= size {
        Wanted::Nothing
    } else {
        Wanted::Part(start..end)
    }
}

/// Serves one download.
pub(super) async fn serve(state: &Arc<State>, request: &Request, actions: &[Action]) -> Result<Reply, Reply> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Err(Reply::error(405, "method not allowed"));
    }
    auth::download(state, request)?;
    let Ok(key) = String::from_utf8(request.key()) else {
        return Err(Reply::error(400, "key must be utf8 encoding"));
    };
    let opened = match state.catalog.try_open(&key)? {
        Lookup::Found(opened) => Some(opened),
        Lookup::Absent => None,
        Lookup::Slow => {
            let state = Arc::clone(state);
            blocking(move || Ok(state.catalog.open(&key)?)).await?
        }
    };
    let now = state.now();
    let Some(opened) = opened.filter(|o| !o.object.expired(now)) else {
        if request.role == Role::Main && !matches!(Kind::unsigned(request), Kind::Unknown | Kind::Upload) {
            return Err(Reply::error(401, "token not specified"));
        }
        return Err(Reply::error(404, "Document not found"));
    };
    if let Some(why) = opened.object.unreadable(now) {
        return Err(Reply::error(403, why));
    }
    Ok(object(request, opened, actions)?)
}

fn object(request: &Request, opened: Opened, actions: &[Action]) -> std::io::Result<Reply> {
    let Opened { object, data } = opened;
    let (mut size, mut hash, mut mime) = (object.size, object.hash.clone(), object.mime.clone());
    let mut data = data;
    if let Some((bytes, other_hash, other_mime)) = inject::replacement(actions) {
        (size, hash, mime) = (bytes.len() as u64, other_hash, other_mime);
        data = Data::Bytes(bytes);
    }
    let tag = format!("\"{hash}\"");
    let mut reply = Reply::of(200, Payload::Bytes(Bytes::new()));
    reply.set(ETAG, &tag);
    reply.set(ACCEPT_RANGES, "bytes");
    let put = Timestamp::from_kodo(object.put_time).utc();
    reply.set(LAST_MODIFIED, &put.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
    reply.set(CONTENT_TYPE, mime::UNKNOWN);
    reply.set(CONTENT_TYPE, &mime);
    for (name, value) in &object.meta {
        let name = name.strip_prefix('!').map_or_else(|| format!("x-qn-meta-{name}"), str::to_owned);
        if let Ok(name) = HeaderName::try_from(name) {
            reply.set(name, value);
        }
    }
    if let Some(name) = request.param("attname") {
        let quoted = crate::kodo::encode::component(&name);
        reply.set(CONTENT_DISPOSITION, &format!("attachment; filename*=utf-8''{quoted}"));
    }
    if request.header("if-none-match").is_some_and(|tags| tags == "*" || tags.contains(&tag)) {
        reply.status = 304;
        return Ok(reply);
    }
    let ignored = actions.iter().any(|a| matches!(a, Action::IgnoreRange))
        || request.header("if-range").is_some_and(|t| t != tag);
    let range = match wanted(request.header("range").filter(|_| !ignored), size) {
        Wanted::All => 0..size,
        Wanted::Part(range) => {
            let (sent, said) = other_range(actions, &range, size);
            reply.status = 206;
            reply.set(CONTENT_RANGE, &format!("bytes {}-{}/{size}", said.start, said.end - 1));
            sent
        }
        Wanted::Nothing => {
            reply.status = 416;
            reply.set(CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(reply);
        }
    };
    reply.payload = match data {
        Data::Bytes(bytes) => {
            // A catalog may claim another size than its bytes have; then there is less to send.
            let clip = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
            Payload::Bytes(bytes.slice(clip(range.start)..clip(range.end)))
        }
        Data::File(file) if request.method == Method::HEAD => {
            Payload::File { file, start: range.start, length: range.end - range.start }
        }
        Data::File(file) => file_payload(file, range.start, range.end - range.start)?,
    };
    Ok(reply)
}

/// The range that is sent and the one that is stated, where a rule has another than the one asked for.
fn other_range(actions: &[Action], asked: &Range<u64>, size: u64) -> (Range<u64>, Range<u64>) {
    for action in actions {
        if let Action::OtherRange(by, honest) = action {
            let length = asked.end - asked.start;
            // At the object's end there is nothing further on, so it goes the other way.
            let start = match asked.end + by <= size {
                true => asked.start + by,
                false => asked.start.saturating_sub(*by),
            };
            let sent = start..start + length;
            return (sent.clone(), if *honest { sent } else { asked.clone() });
        }
    }
    (asked.clone(), asked.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (header, size, expected) in [
            (None, 10, Wanted::All),
            (Some("bytes=0-3"), 10, Wanted::Part(0..4)),
            (Some("bytes=4-"), 10, Wanted::Part(4..10)),
            (Some("bytes=-3"), 10, Wanted::Part(7..10)),
            (Some("bytes=-30"), 10, Wanted::Part(0..10)),
            (Some("bytes=5-100"), 10, Wanted::Part(5..10)),
            (Some("bytes=10-"), 10, Wanted::Nothing),
            (Some("bytes=0-0"), 0, Wanted::Nothing),
            (Some("bytes=-0"), 10, Wanted::Nothing),
            (Some("bytes=3-2"), 10, Wanted::All),
            (Some("bytes=0-1,3-4"), 10, Wanted::All),
            (Some("bytes=-"), 10, Wanted::All),
            (Some("items=0-1"), 10, Wanted::All),
            (Some("bytes=99999999999999999999999-"), 10, Wanted::Nothing),
        ] {
            assert_eq!(wanted(header, size), expected, "{header:?}");
        }
    }
}
