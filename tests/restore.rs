//! Restoring snapshots through the library: what comes back, what is refused, what is left alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use common::tree::tree;
use common::{context, folder, new_store, noise, options, write};
use proptest::prelude::*;
use qbak::model::clock::SystemClock;
use qbak::model::event::{Event, Observer, Silent};
use qbak::model::glob::{Filter, Glob};
use qbak::model::key::Key;
use qbak::op::cancel::Stop;
use qbak::op::open::{Catalog, Opened};
use qbak::op::restore::{Cause, Context, Doomed, Report, Request, restore};
use qbak::op::snapshot::snapshot;
use qbak::op::{Cancel, OpError, cat, ls};
use qbak::plan::restore::{Action, Step, Wish};
use qbak::plan::select::Completeness;
use qbak::repo::Repository;

const OVER: Wish = Wish { overwrite: true, delete: false, allow_incomplete: false };
const DELETE: Wish = Wish { overwrite: true, delete: true, allow_incomplete: false };

async fn latest(repo: &Repository) -> Opened {
    let catalog = Catalog::read(repo).await.unwrap();
    let last = catalog.candidates().last().unwrap().name;
    catalog.open(last).await.unwrap()
}

fn with(opened: Opened) -> Context {
    Context { opened, clock: Arc::new(SystemClock), observer: Arc::new(Silent), cancel: Cancel::never() }
}

fn to(path: &Path) -> Request {
    Request::new(path.into(), std::env::temp_dir())
}

fn filter(keys: &[&str], prefixes: &[&str], include: &[&str], exclude: &[&str]) -> Filter {
    let names = |list: &[&str]| list.iter().map(|k| Key::from(*k)).collect();
    let globs = |list: &[&str]| list.iter().map(|g| Glob::new(g).unwrap()).collect();
    Filter { keys: names(keys), prefixes: names(prefixes), include: globs(include), exclude: globs(exclude) }
}

async fn run(repo: &Repository, request: Request) -> Result<Report, OpError> {
    restore(&with(latest(repo).await), request).await
}

