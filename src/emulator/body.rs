//! Puts a reply on the wire, whole or broken in the way a rule asked for.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;

use super::reply::{Payload, Reply};
use super::rules::Framing;

/// A body on its way out.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What is wrong with a body.
#[derive(Debug, Clone, Default)]
pub(super) struct Twist {
    pub(super) flip: Vec<u64>,
    pub(super) cut: Option<(u64, Cut)>,
    pub(super) slow: Option<(usize, Duration)>,
    /// What follows the body; its length is then not stated.
    pub(super) tail: Bytes,
}

/// How a body ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    Ends(Framing),
    Stalls,
}

/// How much of a file is read at a time.
const PIECE: u64 = 256 << 10;
/// Files up to this size are read at once, where the request is answered.
const SMALL: u64 = 256 << 10;

/// The response for a reply.
pub(super) fn response(mut reply: Reply, head: bool, twist: &Twist) -> http::Response<Body> {
    let mut close_delimited = false;
    if let Some(length) = reply.length() {
        let mut declared = Some(length).filter(|_| twist.tail.is_empty());
        match twist.cut {
            Some((_, Cut::Ends(Framing::Chunked))) => declared = None,
            Some((_, Cut::Ends(Framing::Close))) => {
                declared = None;
                close_delimited = true;
            }
            Some((at, Cut::Ends(Framing::Shorter))) => declared = Some(at.min(length)),
            _ => {}
        }
        if let Some(length) = declared {
            reply.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
    let body = if head { empty() } else { body(reply.payload, twist) };
    let mut response = http::Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = *reply.headers;
    if close_delimited {
        *response.version_mut() = http::Version::HTTP_10;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn empty() -> Body {
    Full::default().map_err(|never| match never {}).boxed_unsync()
}

fn body(payload: Payload, twist: &Twist) -> Body {
    let twisted = !twist.flip.is_empty() || twist.cut.is_some() || twist.slow.is_some();
    let tail = twist.tail.clone();
    let pieces: BoxStream<'static, io::Result<Bytes>> = match payload {
        Payload::Bytes(bytes) if !twisted && tail.is_empty() => {
            return Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
        }
        Payload::Bytes(bytes) => futures::stream::once(async move { Ok(bytes) }).boxed(),
        Payload::File { file, start, length } => file_pieces(file, start, length),
        Payload::Stream(stream) => stream,
    };
    let pieces = if twisted { twisted_pieces(pieces, twist.clone()) } else { pieces };
    let pieces = if tail.is_empty() {
        pieces
    } else {
        pieces.chain(futures::stream::once(async move { Ok(tail) })).boxed()
    };
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

fn file_pieces(file: std::fs::File, start: u64, length: u64) -> BoxStream<'static, io::Result<Bytes>> {
    let file = Arc::new(file);
    let end = start + length;
    futures::stream::unfold(start, move |at| {
        let file = Arc::clone(&file);
        async move {
            let n = PIECE.min(end.checked_sub(at)?);
            if n == 0 {
                return None;
            }
            let read = tokio::task::spawn_blocking(move || read_at(&file, at, n)).await;
            Some((read.unwrap_or_else(|e| Err(io::Error::other(e))), at + n))
        }
    })
    .boxed()
}

/// The bytes of a file where they are asked for.
pub(super) fn read_at(file: &std::fs::File, at: u64, n: u64) -> io::Result<Bytes> {
    let mut buffer = BytesMut::zeroed(usize::try_from(n).map_err(io::Error::other)?);
    file.read_exact_at(&mut buffer, at)?;
    Ok(buffer.freeze())
}

/// A payload of part of a file; small ones are read at once.
pub(super) fn file_payload(file: std::fs::File, start: u64, length: u64) -> io::Result<Payload> {
    if length <= SMALL {
        return Ok(Payload::Bytes(read_at(&file, start, length)?));
    }
    Ok(Payload::File { file, start, length })
}

struct Feed {
    pieces: BoxStream<'static, io::Result<Bytes>>,
    twist: Twist,
    waiting: Bytes,
    sent: u64,
    broken: bool,
}

fn twisted_pieces(
    pieces: BoxStream<'static, io::Result<Bytes>>,
    twist: Twist,
) -> BoxStream<'static, io::Result<Bytes>> {
    let feed = Feed { pieces, twist, waiting: Bytes::new(), sent: 0, broken: false };
    futures::stream::unfold(feed, |mut feed| async move {
        if feed.broken {
            return None;
        }
        if let Some((at, cut)) = feed.twist.cut
            && feed.sent >= at
        {
            // The bytes so far must be out before the end comes.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return match cut {
                Cut::Stalls => std::future::pending().await,
                Cut::Ends(Framing::Length) => {
                    feed.broken = true;
                    Some((Err(io::Error::other("cut short on purpose")), feed))
                }
                Cut::Ends(_) => None,
            };
        }
        while feed.waiting.is_empty() {
            match feed.pieces.next().await? {
                Ok(piece) => feed.waiting = piece,
                Err(e) => {
                    feed.broken = true;
                    return Some((Err(e), feed));
                }
            }
        }
        let mut n = feed.waiting.len();
        if let Some((chunk, pause)) = feed.twist.slow {
            n = n.min(chunk.max(1));
            if feed.sent > 0 {
                tokio::time::sleep(pause).await;
            }
        }
        if let Some((at, _)) = feed.twist.cut {
            n = n.min(usize::try_from(at - feed.sent).unwrap_or(usize::MAX));
        }
        let mut piece = feed.waiting.split_to(n);
        for at in &feed.twist.flip {
            if let Some(i) = at.checked_sub(feed.sent).and_then(|i| usize::try_from(i).ok())
                && i < n
            {
                let mut changed = BytesMut::from(&piece[..]);
                changed[i] ^= 1;
                piece = changed.freeze();
            }
        }
        feed.sent += n as u64;
        Some((Ok(piece), feed))
    })
    .boxed()
}
