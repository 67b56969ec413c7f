//! Store, source and target must not lie inside one another in ways that eat a backup.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::model::url::Location;

/// Two places that get in each other's way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Entangled {
    /// The backup would back itself up.
    #[error("the store {store} lies inside its own source {source_}; put the backups somewhere else")]
    StoreInSource {
        /// The store.
        store: String,
        /// The source.
        source_: String,
    },
    /// The same seen from the other side.
    #[error("the source {source_} lies inside the store {store}; what a store holds is no source")]
    SourceInStore {
        /// The store.
        store: String,
        /// The source.
        source_: String,
    },
    /// Restored files would mix with the backups.
    #[error("the target {target} lies inside the store {store}; restore to somewhere else")]
    TargetInStore {
        /// The store.
        store: String,
        /// The target.
        target: String,
    },
    /// A restore that deletes what is not in the snapshot would delete the backups.
    #[error("the store {store} lies inside the target {target}; restore to somewhere else")]
    StoreInTarget {
        /// The store.
        store: String,
        /// The target.
        target: String,
    },
}

/// Checks the places of one command.
pub fn check(
    store: &Location,
    source: Option<&Location>,
    target: Option<&Location>,
) -> Result<(), Entangled> {
    let shown = |l: &Location| l.to_string();
    if let Some(source) = source {
        let (store_, source_) = (shown(store), shown(source));
        if is_within(store, source) {
            return Err(Entangled::StoreInSource { store: store_, source_ });
        }
        if is_within(source, store) {
            return Err(Entangled::SourceInStore { store: store_, source_ });
        }
    }
    if let Some(target) = target {
        let (store_, target_) = (shown(store), shown(target));
        if is_within(target, store) {
            return Err(Entangled::TargetInStore { store: store_, target: target_ });
        }
        if is_within(store, target) {
            return Err(Entangled::StoreInTarget { store: store_, target: target_ });
        }
    }
    Ok(())
}

/// Whether `inner` is `outer` or lies in it.
fn is_within(inner: &Location, outer: &Location) -> bool {
    match (inner, outer) {
        (Location::Folder(inner), Location::Folder(outer)) => real(inner).starts_with(real(outer)),
        (
            Location::Bucket { scheme: s1, bucket: b1, prefix: p1 },
            Location::Bucket { scheme: s2, bucket: b2, prefix: p2 },
        ) => s1 == s2 && b1 == b2 && p1.bytes().starts_with(p2.bytes()),
        _ => false,
    }
}

/// The path without links and `..`, as far as it exists; what does not exist yet is taken as it is written.
fn real(path: &Path) -> PathBuf {
    let mut missing: Vec<OsString> = Vec::new();
    let mut at = path.to_owned();
    loop {
        if let Ok(found) = at.canonicalize() {
            let mut out = found;
            for part in missing.iter().rev() {
                if part == ".." {
                    out.pop();
                } else if part != "." {
                    out.push(part);
                }
            }
            return out;
        }
        let Some(last) = at.components().next_back().map(|c| c.as_os_str().to_owned()) else {
            return path.to_owned();
        };
        missing.push(last);
        if !at.pop() {
            return path.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::model::url::Role;

    #[test]
    fn folders_by_what_they_really_are() {
        let root = tempfile::tempdir().unwrap();
        let at = |rest: &str| Location::Folder(root.path().join(rest));
        std::fs::create_dir_all(root.path().join("data/inner")).unwrap();
        std::fs::create_dir_all(root.path().join("store")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(root.path().join("data"), root.path().join("link")).unwrap();
        let source = |store: &str, source: &str| check(&at(store), Some(&at(source)), None);
        let target = |store: &str, target: &str| check(&at(store), None, Some(&at(target)));
        assert!(source("store", "data").is_ok());
        assert!(source("data-backup", "data").is_ok(), "a sibling with a longer name lies beside it");
        assert!(matches!(source("data", "data"), Err(Entangled::StoreInSource { .. })));
        assert!(matches!(source("data/inner/new/store", "data"), Err(Entangled::StoreInSource { .. })));
        assert!(matches!(source("store/../data/x", "data"), Err(Entangled::StoreInSource { .. })));
        assert!(matches!(source("new/../data/x", "data"), Err(Entangled::StoreInSource { .. })));
        #[cfg(unix)]
        assert!(matches!(source("link/store", "data"), Err(Entangled::StoreInSource { .. })));
        assert!(matches!(source("store", "store/groups"), Err(Entangled::SourceInStore { .. })));
        assert!(matches!(target("store", "store/out"), Err(Entangled::TargetInStore { .. })));
        assert!(matches!(target("data/inner", "data"), Err(Entangled::StoreInTarget { .. })));
        assert!(target("store", "out").is_ok());
        let text = source("data/inner", "data").unwrap_err().to_string();
        assert!(text.contains("lies inside its own source"), "{text}");
    }

    #[test]
    fn buckets_by_prefix() {
        let of = |text: &str| Location::parse(OsStr::new(text), Role::Source).unwrap();
        assert!(check(&of("s3://b/backup/"), Some(&of("s3://b")), None).is_err());
        assert!(check(&of("s3://b/backup/"), Some(&of("s3://b/data/")), None).is_ok());
        assert!(check(&of("s3://b"), Some(&of("gs://b")), None).is_ok());
        assert!(check(&of("s3://b/x"), None, Some(&of("s3://b/x/y"))).is_err());
    }
}
