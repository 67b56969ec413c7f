//! An entry ↔ its line in a segment. Canonical: fixed field order, defaults left out, maps sorted.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::FormatError;
use crate::model::entry::{Attributes, Entry, Kind, State};
use crate::model::id::ContentId;
use crate::model::key::Key;
use crate::model::time::Timestamp;

/// No line is longer. Keys, link targets and metadata stay far below; a hostile source must not fill memory.
pub const MAX_LINE: usize = 512 << 10;

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_b64: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    kind: Kind,
    #[serde(default, skip_serializing_if = "is_default")]
    state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_default")]
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<ContentId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    put_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_b64: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    unverified: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mime: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "map_is_empty")]
    meta: Cow<'a, BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "map_is_empty")]
    headers: Cow<'a, BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_user: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiry: Option<i64>,
    #[serde(default, skip_serializing_if = "times_are_empty")]
    transitions: Cow<'a, BTreeMap<String, i64>>,
    #[serde(default, skip_serializing_if = "parts_are_empty")]
    parts: Cow<'a, [(u64, u64)]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<u32>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn map_is_empty(map: &BTreeMap<String, String>) -> bool {
    map.is_empty()
}

fn times_are_empty(map: &BTreeMap<String, i64>) -> bool {
    map.is_empty()
}

fn parts_are_empty(parts: &[(u64, u64)]) -> bool {
    parts.is_empty()
}

/// Bytes as a pair of fields: text where they are UTF-8, else base64.
pub(crate) fn split(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// The bytes of such a pair; `None` when neither field is there.
pub(crate) fn join(text: Option<Cow<'_, str>>, b64: Option<String>) -> Result<Option<Vec<u8>>, FormatError> {
    match (text, b64) {
        (Some(text), None) => Ok(Some(text.into_owned().into_bytes())),
        (None, Some(b64)) => {
            STANDARD.decode(b64).map(Some).map_err(|_| FormatError::damaged("a _b64 field is not base64"))
        }
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(FormatError::damaged("a field and its _b64 twin stand side by side")),
    }
}

/// Appends the entry's line, newline included.
///
/// # Errors
/// The line would be longer than [`MAX_LINE`].
pub fn encode(entry: &Entry, out: &mut Vec<u8>) -> Result<(), FormatError> {
    let start = out.len();
    let (key, key_b64) = split(entry.key.bytes());
    let (target, target_b64) = entry.target.as_deref().map_or((None, None), split);
    let a = &entry.attributes;
    let text =
        |s: &'_ Option<String>| -> Option<Cow<'_, str>> { s.as_deref().map(|s| Cow::Owned(s.to_owned())) };
    let line = Line {
        key: key.map(Cow::Borrowed),
        key_b64,
        kind: entry.kind,
        state: entry.state,
        reason: text(&entry.reason),
        size: entry.size,
        etag: entry.content,
        fingerprint: entry.fingerprint.as_deref().map(Cow::Borrowed),
        put_time: entry.put_time,
        target: target.map(Cow::Borrowed),
        target_b64,
        unverified: entry.unverified,
        mime: a.mime.as_deref().map(Cow::Borrowed),
        class: a.class.as_deref().map(Cow::Borrowed),
        meta: Cow::Borrowed(&a.meta),
        headers: Cow::Borrowed(&a.headers),
        end_user: text(&a.end_user),
        status: a.status,
        expiry: a.expiry,
        transitions: Cow::Borrowed(&a.transitions),
        parts: Cow::Borrowed(&a.parts),
        mode: a.mode,
    };
    serde_json::to_writer(&mut *out, &line)
        .map_err(|e| FormatError::damaged(format!("an entry cannot be written: {e}")))?;
    out.push(b'\n');
    if out.len() - start > MAX_LINE {
        out.truncate(start);
        return Err(FormatError::damaged("its key and metadata are too long to be kept"));
    }
    Ok(())
}

/// Reads an entry's line (without its newline).
///
/// # Errors
/// It is no such line, or says what cannot be.
pub fn decode(line: &[u8]) -> Result<Entry, FormatError> {
    if line.len() > MAX_LINE {
        return Err(FormatError::damaged("an entry's line is too long"));
    }
    let l: Line<'_> = serde_json::from_slice(line)
        .map_err(|e| FormatError::damaged(format!("an entry's line is not one: {e}")))?;
    let key = join(l.key, l.key_b64)?.ok_or_else(|| FormatError::damaged("an entry has no key"))?;
    if key.len() > Key::MAX {
        return Err(FormatError::damaged("an entry's key is too long"));
    }
    if l.etag.is_some_and(|id| !id.fits(l.size)) {
        return Err(FormatError::damaged("an entry's etag does not fit its size"));
    }
    let owned = |s: Option<Cow<'_, str>>| s.map(Cow::into_owned);
    Ok(Entry {
        key: Key::new(key),
        kind: l.kind,
        state: l.state,
        reason: owned(l.reason),
        size: l.size,
        content: l.etag,
        fingerprint: owned(l.fingerprint),
        put_time: l.put_time,
        target: join(l.target, l.target_b64)?,
        unverified: l.unverified,
        attributes: Attributes {
            mime: owned(l.mime),
            class: owned(l.class),
            meta: l.meta.into_owned(),
            headers: l.headers.into_owned(),
            end_user: owned(l.end_user),
            status: l.status,
            expiry: l.expiry,
            transitions: l.transitions.into_owned(),
            parts: l.parts.into_owned(),
            mode: l.mode,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(entry: &Entry) -> String {
        let mut out = Vec::new();
        encode(entry, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn defaults_are_left_out() {
        let mut e = Entry::new("a\n\"b".into(), Kind::Object);
        assert_eq!(line(&e), "{\"key\":\"a\\n\\\"b\"}\n");
        e.key = Key::new(vec![0xff]);
        e.size = 1;
        e.content = Some("FlupPJ2wz_k_UrUh10IOQ_btonhP".parse().unwrap());
        assert_eq!(line(&e), "{\"key_b64\":\"/w==\",\"size\":1,\"etag\":\"FlupPJ2wz_k_UrUh10IOQ_btonhP\"}\n");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for bad in [
            "",
            "{}",
            "{\"key\":\"a\",\"key_b64\":\"YQ==\"}",
            "{\"key_b64\":\"!\"}",
            "{\"key\":\"a\",\"etag\":\"lgV4TNEnA2AXSRVyDqVW4bohMKad\"}",
            "{\"key\":\"a\",\"size\":-1}",
            "{\"key\":\"a\",\"state\":\"fine\"}",
        ] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(key in prop::collection::vec(any::<u8>(), 0..40), target in prop::option::of(prop::collection::vec(any::<u8>(), 0..10)),
                      mime in prop::option::of(".*"), meta in prop::collection::btree_map(".*", ".*", 0..3), nanos: i64, mode in prop::option::of(0u32..0o10000)) {
            let mut e = Entry::new(Key::new(key), Kind::Link);
            e.target = target;
            e.put_time = Some(Timestamp::from_nanos(nanos));
            e.attributes = Attributes { mime, meta, mode, parts: vec![(4, 2)], ..Attributes::default() };
            let text = line(&e);
            prop_assert_eq!(decode(text.trim_end_matches('\n').as_bytes()).unwrap(), e);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
