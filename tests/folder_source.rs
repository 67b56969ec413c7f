//! A folder as a source, on a real file system.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing"
)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use qbak::model::clock::{Clock, FixedClock, SystemClock};
use qbak::model::content::BLOCK;
use qbak::model::entry::Kind;
use qbak::model::event::{Event, Observer};
use qbak::model::key::Key;
use qbak::model::listed::Listed;
use qbak::model::time::Timestamp;
use qbak::source::folder::FolderSource;
use qbak::source::{BlockingRead, ErrorKind, ReadError, Route, Source, Verdict};

#[derive(Default)]
struct Events(Mutex<Vec<Event>>);

impl Observer for Events {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// A clock at which everything that was written by now has settled.
fn later() -> Arc<dyn Clock> {
    Arc::new(FixedClock(Timestamp::from_nanos(SystemClock.now().nanos() + 10_000_000_000)))
}

fn source(path: &Path) -> FolderSource {
    FolderSource::open(path, path, later(), Arc::new(Events::default())).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn list(source: &FolderSource) -> Vec<Listed> {
    block_on(async {
        let mut out = Vec::new();
        let mut pages = source.list();
        while let Some(page) = pages.next().await {
            let page = page.unwrap();
            assert!(!page.is_empty() && page.len() <= 2_000);
            out.extend(page);
        }
        out
    })
}

fn keys(listed: &[Listed]) -> Vec<&[u8]> {
    listed.iter().map(|l| l.key.bytes()).collect()
}

fn whole(source: &FolderSource, object: &Listed) -> Result<Vec<u8>, ReadError> {
    source.read_blocking(object, 0..object.size).map(|b| b.to_vec())
}

#[test]
fn files_folders_links_and_odd_names() {
    let dir = tempfile::tempdir().unwrap();
    let p = dir.path();
    fs::create_dir_all(p.join("a/empty")).unwrap();
    fs::create_dir(p.join("a-")).unwrap();
    for name in ["a.txt", "a/x", "a0", "b\nc", ".hidden", "目录"] {
        fs::write(p.join(name), name).unwrap();
    }
    let raw = OsStr::from_bytes(b"\xff\xfe");
    fs::write(p.join(raw), "raw").unwrap();
    let long = "l".repeat(255);
    fs::write(p.join(&long), "").unwrap();
    symlink("../outside/\u{e9}", p.join("link")).unwrap();
    symlink("a", p.join("tofolder")).unwrap();
    fs::set_permissions(p.join("a0"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(p.join("a"), fs::Permissions::from_mode(0o2750)).unwrap();
    let when = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_234_567_890_123_456_789);
    fs::File::open(p.join("a0")).unwrap().set_modified(when).unwrap();

    let source = source(p);
    assert_eq!(source.identity().url, p.canonicalize().unwrap().to_str().unwrap());
    assert_eq!(source.identity().scope.bytes(), b"");
    block_on(source.check()).unwrap();
    let listed = list(&source);
    let mut expected: Vec<&[u8]> = vec![
        b"a-/",
        b"a.txt",
        b"a/",
        b"a/empty/",
        b"a/x",
        b"a0",
        b"b\nc",
        b".hidden",
        "目录".as_bytes(),
        b"\xff\xfe",
        long.as_bytes(),
        b"link",
        b"tofolder",
    ];
    expected.sort();
    assert_eq!(keys(&listed), expected);
    let find = |key: &[u8]| listed.iter().find(|l| l.key.bytes() == key).unwrap();
    assert_eq!((find(b"a/").kind, find(b"a/").attributes.mode), (Kind::Folder, Some(0o2750)));
    assert_eq!(find(b"a0").attributes.mode, Some(0o4751));
    assert_eq!(find(b"a0").put_time, Some(Timestamp::from_nanos(1_234_567_890_123_456_789)));
    assert_eq!(find(b"link").kind, Kind::Link);
    assert_eq!(find(b"link").target.as_deref(), Some("../outside/\u{e9}".as_bytes()));
    assert_eq!((find(b"link").size, find(b"link").hash.as_ref()), (0, None));
    for l in &listed {
        assert!(l.failed.is_none());
        assert_eq!(l.hash.is_some(), l.kind == Kind::Object, "{:?}", l.key);
        assert_eq!(block_on(source.stat(&l.key)).unwrap().as_ref(), Some(l));
        if l.kind == Kind::Object {
            let on_disk = fs::read(p.join(OsStr::from_bytes(l.key.bytes()))).unwrap();
            assert_eq!(whole(&source, l).unwrap(), on_disk);
            assert_eq!(block_on(source.read(l, 0..l.size, Route::Usual)).unwrap(), on_disk);
            assert!(matches!(block_on(source.judge(l, Route::Usual)).unwrap(), Verdict::Altered(_)));
        }
    }
    for none in ["", "a", "a0/", "a/empty", "nothing", "tofolder/x", "/a0", "../x", "a//x", "a/./x", "link/"]
    {
        assert_eq!(block_on(source.stat(&Key::from(none))).unwrap(), None, "{none}");
    }
}

#[test]
fn missing_or_not_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), "").unwrap();
    for name in ["nothing", "f"] {
        let path = dir.path().join(name);
        let e = FolderSource::open(&path, dir.path(), later(), Arc::new(Events::default())).err().unwrap();
        assert_eq!(e.kind, ErrorKind::Missing, "{e}");
        assert!(e.message.contains(path.to_str().unwrap()), "{e}");
    }
    let path = dir.path().join("gone");
    fs::create_dir(&path).unwrap();
    let source = source(&path);
    fs::remove_dir(&path).unwrap();
    assert_eq!(block_on(source.check()).unwrap_err().kind, ErrorKind::Missing);
}

