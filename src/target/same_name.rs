//! Names that differ, but not for every file system: by case, or by how an accent is written.
//!
//! Nothing here asks a file system. [`SameNames`] goes over all paths of a restore before the first is written and
//! says which of them must have another name on a system that holds such names to be the same.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use icu_normalizer::ComposingNormalizerBorrowed;

use crate::source::sorted::Sorter;

/// How many names may have to be changed: what is kept of them is in memory.
const MOST: usize = 1_000_000;

/// What names that some file system holds to be the same have in common: normal form C without case. Bytes that are
/// no UTF-8 stay as they are.
pub fn fold(name: &[u8]) -> Vec<u8> {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let nfc = ComposingNormalizerBorrowed::new_nfc();
    let mut out = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        // Up and down again: what only upper case joins (ß and ss, ſ and s) is joined, too much rather than too little.
        let composed = nfc.normalize(chunk.valid()).to_uppercase().to_lowercase();
        // A final sigma is lower case only by its place in a word.
        out.extend_from_slice(nfc.normalize(&composed.replace('ς', "σ")).as_bytes());
        out.extend_from_slice(chunk.invalid());
    }
    out
}

/// Collects the paths of a restore.
#[derive(Debug)]
pub struct SameNames {
    /// (folder and folded name, name)
    names: Sorter,
    last: Vec<u8>,
}

impl SameNames {
    /// Temporary files, which only very many paths need, lie in `scratch`.
    pub fn new(scratch: &Path) -> Self {
        Self { names: Sorter::new(scratch), last: Vec::new() }
    }

    /// Adds a path. Paths that come in order cost the least.
    pub fn add(&mut self, path: &[u8]) -> io::Result<()> {
        let mut start = 0;
        for part in path.split(|&b| b == b'/') {
            let end = start + part.len();
            let known =
                self.last.starts_with(&path[..end]) && matches!(self.last.get(end), None | Some(b'/'));
            if !known {
                // A NUL is in no name, so folder and name cannot be mistaken for another pair of them.
                let mut place = path[..start].to_vec();
                place.push(0);
                place.extend_from_slice(&fold(part));
                self.names.push(&place, part)?;
            }
            start = end + 1;
        }
        self.last.clear();
        self.last.extend_from_slice(path);
        Ok(())
    }

    /// The paths, of files and of folders, that must have another name: of each set of names that are the same but
    /// for case, all but the first in byte order.
    pub fn finish(self) -> io::Result<BTreeSet<Vec<u8>>> {
        let mut out = BTreeSet::new();
        let mut last: Option<(Vec<u8>, Vec<u8>)> = None;
        for pair in self.names.finish()?.iter() {
            let (place, name) = pair?;
            match &last {
                Some((p, n)) if *p == place => {
                    if *n != name {
                        let folder = place.split(|&b| b == 0).next().unwrap_or_default();
                        out.insert([folder, &name].concat());
                        if out.len() > MOST {
                            return Err(io::Error::other("over a million names differ only by case"));
                        }
                    }
                }
                _ => last = Some((place, name)),
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losers(paths: &[&str]) -> Vec<String> {
        let mut names = SameNames::new(Path::new("/nonexistent"));
        for path in paths {
            names.add(path.as_bytes()).unwrap();
        }
        names.finish().unwrap().into_iter().map(|p| String::from_utf8(p).unwrap()).collect()
    }

    #[test]
    fn folds_case_and_normal_forms() {
        for (a, b) in [
            ("README", "readme"),
            ("caf\u{e9}", "CAFE\u{301}"),
            ("straße", "STRASSE"),
            ("ΣΑΣ", "σας"),
            ("\u{212a}", "k"),
            ("İ", "i\u{307}"),
        ] {
            assert_eq!(fold(a.as_bytes()), fold(b.as_bytes()), "{a} {b}");
        }
        for (a, b) in [("a", "b"), ("e", "\u{e9}"), ("目", "录")] {
            assert_ne!(fold(a.as_bytes()), fold(b.as_bytes()));
        }
        assert_eq!(fold(b"A\xff\xc9"), b"a\xff\xc9");
    }

    #[test]
    fn finds_what_differs_only_by_case_in_one_folder() {
        assert_eq!(losers(&["a", "b/a", "b/c"]), [""; 0]);
        assert_eq!(losers(&["A", "a", "b/A", "c/a"]), ["a"]);
        // Of two folders one is renamed; what is in them is then apart.
        assert_eq!(losers(&["Photos/x", "photos/x", "photos/X"]), ["photos", "photos/x"]);
        assert_eq!(losers(&["B/y", "a", "b"]), ["b"]);
    }

    mod properties {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
            #[test]
            fn one_of_each_set_keeps_its_name(paths in prop::collection::btree_set("[aAbéÉ]{1,2}(/[aA]{1,2}){0,2}", 0..30)) {
                let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
                let lost = losers(&paths);
                // What keeps its name, as far as that goes, is the only one of its folded name in its folder.
                let mut seen = std::collections::BTreeMap::new();
                for path in &paths {
                    for end in path.match_indices('/').map(|(i, _)| i).chain([path.len()]) {
                        let prefix = &path[..end];
                        if !lost.iter().any(|l| l == prefix) {
                            let (folder, name) = prefix.rsplit_once('/').unwrap_or(("", prefix));
                            let place = (folder.to_string(), fold(name.as_bytes()));
                            let known = seen.entry(place).or_insert(name.to_string());
                            prop_assert_eq!(known.as_str(), name);
                        }
                    }
                }
                for l in &lost {
                    let inside = format!("{}/", l);
                    prop_assert!(paths.iter().any(|p| p == l || p.starts_with(&inside)));
                }
            }
        }
    }
}
