//! What the mapping gives for known keys, and what it holds for any.

use std::collections::BTreeMap;

use super::*;
use crate::target::same_name::SameNames;

fn space(keys: &[&[u8]]) -> BTreeSet<Vec<u8>> {
    keys.iter().map(|k| k.to_vec()).collect()
}

fn path(space: &BTreeSet<Vec<u8>>, key: &[u8]) -> String {
    let place = KeyMap::new(space, Rules::default()).place(key, Kind::Object, None).unwrap();
    assert_eq!(place.recorded, place.path != key);
    String::from_utf8_lossy(&place.path).into_owned()
}

#[test]
fn ordinary_keys_are_their_own_paths() {
    for key in [
        "a",
        "a/b",
        "a.",
        " ",
        "a ",
        "CON",
        "a:b",
        "a\\b",
        "%2F",
        "100%",
        "~x",
        "...",
        "目录/é",
        "-",
        "*?\"<>|",
        "x/.qbak-keys.jsonl",
    ] {
        assert_eq!(path(&space(&[key.as_bytes()]), key.as_bytes()), key);
    }
    assert_eq!(path(&space(&[]), &[b'x'; 255]), "x".repeat(255));
    let place = KeyMap::new(&space(&[]), Rules::default()).place(b"a\xff", Kind::Object, None).unwrap();
    assert_eq!((place.path.as_slice(), place.recorded), (&b"a\xff"[..], false));
}

#[test]
fn what_is_no_path_is_encoded() {
    for (key, expected) in [
        (&b""[..], "%"),
        (b"/", "%2F"),
        (b"//", "%2F%2F"),
        (b"/a", "%2Fa"),
        (b"/a/b", "%2Fa/b"),
        (b"a/", "a%2F"),
        (b"a//", "a%2F%2F"),
        (b"a//b", "a/%2Fb"),
        (b"a///b/c", "a/%2F%2Fb/c"),
        (b".", "%2E"),
        (b"..", "%2E%2E"),
        (b"../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd"),
        (b"a/../b", "a/%2E%2E/b"),
        (b"/..", "%2F.."),
        (b"a\0b", "a%00b"),
        (b"a\nb\x7f", "a%0Ab%7F"),
        (b"50%/~\n", "50%25/%7E%0A"),
        (b"\xff\n", "%FF%0A"),
        (b".qbak-keys.jsonl", "%2Eqbak-keys.jsonl"),
        (b".QBAK-Keys.jsonl", "%2EQBAK-Keys.jsonl"),
        (b".qbak-keys.jsonl/x", "%2Eqbak-keys.jsonl/x"),
        (b"a/.qbak-tmp-1", "a/%2Eqbak-tmp-1"),
    ] {
        assert_eq!(path(&space(&[key]), key), expected, "{:?}", Key::new(key));
    }
}

#[test]
fn long_names_are_cut_and_marked() {
    let long = path(&space(&[]), &[b'x'; 256]);
    assert_eq!(&long[..181], format!("{}~", "x".repeat(180)));
    assert!(long.len() == 197 && long[181..].bytes().all(|b| b.is_ascii_hexdigit()));
    let wide = path(&space(&[]), "é".repeat(200).as_bytes());
    assert_eq!(wide.chars().filter(|c| *c == 'é').count(), 90, "no character is cut in two");
    let odd = path(&space(&[]), format!("a{}", "é".repeat(200)).as_bytes());
    assert_eq!(odd.chars().filter(|c| *c == 'é').count(), 89);
    let escapes = path(&space(&[]), format!("ab{}", "\n".repeat(100)).as_bytes());
    assert_eq!(escapes.matches("%0A").count(), 59, "nor an escape");
    assert!(!escapes.contains("%0~") && !escapes.contains("%~"));
}

