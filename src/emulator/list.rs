//! Listing: what a page holds, and version 1's way of showing it.

use std::sync::Arc;

use serde_json::json;

use super::config::MarkerReading;
use super::object::Object;
use super::reply::Reply;
use super::request::Request;
use super::rules::{Action, NextMarker};
use super::state::{State, blocking};
use crate::kodo::encode;

/// What a listing request asks for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) prefix: String,
    pub(super) delimiter: String,
    pub(super) limit: usize,
    pub(super) parts: bool,
    /// The marker as it was sent.
    pub(super) marker: String,
    /// The first key that may be listed.
    pub(super) from: String,
    /// The marker's `c`: 0, or how many empty pages a test put here; then its key is where the listing goes on.
    pub(super) round: u64,
}

/// One line of a page.
pub(super) enum Entry {
    Object(Arc<str>, Arc<Object>),
    Prefix(String),
}

/// A page before it is written out.
pub(super) struct Page {
    /// Each with the marker that goes on after it.
    pub(super) entries: Vec<(Entry, String)>,
    /// Where the next page begins; empty: nowhere.
    pub(super) marker: String,
}

/// The least text that is greater than every text that begins with `prefix`; none if there is none.
fn after_all_of(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            c => char::from_u32(c as u32 + 1),
        };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// The common prefix that `key` folds into, if any.
fn group<'k>(key: &'k str, prefix: &str, delimiter: &str) -> Option<&'k str> {
    if delimiter.is_empty() {
        return None;
    }
    let at = key.get(prefix.len()..)?.find(delimiter)?;
    key.get(..prefix.len() + at + delimiter.len())
}

fn marker(key: &str) -> String {
    encode::b64u(json!({ "c": 0, "k": key }).to_string())
}

impl Ask {
    /// Reads the query. `cap`: the largest limit, if there is one.
    pub(super) fn parse(state: &State, request: &Request, cap: Option<usize>) -> Result<Self, Reply> {
        let param = |name| request.param(name).unwrap_or_default();
        if param("bucket") != state.config.bucket {
            return Err(Reply::error(631, "no such bucket"));
        }
        let limit = match param("limit").as_str() {
            "" => 1000,
            text => match text.parse::<usize>() {
                Ok(n) if n >= 1 && cap.is_none_or(|cap| n <= cap) => n,
                _ => return Err(Reply::error(400, "invalid list limit")),
            },
        };
        let mut ask = Self {
            prefix: param("prefix"),
            delimiter: param("delimiter"),
            limit,
            parts: param("needparts") == "true",
            marker: param("marker"),
            from: String::new(),
            round: 0,
        };
        if ask.marker.is_empty() {
            ask.from.clone_from(&ask.prefix);
            return Ok(ask);
        }
        ask.at(state, &ask.marker).ok_or_else(|| Reply::error(640, "invalid list marker"))
    }

    /// The same request with another marker; none if that is no marker (an empty one is not).
    pub(super) fn at(&self, state: &State, marker: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(&encode::from_b64u(marker)?).ok()?;
        let key = value.get("k")?.as_str()?.to_owned();
        let round = value.get("c").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let from = if round > 0 { key } else { self.first_after(state.config.markers, key) };
        let from = from.max(self.prefix.clone());
        Some(Self { marker: marker.to_owned(), from, round, ..self.clone() })
    }

    /// The first key that may follow a marker with this key.
    fn first_after(&self, reading: MarkerReading, key: String) -> String {
        if reading == MarkerReading::NextKey {
            return key;
        }
        match group(&key, &self.prefix, &self.delimiter).filter(|_| key.starts_with(&self.prefix)) {
            // The key stands for its whole group, which was listed.
            Some(group) => after_all_of(group).unwrap_or_else(|| "\u{10ffff}".repeat(200)),
            None => key + "\0",
        }
    }

    /// Another marker than the one asked with, which goes on at the same place.
    pub(super) fn resume_here(&self) -> String {
        encode::b64u(json!({ "c": self.round.saturating_add(1), "k": self.from }).to_string())
    }