#[test]
fn sockets_and_fifos_are_skipped_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let events = Arc::new(Events::default());
    let source = FolderSource::open(dir.path(), dir.path(), later(), events.clone()).unwrap();
    assert_eq!(keys(&list(&source)), [b"file"]);
    let notes: Vec<_> = events.0.lock().unwrap().iter().map(|e| format!("{e:?}")).collect();
    assert_eq!(notes.len(), 2);
    assert!(notes[0].contains("fifo") && notes[1].contains("socket"), "{notes:?}");
    // A file that a FIFO has replaced since must not hang the reader.
    let mut fake = Listed::new(Key::from("fifo"), Kind::Object);
    fake.size = 1;
    assert_eq!(source.read_blocking(&fake, 0..1), Err(ReadError::Changed));
}

#[test]
fn a_file_that_changes_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let p = dir.path();
    for name in ["grows", "same-size", "replaced", "gone", "linked", "still"] {
        fs::write(p.join(name), "0123456789").unwrap();
    }
    let source = source(p);
    let before = list(&source);
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(p.join("grows"), "0123456789x").unwrap();
    let mtime = fs::metadata(p.join("same-size")).unwrap().modified().unwrap();
    fs::write(p.join("same-size"), "9876543210").unwrap();
    fs::File::open(p.join("same-size")).unwrap().set_modified(mtime).unwrap();
    fs::write(p.join("other"), "0123456789").unwrap();
    fs::rename(p.join("other"), p.join("replaced")).unwrap();
    fs::remove_file(p.join("gone")).unwrap();
    fs::remove_file(p.join("linked")).unwrap();
    symlink("still", p.join("linked")).unwrap();
    for l in &before {
        let read = whole(&source, l);
        let verdict = block_on(source.judge(l, Route::Usual)).unwrap();
        match l.key.text().unwrap() {
            "gone" => assert_eq!((read, verdict), (Err(ReadError::Vanished), Verdict::Gone)),
            "still" => assert!(read.is_ok() && matches!(verdict, Verdict::Altered(_))),
            name => {
                assert_eq!(read, Err(ReadError::Changed), "{name}");
                let Verdict::Changed(now) = verdict else { panic!("{name}: {verdict:?}") };
                if now.kind == Kind::Object {
                    assert_eq!(whole(&source, &now).unwrap(), fs::read(p.join(name)).unwrap());
                }
            }
        }
    }
}