#[test]
fn a_file_in_the_place_of_a_folder_steps_aside() {
    let keys = space(&[b"a", b"a-", b"a/b", b"\xc3\xa9", b"\xc3\xa9/x", b"b", b"b%\n", b"b%\n/x"]);
    assert_eq!(path(&keys, b"a"), "%61");
    assert_eq!(path(&keys, b"a/b"), "a/b");
    assert_eq!(path(&keys, "é".as_bytes()), "%C3%A9");
    assert_eq!(path(&keys, b"b"), "b");
    // What ends in an escape in any case, and so does the folder of that name.
    assert!(path(&keys, b"b%\n").starts_with("b%25%0A~"));
    assert_eq!(path(&keys, b"b%\n/x"), "b%25%0A/x");
    // A key that looks like the encoded one is not overwritten.
    let keys = space(&[b"a", b"a/b", b"%61", b"a//c", b"a/%2Fc/d"]);
    assert_eq!(path(&keys, b"%61"), "%61");
    assert!(path(&keys, b"a").starts_with("%61~"));
    assert!(path(&keys, b"a//c").starts_with("a/%2Fc~"));
    // A folder that the encoding needs is a file of another key: the whole name goes to the root.
    let keys = space(&[b"x%25", b"x%/y//z"]);
    assert!(path(&keys, b"x%/y//z").starts_with("x%25%2Fy%2F%2Fz~"), "{}", path(&keys, b"x%/y//z"));
}

#[test]
fn snapshots_of_folders_keep_their_names() {
    let keys = space(&[]);
    let rules = Rules { of_folder: true, ..Rules::default() };
    let map = KeyMap::new(&keys, rules);
    for name in [&b"a\nb"[..], b".qbak-keys.jsonl", b".qbak-tmp-1", b"\xff\x01", b"d/\x7f"] {
        for kind in [Kind::Object, Kind::Link] {
            let place = map.place(name, kind, None).unwrap();
            assert_eq!((place.path.as_slice(), place.recorded), (name, false));
        }
        let place = map.place(&slashed(name), Kind::Folder, None).unwrap();
        assert_eq!((place.path.as_slice(), place.recorded), (name, false));
    }
    assert_eq!(map.place(b"a//b", Kind::Object, None).unwrap().path, b"a/%2Fb");
    for bad in [&b"/"[..], b"../", b"a/../b/", b"a", b"a//", b"/etc/"] {
        assert!(map.place(bad, Kind::Folder, None).is_err(), "{:?}", Key::new(bad));
    }
    for bad in [&b"/etc/passwd"[..], b"..", b"a/../b", b"", b"a\0"] {
        assert!(map.place(bad, Kind::Link, None).is_err(), "{:?}", Key::new(bad));
    }
    let hostile = space(&[b"l", b"l/x"]);
    assert!(KeyMap::new(&hostile, Rules::default()).place(b"l", Kind::Link, None).is_err());
}

