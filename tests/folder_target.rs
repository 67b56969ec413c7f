//! Restoring into a folder, on a real file system: what comes back, and that nothing ever leaves the target.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures::StreamExt;
use qbak::model::clock::{Clock, FixedClock, SystemClock};
use qbak::model::content::{BLOCK, content_id, hash};
use qbak::model::entry::Kind;
use qbak::model::event::{Event, Observer};
use qbak::model::id::ContentId;
use qbak::model::listed::Listed;
use qbak::model::time::Timestamp;
use qbak::source::folder::FolderSource;
use qbak::source::{BlockingRead, Source};
use qbak::target::TargetErrorKind;
use qbak::target::folder::{Existing, FolderStack, FolderTarget, Meta, Outcome, Policy};
use qbak::target::keymap::{KeyMap, Rules};
use qbak::target::sidefile::SideFile;

const NEW: Policy = Policy { overwrite: false, delete: false };
const OVER: Policy = Policy { overwrite: true, delete: false };
const DELETE: Policy = Policy { overwrite: true, delete: true };
const PLAIN: Meta = Meta { mode: None, mtime: None };

fn target(path: &Path, policy: Policy) -> FolderTarget {
    FolderTarget::open(path, policy, 7).unwrap()
}

struct Strict;

impl Observer for Strict {
    fn event(&self, event: Event) {
        panic!("{event:?}");
    }
}

fn source(path: &Path) -> FolderSource {
    let later = Timestamp::from_nanos(SystemClock.now().nanos() + 10_000_000_000);
    let clock: Arc<dyn Clock> = Arc::new(FixedClock(later));
    FolderSource::open(path, &std::env::temp_dir(), clock, Arc::new(Strict)).unwrap()
}

fn list(source: &FolderSource) -> Vec<Listed> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(source.list().map(Result::unwrap).collect::<Vec<_>>()).concat()
}

fn etag(bytes: &[u8]) -> ContentId {
    content_id(&bytes.chunks(BLOCK).map(|b| hash(b).id).collect::<Vec<_>>())
}

/// Every file's path and contents below a folder, links as what they say.
fn tree(path: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for entry in target(path, NEW).entries().unwrap() {
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        let there = path.join(&name);
        let text = match entry.kind {
            Kind::Folder => "/".into(),
            Kind::Link => format!("-> {}", fs::read_link(there).unwrap().display()),
            Kind::Object => String::from_utf8_lossy(&fs::read(there).unwrap()).into_owned(),
        };
        out.insert(name, text);
    }
    out
}

