//! How an object stands to the same key in an earlier snapshot.

use crate::format::records::Counts;
use crate::model::entry::{Attributes, Entry, Kind, State};
use crate::model::listed::Listed;

/// What an entry is, compared with the parent's entry of the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// There was none (or it had never been read).
    Added,
    /// Other content, or another kind of thing.
    Changed,
    /// The same content, other metadata.
    Metadata,
    /// The same.
    Unchanged,
    /// It has no content now: failed, vanished or unavailable. It counts as that and as nothing else.
    Unread,
}

/// Compares a new entry with the parent's.
pub fn relate(new: &Entry, old: Option<&Entry>) -> Relation {
    if new.state != State::Ok {
        return Relation::Unread;
    }
    let Some(old) = old else { return Relation::Added };
    if old.state != State::Ok {
        // It was listed before, but this is the first time that it was read.
        return if old.content.is_some() && old.content == new.content {
            Relation::Unchanged
        } else {
            Relation::Changed
        };
    }
    if old.kind != new.kind || old.content != new.content || old.target != new.target {
        return Relation::Changed;
    }
    let time_counts = new.kind == Kind::Object;
    if old.attributes != new.attributes || (time_counts && old.put_time != new.put_time) {
        Relation::Metadata
    } else {
        Relation::Unchanged
    }
}

/// Whether the listing shows the object as it was when `old` was read: then its content is the old one.
pub fn is_same(listed: &Listed, old: &Entry) -> bool {
    old.state == State::Ok
        && old.kind == listed.kind
        && old.size == listed.size
        && old.put_time == listed.put_time
        && old.content.is_some()
        && listed.hash.as_ref().is_some_and(|h| Some(h.text()) == old.shown_hash())
}

/// The metadata of an object that is the same as before: what the listing shows counts, and what only a closer look
/// shows (asked for new and changed objects) is kept.
pub fn merge_attributes(listed: &Attributes, old: &Attributes) -> Attributes {
    let or_map = |new: &std::collections::BTreeMap<_, _>, old: &std::collections::BTreeMap<_, _>| {
        if new.is_empty() { old.clone() } else { new.clone() }
    };
    Attributes {
        mime: listed.mime.clone().or_else(|| old.mime.clone()),
        class: listed.class.clone(),
        meta: or_map(&listed.meta, &old.meta),
        headers: or_map(&listed.headers, &old.headers),
        end_user: listed.end_user.clone().or_else(|| old.end_user.clone()),
        status: listed.status,
        expiry: listed.expiry.or(old.expiry),
        transitions: if listed.transitions.is_empty() {
            old.transitions.clone()
        } else {
            listed.transitions.clone()
        },
        parts: if listed.parts.is_empty() { old.parts.clone() } else { listed.parts.clone() },
        mode: listed.mode,
    }
}

/// Adds one entry to a snapshot's counts.
pub fn count(counts: &mut Counts, entry: &Entry, relation: Relation) {
    counts.objects += 1;
    counts.bytes = counts.bytes.saturating_add(if entry.content.is_some() { entry.size } else { 0 });
    match relation {
        Relation::Added => counts.added += 1,
        Relation::Changed => counts.changed += 1,
        Relation::Metadata => {
            counts.unchanged += 1;
            counts.metadata_changed += 1;
        }
        Relation::Unchanged => counts.unchanged += 1,
        Relation::Unread => match entry.state {
            State::Vanished => counts.vanished += 1,
            State::Unavailable => counts.unavailable += 1,
            State::Failed | State::Ok => counts.failed += 1,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::content::sha1;
    use crate::model::id::ContentId;
    use crate::model::listed::ListedHash;
    use crate::model::time::Timestamp;

    fn entry(text: &str) -> Entry {
        let mut e = Entry::new("k".into(), Kind::Object);
        e.content = Some(ContentId::small(sha1(text.as_bytes())));
        e.size = text.len() as u64;
        e.put_time = Some(Timestamp::from_seconds(1));
        e
    }

    #[test]
    fn relations() {
        let old = entry("a");
        assert_eq!(relate(&old, None), Relation::Added);
        assert_eq!(relate(&old, Some(&old)), Relation::Unchanged);
        assert_eq!(relate(&entry("b"), Some(&old)), Relation::Changed);
        let mut newer = old.clone();
        newer.put_time = Some(Timestamp::from_seconds(2));
        assert_eq!(relate(&newer, Some(&old)), Relation::Metadata);
        let mut failed = old.clone();
        failed.state = State::Failed;
        failed.content = None;
        assert_eq!(relate(&failed, Some(&old)), Relation::Unread);
        assert_eq!(relate(&old, Some(&failed)), Relation::Changed);
    }

    #[test]
    fn sameness_needs_hash_size_and_time() {
        let old = entry("a");
        let mut listed = Listed::new("k".into(), Kind::Object);
        listed.size = 1;
        listed.put_time = old.put_time;
        assert!(!is_same(&listed, &old), "no hash, no trust");
        listed.hash = old.content.map(ListedHash::Etag);
        assert!(is_same(&listed, &old));
        for change in [
            |l: &mut Listed| l.size = 2,
            |l: &mut Listed| l.put_time = None,
            |l: &mut Listed| l.kind = Kind::Link,
        ] {
            let mut other = listed.clone();
            change(&mut other);
            assert!(!is_same(&other, &old));
        }
        let mut failed = old;
        failed.state = State::Failed;
        assert!(!is_same(&listed, &failed), "only ok can be unchanged");
    }
}
