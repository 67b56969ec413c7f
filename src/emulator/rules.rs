//! Rules: which requests something goes wrong with, and what.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use globset::{GlobBuilder, GlobMatcher};

use super::route::{Kind, Role};

/// A request as rules and hooks see it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Counts from 0 over the service's life.
    pub number: u64,
    /// What it is.
    pub kind: Kind,
    /// The address it came to.
    pub role: Role,
    /// The method.
    pub method: String,
    /// The raw path and query.
    pub target: String,
    /// The object's key (a listing's prefix), where it names one.
    pub key: Option<String>,
    /// The Range header.
    pub range: Option<String>,
}

/// How the end of a body that is cut short shows on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The full Content-Length stands in the header; the connection is closed early.
    Length,
    /// Chunked, with a proper last chunk: nothing shows that bytes are missing.
    Chunked,
    /// HTTP/1.0 style: the end of the connection is the end of the body.
    Close,
    /// The Content-Length is that of what is sent.
    Shorter,
}

/// The marker that a listing answers instead of the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextMarker {
    /// The one that was asked with: an endless listing A, A, A.
    Asked,
    /// The one that the listing request before this was asked with: an endless listing A, B, A.
    Before,
    /// One that was never answered before and leads to this very page: an endless listing whose markers never repeat.
    Here,
    /// This text.
    Text(String),
}

/// What goes wrong. A rule may do several things; those that decide the answer do so in the order given.
#[derive(Clone)]
pub enum Action {
    /// Calls this before the request is carried out, on a thread that may block: to change an object between two
    /// requests, or to look on.
    Hook(Arc<dyn Fn(&Seen) + Send + Sync>),
    /// Waits first.
    Latency(Duration),
    /// Takes the request and never answers.
    Stall,
    /// Closes the connection without an answer.
    Drop,
    /// Answers this status with a JSON error, without doing anything.
    Status(u16, String),
    /// Answers 302 to this URL.
    Redirect(String),
    /// Answers this status with these bytes, without doing anything: a page that no service would send.
    Body(u16, Bytes),
    /// Answers 200 with these bytes and then so many times the letter `x`, without saying how many: an answer as large
    /// as a test likes, never in memory at once.
    Flood(Bytes, u64),
    /// Does what was asked, then answers this status as if it had failed.
    DoneButStatus(u16, String),
    /// Sets a header of the answer (`Retry-After`, a wrong `Content-Range`, another `ETag`, no `X-Reqid` with an
    /// empty value).
    Header(String, String),
    /// Sends this many bytes of the body and ends it in this way.
    Truncate(u64, Framing),
    /// Sends this many bytes of the body, then nothing, and keeps the connection open.
    StallAfter(u64),
    /// Changes the byte at this position of the body that is sent.
    FlipByte(u64),
    /// Sends so many bytes, waits, and so on.
    Slow(usize, Duration),
    /// Another content with its own size, ETag and content type, as an image processor makes it.
    Replace(Bytes, String),
    /// Answers a Range request with 200 and the whole object.
    IgnoreRange,
    /// Answers a Range request with 206 and the range that begins so many bytes later. Whether `Content-Range` admits it
    /// is the second value.
    OtherRange(u64, bool),
    /// Sends these bytes after the body, which does not say how long it is.
    Append(Bytes),
    /// Sends the body gzipped, asked for or not, with the ETag that goes with it.
    Gzip,
    /// A page with a marker but no items; the next request goes on where this one would have.
    EmptyPage,
    /// `items` (v2: `item`) is null; the marker is right.
    NullItems,
    /// So many items more whose fields are all empty or zero.
    EmptyRecords(usize),
    /// The items of the page before once more, in front of this page's own.
    DuplicatePage,
    /// The page's items in reverse order.
    Reverse,
    /// These items more (JSON objects): stale ones, ones outside the prefix.
    Extra(Vec<serde_json::Value>),
    /// Another marker than the right one.
    Marker(NextMarker),
    /// A page of up to so many items, whatever limit was asked for.
    Huge(usize),
    /// So many bytes of padding in the answer.
    Pad(usize),
    /// A v2 stream that ends after so many lines, with their markers.
    BreakStream(usize),
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook(_) => f.write_str("Hook"),
            Self::Latency(d) => write!(f, "Latency({d:?})"),
            Self::Status(code, _) | Self::DoneButStatus(code, _) => write!(f, "Status({code})"),
            _ => f.write_str("Action"),
        }
    }
}

#[derive(Debug, Clone)]
enum KeyMatch {
    Glob(GlobMatcher),
    Exactly(String),
}

/// Which requests, and what goes wrong with them.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    kind: Option<Kind>,
    key: Option<KeyMatch>,
    role: Option<Role>,
    method: Option<String>,
    range: Option<String>,
    pub(super) skip: u64,
    pub(super) times: Option<u64>,
    pub(super) share: Option<(u64, u64)>,
    pub(super) actions: Vec<Action>,
}

impl Rule {
    /// Matches every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Matches requests of this kind.
    pub fn on(kind: Kind) -> Self {
        Self { kind: Some(kind), ..Self::default() }
    }

    /// Only for keys (prefixes of listings) that match this glob (`*` stops at `/`, `**` does not); what is no
    /// valid glob matches only itself.
    #[must_use]
    pub fn key(mut self, glob: &str) -> Self {
        self.key = Some(match GlobBuilder::new(glob).literal_separator(true).build() {
            Ok(glob) => KeyMatch::Glob(glob.compile_matcher()),
            Err(_) => KeyMatch::Exactly(glob.to_owned()),
        });
        self
    }

    /// Only for this key.
    #[must_use]
    pub fn exactly(mut self, key: &str) -> Self {
        self.key = Some(KeyMatch::Exactly(key.to_owned()));
        self
    }

    /// Only at this address.
    #[must_use]
    pub fn at(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    /// Only with this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only with this Range header.
    #[must_use]
    pub fn range(mut self, range: &str) -> Self {
        self.range = Some(range.to_owned());
        self
    }

    /// Lets the first `n` matching requests pass.
    #[must_use]
    pub fn after(mut self, n: u64) -> Self {
        self.skip = n;
        self
    }

    /// Fires at most `n` times.
    #[must_use]
    pub fn times(mut self, n: u64) -> Self {
        self.times = Some(n);
        self
    }

    /// Fires for the first `n` of every `of` matching requests: a service that fails part of the time.
    #[must_use]
    pub fn share(mut self, n: u64, of: u64) -> Self {
        self.share = Some((n, of.max(1)));
        self
    }

    /// What goes wrong; may be called several times.
    #[must_use]
    pub fn does(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    /// Whether the rule is about this request, its count aside.
    pub(super) fn matches(&self, seen: &Seen) -> bool {
        let key = match (&self.key, &seen.key) {
            (None, _) => true,
            (Some(KeyMatch::Glob(glob)), Some(key)) => glob.is_match(key),
            (Some(KeyMatch::Exactly(wanted)), Some(key)) => wanted == key,
            (Some(_), None) => false,
        };
        key && self.kind.is_none_or(|k| k == seen.kind)
            && self.role.is_none_or(|r| r == seen.role)
            && self.method.as_ref().is_none_or(|m| *m == seen.method)
            && self.range.as_ref().is_none_or(|r| Some(r) == seen.range.as_ref())
    }
}
