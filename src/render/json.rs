//! JSON lines for scripts: one object a line, each with its `type` first.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::model::key::Key;
use crate::model::time::Timestamp;

#[derive(serde::Serialize)]
struct Tagged<'a, T: Serialize> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

/// One line, without its end. `body` must be a struct or map.
pub fn line(kind: &str, body: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Tagged { kind, body })
}

/// A key as a field: `key`, or `key_b64` where its bytes are not UTF-8. To be flattened into a struct.
#[derive(Debug, Clone, Copy)]
pub struct KeyField<'a>(pub &'a Key);

impl Serialize for KeyField<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        named(s, "key", "key_b64", self.0)
    }
}

/// The key that something had before: `from_key`, or `from_key_b64`.
#[derive(Debug, Clone, Copy)]
pub struct FromKeyField<'a>(pub &'a Key);

impl Serialize for FromKeyField<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        named(s, "from_key", "from_key_b64", self.0)
    }
}

fn named<S: Serializer>(s: S, text: &'static str, b64: &'static str, key: &Key) -> Result<S::Ok, S::Error> {
    let mut map = s.serialize_map(Some(1))?;
    match key.text() {
        Some(t) => map.serialize_entry(text, t)?,
        None => map.serialize_entry(b64, &STANDARD.encode(key.bytes()))?,
    }
    map.end()
}

/// Keys in a list: each as text, or as an object with `key_b64`.
#[derive(Debug, Clone, Copy)]
pub struct KeyItem<'a>(pub &'a Key);

impl Serialize for KeyItem<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0.text() {
            Some(t) => s.serialize_str(t),
            None => KeyField(self.0).serialize(s),
        }
    }
}

/// A time as RFC 3339 in UTC; for `#[serde(serialize_with = …)]`.
pub fn time<S: Serializer>(t: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&t.rfc3339())
}

/// The same for a time that may be missing.
pub fn time_or_null<S: Serializer>(t: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
    match t {
        Some(t) => time(t, s),
        None => s.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize)]
    struct Change<'a> {
        change: &'a str,
        #[serde(flatten)]
        key: KeyField<'a>,
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        from: Option<FromKeyField<'a>>,
        #[serde(serialize_with = "time")]
        at: Timestamp,
    }

    #[test]
    fn lines_have_their_type_first_and_their_keys_whole() {
        let (new, old) = (Key::from("a\"b\n"), Key::new(*b"\xff"));
        let at = Timestamp::from_seconds(0);
        let change = Change { change: "renamed", key: KeyField(&new), from: Some(FromKeyField(&old)), at };
        assert_eq!(
            line("change", &change).unwrap(),
            r#"{"type":"change","change":"renamed","key":"a\"b\n","from_key_b64":"/w==","at":"1970-01-01T00:00:00Z"}"#
        );
        let change = Change { change: "added", key: KeyField(&old), from: None, at };
        assert!(line("change", &change).unwrap().contains(r#""key_b64":"/w==","at""#));
        let items = [KeyItem(&new), KeyItem(&old)];
        assert_eq!(serde_json::to_string(&items).unwrap(), r#"["a\"b\n",{"key_b64":"/w=="}]"#);
    }
}
