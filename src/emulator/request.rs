//! A request exactly as it was received: nothing is normalised before signatures are checked.

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::reply::Reply;
use super::route::Role;
use crate::kodo::encode;

/// The line and the headers of a request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) role: Role,
    pub(super) method: Method,
    /// As received, with the slash in front.
    pub(super) path: String,
    /// As received, without `?`.
    pub(super) query: String,
    pub(super) host: String,
    pub(super) headers: HeaderMap,
}

impl Request {
    pub(super) fn new(role: Role, parts: &http::request::Parts) -> Self {
        let host = match parts.headers.get(http::header::HOST) {
            Some(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            None => parts.uri.authority().map(ToString::to_string).unwrap_or_default(),
        };
        Self {
            role,
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            host,
            headers: parts.headers.clone(),
        }
    }

    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A parameter of the query, decoded; a value that is no UTF-8 is none.
    pub(super) fn param(&self, name: &str) -> Option<String> {
        let pairs = encode::decode_query(&self.query);
        pairs.into_iter().find(|(n, _)| n == name).and_then(|(_, v)| String::from_utf8(v).ok())
    }

    /// The parts of the path between the slashes, without the empty one in front.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.path.trim_start_matches('/').split('/').collect()
    }

    /// The object key that the path is on a download host: everything after the first slash, decoded once.
    pub(super) fn key(&self) -> Vec<u8> {
        encode::decode_path(self.path.strip_prefix('/').unwrap_or(&self.path))
    }

    /// The URL that a download token covers.
    pub(super) fn url(&self, scheme: &str) -> String {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        format!("{scheme}://{}{}{query}", self.host, self.path)
    }
}

/// A request's body, read as far as the call wants it.
#[derive(Debug)]
pub(super) struct Received {
    body: Incoming,
    done: bool,
}

impl Received {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, done: false }
    }

    /// The next bytes; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Reply> {
        while !self.done {
            match self.body.frame().await {
                None => self.done = true,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(_)) => {
                    self.done = true;
                    return Err(Reply::error(400, "the request's body ended early"));
                }
            }
        }
        Ok(None)
    }

    /// All of it, at most `limit` bytes.
    pub(super) async fn all(&mut self, limit: usize) -> Result<Vec<u8>, Reply> {
        let mut out = Vec::new();
        while let Some(bytes) = self.next().await? {
            if out.len() + bytes.len() > limit {
                return Err(Reply::error(413, "the request's body is too large"));
            }
            out.extend_from_slice(&bytes);
        }
        Ok(out)
    }

    /// Reads what is left, up to a bound, so that a client that is still sending gets to see the answer.
    pub(super) async fn drain(&mut self) {
        let mut left: usize = 64 << 20;
        while let Ok(Some(bytes)) = self.next().await {
            left = left.saturating_sub(bytes.len());
            if left == 0 {
                return;
            }
        }
    }

    /// The body itself, for a parser that reads it.
    pub(super) fn take(self) -> Incoming {
        self.body
    }
}
