//! `docs/rescue.py` gets the same back as `restore`, from new stores and from every frozen one. It needs `python3` and
//! `zstd`; where they are missing the tests are skipped, unless `QBAK_REQUIRE_OUTSIDE=1` says that they must run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing"
)]

mod common;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use common::bucket::Bucket;
use common::tree::{by_key, tree};
use common::{context, folder, noise, options, write};
use qbak::model::clock::SystemClock;
use qbak::model::event::Silent;
use qbak::model::time::Timestamp;
use qbak::op::open::Catalog;
use qbak::op::restore::{Context, Report, Request, restore};
use qbak::op::snapshot::snapshot;
use qbak::op::{Cancel, init};
use qbak::repo::Repository;
use qbak::store::Store;

/// Whether the programs that are needed are there.
fn outside() -> bool {
    for (program, flag) in [("python3", "--version"), ("zstd", "--version")] {
        if !Command::new(program).arg(flag).output().is_ok_and(|o| o.status.success()) {
            #[expect(clippy::disallowed_methods, reason = "a switch for whoever runs the tests")]
            let required = std::env::var_os("QBAK_REQUIRE_OUTSIDE").is_some_and(|v| v == "1");
            assert!(!required, "{program} is needed and not there");
            println!("skipped: {program} is not there");
            return false;
        }
    }
    true
}