#[test]
fn a_folder_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("made/on/the/way"));
    fs::create_dir_all(from.join("a/b/empty")).unwrap();
    fs::create_dir(from.join("closed")).unwrap();
    for (name, mode) in
        [("a/x", 0o640), ("a/b/y", 0o400), ("z\n", 0o755), ("closed/in", 0o600), ("a-", 0o1777)]
    {
        fs::write(from.join(name), name).unwrap();
        fs::set_permissions(from.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("/nowhere/\u{1}", from.join("a/link")).unwrap();
    let old = std::time::UNIX_EPOCH - std::time::Duration::from_nanos(1_500_000_001);
    fs::File::open(from.join("a/x")).unwrap().set_modified(old).unwrap();
    for (name, mode) in [("a/b", 0o2775), ("a", 0o750), ("closed", 0o500)] {
        fs::set_permissions(from.join(name), fs::Permissions::from_mode(mode)).unwrap();
        let when = std::time::UNIX_EPOCH
            + std::time::Duration::from_nanos(1_600_000_000_000_000_000 + u64::from(mode));
        fs::File::open(from.join(name)).unwrap().set_modified(when).unwrap();
    }

    let from = source(&from);
    let before = list(&from);
    let target = target(&to, NEW);
    assert_eq!(target.occupied().unwrap(), 0);
    let mut stack = FolderStack::new(&target);
    let mut late = Vec::new();
    for l in &before {
        let meta = Meta { mode: l.attributes.mode, mtime: l.put_time };
        let path = l.key.bytes();
        match l.kind {
            Kind::Folder => {
                assert_eq!(stack.folder(&path[..path.len() - 1], &meta).unwrap(), Outcome::Written)
            }
            Kind::Link => {
                let _ticket = stack.ticket(path);
                assert_eq!(target.link(path, l.target.as_ref().unwrap(), &meta).unwrap(), Outcome::Written);
                assert_eq!(target.link(path, l.target.as_ref().unwrap(), &meta).unwrap(), Outcome::Unchanged);
            }
            // Files come when their folders were left long ago.
            Kind::Object => late.push((stack.ticket(path), l, meta)),
        }
    }
    let finished = std::thread::spawn({
        let (from, target) = (from.clone(), target.clone());
        let late: Vec<_> = late.into_iter().map(|(t, l, m)| (t, l.clone(), m)).collect();
        move || {
            for (ticket, l, meta) in late.into_iter().rev() {
                let bytes = from.read_blocking(&l, 0..l.size).unwrap();
                target.write(l.key.bytes(), &bytes, &meta).unwrap();
                drop(ticket);
            }
        }
    });
    finished.join().unwrap();
    assert_eq!(stack.finish(), []);
    target.finish().unwrap();
    let after = list(&source(&to));
    let shape = |l: &Listed| (l.key.clone(), l.kind, l.size, l.put_time, l.target.clone(), l.attributes.mode);
    assert_eq!(before.iter().map(shape).collect::<Vec<_>>(), after.iter().map(shape).collect::<Vec<_>>());
    assert_eq!(target.occupied().unwrap(), after.len() as u64);
}

/// A second restore over folders that their owner may not write to, as a user whom that stops.
#[test]
fn closed_folders_are_opened_while_they_are_written_to() {
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "closed_folders_are_opened_while_they_are_written_to", "--nocapture"]);
        match again.uid(65_534).gid(65_534).current_dir("/").output() {
            Ok(out) => assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout)),
            Err(e) => {
                println!("skipped: root may write everywhere, and no other user can run this test: {e}")
            }
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (round, mode) in [0o500, 0o600, 0o400, 0o700].into_iter().enumerate() {
        let target = target(dir.path(), if round == 0 { NEW } else { OVER });
        let mut stack = FolderStack::new(&target);
        let meta = Meta { mode: Some(mode), mtime: Some(Timestamp::from_seconds(9)) };
        stack.folder(b"a", &meta).unwrap();
        stack.folder(b"a/b", &meta).unwrap();
        let ticket = stack.ticket(b"a/b/f");
        target.write(b"a/b/f", b"x", &PLAIN).unwrap();
        drop(ticket);
        assert_eq!(stack.finish(), []);
        let meta = fs::metadata(dir.path().join("a")).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, mode);
        assert_eq!(meta.modified().unwrap(), std::time::UNIX_EPOCH + std::time::Duration::from_secs(9));
    }
    assert_eq!(tree(dir.path()).len(), 3);
}

#[test]
fn set_user_id_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let target = target(dir.path(), NEW);
    let meta = Meta { mode: Some(0o6755), mtime: None };
    target.write(b"f", b"", &meta).unwrap();
    assert_eq!(fs::metadata(dir.path().join("f")).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(target.compare(b"f", 0, &etag(b""), &meta).unwrap(), Existing::Same { meta: true });
}

#[test]
fn names_that_lead_out_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("in");
    let target = target(&inside, DELETE);
    let long = [b'x'; 256];
    for path in [
        &b""[..],
        b"/",
        b"/etc/qbak",
        b"..",
        b"../x",
        b"a/../../x",
        b"a//b",
        b"a/",
        b".",
        b"./a",
        b"a/.",
        b"a\0b",
        &long,
    ] {
        let errors = [
            target.write(path, b"x", &PLAIN).unwrap_err(),
            target.begin(path, 1, &PLAIN).unwrap_err(),
            target.folder(path, &PLAIN).unwrap_err(),
            target.finish_folder(path, &PLAIN).unwrap_err(),
            target.link(path, b"x", &PLAIN).unwrap_err(),
            target.compare(path, 1, &etag(b"x"), &PLAIN).unwrap_err(),
            target.set_meta(path, &PLAIN).unwrap_err(),
        ];
        for e in errors {
            assert_eq!(e.kind, TargetErrorKind::Unsafe, "{e}");
        }
    }
    assert_eq!(tree(dir.path()), BTreeMap::from([("in".into(), "/".into())]));
}

