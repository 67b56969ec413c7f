//! A snapshot's objects, line by line.

use std::collections::BTreeMap;

use chrono::TimeZone;
use serde::Serialize;

use super::human::{clean, counted, local_time, size};
use super::json::{self, KeyField};
use super::output::{Output, OutputError, Paint};
use super::table::pad_left;
use crate::model::entry::{Entry, Kind, State};
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::model::time::Timestamp;
use crate::op::ls::Item;

#[derive(Serialize)]
struct Object<'a> {
    #[serde(flatten)]
    key: KeyField<'a>,
    kind: Kind,
    state: State,
    reason: Option<&'a str>,
    size: u64,
    /// The content id where there are contents, else what the source showed.
    etag: Option<String>,
    fingerprint: Option<&'a str>,
    #[serde(serialize_with = "json::time_or_null")]
    put_time: Option<Timestamp>,
    mime: Option<&'a str>,
    class: Option<&'a str>,
    meta: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Folded<'a> {
    #[serde(flatten)]
    key: KeyField<'a>,
}

#[derive(Serialize)]
struct Summary {
    snapshot: RunName,
    objects: u64,
    bytes: u64,
    prefixes: u64,
}

/// A listing that is being shown.
pub struct Shown<'a, Z> {
    out: &'a Output,
    zone: &'a Z,
    summary: Summary,
}

impl<'a, Z: TimeZone> Shown<'a, Z> {
    /// Of this snapshot.
    pub fn new(out: &'a Output, snapshot: RunName, zone: &'a Z) -> Self {
        Self { out, zone, summary: Summary { snapshot, objects: 0, bytes: 0, prefixes: 0 } }
    }

    /// Shows one line.
    ///
    /// # Errors
    /// Nothing can be printed any more.
    pub fn item(&mut self, item: &Item) -> Result<(), OutputError> {
        match item {
            Item::Object(entry) => {
                self.summary.objects += 1;
                self.summary.bytes = self.summary.bytes.saturating_add(entry.size);
                if self.out.is_json() { self.out.json("object", &object(entry)) } else { self.text(entry) }
            }
            Item::Folded(prefix) => {
                self.summary.prefixes += 1;
                if self.out.is_json() {
                    self.out.json("prefix", &Folded { key: KeyField(prefix) })
                } else {
                    let prefix = self.out.paint(Paint::Blue, prefix);
                    self.out.line(format_args!("{:>10}  {:19}  {prefix}", "", ""))
                }
            }
        }
    }

    fn text(&self, entry: &Entry) -> Result<(), OutputError> {
        let bytes = if entry.kind == Kind::Object { size(entry.size) } else { String::new() };
        let time = entry.put_time.map(|t| local_time(t, self.zone)).unwrap_or_default();
        let to = entry.target.as_ref().map(|t| format!(" -> {}", Key::new(t.clone()))).unwrap_or_default();
        let state = match entry.state {
            State::Ok => String::new(),
            other => {
                let word = word(other);
                let reason = entry.reason.as_deref().map(|r| format!(": {}", clean(r))).unwrap_or_default();
                format!("  {}", self.out.paint(Paint::Yellow, format_args!("({word}{reason})")))
            }
        };
        self.out.line(format_args!("{}  {time:19}  {}{to}{state}", pad_left(&bytes, 10), entry.key))
    }

    /// Ends it: scripts get the sums; a person whose prefix nothing begins with is told so.
    ///
    /// # Errors
    /// Nothing can be printed any more.
    pub fn finish(self) -> Result<(), OutputError> {
        let sum = self.summary;
        if self.out.is_json() {
            return self.out.json("summary", &sum);
        }
        if self.out.options().quiet {
            return Ok(());
        }
        if sum.objects + sum.prefixes == 0 {
            self.out.aside("nothing there");
        } else if self.out.options().verbose > 0 {
            self.out.aside(format_args!("{}, {}", counted(sum.objects, "object"), size(sum.bytes)));
        }
        Ok(())
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Failed => "failed",
        State::Vanished => "vanished",
        State::Unavailable => "unavailable",
    }
}

fn object(entry: &Entry) -> Object<'_> {
    Object {
        key: KeyField(&entry.key),
        kind: entry.kind,
        state: entry.state,
        reason: entry.reason.as_deref(),
        size: entry.size,
        etag: entry.content.map(|id| id.to_string()).or_else(|| entry.shown_hash()),
        fingerprint: entry.fingerprint.as_deref(),
        put_time: entry.put_time,
        mime: entry.attributes.mime.as_deref(),
        class: entry.attributes.class.as_deref(),
        meta: &entry.attributes.meta,
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::super::output::Options;
    use super::super::output::kept::output;
    use super::*;

    fn items() -> [Item; 3] {
        let mut cat = Entry::new("photos/猫.jpg".into(), Kind::Object);
        cat.size = 1_234_567;
        cat.put_time = Some(Timestamp::from_seconds(0));
        cat.attributes.mime = Some("image/jpeg".into());
        let mut lost = Entry::new(Key::new(*b"x\x1b\xff"), Kind::Object);
        lost.state = State::Unavailable;
        lost.reason = Some("it is archived".into());
        [Item::Object(Box::new(cat)), Item::Folded("photos/2025/".into()), Item::Object(Box::new(lost))]
    }

    fn shown(json: bool) -> String {
        let (out, stdout, _) = output(Options { json, ..Options::default() });
        let mut shown = Shown::new(&out, "2026-11-21T22-48-21Z".parse().unwrap(), &Utc);
        items().iter().for_each(|i| shown.item(i).unwrap());
        shown.finish().unwrap();
        out.flush().unwrap();
        stdout.text()
    }

    #[test]
    fn lines_for_people() {
        assert_eq!(
            shown(false),
            "   1.24 MB  1970-01-01 00:00:00  photos/猫.jpg\n\
             \x20                                photos/2025/\n\
             \x20      0 B                       x\\x1b\\xff  (unavailable: it is archived)\n"
        );
    }

    #[test]
    fn lines_for_scripts() {
        assert_eq!(
            shown(true),
            "{\"type\":\"object\",\"key\":\"photos/猫.jpg\",\"kind\":\"object\",\"state\":\"ok\",\"reason\":null,\
             \"size\":1234567,\"etag\":null,\"fingerprint\":null,\"put_time\":\"1970-01-01T00:00:00Z\",\
             \"mime\":\"image/jpeg\",\"class\":null,\"meta\":{}}\n\
             {\"type\":\"prefix\",\"key\":\"photos/2025/\"}\n\
             {\"type\":\"object\",\"key_b64\":\"eBv/\",\"kind\":\"object\",\"state\":\"unavailable\",\
             \"reason\":\"it is archived\",\"size\":0,\"etag\":null,\"fingerprint\":null,\"put_time\":null,\"mime\":null,\"class\":null,\
             \"meta\":{}}\n\
             {\"type\":\"summary\",\"snapshot\":\"2026-11-21T22-48-21Z\",\"objects\":2,\"bytes\":1234567,\"prefixes\":1}\n"
        );
    }
}
