//! Does a new snapshot look like a disaster at the source? Contract: `docs/cli.md`, *suspect*.

use crate::control::{Control, off};
use crate::model::content::content_id;
use crate::model::entry::{Entry, Kind, State};
use crate::model::id::ContentId;
use crate::model::share::Share;

/// `[guard]`: when a run looks wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// More than this share gone: suspect.
    pub max_removed: Share,
    /// More than this share overwritten: suspect.
    pub max_changed: Share,
    /// More than this share failing: the run stops.
    pub max_failed: Share,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            max_removed: Share::percent(30),
            max_changed: Share::percent(80),
            max_failed: Share::percent(10),
        }
    }
}

/// How the new snapshot differs from the newest finished one that is not suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Difference {
    /// Objects the baseline had.
    pub had: u64,
    /// Of these, gone now (renamed ones apart).
    pub gone: u64,
    /// Of these, there and without a byte now. They count as overwritten too.
    pub emptied: u64,
    /// Of these, with other content now.
    pub overwritten: u64,
}

/// What became of the content that an object had in the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    /// It is still there, or nobody knows, or there was none.
    #[default]
    Kept,
    /// Another stands in its place.
    Overwritten,
    /// Nothing stands in its place: the object has no byte left.
    Emptied,
    /// The object was listed and was gone when it was to be read.
    Gone,
}

/// What became of the content `old`, which the baseline had under the key of `new` and listed by the hash `shown`.
pub fn fate(old: ContentId, shown: Option<&str>, new: &Entry) -> Fate {
    let nothing = content_id(&[]);
    match new.state {
        State::Ok if new.content == Some(old) => Fate::Kept,
        State::Ok if new.kind == Kind::Object && new.size == 0 && old != nothing => Fate::Emptied,
        State::Ok => Fate::Overwritten,
        // What cannot be read now (archived, disabled) is at least listed, with its hash.
        State::Unavailable if new.shown_hash().is_some() && new.shown_hash().as_deref() != shown => {
            Fate::Overwritten
        }
        State::Vanished => Fate::Gone,
        State::Unavailable | State::Failed => Fate::Kept,
    }
}

/// Fewer are never suspicious, unless they are all there was.
const FEW: u64 = 10;

/// Why the snapshot is suspect, if it is.
pub fn judge(guard: &Guard, d: &Difference) -> Option<String> {
    if off(Control::NoBrake) {
        return None;
    }
    // An object without a byte has lost as much as one that is not there.
    let lost = d.gone + d.emptied;
    let how = match (d.gone, d.emptied) {
        (_, 0) => "gone".into(),
        (0, _) => "emptied to zero bytes".into(),
        (_, emptied) => format!("gone or emptied to zero bytes ({emptied} of them emptied)"),
    };
    if d.had > 0 && lost >= d.had {
        return Some(format!("all {} objects are {how}", d.had));
    }
    if lost >= FEW && guard.max_removed.is_exceeded(lost, d.had) {
        return Some(format!("{lost} of {} objects are {how}", d.had));
    }
    if d.overwritten >= FEW && guard.max_changed.is_exceeded(d.overwritten, d.had) {
        return Some(format!("{} of {} objects are overwritten", d.overwritten, d.had));
    }
    None
}

/// Whether so many failures mean that the run is worth nothing: more than the allowed part, and at least ten.
pub fn too_many_failed(guard: &Guard, failed: u64, of: u64) -> bool {
    failed >= FEW && guard.max_failed.is_exceeded(failed, of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::content::sha1;

    #[test]
    fn fates() {
        let id = |text: &str| ContentId::small(sha1(text.as_bytes()));
        let new = |state, content: Option<&str>, size| {
            let mut e = Entry::new("k".into(), Kind::Object);
            (e.state, e.content, e.size) = (state, content.map(id), size);
            e
        };
        let fate_of = |old: &str, e: &Entry| fate(id(old), Some("listed"), e);
        assert_eq!(fate_of("a", &new(State::Ok, Some("a"), 1)), Fate::Kept);
        assert_eq!(fate_of("a", &new(State::Ok, Some("b"), 1)), Fate::Overwritten);
        assert_eq!(fate_of("a", &new(State::Ok, Some(""), 0)), Fate::Emptied);
        assert_eq!(fate_of("", &new(State::Ok, Some(""), 0)), Fate::Kept);
        assert_eq!(fate_of("a", &new(State::Vanished, None, 1)), Fate::Gone);
        assert_eq!(fate_of("a", &new(State::Failed, None, 1)), Fate::Kept);
        let mut archived = new(State::Unavailable, None, 1);
        assert_eq!(fate_of("a", &archived), Fate::Kept, "nothing is known of it");
        archived.fingerprint = Some("listed".into());
        assert_eq!(fate_of("a", &archived), Fate::Kept);
        archived.fingerprint = Some("other".into());
        assert_eq!(fate_of("a", &archived), Fate::Overwritten);
        let mut folder = new(State::Ok, None, 0);
        folder.kind = Kind::Folder;
        assert_eq!(fate_of("a", &folder), Fate::Overwritten);
    }

    #[test]
    fn limits() {
        let g = Guard::default();
        let d =
            |had, gone, overwritten| judge(&g, &Difference { had, gone, emptied: 0, overwritten }).is_some();
        assert!(d(1, 1, 0) && d(9, 9, 0), "all it had");
        assert!(!d(20, 9, 0), "fewer than ten");
        assert!(!d(100, 30, 0) && d(100, 31, 0));
        assert!(!d(100, 0, 80) && d(100, 0, 81));
        assert!(!d(0, 0, 0));
        let e = |had, gone, emptied| judge(&g, &Difference { had, gone, emptied, overwritten: emptied });
        assert!(e(100, 0, 30).is_none() && e(100, 15, 15).is_none() && e(20, 4, 5).is_none());
        assert_eq!(e(100, 0, 31).unwrap(), "31 of 100 objects are emptied to zero bytes");
        assert_eq!(
            e(100, 1, 30).unwrap(),
            "31 of 100 objects are gone or emptied to zero bytes (30 of them emptied)"
        );
        assert_eq!(e(3, 0, 3).unwrap(), "all 3 objects are emptied to zero bytes");
        assert_eq!(e(3, 3, 0).unwrap(), "all 3 objects are gone");
        assert!(!too_many_failed(&g, 9, 10) && too_many_failed(&g, 10, 99) && !too_many_failed(&g, 10, 100));
    }
}