/// Links in the target, before the files and before the folders: never followed, replaced only when that is wished.
#[test]
fn planted_links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("victim"), "safe").unwrap();
    let plant = || {
        let _ = fs::remove_dir_all(&inside);
        fs::create_dir_all(inside.join("real")).unwrap();
        symlink(&outside, inside.join("abs")).unwrap();
        symlink("../out", inside.join("rel")).unwrap();
        symlink("real", inside.join("inner")).unwrap();
        symlink("../../out", inside.join("real/deep")).unwrap();
        symlink(outside.join("victim"), inside.join("file")).unwrap();
        symlink(outside.join("new"), inside.join("dangling")).unwrap();
    };
    let before = tree(&outside);
    let paths: [&[u8]; 8] = [
        b"abs/victim",
        b"rel/sub/x",
        b"inner/x",
        b"real/deep/victim",
        b"file",
        b"dangling",
        b"abs/a/b/c",
        b"rel/new",
    ];
    for policy in [NEW, OVER, DELETE] {
        for path in paths {
            plant();
            let target = target(&inside, policy);
            let written = [
                target
                    .write(
                        path,
                        b"evil",
                        &Meta { mode: Some(0o600), mtime: Some(Timestamp::from_seconds(1)) },
                    )
                    .is_ok(),
                target
                    .begin(path, 4, &PLAIN)
                    .and_then(|f| f.write_at(0, b"evil").and_then(|()| f.finish()))
                    .is_ok(),
                target.link(path, b"evil", &PLAIN).is_ok(),
            ];
            assert_eq!(written, [policy.overwrite; 3], "{policy:?} {}", String::from_utf8_lossy(path));
            let _ = target.folder(path, &Meta { mode: Some(0o755), mtime: None });
            let _ = target
                .finish_folder(path, &Meta { mode: Some(0o700), mtime: Some(Timestamp::from_seconds(1)) });
            let _ =
                target.set_meta(path, &Meta { mode: Some(0o777), mtime: Some(Timestamp::from_seconds(1)) });
            assert!(!matches!(target.compare(path, 4, &etag(b"safe"), &PLAIN), Ok(Existing::Same { .. })));
            assert_eq!(tree(&outside), before);
            assert_ne!(fs::metadata(outside.join("victim")).unwrap().permissions().mode() & 0o777, 0o777);
        }
        plant();
        let target = target(&inside, policy);
        let deleted = target.delete(&mut |_| true, &mut |e| panic!("{e}"));
        assert_eq!(deleted.is_ok(), policy.delete);
        assert_eq!(tree(&outside), before);
        assert_eq!(fs::read_dir(&inside).unwrap().count() == 0, policy.delete);
    }
}

/// A thread that makes folders into links to the outside and back, while others write, read and delete.
#[test]
fn links_swapped_in_while_writing_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
    fs::create_dir_all(inside.join("d/e")).unwrap();
    fs::create_dir_all(outside.join("e")).unwrap();
    fs::write(outside.join("e/victim"), "safe").unwrap();
    symlink(&outside, dir.path().join("link")).unwrap();
    let before = tree(&outside);
    let (stop, written) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
    std::thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(Relaxed) {
                // Whatever the writers make of it, try on.
                let _ = fs::rename(inside.join("d"), inside.join("aside"));
                let _ = fs::rename(dir.path().join("link"), inside.join("d"));
                std::thread::yield_now();
                if fs::rename(inside.join("d"), dir.path().join("link")).is_err() {
                    let _ = symlink(&outside, dir.path().join("link"));
                }
                let _ = fs::rename(inside.join("aside"), inside.join("d"));
            }
        });
        for policy in [NEW, OVER, DELETE] {
            let (inside, stop, written) = (&inside, &stop, &written);
            s.spawn(move || {
                let mut n = 0u64;
                while !stop.load(Relaxed) {
                    // A new target each time, so that no handle is kept.
                    let target = FolderTarget::open(inside, policy, n).unwrap();
                    n += 1;
                    let path = format!("d/e/{n}");
                    for path in [&path, "d/e/victim"] {
                        written.fetch_add(
                            u64::from(target.write(path.as_bytes(), b"evil", &PLAIN).is_ok()),
                            Relaxed,
                        );
                        let _ = target.link(path.as_bytes(), b"evil", &PLAIN);
                        let _ = target.set_meta(path.as_bytes(), &Meta { mode: Some(0), mtime: None });
                    }
                    let _ = target.finish_folder(b"d/e", &Meta { mode: Some(0o711), mtime: None });
                    if policy.delete {
                        let _ = target.delete(&mut |_| true, &mut |_| {});
                    }
                }
            });
        }
        let begun = std::time::Instant::now();
        while begun.elapsed().as_millis() < 1_000
            || (written.load(Relaxed) == 0 && begun.elapsed().as_secs() < 60)
        {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        stop.store(true, Relaxed);
    });
    assert!(written.load(Relaxed) > 0);
    assert_eq!(tree(&outside), before);
    assert_ne!(fs::metadata(outside.join("e")).unwrap().permissions().mode() & 0o777, 0o711);
}