/// Just written, so the listing gives no fingerprint: the blocks must still be of one state.
#[test]
fn a_large_file_that_changes_between_its_blocks_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big");
    fs::write(&path, vec![1u8; BLOCK + 5]).unwrap();
    let source =
        FolderSource::open(dir.path(), dir.path(), Arc::new(SystemClock), Arc::new(Events::default()))
            .unwrap();
    let listed = list(&source).remove(0);
    assert_eq!(listed.hash, None, "changed less than two seconds ago");
    assert_eq!(source.read_blocking(&listed, 0..BLOCK as u64).unwrap().len(), BLOCK);
    std::thread::sleep(std::time::Duration::from_millis(20));
    let mtime = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, vec![2u8; BLOCK + 5]).unwrap();
    fs::File::open(&path).unwrap().set_modified(mtime).unwrap();
    assert_eq!(source.read_blocking(&listed, BLOCK as u64..listed.size), Err(ReadError::Changed));
    let Verdict::Changed(again) = block_on(source.judge(&listed, Route::Usual)).unwrap() else { panic!() };
    assert_eq!(source.read_blocking(&again, 0..BLOCK as u64).unwrap()[0], 2);
    assert_eq!(source.read_blocking(&again, BLOCK as u64..again.size).unwrap()[..], [2; 5]);
    let too_much = source.read_blocking(&again, 0..again.size);
    assert!(matches!(too_much, Err(ReadError::Failed(_))), "more than a block at a time");
    let beyond = source.read_blocking(&again, 0..u64::MAX);
    assert!(matches!(beyond, Err(ReadError::Failed(_))));
}

