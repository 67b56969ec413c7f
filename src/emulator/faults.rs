//! What tests break on purpose: rules that match requests and say what goes wrong.
//!
//! Everything is deterministic: rules fire by kind, key and count, never by chance.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use globset::{GlobBuilder, GlobMatcher};

use super::catalog::Catalog;
use super::memory::Memory;
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
    skip: u64,
    times: Option<u64>,
    actions: Vec<Action>,
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

    /// What goes wrong; may be called several times.
    #[must_use]
    pub fn does(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    fn matches(&self, seen: &Seen) -> bool {
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

#[derive(Debug)]
struct Active {
    id: u64,
    rule: Rule,
    matched: u64,
    fired: u64,
}

#[derive(Default)]
struct Inner {
    rules: Mutex<Vec<Active>>,
    next: Mutex<u64>,
    /// Whether there is any rule: asked on every request, so without a lock.
    any: AtomicBool,
    clock_offset: AtomicI64,
    delete_delay: AtomicI64,
    pending: Mutex<Vec<(String, i64)>>,
    frozen: Mutex<Option<Arc<Memory>>>,
    last_markers: Mutex<Vec<String>>,
    last_items: Mutex<Vec<String>>,
}

/// The faults of one service; clones are the same faults.
#[derive(Clone, Default)]
pub struct Faults(Arc<Inner>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&*lock(&self.0.rules)).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    /// Adds a rule; the number names it for [`Faults::remove`] and [`Faults::fired`].
    pub fn add(&self, rule: Rule) -> u64 {
        let mut next = lock(&self.0.next);
        let id = *next;
        *next += 1;
        lock(&self.0.rules).push(Active { id, rule, matched: 0, fired: 0 });
        self.0.any.store(true, Ordering::Release);
        id
    }

    /// Takes a rule away.
    pub fn remove(&self, id: u64) {
        let mut rules = lock(&self.0.rules);
        rules.retain(|a| a.id != id);
        self.0.any.store(!rules.is_empty(), Ordering::Release);
    }

    /// Takes all rules away. Clock, frozen listing and delays stay as they are.
    pub fn clear(&self) {
        lock(&self.0.rules).clear();
        self.0.any.store(false, Ordering::Release);
    }

    /// How often a rule has fired.
    pub fn fired(&self, id: u64) -> u64 {
        lock(&self.0.rules).iter().find(|a| a.id == id).map_or(0, |a| a.fired)
    }

    /// Moves the service's clock by so many seconds: signatures and dates of clients are then off.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.0.clock_offset.store(seconds, Ordering::Relaxed);
    }

    /// Deletions take so many seconds of the service's time to show; 0: none.
    pub fn delay_deletes(&self, seconds: i64) {
        self.0.delete_delay.store(seconds, Ordering::Relaxed);
    }

    /// Listings go on showing the objects that are there now, while everything else shows what is.
    pub fn freeze_listing(&self, catalog: &dyn Catalog) -> std::io::Result<()> {
        catalog.refresh("")?;
        let frozen = Memory::new();
        let mut at: Arc<str> = "".into();
        loop {
            let page = catalog.list(&at, 10_000)?;
            for (key, object) in page.objects {
                frozen.insert_shared([key], &object, &Bytes::new());
            }
            match page.next {
                Some(next) => at = next,
                None => break,
            }
        }
        *lock(&self.0.frozen) = Some(Arc::new(frozen));
        Ok(())
    }

    /// Listings show what is there again.
    pub fn unfreeze_listing(&self) {
        *lock(&self.0.frozen) = None;
    }

    pub(super) fn clock_offset(&self) -> i64 {
        self.0.clock_offset.load(Ordering::Relaxed)
    }

    pub(super) fn delete_delay(&self) -> i64 {
        self.0.delete_delay.load(Ordering::Relaxed)
    }

    pub(super) fn delete_later(&self, key: &str, due: i64) {
        lock(&self.0.pending).push((key.to_owned(), due));
    }

    pub(super) fn due_deletes(&self, now: i64) -> Vec<String> {
        let mut pending = lock(&self.0.pending);
        if pending.is_empty() {
            return Vec::new();
        }
        let (due, later): (Vec<_>, Vec<_>) = pending.drain(..).partition(|(_, t)| *t <= now);
        *pending = later;
        due.into_iter().map(|(key, _)| key).collect()
    }

    pub(super) fn frozen(&self) -> Option<Arc<Memory>> {
        lock(&self.0.frozen).clone()
    }

    /// Notes the marker a listing was asked with; answers the one of the listing before.
    pub(super) fn marker_before(&self, asked: &str) -> String {
        let mut last = lock(&self.0.last_markers);
        last.push(asked.to_owned());
        if last.len() > 2 {
            last.remove(0);
        }
        if last.len() == 2 { last[0].clone() } else { String::new() }
    }

    /// Notes the items a listing was answered with; answers those of the listing before.
    pub(super) fn items_before(&self, items: &[String]) -> Vec<String> {
        std::mem::replace(&mut *lock(&self.0.last_items), items.to_vec())
    }

    /// Whether any rule is set.
    pub(super) fn active(&self) -> bool {
        self.0.any.load(Ordering::Acquire)
    }

    /// What goes wrong with this request.
    pub(super) fn take(&self, seen: &Seen) -> Vec<Action> {
        if !self.active() {
            return Vec::new();
        }
        let mut out = Vec::new();
        for active in lock(&self.0.rules).iter_mut().filter(|a| a.rule.matches(seen)) {
            active.matched += 1;
            let spent = active.rule.times.is_some_and(|n| active.fired >= n);
            if active.matched > active.rule.skip && !spent {
                active.fired += 1;
                out.extend(active.rule.actions.iter().cloned());
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(kind: Kind, key: &str) -> Seen {
        Seen {
            number: 0,
            kind,
            role: Role::Main,
            method: "GET".into(),
            target: "/".into(),
            key: Some(key.into()),
            range: None,
        }
    }

    #[test]
    fn rules_fire_by_kind_key_and_count() {
        let faults = Faults::default();
        assert!(faults.take(&seen(Kind::List, "")).is_empty());
        let id = faults.add(Rule::on(Kind::Download).key("photos/*").after(1).times(2).does(Action::Drop));
        assert!(faults.take(&seen(Kind::Stat, "photos/a")).is_empty());
        assert!(faults.take(&seen(Kind::Download, "photos/a/b")).is_empty(), "* stops at a slash");
        let fired: Vec<usize> =
            (0..4).map(|_| faults.take(&seen(Kind::Download, "photos/a")).len()).collect();
        assert_eq!(fired, [0, 1, 1, 0]);
        assert_eq!(faults.fired(id), 2);
        faults.remove(id);
        faults.add(Rule::any().exactly("a*").does(Action::Stall));
        assert!(faults.take(&seen(Kind::Stat, "ab")).is_empty());
        assert_eq!(faults.take(&seen(Kind::Stat, "a*")).len(), 1);
        faults.clear();
        assert!(!faults.active());
    }

    #[test]
    fn deletes_come_due() {
        let faults = Faults::default();
        faults.delete_later("a", 10);
        faults.delete_later("b", 20);
        assert!(faults.due_deletes(9).is_empty());
        assert_eq!(faults.due_deletes(10), ["a"]);
        assert_eq!(faults.due_deletes(30), ["b"]);
    }
}
