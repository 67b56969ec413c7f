//! What a restore may do, and what each entry comes to. Contract: `docs/cli.md`, *restore*.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::select::Completeness;
use crate::format::entry::split;
use crate::model::entry::{Entry, Kind, State};
use crate::model::glob::Filter;
use crate::model::key::Key;
use crate::model::name::RunName;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// What differs may be replaced.
    pub overwrite: bool,
    /// What the snapshot has not may be deleted.
    pub delete: bool,
    /// A run that never finished will do.
    pub allow_incomplete: bool,
}

/// Why a restore does not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `--delete` alone.
    #[error("--delete needs --overwrite")]
    DeleteAlone,
    /// The run never finished.
    #[error(
        "{0} is INCOMPLETE: that run has not finished; --allow-incomplete restores what it has stored so far"
    )]
    Incomplete(RunName),
    /// What is missing in such a snapshot may well be wanted.
    #[error("{name} is {what}: what it lacks may only be missing from it, so nothing is deleted by it")]
    DeleteBy {
        /// The snapshot.
        name: RunName,
        /// partial, suspect or INCOMPLETE.
        what: &'static str,
    },
    /// There is something in the target.
    #[error(
        "the target {target} is not empty ({count} entries); choose another, or --overwrite writes what differs"
    )]
    Occupied {
        /// The target.
        target: String,
        /// How many files, links and folders are in it.
        count: u64,
    },
}

impl Refusal {
    /// Whether the way it was asked is at fault (exit 2).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::DeleteAlone)
    }
}

/// Whether this snapshot may be restored so.
///
/// # Errors
/// It may not.
pub fn may(wish: Wish, name: RunName, state: Completeness, suspect: bool) -> Result<(), Refusal> {
    if wish.delete && !wish.overwrite {
        return Err(Refusal::DeleteAlone);
    }
    if state == Completeness::Incomplete && !wish.allow_incomplete {
        return Err(Refusal::Incomplete(name));
    }
    let what = match state {
        _ if !wish.delete => return Ok(()),
        Completeness::Incomplete => "INCOMPLETE",
        Completeness::Partial => "partial",
        Completeness::Complete if suspect => "suspect",
        Completeness::Complete => return Ok(()),
    };
    Err(Refusal::DeleteBy { name, what })
}

/// What an entry comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A file with its contents.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// Nothing: the snapshot only names it, and why.
    Nothing(String),
}

/// Says what an entry comes to.
pub fn deed(entry: &Entry) -> Deed {
    let because = |what: &str| {
        let reason = entry.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
        Deed::Nothing(format!("the snapshot has no contents of it, {what}{reason}"))
    };
    match (entry.state, entry.kind) {
        (State::Failed, _) => because("since it could not be read"),
        (State::Vanished, _) => because("since it was gone before it was read"),
        (State::Unavailable, _) => because("since it was only listed"),
        (State::Ok, Kind::Folder) => Deed::Folder,
        (State::Ok, Kind::Link) if entry.target.is_some() => Deed::Link,
        (State::Ok, Kind::Object) if entry.content.is_some() => Deed::File,
        (State::Ok, _) => because("though it says that it was read"),
    }
}

/// A stretch of keys that a restore reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// What the keys begin with.
    pub prefix: Key,
    /// Only the key itself.
    pub exact: bool,
}

/// The stretches that a filter needs, in order and without overlaps.
pub fn reaches(filter: &Filter) -> Vec<Reach> {
    if filter.keys.is_empty() && filter.prefixes.is_empty() {
        return vec![Reach { prefix: Key::from(""), exact: false }];
    }
    let mut all: Vec<Reach> =
        filter.prefixes.iter().map(|p| Reach { prefix: p.clone(), exact: false }).collect();
    all.extend(filter.keys.iter().map(|k| Reach { prefix: k.clone(), exact: true }));
    // A prefix before a key of the same bytes, which it covers.
    all.sort_by(|a, b| (&a.prefix, a.exact).cmp(&(&b.prefix, b.exact)));
    let mut out: Vec<Reach> = Vec::new();
    let mut cover: Option<Key> = None;
    for reach in all {
        let covered = cover.as_ref().is_some_and(|c| reach.prefix.bytes().starts_with(c.bytes()));
        if covered || out.last() == Some(&reach) {
            continue;
        }
        if !reach.exact {
            cover = Some(reach.prefix.clone());
        }
        out.push(reach);
    }
    out
}