/// Fifty folders of names of 100 bytes are a path of over 5,000 bytes, which no path of the system's can name;
/// past 8,192 bytes a key cannot be kept and its folder says so.
#[test]
fn paths_longer_than_the_system_takes() {
    let dir = tempfile::tempdir().unwrap();
    let name = "n".repeat(99);
    let mut here = std::os::fd::OwnedFd::from(fs::File::open(dir.path()).unwrap());
    let mut key = String::new();
    for depth in 0..100 {
        rustix::fs::mkdirat(&here, &*name, rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY;
        let next = rustix::fs::openat(&here, &*name, flags, rustix::fs::Mode::empty()).unwrap();
        // One file before and one after the folder: coming back up needs handles that were closed.
        for file in ["a", "z"] {
            let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
            let fd = rustix::fs::openat(&here, file, flags, rustix::fs::Mode::RWXU).unwrap();
            rustix::io::write(&fd, format!("{file}{depth}").as_bytes()).unwrap();
        }
        here = next;
        if key.len() < 8_100 {
            key.push_str(&name);
            key.push('/');
        }
    }
    let source = source(dir.path());
    let listed = list(&source);
    let sorted = listed.windows(2).all(|w| w[0].key < w[1].key);
    assert!(sorted, "in byte order, none twice");
    let failed: Vec<_> = listed.iter().filter(|l| l.failed.is_some()).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].key.bytes().len(), 8_100);
    assert_eq!(listed.iter().filter(|l| l.kind == Kind::Folder).count(), 81);
    for l in listed.iter().filter(|l| l.kind == Kind::Object) {
        let depth = l.key.bytes().len() / 100;
        let text = String::from_utf8(whole(&source, l).unwrap()).unwrap();
        assert_eq!(text[1..], depth.to_string());
    }
    assert_eq!(listed.iter().filter(|l| l.kind == Kind::Object).count(), 2 * 82);
    // The standard library's removal of the temporary folder copes with such depths as well.
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_listed() {
    if rustix::process::geteuid().is_root() {
        // Permission bits do not stop root, so the test runs itself as a user whom they stop.
        use std::os::unix::process::CommandExt;
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "what_cannot_be_read_is_named_and_the_rest_is_listed", "--nocapture"]);
        match again.uid(65_534).gid(65_534).current_dir("/").output() {
            Ok(out) => assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout)),
            Err(e) => println!("skipped: root may read everything, and no other user can run this test: {e}"),
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let p = dir.path();
    fs::create_dir_all(p.join("closed/sub")).unwrap();
    fs::write(p.join("secret"), "x").unwrap();
    fs::write(p.join("z"), "x").unwrap();
    fs::create_dir(p.join("names-only")).unwrap();
    fs::write(p.join("names-only/f"), "").unwrap();
    fs::set_permissions(p.join("names-only"), fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(p.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(p.join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    let source = source(p);
    let listed = list(&source);
    for folder in ["closed", "names-only"] {
        fs::set_permissions(p.join(folder), fs::Permissions::from_mode(0o700)).unwrap();
    }
    assert_eq!(keys(&listed), [&b"closed/"[..], b"names-only/", b"secret", b"z"]);
    for folder in &listed[..2] {
        assert!(folder.failed.as_ref().unwrap().contains("permission denied"));
    }
    let Err(ReadError::Failed(e)) = whole(&source, &listed[2]) else { panic!() };
    assert!(e.message.contains("secret") && e.message.contains("permission denied"), "{e}");
    assert!(whole(&source, &listed[3]).is_ok());
}

/// Folders that become links to a folder outside and back, as fast as a thread can: nothing of the outside is ever
/// listed or read.
#[test]
fn links_swapped_in_under_the_walk_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
    fs::create_dir_all(inside.join("d/e")).unwrap();
    fs::create_dir_all(outside.join("e")).unwrap();
    fs::write(inside.join("d/e/f"), "inside").unwrap();
    fs::write(outside.join("e/f"), "secret").unwrap();
    fs::write(outside.join("e/secret"), "secret").unwrap();
    let source = source(&inside);
    let object = list(&source).into_iter().find(|l| l.key.bytes() == b"d/e/f").unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|s| {
        s.spawn(|| {
            symlink(&outside, dir.path().join("link")).unwrap();
            while !stop.load(order) {
                for (from, to) in [("in/d", "aside"), ("link", "in/d"), ("in/d", "link"), ("aside", "in/d")] {
                    fs::rename(dir.path().join(from), dir.path().join(to)).unwrap();
                }
            }
        });
        let (mut read, mut seen) = (0, 0);
        let begun = std::time::Instant::now();
        let within = |seconds| begun.elapsed() < std::time::Duration::from_secs(seconds);
        while (read < 20 || seen < 20) && (within(1) || (read == 0 || seen == 0) && within(60)) {
            for l in list(&source) {
                assert!(!l.key.lossy().contains("secret"));
                seen += usize::from(l.key.bytes() == b"d/e/f");
            }
            if let Ok(bytes) = whole(&source, &object) {
                assert_eq!(bytes, b"inside");
                read += 1;
            }
        }
        stop.store(true, order);
        assert!(read > 0 && seen > 0, "read {read}, seen {seen}");
    });
}

#[test]
fn many_files_list_in_order_and_fast() {
    let dir = tempfile::tempdir().unwrap();
    for d in 0..20 {
        let sub = dir.path().join(format!("d{d}"));
        fs::create_dir(&sub).unwrap();
        for f in 0..1_000 {
            fs::write(sub.join(format!("file {f}")), "").unwrap();
        }
    }
    let source = source(dir.path());
    let begun = std::time::Instant::now();
    let listed = list(&source);
    println!("{} entries in {:?}", listed.len(), begun.elapsed());
    assert_eq!(listed.len(), 20_020);
    assert!(listed.windows(2).all(|w| w[0].key < w[1].key));
    // Who stops listening stops the walk, and nothing hangs.
    block_on(async { source.list().next().await.unwrap().unwrap() });
}

mod side_file {
    use super::*;

    fn listed_with(dir: &Path, side: &str) -> (Vec<Listed>, Vec<Event>, FolderSource) {
        fs::write(dir.join(".qbak-keys.jsonl"), side).unwrap();
        let events = Arc::new(Events::default());
        let source = FolderSource::open(dir, dir, later(), events.clone()).unwrap();
        let listed = list(&source);
        let events = events.0.lock().unwrap().clone();
        (listed, events, source)
    }

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        for name in ["%2Fz", "a/%2Fb", "a%2F", "a/c", "%61", "m"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        dir
    }

