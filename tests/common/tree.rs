//! What lies in a folder, for comparisons.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything below a folder: kind, mode, mtime, and bytes or target; by path.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let what = if meta.is_symlink() {
                format!("-> {:?}", std::fs::read_link(&path).unwrap())
            } else if meta.is_dir() {
                todo.push(path.clone());
                "/".into()
            } else {
                blake3::hash(&std::fs::read(&path).unwrap()).to_string()
            };
            let mode = if meta.is_symlink() { 0 } else { meta.mode() & 0o7777 };
            let line = format!("{what} {mode:o} {}.{}", meta.mtime(), meta.mtime_nsec());
            out.insert(path.strip_prefix(root).unwrap().to_path_buf(), line);
        }
    }
    out
}

/// The files of a restored folder by their keys: mode, mtime and bytes of each.
pub fn by_key(root: &Path) -> BTreeMap<Vec<u8>, String> {
    use std::os::unix::ffi::OsStrExt;
    let side = std::fs::read(root.join(".qbak-keys.jsonl")).unwrap_or_default();
    let keys: BTreeMap<Vec<u8>, Vec<u8>> = side
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| qbak::format::keyfile::parse(line).unwrap())
        .collect();
    let mut files = tree(root);
    files.retain(|path, line| !line.starts_with('/') && path != Path::new(".qbak-keys.jsonl"));
    let named = files.into_iter().map(|(path, line)| {
        let path = path.as_os_str().as_bytes().to_vec();
        (keys.get(&path).cloned().unwrap_or(path), line)
    });
    named.collect()
}
