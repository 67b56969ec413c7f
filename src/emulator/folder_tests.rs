//! What a bucket over a folder must get right.

use std::io::Read;

use super::super::catalog::any;
use super::*;

fn put(f: &Folder, key: &str, bytes: &[u8]) {
    let mut spool = f.spool().unwrap();
    spool.write(bytes).unwrap();
    let stored = spool.finish().unwrap();
    let object = Object { hash: etag::plain(&stored.blocks), mime: "x/y".into(), ..Object::default() };
    assert!(matches!(f.put(key, object, stored, &any).unwrap(), PutOutcome::Done(_)));
}

fn bytes(f: &Folder, key: &str) -> Option<Vec<u8>> {
    let opened = f.open(key).unwrap()?;
    let mut out = Vec::new();
    match opened.data {
        Data::File(mut file) => drop(file.read_to_end(&mut out).unwrap()),
        Data::Bytes(b) => out.extend_from_slice(&b),
    }
    Some(out)
}

fn keys(f: &Folder, prefix: &str) -> Vec<String> {
    f.refresh(prefix).unwrap();
    f.list("", 10_000).unwrap().objects.iter().map(|(k, _)| k.to_string()).collect()
}

#[test]
fn a_person_may_change_the_folder_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
    fs::write(dir.path().join("sub/deep/a.txt"), "one").unwrap();
    fs::write(dir.path().join("b.png"), "two").unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
    let f = Folder::open(dir.path()).unwrap();
    assert_eq!(keys(&f, ""), ["b.png", "sub/deep/a.txt"]);
    let o = f.find("b.png").unwrap().unwrap();
    assert_eq!((o.mime.as_str(), o.size), ("image/png", 3));
    assert!(f.open("link/passwd").unwrap().is_none(), "links are not followed");
    // Dropped in, not yet listed: can be downloaded at once.
    fs::write(dir.path().join("c"), "three").unwrap();
    assert!(matches!(f.try_open("c").unwrap(), Lookup::Slow));
    assert_eq!(bytes(&f, "c").unwrap(), b"three");
    assert!(matches!(f.try_open("c").unwrap(), Lookup::Found(_)));
    // Changed, then removed.
    let before = f.find("c").unwrap().unwrap().hash.clone();
    fs::write(dir.path().join("c"), "other").unwrap();
    assert_ne!(f.find("c").unwrap().unwrap().hash, before);
    fs::remove_file(dir.path().join("c")).unwrap();
    fs::write(dir.path().join("sub/x"), "").unwrap();
    assert_eq!(keys(&f, "sub/"), ["b.png", "sub/deep/a.txt", "sub/x"]);
}

#[test]
fn every_key_finds_a_place_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(300);
    let odd = [
        "", "/", "//", "/lead", "trail/", "a//b", ".", "..", "a/../b", "a/./b", "nul\0", "n\n", ".kodo/x",
        &long,
    ];
    let plain = ["f", "f/g", "d/e", "d", "目录/😀 +%?#.txt"];
    let all: Vec<&str> = odd.iter().chain(&plain).copied().collect();
    let mut sorted: Vec<&str> = all.clone();
    sorted.sort_unstable();
    for round in 0..2 {
        let f = Folder::open(dir.path()).unwrap();
        if round == 0 {
            assert!(Folder::open(dir.path()).is_err(), "served twice");
            for key in &all {
                put(&f, key, format!("<{key}>").as_bytes());
            }
        }
        assert_eq!(keys(&f, ""), sorted);
        for key in &all {
            assert_eq!(bytes(&f, key).unwrap(), format!("<{key}>").as_bytes(), "{key:?}");
            assert_eq!(f.find(key).unwrap().unwrap().mime, "x/y", "{key:?}");
        }
    }
    let f = Folder::open(dir.path()).unwrap();
    assert_eq!(fs::read(dir.path().join("d/e")).unwrap(), b"<d/e>");
    for key in &all {
        assert!(f.delete(key).unwrap(), "{key:?}");
    }
    assert!(keys(&f, "").is_empty());
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, [SIDE], "folders that became empty are gone");
    assert_eq!(fs::read_dir(dir.path().join(".kodo/contents")).unwrap().count(), 0);
}

#[test]
fn pages_are_short_only_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let f = Folder::open(dir.path()).unwrap();
    for i in 0..30 {
        put(&f, &format!("k{i:02}"), b"x");
    }
    // Vanished behind the service's back between two pages.
    for i in 5..15 {
        fs::remove_file(dir.path().join(format!("k{i:02}"))).unwrap();
    }
    let page = f.list("", 10).unwrap();
    assert_eq!(page.objects.len(), 10);
    assert_eq!(page.next.as_deref(), Some("k20"));
    let mut changed = |o: &mut Object| {
        o.status = 1;
        true
    };
    assert_eq!(f.update("k20", &mut changed).unwrap().unwrap().status, 1);
    assert!(f.update("k05", &mut changed).unwrap().is_none());
}
