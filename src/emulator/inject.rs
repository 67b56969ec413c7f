//! Carries a request's faults out: before it is answered, and on the answer.

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION};

use super::body::{Cut, Twist, read_at};
use super::etag::{self, Blocks};
use super::gzip;
use super::reply::{Payload, Reply};
use super::rules::{Action, Seen};

/// What becomes of a request before anything is done.
pub(super) enum Before {
    /// It is carried out.
    Go,
    /// This is the answer.
    Answer(Reply),
    /// The connection is closed.
    Drop,
}

/// The faults that come before the call is carried out.
pub(super) async fn before(actions: &[Action], seen: &Seen) -> Before {
    for action in actions {
        match action {
            Action::Hook(hook) => {
                let (hook, seen) = (hook.clone(), seen.clone());
                let _ = tokio::task::spawn_blocking(move || hook(&seen)).await;
            }
            Action::Latency(time) => tokio::time::sleep(*time).await,
            Action::Stall => std::future::pending().await,
            Action::Drop => return Before::Drop,
            Action::Status(code, text) => {
                let mut reply = Reply::error(*code, text);
                headers(actions, &mut reply);
                return Before::Answer(reply);
            }
            Action::Body(code, bytes) => {
                let mut reply = Reply::new(*code, "application/json", bytes.clone());
                headers(actions, &mut reply);
                return Before::Answer(reply);
            }
            Action::Flood(head, letters) => {
                let mut reply = Reply::of(200, flood(head.clone(), *letters));
                reply.set(CONTENT_TYPE, "application/json");
                headers(actions, &mut reply);
                return Before::Answer(reply);
            }
            Action::Redirect(url) => {
                let mut reply = Reply::new(302, "text/plain", "");
                reply.set(LOCATION, url);
                headers(actions, &mut reply);
                return Before::Answer(reply);
            }
            _ => {}
        }
    }
    Before::Go
}

/// The headers that a rule sets.
pub(super) fn headers(actions: &[Action], reply: &mut Reply) {
    for action in actions {
        if let Action::Header(name, value) = action
            && let Ok(name) = HeaderName::try_from(name.as_str())
        {
            match HeaderValue::from_bytes(value.as_bytes()) {
                Ok(value) if !value.is_empty() => drop(reply.headers.insert(name, value)),
                _ => drop(reply.headers.remove(name)),
            }
        }
    }
}

/// The faults of the answer; those of its body's bytes are left for the wire.
pub(super) fn after(actions: &[Action], mut reply: Reply) -> (Reply, Twist) {
    let mut twist = Twist::default();
    for action in actions {
        match action {
            Action::DoneButStatus(code, text) => reply = Reply::error(*code, text),
            Action::Gzip => reply = zipped(reply),
            Action::Append(bytes) => twist.tail = bytes.clone(),
            Action::Truncate(at, framing) => twist.cut = Some((*at, Cut::Ends(*framing))),
            Action::StallAfter(at) => twist.cut = Some((*at, Cut::Stalls)),
            Action::FlipByte(at) => twist.flip.push(*at),
            Action::Slow(chunk, pause) => twist.slow = Some((*chunk, *pause)),
            _ => {}
        }
    }
    headers(actions, &mut reply);
    (reply, twist)
}

/// So many letters behind `head`, made as they are sent.
fn flood(head: Bytes, letters: u64) -> Payload {
    const PIECE: usize = 64 << 10;
    let letter = Bytes::from(vec![b'x'; PIECE]);
    let rest = stream::unfold(letters, move |left| {
        let n = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let piece = (n > 0).then(|| (Ok(letter.slice(..n)), left - n as u64));
        async move { piece }
    });
    Payload::Stream(stream::once(async move { Ok(head) }).chain(rest).boxed())
}

fn zipped(mut reply: Reply) -> Reply {
    let bytes = match &reply.payload {
        Payload::Bytes(bytes) => bytes.clone(),
        Payload::File { file, start, length } => match read_at(file, *start, *length) {
            Ok(bytes) => bytes,
            Err(e) => return Reply::failed(&e),
        },
        Payload::Stream(_) => return reply,
    };
    reply.payload = Payload::Bytes(gzip::stored(&bytes).into());
    reply.set(CONTENT_ENCODING, "gzip");
    let tag = reply.headers.get(ETAG).and_then(|v| v.to_str().ok()).map(|v| v.trim_matches('"').to_owned());
    if let Some(tag) = tag {
        reply.set(ETAG, &format!("\"{tag}.gz\""));
    }
    reply
}

/// The object that a rule puts in the place of the right one: bytes, etag, content type.
pub(super) fn replacement(actions: &[Action]) -> Option<(bytes::Bytes, String, String)> {
    actions.iter().find_map(|action| match action {
        Action::Replace(bytes, mime) => {
            let mut blocks = Blocks::default();
            blocks.update(bytes);
            Some((bytes.clone(), etag::plain(&blocks.finish()), mime.clone()))
        }
        _ => None,
    })
}
