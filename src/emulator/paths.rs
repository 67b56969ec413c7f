//! Which keys are ordinary paths below the served folder; every other key's bytes lie in the side folder.

use std::path::{Path, PathBuf};

/// The side folder's name.
pub(super) const SIDE: &str = ".kodo";

/// The longest part of a path and the longest path that every common file system takes.
const PART: usize = 255;
const PATH: usize = 2000;

/// The key as a relative path, if it is an ordinary one: no empty, `.` or `..` part, no control byte, no over-long
/// part, not in the side folder.
pub(super) fn ordinary(key: &str) -> Option<&Path> {
    let part_ok = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= PART;
    let fine = key.len() <= PATH
        && key.split('/').all(part_ok)
        && !key.bytes().any(|b| b < 0x20 || b == 0x7f || b == b'\\')
        && key.split('/').next() != Some(SIDE);
    fine.then(|| Path::new(key))
}

/// Whether every folder above `key` below `root` is a real folder (no link, no file) or not there yet, so that
/// nothing is read or written through a link that leaves the served folder.
pub(super) fn parents_are_folders(root: &Path, key: &str) -> bool {
    let mut at: PathBuf = root.to_path_buf();
    let Some((folders, _)) = key.rsplit_once('/') else { return true };
    for part in folders.split('/') {
        at.push(part);
        match std::fs::symlink_metadata(&at) {
            Ok(m) if m.is_dir() => {}
            Ok(_) => return false,
            Err(e) => return e.kind() == std::io::ErrorKind::NotFound,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_keys_are_no_paths() {
        for key in ["a", "a/b.txt", "目录/文 件+😀%41?#", ".hidden", "a/.kodo/x", "a:b", "..."] {
            assert!(ordinary(key).is_some(), "{key}");
        }
        let long = "x".repeat(256);
        for key in ["", "/", "/a", "a/", "a//b", ".", "a/..", "../a", "a\0", "a\n", ".kodo", ".kodo/x", &long]
        {
            assert!(ordinary(key).is_none(), "{key}");
        }
    }
}
