//! From what Kodo says of an object to what the rest of the program knows of objects.

use crate::kodo::encode::from_b64u;
use crate::kodo::wire::Object;
use crate::model::content::MAX_CONTENT;
use crate::model::entry::{Attributes, Kind};
use crate::model::key::Key;
use crate::model::listed::{Listed, ListedHash};
use crate::model::time::Timestamp;

/// Storage classes whose objects must be thawed before they can be read.
const FROZEN: [i64; 2] = [2, 3];

/// An object as listed.
pub fn listed(object: Object) -> Listed {
    let unavailable = unavailable(&object);
    let mut out = Listed::new(Key::new(object.key), Kind::Object);
    out.size = object.size;
    out.hash = hash(object.hash);
    out.put_time = object.put_time.map(Timestamp::from_kodo);
    out.unavailable = unavailable;
    if object.size > MAX_CONTENT {
        out.failed =
            Some(format!("it has {} bytes, and more than {MAX_CONTENT} cannot be kept", object.size));
    }
    out.attributes = Attributes {
        mime: object.mime,
        class: Some(object.class.to_string()),
        meta: object.meta,
        end_user: object.end_user,
        status: u32::try_from(object.status).ok().filter(|s| *s != 0),
        expiry: object.expiration,
        transitions: object.transitions,
        parts: object.parts,
        ..Attributes::default()
    };
    out
}

/// Which kind of hash a text is: its first byte says so.
fn hash(text: String) -> Option<ListedHash> {
    if let Ok(id) = text.parse() {
        return Some(ListedHash::Etag(id));
    }
    match from_b64u(&text) {
        _ if text.is_empty() => None,
        Some(bytes) if bytes.len() == 21 && bytes[0] == 0x9e => Some(ListedHash::Parts(text)),
        _ => Some(ListedHash::Opaque(text)),
    }
}

/// Why an object cannot be read for now, if so. A listing does not show whether an archived one has been thawed.
fn unavailable(object: &Object) -> Option<String> {
    if object.status == 1 {
        return Some("it is disabled (status 1); enable it to have it backed up".into());
    }
    match object.restore {
        _ if !FROZEN.contains(&object.class) => None,
        Some(2) => None,
        Some(1) => Some("it is archived and being thawed; a later run can read it".into()),
        _ => Some(format!("it is archived (storage class {}); thaw it to have it backed up", object.class)),
    }
}

/// Whether two looks at a key saw the same object.
pub(super) fn same(a: &Listed, b: &Listed) -> bool {
    a.hash == b.hash && a.size == b.size && a.put_time == b.put_time
}

/// Adds what a second, closer look shows, if it still is the same object.
pub(super) fn complete(object: &mut Listed, now: Listed) {
    if same(object, &now) {
        // Parts are not shown by every answer that could show them.
        let parts = std::mem::take(&mut object.attributes.parts);
        object.attributes = now.attributes;
        if object.attributes.parts.is_empty() {
            object.attributes.parts = parts;
        }
        object.unavailable = now.unavailable;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(hash: &str) -> Object {
        Object {
            key: b"a".to_vec(),
            hash: hash.into(),
            put_time: Some(17_000_000_000_000_000),
            ..Object::default()
        }
    }

    #[test]
    fn hashes_by_their_first_byte() {
        assert!(matches!(hash("FlupPJ2wz_k_UrUh10IOQ_btonhP".into()), Some(ListedHash::Etag(_))));
        assert!(matches!(hash("lgV4TNEnA2AXSRVyDqVW4bohMKad".into()), Some(ListedHash::Etag(_))));
        assert!(matches!(hash("nuWFLt2tvBrRmcgAeh2MWmeXZd9v".into()), Some(ListedHash::Parts(_))));
        for odd in
            ["d41d8cd98f00b204e9800998ecf8427e", "FlupPJ2wz_k_UrUh10IOQ_bton", "zuWFLt2tvBrRmcgAeh2MWmeXZd9v"]
        {
            assert_eq!(hash(odd.into()), Some(ListedHash::Opaque(odd.into())));
        }
        assert_eq!(hash(String::new()), None);
    }

    #[test]
    fn what_cannot_be_read_is_known() {
        for (class, status, restore, words) in [
            (0, 0, None, None),
            (1, 0, None, None),
            (4, 0, None, None),
            (5, 0, None, None),
            (9, 0, None, None),
            (0, 1, None, Some("disabled")),
            (2, 0, None, Some("archived (storage class 2)")),
            (3, 0, Some(1), Some("being thawed")),
            (3, 0, Some(2), None),
            (3, 1, Some(2), Some("disabled")),
        ] {
            let found = listed(Object { class, status, restore, ..object("F") }).unavailable;
            match words {
                None => assert_eq!(found, None, "{class} {status} {restore:?}"),
                Some(w) => assert!(found.unwrap().contains(w), "{class} {status} {restore:?}"),
            }
        }
        assert!(listed(Object { size: MAX_CONTENT + 1, ..object("F") }).failed.is_some());
        assert!(listed(Object { size: MAX_CONTENT, ..object("F") }).failed.is_none());
    }

    #[test]
    fn a_closer_look_counts_only_for_the_same_object() {
        let frozen = Object { class: 2, parts: vec![(1, 1)], ..object("F") };
        let mut o = listed(frozen.clone());
        let thawed = Object { restore: Some(2), end_user: Some("u".into()), parts: vec![], ..frozen.clone() };
        complete(&mut o, listed(thawed.clone()));
        assert_eq!((o.unavailable.clone(), o.attributes.end_user.as_deref()), (None, Some("u")));
        assert_eq!(o.attributes.parts, [(1, 1)]);
        let mut o = listed(frozen);
        for other in [
            Object { hash: "G".into(), ..thawed.clone() },
            Object { size: 1, ..thawed.clone() },
            Object { put_time: None, ..thawed },
        ] {
            complete(&mut o, listed(other));
            assert!(o.unavailable.is_some() && o.attributes.end_user.is_none());
        }
    }
}
