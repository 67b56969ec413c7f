//! A restore stays in its target, whatever the snapshot says, whatever stands in the target, whoever meddles with it meanwhile;
//! and wherever it ends, no final name has half a file. All of it through the real binary.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use base64::Engine;
use common::bucket::{Bucket, Said};
use common::disk::{Disk, as_nobody, command, qbak, said};
use common::forge::{self, Line, folder, link, object, raw};
use common::tree::{by_key, tree};
use common::{noise, write};

/// A place with a victim beside the target, and a store.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "outside/victim", "safe");
        write(dir.path(), "outside/sub/deep", "safe");
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn outside(&self) -> PathBuf {
        self.path("outside")
    }

    fn restore(&self, more: &[&str]) -> Said {
        let first = ["--json", "--store", "store", "restore", "latest", "--to", "in"];
        qbak(self.dir.path(), &first.iter().chain(more).copied().collect::<Vec<_>>())
    }

    /// Everything but the target, the store and the configuration: what no restore may touch.
    fn others(&self) -> BTreeMap<PathBuf, String> {
        let mut all = tree(self.dir.path());
        all.retain(|path, _| !path.starts_with("in") && !path.starts_with("store"));
        all
    }
}

/// The keys whose failure was told.
fn failed(said: &Said) -> BTreeSet<String> {
    said.lines("failed").iter().filter_map(|v| v["key"].as_str().map(str::to_owned)).collect()
}

/// The bytes of the files of a restored folder, by key.
fn contents(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let hash = |line: String| line.split(' ').next().unwrap().to_owned();
    by_key(root).into_iter().map(|(key, line)| (key, hash(line))).collect()
}

fn hashed(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_string()
}