/// A folder with a bit of everything, and its snapshot.
async fn sample(data: &Path, store: &Path) -> Repository {
    for n in 0..300 {
        write(data, &format!("many/{:02}/{n:03}.txt", n % 7), format!("file {n} ").repeat(n));
    }
    write(data, "big.bin", noise(1, (9 << 20) + 5));
    write(data, "exact.bin", noise(2, 8 << 20));
    write(data, "four.bin", noise(3, 4 << 20));
    write(data, "medium.bin", noise(4, 700_000));
    write(data, "empty", b"");
    write(data, "mode", b"x");
    write(data, "lf\nin name", b"y");
    write(data, "closed/in", b"z");
    std::fs::create_dir_all(data.join("hollow/deep")).unwrap();
    symlink("../nowhere/\u{7f}", data.join("link")).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_500_000_000_123_456_789);
    for name in ["mode", "big.bin", "hollow/deep", "closed"] {
        std::fs::File::open(data.join(name)).unwrap().set_modified(old).unwrap();
    }
    for (name, mode) in [("mode", 0o1640), ("closed", 0o500), ("hollow", 0o2750)] {
        std::fs::set_permissions(data.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let repo = new_store(store).await;
    snapshot(&context(&repo, folder(data)), options()).await.unwrap();
    repo
}

struct Place {
    _dir: tempfile::TempDir,
    data: PathBuf,
    store: PathBuf,
    out: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (data, store, out) = (at("data"), at("store"), at("made/out"));
    std::fs::create_dir(&data).unwrap();
    Place { _dir: dir, data, store, out }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_comes_back_byte_for_byte() {
    let p = place();
    let repo = sample(&p.data, &p.store).await;
    let report = run(&repo, to(&p.out)).await.unwrap();
    let (before, after) = (tree(&p.data), tree(&p.out));
    for (path, line) in &before {
        assert_eq!(after.get(path), Some(line), "{path:?}");
    }
    assert_eq!(after.len(), before.len());
    assert_eq!((report.objects, report.written), (before.len() as u64, before.len() as u64));
    assert_eq!((report.unchanged, report.failed, report.damaged, report.deleted), (0, 0, 0, 0));
    let sizes: u64 = before
        .keys()
        .filter_map(|k| p.data.join(k).symlink_metadata().ok())
        .filter(|m| m.is_file())
        .map(|m| m.len())
        .sum();
    assert_eq!(report.bytes, sizes);

    // Again: refused with a count; with leave to overwrite only what differs is written.
    let refused = run(&repo, to(&p.out)).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("not empty ({} entries)", before.len())), "{refused}");
    std::fs::write(p.out.join("empty"), "not any more").unwrap();
    std::fs::remove_file(p.out.join("exact.bin")).unwrap();
    std::fs::remove_file(p.out.join("link")).unwrap();
    symlink("/etc", p.out.join("link")).unwrap();
    std::fs::set_permissions(p.out.join("medium.bin"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(p.out.join("stranger"), "stays").unwrap();
    let report = run(&repo, Request { wish: OVER, ..to(&p.out) }).await.unwrap();
    assert_eq!((report.written, report.unchanged), (4, before.len() as u64 - 4), "{report:?}");
    std::fs::remove_file(p.out.join("stranger")).unwrap();
    // The root's own entries have changed since, nothing else has.
    assert_eq!(tree(&p.out), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_asked_for() {
    let p = place();
    let repo = sample(&p.data, &p.store).await;
    let files = |out: &Path| -> Vec<String> {
        let all = tree(out).into_iter().filter(|(_, l)| !l.starts_with('/'));
        all.map(|(p, _)| p.to_str().unwrap().to_owned()).collect()
    };
    for (n, (filter, expected)) in [
        (filter(&["big.bin", "many/03/003.txt"], &[], &[], &[]), vec!["big.bin", "many/03/003.txt"]),
        (filter(&["empty"], &["many/00/00"], &[], &[]), vec!["empty", "many/00/000.txt", "many/00/007.txt"]),
        (
            filter(&[], &["many/"], &["*15*"], &["many/0[0-4]/*", "*5.txt"]),
            vec!["many/05/152.txt", "many/05/159.txt", "many/06/153.txt"],
        ),
        (filter(&[], &["nothing/of/the/kind"], &[], &[]), vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let out = p.out.join(n.to_string());
        let report = run(&repo, Request { filter, ..to(&out) }).await.unwrap();
        assert_eq!(files(&out), expected);
        assert_eq!(report.failed, 0);
    }
    let wrong = Request { filter: filter(&["Big.bin"], &[], &[], &[]), ..to(&p.out.join("x")) };
    let error = run(&repo, wrong).await.unwrap_err().to_string();
    assert!(error.ends_with("has no “Big.bin”; is it “big.bin”?"), "{error}");
    assert!(!p.out.join("x").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let p = place();
    let repo = sample(&p.data, &p.store).await;
    let actions: Arc<Mutex<Vec<Action>>> = Arc::default();
    let kept = Arc::clone(&actions);
    let on_action: qbak::op::restore::OnAction =
        Arc::new(move |a: &Action| kept.lock().unwrap().push(a.clone()));
    let dry = |wish| Request { wish, dry_run: true, on_action: Some(on_action.clone()), ..to(&p.out) };
    let report = run(&repo, dry(Wish::default())).await.unwrap();
    assert!(!p.out.exists());
    assert_eq!(report.written, report.objects);
    assert!(std::mem::take(&mut *actions.lock().unwrap()).iter().all(|a| a.step == Step::Write));

    run(&repo, to(&p.out)).await.unwrap();
    std::fs::write(p.out.join("mode"), "other").unwrap();
    std::fs::remove_file(p.out.join("link")).unwrap();
    std::fs::write(p.out.join("extra"), "x").unwrap();
    let before = tree(&p.out);
    let report = run(&repo, dry(DELETE)).await.unwrap();
    assert_eq!(tree(&p.out), before);
    assert_eq!((report.written, report.deleted), (2, 1));
    let mut said: Vec<(Step, String)> = actions
        .lock()
        .unwrap()
        .iter()
        .filter(|a| a.step != Step::Unchanged)
        .map(|a| (a.step, a.key.to_string()))
        .collect();
    said.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(
        said,
        [(Step::Delete, "extra".into()), (Step::Write, "link".into()), (Step::Replace, "mode".into())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_keeps_to_what_was_asked_and_asks() {
    let p = place();
    let repo = sample(&p.data, &p.store).await;
    run(&repo, to(&p.out)).await.unwrap();
    let whole = tree(&p.out);
    let litter = || {
        for name in ["many/extra", "many/new/deep/x", "other/y", "zzz"] {
            write(&p.out, name, "extra");
        }
        // A folder where a file belongs.
        let _ = std::fs::remove_file(p.out.join("empty"));
        write(&p.out, "empty/z", "extra");
    };
    litter();
    let asked: Arc<Mutex<Vec<Doomed>>> = Arc::default();
    let request = |filter: Filter, yes: bool| {
        let asked = Arc::clone(&asked);
        let confirm = Arc::new(move |d: &Doomed| {
            asked.lock().unwrap().push(d.clone());
            yes
        });
        Request { filter, wish: DELETE, confirm, ..to(&p.out) }
    };
    let before = tree(&p.out);
    run(&repo, request(Filter::default(), false)).await.unwrap_err();
    assert_eq!(tree(&p.out), before, "no means no");
    let doomed = asked.lock().unwrap().pop().unwrap();
    assert_eq!((doomed.count, doomed.bytes), (9, 25), "{doomed:?}");

    // Single keys: nothing else is touched, not even what stands in their way.
    let report = run(&repo, request(filter(&["mode", "empty"], &[], &[], &[]), true)).await.unwrap();
    assert_eq!((report.deleted, report.failed), (0, 1), "{report:?}");
    assert_eq!(tree(&p.out), before);
    let report = run(&repo, request(filter(&[], &["many/"], &[], &["*/extra"]), true)).await.unwrap();
    assert_eq!(report.deleted, 3);
    assert!(
        p.out.join("many/extra").exists() && !p.out.join("many/new").exists() && p.out.join("zzz").exists()
    );
    let report = run(&repo, request(Filter::default(), true)).await.unwrap();
    assert_eq!((report.deleted, report.failed), (4, 0), "{report:?}");
    assert_eq!(tree(&p.out), whole);
    // Nothing to delete: nobody is asked.
    asked.lock().unwrap().clear();
    run(&repo, request(Filter::default(), false)).await.unwrap();
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_and_the_rest_comes_back() {
    let p = place();
    let repo = sample(&p.data, &p.store).await;
    // The pack that the largest file's blocks lie in loses its middle.
    let mut packs: Vec<PathBuf> =
        walk(&p.store).into_iter().filter(|f| f.extension().is_some_and(|e| e == "pack")).collect();
    packs.sort_by_key(|f| std::fs::metadata(f).unwrap().len());
    let pack = packs.pop().unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[1_000..2_000].fill(0);
    std::fs::write(&pack, bytes).unwrap();
    let before = tree(&p.data);
    let report = run(&repo, to(&p.out)).await.unwrap();
    assert!(report.damaged > 0 && report.damaged == report.failed, "{report:?}");
    assert_eq!(report.problems.len() as u64, report.failed);
    assert!(report.problems.iter().all(|q| q.cause == Cause::Damaged && q.key.is_some()));
    assert_eq!(report.written + report.failed, report.objects);
    let after = tree(&p.out);
    for (path, line) in &before {
        let key = Key::from(path.to_str().unwrap());
        match after.get(path) {
            Some(there) => assert_eq!(there, line, "{path:?}"),
            None => assert!(report.problems.iter().any(|q| q.key.as_ref() == Some(&key)), "{path:?}"),
        }
    }
    assert!(after.keys().all(|k| before.contains_key(k)), "no half files");
    // What the target has more may be the last copy.
    std::fs::write(p.out.join("extra"), "x").unwrap();
    let request = Request { wish: DELETE, confirm: Arc::new(|_| true), ..to(&p.out) };
    let report = run(&repo, request).await.unwrap();
    assert_eq!(report.deleted, 0);
    assert!(report.not_deleted.unwrap().contains("last copies") && p.out.join("extra").exists());
}

fn walk(root: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(root).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(walk(&path)) } else { out.push(path) }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_piece_of_the_manifest_is_counted_in_objects() {
    let p = place();
    for n in 0..9_000 {
        write(&p.data, &format!("f/{n:05}"), b"");
    }
    let repo = new_store(&p.store).await;
    snapshot(&context(&repo, folder(&p.data)), options()).await.unwrap();
    // One segment is recorded as lost: its bytes are overwritten in the pack.
    let opened = latest(&repo).await;
    let reference = opened.manifests()[0].refs.get(1).unwrap().clone();
    let kind = qbak::format::pack::BlobKind::Segment;
    let copy = opened.blobs.copies(kind, &reference.id).await.unwrap()[0];
    let name = qbak::repo::names::pack(copy.group, copy.pack);
    let mut bytes = std::fs::read(p.store.join(&name)).unwrap();
    bytes[copy.record.offset as usize + 20..][..20].fill(0);
    std::fs::write(p.store.join(&name), bytes).unwrap();
    let report = run(&repo, to(&p.out)).await.unwrap();
    assert_eq!(report.damaged, reference.entries, "{report:?}");
    assert_eq!(report.written, 9_001 - reference.entries);
    let request = Request { wish: DELETE, confirm: Arc::new(|_| true), ..to(&p.out) };
    let error = run(&repo, request).await.unwrap_err().to_string();
    assert!(error.contains("cannot be read in full"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_run_again() {
    let p = place();
    let repo = sample(&p.data, &p.store).await;
    let (stop, cancel) = Cancel::pair();
    let stop = Mutex::new(Some(stop));
    let seen = AtomicU64::new(0);
    let on_action: qbak::op::restore::OnAction = Arc::new(move |_: &Action| {
        if seen.fetch_add(1, Relaxed) == 40 {
            stop.lock().unwrap().take().unwrap().stop();
        }
    });
    let ctx = Context { cancel, ..with(latest(&repo).await) };
    let stopped = restore(&ctx, Request { on_action: Some(on_action), ..to(&p.out) }).await;
    assert!(matches!(stopped, Err(OpError::Interrupted)), "{stopped:?}");
    let (before, after) = (tree(&p.data), tree(&p.out));
    assert!(after.len() < before.len());
    for (path, line) in after.iter().filter(|(_, l)| !l.starts_with('/')) {
        assert_eq!(before.get(path), Some(line), "{path:?}");
    }
    // A kill would have left its temporary files.
    std::fs::write(p.out.join(format!(".qbak-tmp-{:032x}", 7)), "half").unwrap();
    run(&repo, Request { wish: OVER, ..to(&p.out) }).await.unwrap();
    assert_eq!(tree(&p.out), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn cat_and_ls() {
    let p = place();
    let repo = sample(&p.data, &p.store).await;
    let opened = latest(&repo).await;
    let read = async |key: &str| {
        let mut out = Vec::new();
        let n = cat::cat(&opened, &key.into(), &mut out, &Cancel::never()).await?;
        assert_eq!(n, out.len() as u64);
        Ok::<_, OpError>(out)
    };
    for name in ["big.bin", "empty", "four.bin", "many/00/000.txt", "many/02/100.txt"] {
        assert_eq!(read(name).await.unwrap(), std::fs::read(p.data.join(name)).unwrap(), "{name}");
    }
    for (key, said) in [
        ("many/", "“many/” is a folder"),
        ("link", "is a symbolic link to “../nowhere/\\x7f”"),
        ("/big.bin", "has no “/big.bin”; is it “big.bin”?"),
        ("many/02/1OO.txt", "has no “many/02/1OO.txt”; is it "),
    ] {
        let error = read(key).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }

    let list = async |prefix: &str, delimiter: &str| {
        let mut listing = ls::Listing::new(&opened, prefix.into(), delimiter);
        let mut out = Vec::new();
        while let Some(item) = listing.next().await.unwrap() {
            out.push(match item {
                ls::Item::Object(e) => e.key.to_string(),
                ls::Item::Folded(key) => format!("{key}*"),
            });
        }
        out
    };
    assert_eq!(list("", "").await.len() as u64, opened.totals().0);
    assert_eq!(
        list("", "/").await,
        [
            "big.bin",
            "closed/*",
            "empty",
            "exact.bin",
            "four.bin",
            "hollow/*",
            "lf\\x0ain name",
            "link",
            "many/*",
            "medium.bin",
            "mode"
        ]
    );
    assert_eq!(list("many/", "/").await.len(), 8, "the folder itself and the seven in it");
    assert_eq!(list("many/03/0", "0").await[..3], ["many/03/00*", "many/03/010*", "many/03/017.txt"]);
    assert_eq!(list("nothing", "/").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ls_jumps_over_big_folders() {
    let p = place();
    for n in 0..10_000 {
        write(&p.data, &format!("a/{n:05}"), b"");
    }
    write(&p.data, "b", b"");
    write(&p.data, "a0", b"");
    let repo = new_store(&p.store).await;
    snapshot(&context(&repo, folder(&p.data)), options()).await.unwrap();
    let opened = latest(&repo).await;
    let mut listing = ls::Listing::new(&opened, "".into(), "/");
    let mut seen = Vec::new();
    while let Some(item) = listing.next().await.unwrap() {
        seen.push(match item {
            ls::Item::Object(e) => e.key.to_string(),
            ls::Item::Folded(key) => key.to_string(),
        });
    }
    assert_eq!(seen, ["a/", "a0", "b"]);
}

/// Stops a run after so many objects.
struct StopAfter(AtomicU64, Stop);

impl Observer for StopAfter {
    fn event(&self, event: Event) {
        if let Event::Advance { objects, .. } = event
            && self.0.fetch_sub(objects.min(self.0.load(Relaxed)), Relaxed) <= objects
        {
            self.1.stop();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_stored_that_never_finished() {
    let p = place();
    for n in 0..6 {
        write(&p.data, &format!("{n}.bin"), noise(n, 20 << 20));
    }
    let repo = new_store(&p.store).await;
    let (stop, cancel) = Cancel::pair();
    let observer = Arc::new(StopAfter(AtomicU64::new(2), stop));
    let ctx = qbak::op::snapshot::Context { cancel, observer, ..context(&repo, folder(&p.data)) };
    let stopped = snapshot(&ctx, options()).await.map(drop);
    assert!(matches!(stopped, Err(OpError::Interrupted)), "{stopped:?}");
    let opened = latest(&repo).await;
    assert_eq!(opened.state, Completeness::Incomplete);
    let refused = restore(&with(opened.clone()), to(&p.out)).await.unwrap_err().to_string();
    assert!(refused.contains("--allow-incomplete"), "{refused}");
    let wish = Wish { allow_incomplete: true, ..Wish::default() };
    let report = restore(&with(opened.clone()), Request { wish, ..to(&p.out) }).await.unwrap();
    assert!(report.written > 0 && report.failed == 0, "{report:?}");
    let before = tree(&p.data);
    assert!(tree(&p.out).iter().all(|(path, line)| before.get(path) == Some(line)));
    let wish = Wish { allow_incomplete: true, ..DELETE };
    let refused = restore(&with(opened), Request { wish, ..to(&p.out) }).await.unwrap_err().to_string();
    assert!(refused.contains("INCOMPLETE"), "{refused}");
}

#[derive(Debug, Clone)]
enum Thing {
    File(u64, usize, u32),
    Folder(u32),
    Link(String),
}

fn things() -> impl Strategy<Value = BTreeMap<String, Thing>> {
    let name = "[a-c\u{e9}\n%~ .-]{1,3}(/[a-c%.~]{1,3}){0,3}";
    let mode = prop_oneof![Just(0o644), Just(0o400), Just(0o755)];
    let thing = prop_oneof![
        6 => (0..4u64, 0..70_000usize, mode).prop_map(|(s, n, m)| Thing::File(s, n, m)),
        1 => prop_oneof![Just(0o700), Just(0o750), Just(0o500)].prop_map(Thing::Folder),
        1 => "[a-z./]{1,9}".prop_map(Thing::Link),
    ];
    prop::collection::btree_map(name, thing, 0..25)
}

proptest! {
    #![proptest_config(common::cases(12))]
    #[test]
    fn any_tree_comes_back(things in things()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let p = place();
        let mut closed = Vec::new();
        for (name, thing) in &things {
            let path = p.data.join(name);
            if name.split('/').any(|part| part == "." || part == "..") {
                continue;
            }
            // What is in the way of another name is left out.
            if std::fs::create_dir_all(path.parent().unwrap()).is_err() {
                continue;
            }
            match thing {
                Thing::File(seed, length, mode) => {
                    if std::fs::write(&path, noise(*seed, *length)).is_ok() {
                        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
                    }
                }
                Thing::Folder(mode) => {
                    if std::fs::create_dir_all(&path).is_ok() {
                        closed.push((path, *mode));
                    }
                }
                Thing::Link(to) => drop(symlink(to, &path)),
            }
        }
        for (path, mode) in closed.into_iter().rev() {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        runtime.block_on(async {
            let repo = new_store(&p.store).await;
            snapshot(&context(&repo, folder(&p.data)), options()).await.unwrap();
            let report = run(&repo, to(&p.out)).await.unwrap();
            assert_eq!(report.failed, 0, "{report:?}");
        });
        prop_assert_eq!(tree(&p.data), tree(&p.out));
    }
}