    /// The page that is asked for.
    pub(super) fn page(&self, state: &State) -> std::io::Result<Page> {
        let now = state.now();
        let mut found: Vec<Entry> = Vec::new();
        let mut at: Arc<str> = self.from.as_str().into();
        // One more than the limit: the first of the next page.
        let mut more = true;
        'more: while more && found.len() <= self.limit {
            let listing = state.list(&at, self.limit + 1 - found.len())?;
            let mut next = listing.next;
            let mut folded: Option<String> = None;
            for (key, object) in listing.objects {
                if !key.starts_with(&self.prefix) {
                    break 'more;
                }
                if object.expired(now) || folded.as_ref().is_some_and(|g| key.starts_with(g.as_str())) {
                    continue;
                }
                folded = group(&key, &self.prefix, &self.delimiter).map(str::to_owned);
                found.push(match &folded {
                    Some(group) => Entry::Prefix(group.clone()),
                    None => Entry::Object(key, object),
                });
            }
            if let (Some(group), Some(following)) = (&folded, &next)
                && following.starts_with(group.as_str())
            {
                next = after_all_of(group).map(Into::into);
            }
            match next {
                Some(next) => at = next,
                None => more = false,
            }
        }
        let follower = (found.len() > self.limit).then(|| found.pop()).flatten();
        Ok(self.with_markers(state.config.markers, found, follower.as_ref()))
    }

    fn with_markers(&self, reading: MarkerReading, found: Vec<Entry>, follower: Option<&Entry>) -> Page {
        let name = |e: &Entry| match e {
            Entry::Object(key, _) => key.to_string(),
            Entry::Prefix(prefix) => prefix.clone(),
        };
        let names: Vec<String> = found.iter().chain(follower).map(name).collect();
        let after = |i: usize| {
            let following = names.get(i + 1)?;
            Some(marker(if reading == MarkerReading::NextKey { following } else { &names[i] }))
        };
        let entries: Vec<(Entry, String)> =
            found.into_iter().enumerate().map(|(i, e)| (e, after(i).unwrap_or_default())).collect();
        let marker = entries.last().map(|(_, m)| m.clone()).unwrap_or_default();
        Page { entries, marker }
    }
}

/// The limit that a rule puts in the place of the one asked for.
pub(super) fn huge(actions: &[Action]) -> Option<usize> {
    actions.iter().find_map(|a| if let Action::Huge(n) = a { Some(*n) } else { None })
}

/// A record of which every field is empty or zero.
pub(super) const EMPTY_RECORD: &str =
    r#"{"key":"","hash":"","fsize":0,"putTime":0,"mimeType":"","type":0,"status":0}"#;

/// `/list`.
pub(super) async fn serve(state: &Arc<State>, request: &Request, actions: &[Action]) -> Result<Reply, Reply> {
    let mut ask = Ask::parse(state, request, Some(1000))?;
    if let Some(n) = huge(actions) {
        ask.limit = n;
    }
    let before = state.faults.marker_before(&ask.marker);
    let page = {
        let (state, ask) = (Arc::clone(state), ask.clone());
        blocking(move || {
            if ask.marker.is_empty() {
                state.catalog.refresh(&ask.prefix)?;
            }
            Ok(ask.page(&state)?)
        })
        .await?
    };
    let (now, prefixed) = (state.now(), state.config.meta_prefix);
    let (mut items, mut prefixes) = (Vec::new(), Vec::new());
    for (entry, _) in &page.entries {
        match entry {
            Entry::Object(key, object) => items.push(object.item(key, now, ask.parts, prefixed)),
            Entry::Prefix(prefix) => prefixes.push(json!(prefix).to_string()),
        }
    }
    let mut marker = page.marker;
    let mut padding = 0;
    let mut null = false;
    let previous = if state.faults.active() { state.faults.items_before(&items) } else { Vec::new() };
    for action in actions {
        match action {
            Action::EmptyPage => {
                items.clear();
                prefixes.clear();
                marker = ask.resume_here();
            }
            Action::NullItems => null = true,
            Action::EmptyRecords(n) => items.extend(std::iter::repeat_n(EMPTY_RECORD.to_owned(), *n)),
            Action::DuplicatePage => drop(items.splice(0..0, previous.iter().cloned())),
            Action::Reverse => items.reverse(),
            Action::Extra(extra) => items.extend(extra.iter().map(ToString::to_string)),
            Action::Marker(NextMarker::Asked) => marker.clone_from(&ask.marker),
            Action::Marker(NextMarker::Before) => marker.clone_from(&before),
            Action::Marker(NextMarker::Here) => marker = ask.resume_here(),
            Action::Marker(NextMarker::Text(text)) => marker.clone_from(text),
            Action::Pad(n) => padding = *n,
            _ => {}
        }
    }
    let mut body = format!("{{\"marker\":{}", json!(marker));
    if !ask.delimiter.is_empty() {
        body += &format!(",\"commonPrefixes\":[{}]", prefixes.join(","));
    }
    if padding > 0 {
        body += &format!(",\"padding\":\"{}\"", "x".repeat(padding));
    }
    body += &match null {
        true => ",\"items\":null}".to_owned(),
        false => format!(",\"items\":[{}]}}", items.join(",")),
    };
    Ok(Reply::new(200, "application/json", body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_what_follows_them() {
        assert_eq!(group("a/b/c", "", "/"), Some("a/"));
        assert_eq!(group("a/b/c", "a/", "/"), Some("a/b/"));
        assert_eq!(group("a/", "a/", "/"), None, "the folder's own object");
        assert_eq!(group("//x", "", "/"), Some("/"));
        assert_eq!(group("abc", "", ""), None);
        assert_eq!(after_all_of("a/").as_deref(), Some("a0"));
        assert_eq!(after_all_of("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after_all_of("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_all_of("\u{10ffff}"), None);
    }
}