fn rescue(script: &Path, store: &Path, snapshot: &str, to: &Path) -> Output {
    Command::new("python3").arg(script).arg(store).arg(snapshot).arg(to).output().unwrap()
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

async fn restored(store: &Path, snapshot: &str, to: &Path) -> Report {
    let repo = Repository::open(Store::local(store).unwrap()).await.unwrap();
    let opened = Catalog::read(&repo).await.unwrap().open(snapshot.parse().unwrap()).await.unwrap();
    let (clock, observer) = (Arc::new(SystemClock), Arc::new(Silent));
    let ctx = Context { opened, clock, observer, cancel: Cancel::never() };
    restore(&ctx, Request::new(to.into(), std::env::temp_dir())).await.unwrap()
}

fn snapshots(store: &Path) -> Vec<String> {
    let all = std::fs::read_dir(store.join("snapshots")).unwrap();
    let mut names: Vec<String> = all
        .map(|e| e.unwrap().file_name().to_str().unwrap().strip_suffix(".json").unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn files(root: &Path, end: &str) -> Vec<PathBuf> {
    let names = tree(root).into_keys().map(|p| root.join(p));
    names.filter(|p| p.extension().is_some_and(|e| e == end)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn weeks_of_a_folder() {
    if !outside() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (data, store) = (dir.path().join("data"), dir.path().join("store"));
    for n in 0..1_500 {
        write(&data, &format!("many/{:02}/{n:04}.txt", n % 30), format!("line {n}\n").repeat(n % 50));
    }
    write(&data, "large.bin", noise(1, (41 << 20) + 7));
    write(&data, "zeros.bin", vec![0; 9 << 20]);
    write(&data, "exact.bin", noise(2, 8 << 20));
    write(&data, "four.bin", noise(3, 4 << 20));
    write(&data, "empty", b"");
    write(&data, "目录/文 件\n\u{1}%~.txt", b"odd");
    write(&data, "closed/in", b"z");
    write(&data, std::str::from_utf8(&[b'n'; 255]).unwrap(), b"long");
    std::fs::create_dir_all(data.join("hollow/deep")).unwrap();
    symlink("/etc", data.join("many/out")).unwrap();
    symlink("nowhere", data.join("a link")).unwrap();
    std::fs::set_permissions(data.join("closed"), std::fs::Permissions::from_mode(0o500)).unwrap();
    std::fs::set_permissions(data.join("four.bin"), std::fs::Permissions::from_mode(0o400)).unwrap();
    let repo = init::init(&store, Timestamp::from_seconds(1), "test").await.unwrap();
    for week in 0..3 {
        if week > 0 {
            write(&data, "many/00/0000.txt", format!("week {week}"));
            write(&data, &format!("new/{week}"), noise(week, 100_000));
            std::fs::remove_file(data.join(format!("many/01/{:04}.txt", week * 30 + 1))).unwrap();
        }
        let full = (week == 2).then_some(qbak::format::records::RunKind::Full);
        let options = qbak::op::snapshot::Options { kind: full, ..options() };
        snapshot(&context(&repo, folder(&data)), options).await.unwrap();
    }
    let mut expected = Vec::new();
    for name in snapshots(&store) {
        let to = dir.path().join(&name);
        assert_eq!(restored(&store, &name, &to).await.failed, 0);
        expected.push((tree(&to), name));
    }
    assert_eq!(expected.len(), 3);
    assert_eq!(expected[2].0, tree(&data));
    // Without index files: the packs' own tables are enough.
    let indexes = files(&store, "idx");
    assert!(indexes.len() >= 3);
    indexes.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let script = store.join("rescue.py");
    for (tree_of, name) in &expected {
        let to = dir.path().join(format!("rescued-{name}"));
        succeeds(&rescue(&script, &store, name, &to));
        let there = tree(&to);
        for (path, line) in tree_of {
            assert_eq!(there.get(path), Some(line), "{path:?} of {name}");
        }
        assert_eq!(there.len(), tree_of.len());
    }
    let to = dir.path().join("latest");
    succeeds(&rescue(&script, &store, "latest", &to));
    assert_eq!(tree(&to), expected[2].0);
    let again = rescue(&script, &store, "latest", &to);
    assert!(
        !again.status.success() && String::from_utf8_lossy(&again.stderr).contains("not empty"),
        "{again:?}"
    );
    let again = rescue(&script, &store, "2020-01-01T00-00-00Z", &dir.path().join("none"));
    assert!(
        !again.status.success() && String::from_utf8_lossy(&again.stderr).contains(&expected[0].1),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_no_paths() {
    if !outside() {
        return;
    }
    let bucket = Bucket::new().await;
    let long = "x".repeat(600);
    let odd = [
        "",
        "/",
        "//",
        ".",
        "..",
        "../../escape",
        "/etc/passwd",
        "a",
        "a/",
        "a//b",
        "a/b",
        "a/b/c",
        "a%2F",
        "%61",
        "tab\there",
        "../",
        "./x",
        "x/..",
        ".qbak-keys.jsonl",
        "d/.qbak-tmp-1",
        "目录/",
        "😀",
        "~",
        "%",
        &long,
        "A",
        "dir/ok",
        "dir/ok.txt",
        "dir/ok/deep",
        "\u{7f}",
    ];
    for (n, key) in odd.iter().enumerate() {
        bucket.put(key, format!("contents {n}").repeat(n * 7 + 1));
    }
    bucket.put("large.bin", [vec![b'z'; 9 << 20], noise(2, 1000)].concat());
    bucket.snapshot(&[]).await.exits(0);
    let store = bucket.store_folder();
    let name = snapshots(&store).pop().unwrap();
    let (ours, theirs) = (bucket.path("ours"), bucket.path("theirs"));
    let report = restored(&store, &name, &ours).await;
    assert_eq!((report.objects, report.failed), (odd.len() as u64 + 1, 0), "{report:?}");
    succeeds(&rescue(Path::new("docs/rescue.py"), &store, "latest", &theirs));
    let keys = by_key(&ours);
    assert_eq!(keys.len(), odd.len() + 1);
    assert_eq!(by_key(&theirs), keys);
    assert!(odd.iter().all(|key| keys.contains_key(key.as_bytes())));
    // Every object has the time at which it was put.
    assert_eq!(tree(&ours)[Path::new("large.bin")], tree(&theirs)[Path::new("large.bin")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named() {
    if !outside() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (data, store) = (dir.path().join("data"), dir.path().join("store"));
    for n in 0..200 {
        write(&data, &format!("text/{n:03}"), format!("line {n}\n").repeat(100));
        write(&data, &format!("noise/{n:03}"), noise(n, 5_000));
    }
    let repo = init::init(&store, Timestamp::from_seconds(1), "test").await.unwrap();
    snapshot(&context(&repo, folder(&data)), options()).await.unwrap();
    let name = snapshots(&store).pop().unwrap();
    let pack = files(&store, "pack").into_iter().max_by_key(|p| std::fs::metadata(p).unwrap().len()).unwrap();
    let whole = std::fs::read(&pack).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle..][..12_000].fill(0x55);
    std::fs::write(&pack, &bytes).unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let report = restored(&store, &name, &ours).await;
    assert!(report.damaged > 0 && report.damaged < 20, "{report:?}");
    let output = rescue(Path::new("docs/rescue.py"), &store, "latest", &theirs);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().count() as u64, report.damaged, "{said}");
    for problem in &report.problems {
        assert!(said.contains(&format!("'{}'", problem.key.as_ref().unwrap())), "{said}");
    }
    assert_eq!(tree(&theirs), tree(&ours));
    // A second copy of what is damaged is found, wherever it lies.
    std::fs::write(&pack, &whole).unwrap();
    let full = qbak::op::snapshot::Options { kind: Some(qbak::format::records::RunKind::Full), ..options() };
    snapshot(&context(&repo, folder(&data)), full).await.unwrap();
    std::fs::write(&pack, &bytes).unwrap();
    let healed = dir.path().join("healed");
    succeeds(&rescue(Path::new("docs/rescue.py"), &store, &name, &healed));
    assert_eq!(tree(&healed), tree(&data));
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_stores() {
    if !outside() {
        return;
    }
    let all = std::fs::read_dir("fixtures").into_iter().flatten().map(|e| e.unwrap().path());
    for store in all.filter(|p| p.is_dir() && p.file_name().unwrap().to_string_lossy().starts_with("store-v"))
    {
        let dir = tempfile::tempdir().unwrap();
        let names = snapshots(&store);
        assert!(!names.is_empty());
        for name in names {
            let (ours, theirs) =
                (dir.path().join(format!("{name}-ours")), dir.path().join(format!("{name}-theirs")));
            let report = restored(&store, &name, &ours).await;
            assert!(report.objects > 0 && report.failed == 0, "{report:?}");
            succeeds(&rescue(Path::new("docs/rescue.py"), &store, &name, &theirs));
            assert_eq!(by_key(&theirs), by_key(&ours), "{}, {name}", store.display());
        }
    }
}