/// A second name of a file outside: its contents, mode and mtime are left alone.
#[test]
fn files_with_other_names_are_replaced_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    fs::write(&victim, "safe").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    let target = target(&dir.path().join("in"), OVER);
    fs::hard_link(&victim, dir.path().join("in/f")).unwrap();
    let meta = Meta { mode: Some(0o777), mtime: Some(Timestamp::from_seconds(1)) };
    assert_eq!(target.compare(b"f", 4, &etag(b"safe"), &PLAIN).unwrap(), Existing::Same { meta: true });
    assert_eq!(target.compare(b"f", 4, &etag(b"safe"), &meta).unwrap(), Existing::Differs);
    assert_eq!(target.set_meta(b"f", &meta).unwrap_err().kind, TargetErrorKind::InTheWay);
    target.write(b"f", b"ours", &meta).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"safe");
    assert_eq!(fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(dir.path().join("in/f")).unwrap(), b"ours");
}

/// The last ticket is of the deepest of very many folders; then all of them are finished at once.
#[test]
fn very_deep_folders_are_finished() {
    let dir = tempfile::tempdir().unwrap();
    let target = target(dir.path(), NEW);
    let path = vec!["d"; 2_000].join("/");
    let meta = Meta { mode: Some(0o750), mtime: Some(Timestamp::from_seconds(3)) };
    let mut stack = FolderStack::new(&target);
    for end in (1..=path.len()).step_by(2) {
        stack.folder(&path.as_bytes()[..end], &meta).unwrap();
    }
    let file = format!("{path}/f");
    let ticket = stack.ticket(file.as_bytes());
    target.write(file.as_bytes(), b"x", &PLAIN).unwrap();
    let failures = stack.finish();
    // On a thread with the usual, small stack.
    std::thread::spawn(move || drop(ticket)).join().unwrap();
    assert_eq!(failures, []);
    let listed = list(&source(dir.path()));
    assert_eq!(listed.len(), 2_001);
    let folders = listed.iter().filter(|l| l.kind == Kind::Folder);
    assert!(folders.clone().all(|l| l.attributes.mode == Some(0o750)));
    assert!(folders.clone().all(|l| l.put_time == Some(Timestamp::from_seconds(3))));
}

#[test]
fn no_half_file_under_a_final_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("old"), "old").unwrap();
    let target = target(dir.path(), OVER);
    for name in [&b"old"[..], b"new"] {
        let e = target
            .write_with(name, &PLAIN, &mut |out| {
                out.write_all(b"half")?;
                Err(std::io::Error::other("the store is damaged"))
            })
            .unwrap_err();
        assert!(e.message.contains("the store is damaged") && e.message.contains("”"), "{e}");
        let large = target.begin(name, 8, &PLAIN).unwrap();
        large.write_at(0, b"half").unwrap();
        assert!(large.write_at(5, b"half").is_err() && large.write_at(u64::MAX, b"x").is_err());
        assert!(large.finish().is_err());
        drop(target.begin(name, 8, &PLAIN).unwrap());
    }
    assert_eq!(tree(dir.path()), BTreeMap::from([("old".into(), "old".into())]));
}