const AWKWARD: [&str; 36] = [
    "a",
    "a/b",
    "a/",
    "a//b",
    "/a",
    ".",
    "..",
    "a/../b",
    "",
    "nul\0in it",
    "line\nfeed",
    "CON",
    "a:b",
    "a.",
    "a ",
    "Aa",
    "aA",
    "\u{e9}",
    "e\u{301}",
    "%2F",
    "\\",
    "..\\up",
    "/",
    "//",
    "../../../../up",
    "./a",
    "a/./b",
    "a/..",
    "-",
    "~",
    "*",
    "COM1.txt",
    "%",
    ".qbak-keys.jsonl",
    ".qbak-tmp-0",
    "tab\there",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_awkward_key_of_a_bucket_comes_back() {
    let bucket = Bucket::new().await;
    let mut keys: Vec<String> = AWKWARD.iter().map(|k| (*k).to_owned()).collect();
    keys.extend([
        "k".repeat(750),
        "p".repeat(255),
        "p".repeat(256),
        "\u{e9}".repeat(128),
        format!("{}/x", "q".repeat(256)),
    ]);
    for key in &keys {
        bucket.put(key, format!("of {key}"));
    }
    assert_eq!(bucket.snapshot(&[]).await.exits(0).number("objects"), keys.len() as u64);
    let said = bucket.qbak(&["--json", "restore", "latest", "--to", "in/the/target"]).await.exits(0);
    assert_eq!((said.number("written"), said.number("failed")), (keys.len() as u64, 0));
    let target = bucket.path("in/the/target");
    let expected: BTreeMap<Vec<u8>, String> =
        keys.iter().map(|k| (k.as_bytes().to_vec(), hashed(format!("of {k}").as_bytes()))).collect();
    assert_eq!(contents(&target), expected);
    // Nothing beside it, on the whole way there.
    for (folder, only) in [("in", "the"), ("in/the", "target")] {
        let names: Vec<_> =
            fs::read_dir(bucket.path(folder)).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, [only]);
    }
    // Listed and shown by the same keys.
    let listed = bucket.qbak(&["--json", "ls", "latest"]).await.exits(0);
    let listed: BTreeSet<String> =
        listed.lines("object").iter().map(|v| v["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, keys.iter().cloned().collect());
    for key in keys.iter().filter(|k| !k.contains('\0')).take(20) {
        assert_eq!(bucket.qbak(&["cat", "latest", "--", key]).await.exits(0).stdout, format!("of {key}"));
    }
    // A folder that was restored is a source with the same keys.
    let (store, source) = (bucket.path("again"), target.to_str().unwrap());
    let again = async |words: &[&str]| {
        let first = ["--json", "--store", store.to_str().unwrap()];
        bucket.qbak(&first.iter().chain(words).copied().collect::<Vec<_>>()).await.exits(0)
    };
    again(&["init"]).await;
    again(&["--source", source, "snapshot"]).await;
    let keys: BTreeSet<String> = keys.into_iter().collect();
    // The folders in between are entries of their own, unless an object has that key.
    let mut listed: BTreeSet<String> = again(&["ls", "latest"])
        .await
        .lines("object")
        .iter()
        .map(|v| v["key"].as_str().unwrap().to_owned())
        .collect();
    listed.retain(|k| keys.contains(k) || !k.ends_with('/'));
    assert_eq!(listed, keys);
}

#[test]
fn every_awkward_name_of_a_folder_comes_back() {
    let p = Place::new();
    let part = "n".repeat(255);
    let names: [&[u8]; 12] = [
        b"bad\xff\xfe",
        b"\xe9/latin",
        b"CON",
        b"a:b",
        b"a.",
        b"a ",
        b"Case",
        b"cASE",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        b"back\\slash",
        part.as_bytes(),
    ];
    for name in names {
        let path = p.path("data").join(std::ffi::OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    qbak(p.dir.path(), &["--store", "store", "init"]).exits(0);
    qbak(p.dir.path(), &["--store", "store", "--source", "data", "snapshot"]).exits(0);
    p.restore(&[]).exits(0);
    assert_eq!(tree(&p.path("in")), tree(&p.path("data")));
    let listed = qbak(p.dir.path(), &["--json", "--store", "store", "ls", "latest"]).exits(0);
    let b64 = base64::engine::general_purpose::STANDARD.encode(b"bad\xff\xfe");
    assert!(listed.lines("object").iter().any(|v| v["key_b64"] == b64.as_str()), "{listed:?}");
}

/// Makes a store of one segment of lines, restores it in every mode over links that lead out, and checks that nothing outside changed.
async fn hostile(url: &str, lines: impl Fn(&Path) -> Vec<Line>, refused: &[&str], whole: &[&str]) {
    for more in [&[][..], &["--overwrite"], &["--overwrite", "--delete", "--yes"]] {
        let p = Place::new();
        let mut lines = lines(&p.outside());
        lines.sort_by(|a, b| a.key.cmp(&b.key));
        forge::store(&p.path("store"), url, &[b"evil"], &[&lines]).await;
        let before = p.others();
        let said = p.restore(more);
        assert_eq!(p.others(), before, "{said:#?}");
        let expected: BTreeSet<String> = refused.iter().map(|k| (*k).to_owned()).collect();
        assert_eq!(failed(&said), expected, "{said:#?}");
        assert_eq!(said.code, i32::from(!refused.is_empty()), "{said:#?}");
        let side = p.path("in/.qbak-keys.jsonl");
        let there: BTreeSet<Vec<u8>> = if side.is_symlink() {
            tree(&p.path("in")).into_keys().map(|path| path.as_os_str().as_bytes().to_vec()).collect()
        } else {
            by_key(&p.path("in")).into_keys().collect()
        };
        for key in whole {
            assert!(there.contains(key.as_bytes()), "{key} is missing: {there:?}");
        }
        for (path, line) in tree(&p.path("in")) {
            // Whatever was made is a folder, a link or a whole file.
            let file = line.starts_with(&hashed(b"evil")) || p.path("in").join(&path) == side;
            assert!(line.starts_with('/') || line.starts_with("->") || file, "{path:?} {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_out_are_refused_or_encoded() {
    for url in ["/data", "kodo://bkt"] {
        let lines = |outside: &Path| {
            let mut lines = vec![
                folder(b"../up/"),
                folder(b"/abs/"),
                folder(b"a/../../up2/"),
                folder(b"/"),
                folder(b"no-slash"),
                link(b"../link", outside),
                link(b"/link", outside),
                link(b"x//y", outside),
                link(b"..", outside),
                link(b"nul\0link", outside),
                link(b"ends/", outside),
            ];
            let objects: [&[u8]; 8] = [
                b"../outside/victim",
                b"..",
                b"../../../../tmp/evil",
                b"a/../../outside/victim",
                b"nul\0",
                b"",
                b"./x",
                b"y/..",
            ];
            lines.extend(objects.map(|key| object(key, b"evil")));
            lines.push(object(outside.join("victim").as_os_str().as_bytes(), b"evil"));
            lines
        };
        let refused = [
            "../up/",
            "/abs/",
            "a/../../up2/",
            "/",
            "no-slash",
            "../link",
            "/link",
            "x//y",
            "..",
            "nul\0link",
            "ends/",
        ];
        // A key can be there once: `..` is the link's here.
        let lines = move |outside: &Path| {
            let mut all = lines(outside);
            let mut seen = BTreeSet::new();
            all.retain(|l| seen.insert(l.key.clone()));
            all
        };
        hostile(
            url,
            lines,
            &refused,
            &["../outside/victim", "../../../../tmp/evil", "a/../../outside/victim", "nul\0", ""],
        )
        .await;
        assert!(!Path::new("/tmp/evil").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_go_through_a_link_of_the_snapshot_does_not() {
    for url in ["/data", "kodo://bkt"] {
        let lines = |outside: &Path| {
            vec![
                link(b"d", outside),
                object(b"d-between", b"evil"),
                object(b"d/victim", b"evil"),
                object(b"d/sub/deep", b"evil"),
                folder(b"d/sub/"),
                link(b"f", &outside.join("victim")),
                folder(b"f/"),
                // A link alone is made, and never followed.
                link(b"lone", outside),
            ]
        };
        hostile(url, lines, &["d", "f"], &["d-between", "d/victim", "d/sub/deep", "lone"]).await;
    }
}

/// A file, a folder and a file below it of one name; the names of our own files as links.
#[tokio::test(flavor = "multi_thread")]
async fn names_in_each_others_way_all_come_back() {
    let lines = |_: &Path| {
        vec![
            object(b"a", b"evil"),
            folder(b"a/"),
            object(b"a/b", b"evil"),
            object(b"a/b/c", b"evil"),
            object(b"%61", b"evil"),
        ]
    };
    hostile("/data", lines, &[], &["a", "a/b", "a/b/c", "%61"]).await;
    // As the side file stands a link of the snapshot's own: then no name can be changed, and that is said.
    let lines = |outside: &Path| {
        vec![
            link(b".qbak-keys.jsonl", &outside.join("victim")),
            object(b"a", b"evil"),
            object(b"a/b", b"evil"),
        ]
    };
    hostile("/data", lines, &["a"], &["a/b"]).await;
    let lines = |outside: &Path| {
        vec![
            link(b".qbak-keys.jsonl", &outside.join("victim")),
            link(b".qbak-tmp-x", outside),
            object(b"a", b"evil"),
            object(b"a/b", b"evil"),
        ]
    };
    hostile("kodo://bkt", lines, &[".qbak-keys.jsonl", ".qbak-tmp-x"], &["a", "a/b"]).await;
}

/// What is wrong, the segments, and the keys that come back all the same.
type Case = (&'static str, Vec<Vec<Line>>, &'static [&'static str]);

/// What no manifest of ours says is damage, with the place named; the rest of the snapshot comes back.
#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_contradict_themselves_are_damage() {
    let good = |key: &[u8]| object(key, b"evil");
    let device = raw("m", r#"{"key":"m","kind":"device","etag":"x"}"#);
    let hard = raw("m", r#"{"key":"m","kind":"hardlink","target":"../outside/victim"}"#);
    let both = raw("m", r#"{"key":"m","key_b64":"bQ==","size":0}"#);
    let cases: [Case; 6] = [
        ("twice in a segment", vec![vec![good(b"m"), good(b"m")], vec![good(b"z")]], &["z"]),
        ("out of order", vec![vec![good(b"b"), good(b"a"), good(b"c")], vec![good(b"z")]], &["z"]),
        (
            "twice in two segments",
            vec![vec![good(b"a"), good(b"m")], vec![good(b"m"), good(b"z")]],
            &["a", "m"],
        ),
        ("a device", vec![vec![device], vec![good(b"z")]], &["z"]),
        ("a hard link", vec![vec![hard], vec![good(b"z")]], &["z"]),
        ("two keys", vec![vec![both], vec![good(b"z")]], &["z"]),
    ];
    for (what, segments, whole) in cases {
        let p = Place::new();
        let segments: Vec<&[Line]> = segments.iter().map(Vec::as_slice).collect();
        forge::store(&p.path("store"), "/data", &[b"evil"], &segments).await;
        let before = p.others();
        let said = p.restore(&[]).exits(4);
        assert_eq!(p.others(), before, "{what}");
        let there = by_key(&p.path("in"));
        for key in whole {
            assert!(there.contains_key(key.as_bytes()), "{what}: {there:?} {said:#?}");
        }
        assert!(said.stderr.contains("manifest of 2027-01-15T08-00-00Z is damaged"), "{what}: {said:#?}");
        let deleted = qbak(
            p.dir.path(),
            &["--store", "store", "restore", "latest", "--to", "in", "--overwrite", "--delete", "--yes"],
        );
        assert_ne!(deleted.code, 0, "{what}: what the snapshot lacks is not known");
        qbak(p.dir.path(), &["--store", "store", "verify"]).exits(4);
    }
}

/// A folder with files in many sub-folders, a store with its snapshot.
fn sample(p: &Place, files: u64) {
    for n in 0..files {
        write(&p.path("data"), &format!("d{:02}/f{n:04}", n % 17), noise(n, 1 + (n as usize * 37) % 9_000));
    }
    for n in 0..3 {
        write(&p.path("data"), &format!("large{n}"), noise(1_000_000 + n, 9 << 20));
    }
    qbak(p.dir.path(), &["--store", "store", "init"]).exits(0);
    qbak(p.dir.path(), &["--store", "store", "--source", "data", "snapshot"]).exits(0);
}

/// Links that stand where the snapshot has folders and files, and elsewhere.
fn plant(p: &Place) {
    let (inside, outside) = (p.path("in"), p.outside());
    fs::create_dir_all(inside.join("real")).unwrap();
    symlink(&outside, inside.join("d00")).unwrap();
    symlink("../outside", inside.join("d01")).unwrap();
    symlink("/nowhere/at/all", inside.join("d02")).unwrap();
    symlink(outside.join("victim"), inside.join("large0")).unwrap();
    symlink(outside.join("made"), inside.join("large1")).unwrap();
    symlink(&outside, inside.join("real/extra")).unwrap();
    symlink(outside.join("victim"), inside.join(".qbak-keys.jsonl")).unwrap();
    symlink(&outside, inside.join(format!(".qbak-tmp-{}", "0".repeat(32)))).unwrap();
    fs::hard_link(outside.join("victim"), inside.join("large2")).unwrap();
}

#[test]
fn planted_links_are_replaced_or_deleted_and_never_followed() {
    let p = Place::new();
    sample(&p, 300);
    plant(&p);
    let before = p.others();
    p.restore(&[]).exits(1);
    assert_eq!(p.others(), before);
    p.restore(&["--overwrite"]).exits(0);
    assert_eq!(p.others(), before);
    assert!(p.path("in/real/extra").is_symlink(), "nothing else was deleted");
    fs::remove_dir_all(p.path("in")).unwrap();
    plant(&p);
    p.restore(&["--overwrite", "--delete", "--yes"]).exits(0);
    assert_eq!(p.others(), before);
    let mut after = tree(&p.path("in"));
    // The side file is nobody's to delete, not even when it is a link.
    after.remove(Path::new(".qbak-keys.jsonl"));
    assert_eq!(after, tree(&p.path("data")));
}

/// A link in the place of the side file, which this restore has to write.
#[tokio::test(flavor = "multi_thread")]
async fn a_side_file_is_not_written_through_a_link() {
    let p = Place::new();
    let lines = [object(b"a", b"evil"), object(b"a/b", b"evil")];
    forge::store(&p.path("store"), "kodo://bkt", &[b"evil"], &[&lines]).await;
    plant(&p);
    let before = p.others();
    p.restore(&["--overwrite"]).exits(0);
    assert_eq!(p.others(), before);
    assert!(!p.path("in/.qbak-keys.jsonl").is_symlink());
    assert_eq!(contents(&p.path("in"))[b"a".as_slice()], hashed(b"evil"));
}

#[test]
fn links_swapped_in_by_a_racing_thread_are_not_followed() {
    let p = Place::new();
    sample(&p, 500);
    let before = p.others();
    let stop = AtomicBool::new(false);
    let swaps = std::sync::atomic::AtomicU64::new(0);
    let (inside, outside) = (p.path("in"), p.outside());
    fs::create_dir(&inside).unwrap();
    std::thread::scope(|s| {
        for thread in 0..2 {
            let (stop, swaps, inside, outside) = (&stop, &swaps, &inside, &outside);
            s.spawn(move || {
                let mut n = thread;
                while !stop.load(Relaxed) {
                    n += 2;
                    let name = inside.join(format!("d{:02}", n % 17));
                    let aside = inside.join(format!("aside{thread}"));
                    if fs::rename(&name, &aside).is_ok() && symlink(outside, &name).is_ok() {
                        swaps.fetch_add(1, Relaxed);
                        std::thread::sleep(Duration::from_micros(300));
                        let _ = fs::remove_file(&name);
                    }
                    let _ = fs::rename(&aside, &name);
                    let _ = fs::remove_dir_all(&aside);
                }
            });
        }
        let began = Instant::now();
        let mut rounds = 0;
        while rounds < 4 || (swaps.load(Relaxed) < 50 && began.elapsed() < Duration::from_secs(20)) {
            let more: &[&str] =
                if rounds % 2 == 0 { &["--overwrite"] } else { &["--overwrite", "--delete", "--yes"] };
            let said = p.restore(more);
            assert!([0, 1].contains(&said.code), "{said:#?}");
            rounds += 1;
        }
        stop.store(true, Relaxed);
    });
    assert!(swaps.load(Relaxed) >= 50, "{swaps:?}");
    assert_eq!(p.others(), before);
    // Left alone it comes out right.
    p.restore(&["--overwrite", "--delete", "--yes"]).exits(0);
    assert_eq!(tree(&inside), tree(&p.path("data")));
}

/// Every file under a final name is whole; what is not has a temporary name. How many of the first there are.
fn only_whole_files(target: &Path, data: &Path) -> usize {
    let mut whole = 0;
    for (path, line) in tree(target) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if line.starts_with('/') || name.starts_with(".qbak-tmp-") {
            continue;
        }
        assert_eq!(line.split(' ').next().unwrap(), hashed(&fs::read(data.join(&path)).unwrap()), "{path:?}");
        whole += 1;
    }
    whole
}

#[test]
fn killed_anywhere_no_final_name_has_half_a_file_and_the_next_one_finishes() {
    let p = Place::new();
    sample(&p, 900);
    let target = p.path("in");
    let count = || -> usize { tree(&target).len() };
    let mut killed = 0;
    for round in 0..6usize {
        let more: &[&str] = if round == 0 { &[] } else { &["--overwrite"] };
        let words: Vec<&str> = ["-q", "--store", "store", "restore", "latest", "--to", "in"]
            .iter()
            .chain(more)
            .copied()
            .collect();
        let before = if target.exists() { count() } else { 0 };
        let mut child =
            command(p.dir.path(), &words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        // At another point each time: once so much more is there, or after a while.
        let more_files = [3, 40, 150, 250, 300, 350][round];
        while child.try_wait().unwrap().is_none()
            && !(target.exists() && fs::read_dir(&target).is_ok() && walked(&target) >= before + more_files)
            && began.elapsed() < Duration::from_secs(20)
        {}
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().signal() == Some(9));
        only_whole_files(&target, &p.path("data"));
    }
    assert!(killed >= 3, "killed {killed} times in the middle");
    p.restore(&["--overwrite"]).exits(0);
    assert_eq!(tree(&target), tree(&p.path("data")), "and no temporary file is left");
}

/// How many files there are, while others come and go.
fn walked(root: &Path) -> usize {
    let mut n = 0;
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        n += 1;
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            n += walked(&entry.path());
        }
    }
    n
}

#[test]
fn a_full_target_says_so_and_the_next_restore_finishes() {
    let Some(disk) = Disk::tmpfs("size=12m") else { return };
    let p = Place::new();
    sample(&p, 300);
    let target = disk.path().join("target");
    let to = target.to_str().unwrap().to_owned();
    let restore = |more: &[&str]| {
        let first = ["--json", "--store", "store", "restore", "latest", "--to", &to];
        qbak(p.dir.path(), &first.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
    };
    let said = restore(&[]).exits(1);
    let message = said.summary()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("the disk is full") && message.contains("--overwrite"), "{message}");
    only_whole_files(&target, &p.path("data"));
    assert!(!walked_names(&target).iter().any(|n| n.starts_with(".qbak-tmp-")), "nothing is left behind");
    // The same of names.
    fs::remove_dir_all(&target).unwrap();
    disk.change("size=60m,nr_inodes=100");
    let said = restore(&[]).exits(1);
    assert!(said.summary()["message"].as_str().unwrap().contains("the disk is full"), "{said:#?}");
    only_whole_files(&target, &p.path("data"));
    disk.change("size=60m,nr_inodes=4000");
    restore(&["--overwrite"]).exits(0);
    assert_eq!(tree(&target), tree(&p.path("data")));
}

fn walked_names(root: &Path) -> Vec<String> {
    tree(root).into_keys().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_target_that_cannot_be_written_says_so_and_is_left_alone() {
    let p = Place::new();
    sample(&p, 40);
    fs::create_dir(p.path("there")).unwrap();
    fs::write(p.path("there/mine"), "mine").unwrap();
    if let Some(disk) = Disk::read_only(&p.path("there")) {
        for to in [disk.path().to_path_buf(), disk.path().join("new")] {
            let to = to.to_str().unwrap();
            let words = ["--json", "--store", "store", "restore", "latest", "--overwrite", "--to", to];
            let said = qbak(p.dir.path(), &words).exits(1);
            assert!(
                said.summary()["message"].as_str().unwrap().contains("the file system is read-only"),
                "{said:#?}"
            );
        }
    }
    assert_eq!(tree(&p.path("there")).len(), 1);
    // No permission: as another user, where this is root.
    fs::set_permissions(p.path("there"), fs::Permissions::from_mode(0o555)).unwrap();
    let words = ["--json", "--store", "store", "restore", "latest", "--overwrite", "--to", "there/new"];
    let said = if rustix::process::geteuid().is_root() {
        let Some(mut run) = as_nobody(p.dir.path(), &words) else { return };
        said(run.output().unwrap())
    } else {
        qbak(p.dir.path(), &words)
    };
    assert!(said.exits(1).summary()["message"].as_str().unwrap().contains("permission denied"));
    assert_eq!(tree(&p.path("there")).len(), 1);
}
