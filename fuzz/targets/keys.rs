//! From keys to paths, and the side file that says which is which.

use std::collections::{BTreeMap, BTreeSet};

use qbak::format::keyfile;
use qbak::model::entry::Kind;
use qbak::target::keymap::{KeyMap, Rules, TEMPORARY};
use qbak::target::same_name::{SameNames, fold};

/// No more keys at a time: what is asserted compares them with each other.
const MOST: usize = 24;

/// One byte of rules, then keys with 0x1e between them.
pub fn key_map(data: &[u8]) -> bool {
    let Some((flags, rest)) = data.split_first() else { return false };
    let keys: BTreeSet<Vec<u8>> = rest.split(|b| *b == 0x1e).take(MOST).map(<[u8]>::to_vec).collect();
    let rules = Rules { of_folder: flags & 1 == 1, utf8_only: flags & 2 == 2, same: BTreeSet::new() };
    let paths = places(&keys, &rules);
    if flags & 4 == 4 {
        let mut same = SameNames::new(&std::env::temp_dir());
        paths.values().for_each(|path| same.add(path).unwrap());
        let same = same.finish().unwrap();
        let apart = places(&keys, &Rules { same, ..rules });
        let folded: BTreeSet<Vec<u8>> = apart.values().map(|path| fold(path)).collect();
        assert_eq!(folded.len(), apart.len(), "no two are the same to a disk that folds names");
    }
    true
}

/// Where each key goes, with what must hold of that.
fn places(keys: &BTreeSet<Vec<u8>>, rules: &Rules) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let map = KeyMap::new(keys, rules.clone());
    let mut paths = BTreeMap::new();
    let mut ordered = keys.iter().peekable();
    while let Some(key) = ordered.next() {
        let folder = rules.of_folder && key.ends_with(b"/");
        let kind = if folder { Kind::Folder } else { Kind::Object };
        let place = map.place(key, kind, None);
        let next = ordered.peek().map(|k| k.as_slice());
        assert_eq!(map.place(key, kind, next), place, "the next key only saves questions");
        let Ok(place) = place else { continue };
        let own = if folder { &key[..key.len() - 1] } else { key };
        assert!(keyfile::is_path(&place.path), "{:?} leads out or is no path", place.path);
        assert_eq!(place.recorded, place.path != own);
        assert!(!rules.utf8_only || std::str::from_utf8(&place.path).is_ok());
        let last = place.path.rsplit(|b| *b == b'/').next().unwrap();
        assert!(rules.of_folder || !fold(last).starts_with(TEMPORARY.as_bytes()), "a name of our own");
        assert!(rules.of_folder || fold(&place.path) != keyfile::NAME.as_bytes());
        let line = keyfile::line(&place.path, key);
        assert!(line.len() <= keyfile::MAX_LINE);
        assert_eq!(keyfile::parse(&line).unwrap(), (place.path.clone(), key.clone()));
        if !folder {
            paths.insert(key.clone(), place.path);
        }
    }
    let all: BTreeSet<&Vec<u8>> = paths.values().collect();
    assert_eq!(all.len(), paths.len(), "no two keys meet at one path");
    for path in &all {
        let mut above = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| path[..i].to_vec());
        assert!(!above.any(|folder| all.contains(&folder)), "no file where a folder is needed");
    }
    paths
}

/// `.qbak-keys.jsonl`.
pub fn side_file(data: &[u8]) -> bool {
    let mut taken = false;
    for line in data.split(|b| *b == b'\n').filter(|l| l.len() <= keyfile::MAX_LINE) {
        match keyfile::parse(line) {
            Ok((path, key)) => {
                taken = true;
                assert!(keyfile::is_path(&path) && !path.starts_with(b"/"));
                assert!(!path.split(|b| *b == b'/').any(|part| part == b".." || part == b"."));
                let line = keyfile::line(&path, &key);
                assert!(line.len() <= keyfile::MAX_LINE);
                assert_eq!(keyfile::parse(&line).unwrap(), (path, key));
            }
            Err(e) => assert!(e.len() < 2000, "a sentence, not the line"),
        }
    }
    taken
}