#[test]
fn what_is_there_is_replaced_only_as_wished() {
    let dir = tempfile::tempdir().unwrap();
    let set_up = || {
        let _ = fs::remove_dir_all(dir.path().join("t"));
        fs::create_dir_all(dir.path().join("t/full/sub")).unwrap();
        fs::create_dir(dir.path().join("t/empty")).unwrap();
        fs::write(dir.path().join("t/full/sub/x"), "mine").unwrap();
        fs::write(dir.path().join("t/file"), "mine").unwrap();
    };
    let cases: [(&[u8], Policy); 5] =
        [(b"file", OVER), (b"file/below", OVER), (b"empty", OVER), (b"full", DELETE), (b"full/sub", DELETE)];
    for (path, needed) in cases {
        for policy in [NEW, OVER, DELETE] {
            set_up();
            let t = target(&dir.path().join("t"), policy);
            // So that handles of what goes are held.
            let _ = t.folder(b"full/sub", &PLAIN);
            let result = t.write(path, b"ours", &PLAIN);
            let may = (policy.overwrite || !needed.overwrite) && (policy.delete || !needed.delete);
            assert_eq!(result.is_ok(), may, "{policy:?} {result:?}");
            if let Err(e) = result {
                assert_eq!(e.kind, TargetErrorKind::InTheWay, "{e}");
                assert_eq!(tree(&dir.path().join("t")).len(), 5, "nothing was lost, nothing left behind");
            } else {
                let path = std::str::from_utf8(path).unwrap();
                assert_eq!(fs::read(dir.path().join("t").join(path)).unwrap(), b"ours");
            }
        }
        // A folder in the place of a file.
        set_up();
        assert!(target(&dir.path().join("t"), NEW).folder(b"file", &PLAIN).is_err());
        assert_eq!(target(&dir.path().join("t"), OVER).folder(b"file", &PLAIN).unwrap(), Outcome::Written);
        assert_eq!(target(&dir.path().join("t"), NEW).folder(b"file", &PLAIN).unwrap(), Outcome::Unchanged);
    }
}

