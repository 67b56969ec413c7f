//! What goes back: status, headers and where the body's bytes come from.

use std::fs::File;
use std::io;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

/// Where a body's bytes come from.
pub(super) enum Payload {
    Bytes(Bytes),
    /// `length` bytes of the file from `start` on.
    File {
        file: File,
        start: u64,
        length: u64,
    },
    /// As they come; the length is not known before.
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

/// An answer before it is put on the wire.
pub(super) struct Reply {
    pub(super) status: u16,
    /// Boxed to keep replies small: they are errors, too.
    pub(super) headers: Box<HeaderMap>,
    pub(super) payload: Payload,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Reply {
    /// A reply without headers.
    pub(super) fn of(status: u16, payload: Payload) -> Self {
        Self { status, headers: Box::default(), payload }
    }

    /// A body of this type.
    pub(super) fn new(status: u16, mime: &str, body: impl Into<Bytes>) -> Self {
        let mut reply = Self::of(status, Payload::Bytes(body.into()));
        reply.set(CONTENT_TYPE, mime);
        reply
    }

    /// A JSON body.
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::new(status, "application/json", value.to_string())
    }

    /// An error as Kodo words them.
    pub(super) fn error(status: u16, text: &str) -> Self {
        Self::json(status, &json!({ "error": text }))
    }

    /// Success with nothing to say.
    pub(super) fn empty() -> Self {
        Self::json(200, &json!({}))
    }

    /// Something went wrong on this side.
    pub(super) fn failed(error: &io::Error) -> Self {
        Self::error(599, &format!("the service could not read or write its objects: {error}"))
    }

    /// Sets a header; a value that cannot stand in one is left out.
    pub(super) fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            self.headers.insert(name, value);
        }
    }

    /// The number of bytes of the body, where it is known.
    pub(super) fn length(&self) -> Option<u64> {
        match &self.payload {
            Payload::Bytes(b) => Some(b.len() as u64),
            Payload::File { length, .. } => Some(*length),
            Payload::Stream(_) => None,
        }
    }
}

impl From<io::Error> for Reply {
    fn from(e: io::Error) -> Self {
        Self::failed(&e)
    }
}