/// What is done with one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Written where nothing is.
    Write,
    /// Written over something else.
    Replace,
    /// The contents are right; mode or mtime are not.
    Metadata,
    /// All is as it should be.
    Unchanged,
    /// Not in the snapshot.
    Delete,
    /// Cannot be done.
    Skip,
}

/// One line of the plan that `--dry-run` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What is done.
    pub step: Step,
    /// With which key.
    pub key: Key,
    /// The path below the target, where it is not the key.
    pub path: Option<Key>,
    /// Bytes of content.
    pub size: u64,
    /// Why it is skipped.
    pub reason: Option<String>,
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("action", &self.step)?;
        let mut name = |text: &str, b64: &str, key: &Key| match split(key.bytes()) {
            (_, Some(encoded)) => map.serialize_entry(b64, &encoded),
            (plain, None) => map.serialize_entry(text, plain.unwrap_or_default()),
        };
        name("key", "key_b64", &self.key)?;
        if let Some(path) = &self.path {
            name("path", "path_b64", path)?;
        }
        map.serialize_entry("size", &self.size)?;
        if let Some(reason) = &self.reason {
            map.serialize_entry("reason", reason)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_delete() {
        let name: RunName = "2026-11-21T22-48-21Z".parse().unwrap();
        let wish = |delete, overwrite, allow_incomplete| Wish { overwrite, delete, allow_incomplete };
        use Completeness::{Complete, Incomplete, Partial};
        for (wish, state, suspect, ok) in [
            (wish(false, false, false), Complete, true, true),
            (wish(false, true, false), Partial, true, true),
            (wish(false, true, false), Incomplete, false, false),
            (wish(false, true, true), Incomplete, false, true),
            (wish(true, false, false), Complete, false, false),
            (wish(true, true, false), Complete, false, true),
            (wish(true, true, false), Complete, true, false),
            (wish(true, true, false), Partial, false, false),
            (wish(true, true, true), Incomplete, false, false),
        ] {
            assert_eq!(may(wish, name, state, suspect).is_ok(), ok, "{wish:?} {state:?} {suspect}");
        }
        let refusal = may(wish(true, false, false), name, Complete, false).unwrap_err();
        assert!(refusal.is_usage());
        let refusal = may(wish(true, true, true), name, Incomplete, false).unwrap_err();
        assert!(!refusal.is_usage() && refusal.to_string().contains("INCOMPLETE"), "{refusal}");
    }

    #[test]
    fn reaches_do_not_overlap() {
        let of = |keys: &[&str], prefixes: &[&str]| {
            let list = |l: &[&str]| l.iter().map(|k| Key::from(*k)).collect();
            let filter = Filter { keys: list(keys), prefixes: list(prefixes), ..Filter::default() };
            let reaches = reaches(&filter);
            reaches
                .iter()
                .map(|r| format!("{}{}", r.prefix, if r.exact { "" } else { "*" }))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&[], &[]), ["*"]);
        assert_eq!(of(&["b", "a", "a"], &[]), ["a", "b"]);
        assert_eq!(of(&["a", "ab", "b"], &["a", "abc", "c"]), ["a*", "b", "c*"]);
        assert_eq!(of(&["a"], &["ab"]), ["a", "ab*"]);
        assert_eq!(of(&["a"], &[""]), ["*"]);
    }

    #[test]
    fn what_has_no_contents_is_named() {
        let mut entry = Entry::new("a".into(), Kind::Object);
        assert!(matches!(deed(&entry), Deed::Nothing(_)));
        entry.content = Some("Fto5o-5ea0sNMlW_75VgGJCv2AcJ".parse().unwrap());
        assert_eq!(deed(&entry), Deed::File);
        entry.state = State::Unavailable;
        entry.reason = Some("it is archived".into());
        let Deed::Nothing(reason) = deed(&entry) else { panic!() };
        assert_eq!(reason, "the snapshot has no contents of it, since it was only listed: it is archived");
        assert_eq!(deed(&Entry::new("a/".into(), Kind::Folder)), Deed::Folder);
    }

    #[test]
    fn a_line_of_the_plan() {
        let action = Action {
            step: Step::Write,
            key: Key::new(*b"\xff"),
            path: Some("%FF".into()),
            size: 3,
            reason: None,
        };
        let json = serde_json::to_string(&action).unwrap();
        assert_eq!(json, r#"{"action":"write","key_b64":"/w==","path":"%FF","size":3}"#);
    }
}