    #[test]
    fn relabels_what_is_there_in_the_order_of_the_keys() {
        let dir = folder();
        let side = concat!(
            "{\"path\":\"m\",\"key\":\"\"}\n",
            "{\"path\":\"%2Fz\",\"key\":\"/z\"}\n",
            "{\"path\":\"%61\",\"key\":\"a\"}\n",
            "{\"path\":\"a%2F\",\"key\":\"a/\"}\n",
            "{\"path\":\"a/%2Fb\",\"key\":\"a//b\"}\n",
            "{\"path\":\"not/there\",\"key\":\".qbak-keys.jsonl\"}\n",
            "{\"path\":\"a\",\"key\":\"folder?\"}\n",
        );
        let (listed, events, source) = listed_with(dir.path(), side);
        assert!(events.is_empty(), "{events:?}");
        assert_eq!(keys(&listed), [&b""[..], b"/z", b"a", b"a/", b"a//b", b"a/c"]);
        for (l, path) in listed.iter().zip(["m", "%2Fz", "%61", "a%2F", "a/%2Fb", "a/c"]) {
            assert_eq!(l.kind, Kind::Object);
            assert_eq!(whole(&source, l).unwrap(), path.as_bytes());
            assert_eq!(block_on(source.stat(&l.key)).unwrap().as_ref(), Some(l));
        }
        for hidden in ["m", "%61", ".qbak-keys.jsonl", "folder?", "not/there"] {
            assert_eq!(block_on(source.stat(&Key::from(hidden))).unwrap(), None, "{hidden}");
        }
        fs::write(dir.path().join("%61"), "new bytes").unwrap();
        assert_eq!(whole(&source, &listed[2]), Err(ReadError::Changed));
        let Verdict::Changed(now) = block_on(source.judge(&listed[2], Route::Usual)).unwrap() else {
            panic!()
        };
        assert_eq!(whole(&source, &now).unwrap(), b"new bytes");
    }

    #[test]
    fn with_anything_wrong_it_is_an_ordinary_file() {
        for wrong in [
            "not json\n",
            "{\"path\":\"m\",\"key\":\"1\"}\n{\"path\":\"m\",\"key\":\"2\"}\n",
            "{\"path\":\"m\",\"key\":\"1\"}\n{\"path\":\"%61\",\"key\":\"1\"}\n",
            "{\"path\":\"m\",\"key\":\"a/c\"}\n",
            "{\"path\":\".qbak-keys.jsonl\",\"key\":\"1\"}\n",
            "{\"path\":\"../m\",\"key\":\"1\"}\n",
        ] {
            let dir = folder();
            let (listed, events, source) = listed_with(dir.path(), wrong);
            assert_eq!(listed.len(), 8, "{wrong}");
            assert!(matches!(&events[..], [Event::Warning(_)]), "{wrong} {events:?}");
            assert_eq!(whole(&source, &listed[2]).unwrap(), wrong.as_bytes());
        }
    }

    /// A link there, or a line without end, must be neither followed nor swallowed.
    #[test]
    fn a_link_or_an_endless_line_is_not_read() {
        let dir = folder();
        symlink("/dev/zero", dir.path().join(".qbak-keys.jsonl")).unwrap();
        assert_eq!(list(&source(dir.path())).len(), 8);
        fs::remove_file(dir.path().join(".qbak-keys.jsonl")).unwrap();
        let (listed, events, _) = listed_with(dir.path(), &" ".repeat(1 << 20));
        assert_eq!((listed.len(), events.len()), (8, 1));
    }
}

#[test]
fn the_fingerprint_is_stable_and_short() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), "x").unwrap();
    let (a, b) = (list(&source(dir.path())), list(&source(dir.path())));
    assert_eq!(a, b);
    let text = a[0].hash.as_ref().unwrap().text();
    let inode = fs::metadata(dir.path().join("f")).unwrap().ino();
    assert!(text.starts_with("1-") && text.ends_with(&format!("-{inode:x}")) && text.len() < 60, "{text}");
}