#[test]
fn targets_with_less_room_for_names() {
    let keys = space(&[b"A", b"a", b"P/x", b"p/x", b"p/y", b"a\xff"]);
    let same: BTreeSet<Vec<u8>> = [b"a".to_vec(), b"p".to_vec()].into();
    let map = KeyMap::new(&keys, Rules { same, utf8_only: true, ..Rules::default() });
    let place = |key: &[u8]| String::from_utf8(map.place(key, Kind::Object, None).unwrap().path).unwrap();
    assert_eq!((place(b"A"), place(b"P/x")), ("A".into(), "P/x".into()));
    assert!(place(b"a").starts_with("a~") && place(b"a").len() == 18);
    let (x, y) = (place(b"p/x"), place(b"p/y"));
    assert!(x.starts_with("p~") && x.ends_with("/x") && x[..x.len() - 1] == y[..y.len() - 1], "{x} {y}");
    assert_eq!(place(b"a\xff"), "a%FF");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Keys out of pieces that meet one another often and that are hard.
    fn nasty() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => prop::sample::select(vec![
                &b"a"[..], b"b", b"A", b"/", b"/", b"/", b"//", b".", b"..", b"%", b"%2F", b"%61", b"~", b"-", b"\n",
                b"\0", b"\xff", "é".as_bytes(), "e\u{301}".as_bytes(), b".qbak-keys.jsonl", b".qbak-tmp-", b"%25",
            ]).prop_map(<[u8]>::to_vec),
            1 => (250usize..260).prop_map(|n| vec![b'n'; n]),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|p| p.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn any_keys_have_paths_of_their_own(
            mut keys in prop::collection::btree_set(nasty(), 1..40),
            of_folder in any::<bool>(),
            utf8_only in any::<bool>(),
        ) {
            if of_folder {
                // The literal side file in a folder's snapshot leaves nothing to record in; refusing is tested above.
                keys.remove(keyfile::NAME.as_bytes());
            }
            let map = KeyMap::new(&keys, Rules { of_folder, utf8_only, ..Rules::default() });
            let sorted: Vec<&Vec<u8>> = keys.iter().collect();
            let mut places = BTreeMap::new();
            for (i, key) in sorted.iter().enumerate() {
                let place = map.place(key, Kind::Object, None).unwrap();
                let next = sorted.get(i + 1).map(|k| k.as_slice());
                prop_assert_eq!(&map.place(key, Kind::Object, next).unwrap(), &place, "the next key changes nothing");
                prop_assert!(is_path(&place.path), "{:?}", place);
                prop_assert_eq!(place.recorded, place.path != **key);
                prop_assert!(!utf8_only || std::str::from_utf8(&place.path).is_ok());
                prop_assert_ne!(&place.path[..], keyfile::NAME.as_bytes());
                if map.is_ordinary(key) && !keys.has_key_under(&slashed(key)) {
                    prop_assert_eq!(&place.path, *key);
                }
                let other = places.insert(place.path.clone(), key.to_vec());
                prop_assert!(other.is_none(), "{:?} and {:?} at {:?}", other, key, place);
            }
            for path in places.keys() {
                for i in path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i) {
                    prop_assert!(!places.contains_key(&path[..i]), "{:?} is a file and a folder", Key::new(&path[..i]));
                }
            }
        }

        /// On a target that tells no case apart: no two paths are the same there, and none is another's folder.
        #[test]
        fn any_keys_are_kept_apart_where_case_does_not_count(keys in prop::collection::btree_set(nasty(), 1..40)) {
            let plain = KeyMap::new(&keys, Rules::default());
            let mut names = SameNames::new(std::path::Path::new("/nonexistent"));
            for key in &keys {
                names.add(&plain.place(key, Kind::Object, None).unwrap().path).unwrap();
            }
            let map = KeyMap::new(&keys, Rules { same: names.finish().unwrap(), ..Rules::default() });
            let mut folded = BTreeMap::new();
            let mut folders = BTreeMap::new();
            for key in &keys {
                let place = map.place(key, Kind::Object, None).unwrap();
                prop_assert!(is_path(&place.path));
                for i in place.path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i) {
                    let folder = place.path[..i].to_vec();
                    let known = folders.entry(fold(&folder)).or_insert_with(|| folder.clone()).clone();
                    prop_assert_eq!(known, folder);
                }
                let other = folded.insert(fold(&place.path), key.clone());
                prop_assert!(other.is_none(), "{:?} and {:?} at {:?}", other, key, place);
            }
            prop_assert!(folded.keys().all(|path| !folders.contains_key(path)));
        }

        /// What is not cut or marked decodes to its key by percent signs alone.
        #[test]
        fn what_has_no_mark_decodes(key in nasty()) {
            let keys = BTreeSet::from([key.clone()]);
            let place = KeyMap::new(&keys, Rules::default()).place(&key, Kind::Object, None).unwrap();
            if place.recorded && !place.path.contains(&b'~') && place.path != b"%" {
                let decoded: Vec<u8> = percent_encoding::percent_decode(&place.path).collect();
                prop_assert_eq!(decoded, key);
            }
        }
    }
}
