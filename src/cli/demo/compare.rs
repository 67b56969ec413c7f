//! A restored folder against what was really in the bucket, byte for byte. It knows nothing of how a restore works but what
//! `docs/keys.md` promises: a file's path is its key, unless the side file says otherwise.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::bucket::Objects;
use crate::format::keyfile;

/// How many objects and bytes are the same; or the first difference.
pub(super) fn compare(folder: &Path, expected: &Objects) -> Result<(usize, u64), String> {
    let side = fs::read(folder.join(keyfile::NAME)).unwrap_or_default();
    let mut keys: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for line in side.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        let (path, key) = keyfile::parse(line)?;
        keys.insert(path, key);
    }
    let (mut seen, mut bytes) = (Vec::new(), 0u64);
    for file in files(folder)? {
        let path = file.strip_prefix(folder).map_err(|e| e.to_string())?.as_os_str().as_encoded_bytes();
        if path == keyfile::NAME.as_bytes() {
            continue;
        }
        let key = keys.get(path).map_or(path, Vec::as_slice);
        let key = String::from_utf8_lossy(key).into_owned();
        let wanted = expected.get(&key).ok_or_else(|| format!("“{key}” was not in the bucket"))?;
        let found = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        if found != *wanted {
            return Err(format!("the bytes of “{key}” are not those that were in the bucket"));
        }
        bytes += found.len() as u64;
        seen.push(key);
    }
    match expected.keys().find(|k| !seen.contains(k)) {
        Some(missing) => Err(format!("“{missing}” did not come back")),
        None if seen.len() != expected.len() => Err("a key came back twice".into()),
        None => Ok((seen.len(), bytes)),
    }
}

/// All files below a folder.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let (mut found, mut waiting) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = waiting.pop() {
        let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() { waiting.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("a/b", "one");
        put("%2Fc", "two");
        put(keyfile::NAME, "{\"path\":\"%2Fc\",\"key\":\"/c\"}\n");
        let mut objects: Objects =
            [("a/b", "one"), ("/c", "two")].map(|(k, b)| (k.to_owned(), b.as_bytes().to_vec())).into();
        assert_eq!(compare(folder.path(), &objects), Ok((2, 6)));
        objects.insert("/c".into(), b"tow".to_vec());
        assert!(compare(folder.path(), &objects).unwrap_err().contains("bytes of “/c”"));
        objects.insert("/c".into(), b"two".to_vec());
        objects.insert("d".into(), Vec::new());
        assert!(compare(folder.path(), &objects).unwrap_err().contains("“d” did not come back"));
        objects.remove("d");
        objects.remove("a/b");
        assert!(compare(folder.path(), &objects).unwrap_err().contains("“a/b” was not in the bucket"));
    }
}