#[test]
fn pieces_from_several_threads() {
    let dir = tempfile::tempdir().unwrap();
    let target = target(dir.path(), NEW);
    let bytes: Vec<u8> = (0..3 * BLOCK + 77).map(|i| (i % 251) as u8).collect();
    let meta = Meta { mode: Some(0o644), mtime: Some(Timestamp::from_seconds(5)) };
    let file = target.begin(b"a/big", bytes.len() as u64, &meta).unwrap();
    std::thread::scope(|s| {
        for (i, block) in bytes.chunks(BLOCK).enumerate().rev() {
            let file = &file;
            s.spawn(move || file.write_at((i * BLOCK) as u64, block).unwrap());
        }
    });
    file.finish().unwrap();
    assert!(fs::read(dir.path().join("a/big")).unwrap() == bytes);
    let id = etag(&bytes);
    let size = bytes.len() as u64;
    let compare = |path: &[u8], size, id| target.compare(path, size, &id, &meta).unwrap();
    assert_eq!(compare(b"a/big", size, id), Existing::Same { meta: true });
    assert_eq!(compare(b"a/big", size - 1, id), Existing::Differs);
    assert_eq!(compare(b"a/big", size, etag(b"x")), Existing::Differs);
    assert_eq!(compare(b"a/none", 0, id), Existing::Nothing);
    assert_eq!(compare(b"a/big/none", 0, id), Existing::Nothing);
    assert_eq!(compare(b"a", 0, id), Existing::NoFile);
    fs::set_permissions(dir.path().join("a/big"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(compare(b"a/big", size, id), Existing::Same { meta: false });
    target.set_meta(b"a/big", &meta).unwrap();
    assert_eq!(compare(b"a/big", size, id), Existing::Same { meta: true });
    fs::write(dir.path().join("empty"), "").unwrap();
    assert_eq!(target.compare(b"empty", 0, &etag(b""), &PLAIN).unwrap(), Existing::Same { meta: true });
}

#[test]
fn many_threads_in_folders_that_do_not_exist_yet() {
    let dir = tempfile::tempdir().unwrap();
    let target = target(dir.path(), NEW);
    std::thread::scope(|s| {
        for t in 0..4 {
            let target = &target;
            s.spawn(move || {
                for i in 0..300 {
                    let path = format!("{}/{}/{}/{t}-{i}", i % 7, i % 3, i % 11);
                    target.write(path.as_bytes(), path.as_bytes(), &PLAIN).unwrap();
                }
            });
        }
    });
    let files: Vec<_> = tree(dir.path()).into_iter().filter(|(_, text)| text != "/").collect();
    assert_eq!(files.len(), 1_200);
    assert!(files.iter().all(|(path, text)| path == text));
}

#[test]
fn paths_longer_than_the_system_takes() {
    let dir = tempfile::tempdir().unwrap();
    let target = target(dir.path(), NEW);
    let folder = vec!["d".repeat(200); 30].join("/");
    assert!(folder.len() > 4_096);
    for name in ["x", "y"] {
        target.write(format!("{folder}/{name}").as_bytes(), name.as_bytes(), &PLAIN).unwrap();
    }
    let file = format!("{folder}/x");
    assert_eq!(
        target.compare(file.as_bytes(), 1, &etag(b"x"), &PLAIN).unwrap(),
        Existing::Same { meta: true }
    );
    target.finish_folder(folder.as_bytes(), &Meta { mode: Some(0o700), mtime: None }).unwrap();
    let source = source(dir.path());
    let listed = list(&source);
    assert_eq!(listed.len(), 32);
    assert_eq!(source.read_blocking(&listed[30], 0..1).unwrap(), "x");
    let target = FolderTarget::open(dir.path(), DELETE, 1).unwrap();
    assert_eq!(target.delete(&mut |_| true, &mut |e| panic!("{e}")).unwrap(), 32);
}

#[test]
fn deletes_only_what_is_said_and_leftovers() {
    let dir = tempfile::tempdir().unwrap();
    let p = dir.path();
    for folder in ["keep", "go/deep", "mixed"] {
        fs::create_dir_all(p.join(folder)).unwrap();
        fs::write(p.join(folder).join("x"), "").unwrap();
    }
    fs::write(p.join("mixed/keep"), "").unwrap();
    fs::write(p.join(".qbak-keys.jsonl"), "").unwrap();
    let rubbish = format!("mixed/.qbak-tmp-{}", "0a".repeat(16));
    fs::write(p.join(&rubbish), "").unwrap();
    fs::write(p.join(".qbak-tmp-mine"), "").unwrap();
    let t = target(p, DELETE);
    assert_eq!(t.remove_leftovers().unwrap(), 1);
    assert!(!p.join(&rubbish).exists() && p.join(".qbak-tmp-mine").exists());
    let deleted = t
        .delete(&mut |e| !String::from_utf8_lossy(&e.path).contains("keep"), &mut |e| panic!("{e}"))
        .unwrap();
    let left: Vec<_> = tree(p).into_keys().collect();
    assert_eq!(left, [".qbak-keys.jsonl", "keep", "keep/x", "mixed", "mixed/keep"]);
    assert_eq!(deleted, 5, "go, go/deep, its x, mixed/x, .qbak-tmp-mine");
}

/// A disk of 256 KiB: what does not fit is said to be that, and leaves nothing; with room it works.
#[test]
fn a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(&disk)
        .output()
        .is_ok_and(|out| out.status.success());
    if !mounted {
        println!("skipped: a small disk cannot be mounted here");
        return;
    }
    let t = target(&disk, NEW);
    let big = vec![1u8; 1 << 20];
    let small = t.write(b"a/small", b"fits", &PLAIN);
    let full = t.write(b"a/big", &big, &PLAIN);
    let large =
        t.begin(b"a/large", 1 << 20, &PLAIN).and_then(|f| f.write_at(0, &big).and_then(|()| f.finish()));
    let left = tree(&disk);
    let again = t.write(b"a/again", b"fits", &PLAIN);
    drop(t);
    std::process::Command::new("umount").arg(&disk).status().unwrap();
    small.unwrap();
    assert_eq!(full.unwrap_err().kind, TargetErrorKind::Full);
    assert_eq!(large.unwrap_err().kind, TargetErrorKind::Full);
    assert_eq!(left.into_keys().collect::<Vec<_>>(), ["a", "a/small"]);
    again.unwrap();
}

#[test]
fn this_file_system_keeps_names_apart() {
    let dir = tempfile::tempdir().unwrap();
    let t = target(dir.path(), NEW);
    fs::write(dir.path().join("x"), "").unwrap();
    assert_eq!(t.joins_names().unwrap(), dir.path().join("X").exists());
    assert!(!t.utf8_only().unwrap());
    assert_eq!(t.occupied().unwrap(), 1, "the probes are gone");
}

/// Restores objects whose contents are their keys; what the side file then says.
fn restore(keys: &BTreeSet<Vec<u8>>, some: &BTreeSet<Vec<u8>>, to: &Path, policy: Policy) -> u64 {
    let target = target(to, policy);
    let map = KeyMap::new(keys, Rules::default());
    let mut side = SideFile::new(&std::env::temp_dir());
    for key in some {
        let place = map.place(key, Kind::Object, None).unwrap();
        target.write(&place.path, key, &PLAIN).unwrap();
        if place.recorded {
            side.record(&place.path, key).unwrap();
        }
    }
    let report = side.finish(&target, keys).unwrap();
    assert_eq!(report.met, []);
    report.lines
}

/// The keys of all files of a folder, each checked to hold its key.
fn read_back(path: &Path) -> BTreeSet<Vec<u8>> {
    let source = source(path);
    let listed = list(&source);
    assert!(listed.windows(2).all(|w| w[0].key < w[1].key), "in order, none twice");
    let objects = listed.iter().filter(|l| l.kind == Kind::Object);
    objects
        .map(|l| {
            assert_eq!(source.read_blocking(l, 0..l.size).unwrap(), l.key.bytes());
            l.key.bytes().to_vec()
        })
        .collect()
}

fn set(keys: &[&[u8]]) -> BTreeSet<Vec<u8>> {
    keys.iter().map(|k| k.to_vec()).collect()
}

#[test]
fn every_awkward_key_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (long, longer, part) = ([b'k'; 750], [b'k'; 1_024], [b'p'; 256]);
    let keys = set(&[
        b"a",
        b"a/b",
        b"a/",
        b"a//b",
        b"/a",
        b".",
        b"..",
        b"a/../b",
        b"",
        b"a\0",
        b"a\nb",
        &long,
        &longer,
        &part,
        b"CON",
        b"a:b",
        b"a.",
        b"a ",
        b"Aa",
        b"aA",
        "é".as_bytes(),
        "e\u{301}".as_bytes(),
        b"\xff\xfe",
        b"%2F",
        b"\\",
        b".qbak-keys.jsonl",
        b"/",
        b"//",
        b"../../../../../../tmp/qbak-escaped",
        b"-",
        b"~",
    ]);
    let lines = restore(&keys, &keys, dir.path(), NEW);
    assert!(lines > 10);
    assert_eq!(read_back(dir.path()), keys);
    assert!(!Path::new("/tmp/qbak-escaped").exists());
    let text = fs::read_to_string(dir.path().join(".qbak-keys.jsonl")).unwrap();
    assert_eq!(text.lines().count() as u64, lines);
    assert!(text.starts_with("{\"path\":\"%\",\"key\":\"\"}\n{\"path\":\"%2E\",\"key\":\".\"}\n"), "{text}");
    assert!(text.contains("{\"path\":\"%61\",\"key\":\"a\"}\n"));
    assert!(text.contains("{\"path\":\"%2F~"), "`%2F` is another key's: {text}");
}

#[test]
fn a_second_restore_keeps_the_names_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let keys = set(&[b"x//1", b"x//2", b"y"]);
    assert_eq!(restore(&keys, &set(&[b"x//1", b"y"]), dir.path(), NEW), 1);
    assert_eq!(restore(&keys, &set(&[b"x//2"]), dir.path(), OVER), 2);
    let other = set(&[b"z//1"]);
    assert_eq!(restore(&other, &other, dir.path(), OVER), 3);
    assert_eq!(read_back(dir.path()).len(), 4);
    fs::remove_dir_all(dir.path().join("x")).unwrap();
    fs::remove_dir_all(dir.path().join("z")).unwrap();
    assert_eq!(restore(&set(&[b"y"]), &set(&[b"y"]), dir.path(), OVER), 0);
    assert!(!dir.path().join(".qbak-keys.jsonl").exists());
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn nasty() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => prop::sample::select(vec![
                &b"a"[..], b"b", b"/", b"/", b"/", b"..", b".", b"%", b"%2F", b"%61", b"~", b"-", b"\n", b"\0", b"\xff",
                "é".as_bytes(), b".qbak-keys.jsonl", b".qbak-tmp-",
            ]).prop_map(<[u8]>::to_vec),
            1 => (250usize..260).prop_map(|n| vec![b'n'; n]),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|p| p.concat())
    }

    proptest! {
        #![proptest_config(crate::common::cases(64))]

        #[test]
        fn any_keys_come_back(keys in prop::collection::btree_set(nasty(), 1..30)) {
            let dir = tempfile::tempdir().unwrap();
            let inside = dir.path().join("a/b/c/in");
            restore(&keys, &keys, &inside, NEW);
            prop_assert_eq!(read_back(&inside), keys);
            prop_assert_eq!(target(dir.path(), NEW).entries().unwrap().filter(|e| !e.path.starts_with(b"a/b/c/in/")).count(), 4);
        }
    }
}
