//! Nothing is lost where something runs out or is not allowed: disks, names, memory, file sizes, open files, permissions. What went
//! wrong is said with the place, and the next run completes. All of it through the real binary.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use common::bucket::{ACCESS, Bucket, SECRET, Said};
use common::disk::{Disk, as_nobody, command, missing, qbak, said, within, works};
use common::tree::tree;
use common::{noise, write};
use qbak::emulator::Object;
use qbak::emulator::{Backing, Kind, Memory};

const MB: u64 = 1_000_000;

fn message(said: &Said) -> String {
    said.summary()["message"].as_str().unwrap_or_else(|| panic!("{said:#?}")).to_owned()
}

/// Runs the binary under other programs.
fn under(before: &[&str], folder: &Path, args: &[&str]) -> Output {
    within(before, folder, args).output().unwrap()
}

/// A source, and a store with two full snapshots of its past: the older one has `old` bytes to itself.
fn past(folder: &Path, store: &Path, old: usize) {
    let s = store.to_str().unwrap();
    qbak(folder, &["--store", s, "init"]).exits(0);
    write(&folder.join("data"), "old", noise(1, old));
    for n in 0..40 {
        write(&folder.join("data"), &format!("stays/{n}"), noise(100 + n, 5_000));
    }
    qbak(folder, &["--store", s, "--source", "data", "snapshot", "--full"]).exits(0);
    fs::remove_file(folder.join("data/old")).unwrap();
    write(&folder.join("data"), "now", noise(2, 50_000));
    qbak(folder, &["--store", s, "--source", "data", "snapshot", "--full"]).exits(0);
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn reserve(store: &Path) -> usize {
    fs::read_dir(store.join("reserve")).into_iter().flatten().count()
}

/// A store on a small disk that is about to be full.
struct Tight<'a> {
    folder: &'a Path,
    disk: Disk,
    store: PathBuf,
}

impl<'a> Tight<'a> {
    /// A copy of the store in `folder`, where the source is too, on a disk of its own.
    fn new(folder: &'a Path, options: &str) -> Option<Self> {
        let disk = Disk::tmpfs(options)?;
        let store = disk.path().join("store");
        copy(&folder.join("store"), &store);
        Some(Self { folder, disk, store })
    }

    fn qbak(&self, words: &[&str]) -> Said {
        let first = ["--json", "--store", self.store.to_str().unwrap()];
        qbak(self.folder, &first.iter().chain(words).copied().collect::<Vec<_>>())
    }

    fn snapshot(&self) -> Said {
        self.qbak(&["--source", "data", "snapshot", "--incremental"])
    }

    /// Both snapshots of the past are whole.
    fn is_whole(&self) {
        assert_eq!(
            self.qbak(&["list"])
                .exits(0)
                .lines("snapshot")
                .iter()
                .filter(|s| s["state"] == "complete")
                .count(),
            2
        );
        self.qbak(&["verify", "--data"]).exits(0);
    }
}

#[test]
fn a_disk_that_fills_up_at_any_moment() {
    let template = tempfile::tempdir().unwrap();
    past(template.path(), &template.path().join("store"), 6_000_000);
    for n in 0..8 {
        write(&template.path().join("data"), &format!("new/{n}"), noise(1_000 + n, 900_000));
    }
    let mut failures = 0;
    for free in [0, 1, 3, 4, 8, 12, 100, 2_000, 6_500, 7_160, 7_260, 7_300, 7_500].map(|kb| kb * 1000) {
        let Some(tight) = Tight::new(template.path(), "size=40m") else { return };
        tight.disk.ballast(free);
        let said = tight.snapshot();
        if said.code == 0 {
            continue;
        }
        failures += 1;
        let text = message(&said);
        assert_eq!((said.code, &said.summary()["kind"]), (1, &"disk_full".into()), "{said:#?}");
        assert!(text.contains("are needed for it and") && text.contains("are free"), "{text}");
        assert!(said.summary()["hint"].as_str().unwrap().contains("prune"), "{said:#?}");
        // Not a byte is left.
        tight.disk.ballast(0);
        tight.is_whole();
        assert_eq!(tight.disk.free_bytes(), 0);
        // Prune makes the room that the run needs.
        let pruned = tight.qbak(&["prune", "--keep", "1", "--yes"]).exits(0);
        assert!(pruned.number("freed_bytes") > 6 * MB, "{pruned:#?}");
        assert!(tight.disk.free_bytes() > 5 * MB);
        fs::remove_file(tight.disk.path().join("ballast")).unwrap();
        assert_eq!(tight.snapshot().exits(0).number("objects"), 51);
        tight.qbak(&["verify", "--data"]).exits(0);
        assert_eq!(reserve(&tight.store), 8, "the reserve is whole again");
    }
    assert!(failures >= 8, "{failures}");
}

#[test]
fn a_disk_that_runs_out_of_names_at_any_moment() {
    let template = tempfile::tempdir().unwrap();
    past(template.path(), &template.path().join("store"), 100_000);
    write(&template.path().join("data"), "new", noise(7, 100_000));
    let mut failures = 0;
    for free in [0, 1, 2, 3, 4, 6, 8] {
        let Some(tight) = Tight::new(template.path(), "size=40m,nr_inodes=100") else { return };
        let names = tight.disk.take_names(free);
        let said = tight.snapshot();
        if said.code == 0 {
            tight.qbak(&["verify", "--data"]).exits(0);
            continue;
        }
        failures += 1;
        let text = message(&said);
        assert_eq!((said.code, &said.summary()["kind"]), (1, &"disk_full".into()), "{said:#?}");
        assert!(text.contains("takes no more files") || text.contains("the disk was full"), "{text}");
        tight.disk.take_names(0);
        tight.is_whole();
        assert_eq!(tight.disk.free_files(), 0);
        tight.qbak(&["prune", "--keep", "1", "--yes"]).exits(0);
        assert!(tight.disk.free_files() > 2);
        fs::remove_dir_all(names).unwrap();
        tight.snapshot().exits(0);
        tight.qbak(&["verify", "--data"]).exits(0);
        assert_eq!(reserve(&tight.store), 8);
    }
    assert!(failures >= 4, "{failures}");
}

/// Neither a byte nor a name is free: what the reserve keeps back is just enough, and without it there is nothing to be done.
#[test]
fn a_prune_without_a_byte_or_name_lives_on_the_reserve() {
    let template = tempfile::tempdir().unwrap();
    past(template.path(), &template.path().join("store"), 100_000);
    let full = |tight: &Tight<'_>| {
        tight.disk.ballast(0);
        tight.disk.take_names(0);
        assert_eq!((tight.disk.free_bytes(), tight.disk.free_files()), (0, 0));
    };
    let prune = |tight: &Tight<'_>| tight.qbak(&["prune", "--keep", "1", "--yes"]);
    let Some(tight) = Tight::new(template.path(), "size=40m,nr_inodes=100") else { return };
    fs::remove_dir_all(tight.store.join("reserve")).unwrap();
    full(&tight);
    let said = prune(&tight).exits(1);
    assert_eq!(said.summary()["kind"], "disk_full", "{said:#?}");
    tight.is_whole();
    let Some(tight) = Tight::new(template.path(), "size=40m,nr_inodes=100") else { return };
    full(&tight);
    prune(&tight).exits(0);
    assert_eq!(tight.qbak(&["list"]).exits(0).lines("snapshot").len(), 1);
    tight.qbak(&["verify", "--data"]).exits(0);
    assert_eq!(reserve(&tight.store), 0, "there is no room for it yet");
    // Full again, by others: another prune has nothing put by, and loses nothing.
    full(&tight);
    assert!([0, 1].contains(&prune(&tight).code));
    fs::remove_file(tight.disk.path().join("ballast")).unwrap();
    fs::remove_dir_all(tight.disk.path().join("names")).unwrap();
    prune(&tight).exits(0);
    assert_eq!(reserve(&tight.store), 8, "a prune puts it by again");
    tight.qbak(&["verify", "--data"]).exits(0);
}

/// Init makes the reserve, and a store without one gets it from the next snapshot, if there is room.
#[test]
fn the_reserve_is_made_where_there_is_room() {
    let Some(disk) = Disk::tmpfs("size=12m") else { return };
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "data/x", "x");
    let store = disk.path().join("store");
    let run = |words: &[&str]| {
        let first = ["--json", "--store", store.to_str().unwrap(), "--source", "data"];
        qbak(folder.path(), &first.iter().chain(words).copied().collect::<Vec<_>>())
    };
    let ballast = disk.ballast(6 * MB);
    run(&["init"]).exits(0);
    assert_eq!(reserve(&store), 0, "it must not be what fills the disk");
    run(&["snapshot"]).exits(0);
    assert_eq!(reserve(&store), 0);
    fs::remove_file(ballast).unwrap();
    run(&["snapshot"]).exits(0);
    assert_eq!(reserve(&store), 8);
    let verified = run(&["verify"]).exits(0);
    assert!(!verified.stdout.contains("reserve"), "{verified:#?}");
}

/// A temporary folder that is full, and one that is not there.
fn bad_places(disk: &Disk, folder: &Path) -> [PathBuf; 2] {
    [disk.path().to_path_buf(), folder.join("none")]
}

/// A restored folder whose side file is too large to be sorted in memory: its keys must not turn into other keys.
#[test]
fn a_folder_whose_names_cannot_be_sorted_is_no_source() {
    let Some(disk) = Disk::tmpfs("size=100k") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut side = String::new();
    let key = vec!["k".repeat(250); 14].join("//");
    for n in 0..5_000 {
        if n < 5 {
            write(&folder.path().join("data"), &format!("{n}"), n.to_string());
        }
        side.push_str(&format!("{{\"path\":\"{n}\",\"key\":\"{key}//{n}\"}}\n"));
    }
    write(&folder.path().join("data"), ".qbak-keys.jsonl", side);
    let run = |temporary: &Path, words: &[&str]| {
        let first = ["--json", "--store", "store", "--source", "data"];
        let all: Vec<&str> = first.iter().chain(words).copied().collect();
        said(command(folder.path(), &all).env("TMPDIR", temporary).output().unwrap())
    };
    let temporary = std::env::temp_dir();
    run(&temporary, &["init"]).exits(0);
    assert_eq!(run(&temporary, &["snapshot"]).exits(0).number("objects"), 5);
    let restore = ["restore", "latest", "--to", "data", "--overwrite", "--delete", "--yes"];
    let before = tree(&folder.path().join("data"));
    for place in bad_places(&disk, folder.path()) {
        for words in [&["snapshot"][..], &restore] {
            let text = message(&run(&place, words).exits(1));
            assert!(text.contains(place.to_str().unwrap()) && text.contains(".qbak-keys.jsonl"), "{text}");
        }
    }
    assert_eq!(tree(&folder.path().join("data")), before);
    let listed = run(&temporary, &["list"]).exits(0);
    assert_eq!(listed.lines("snapshot").iter().filter(|s| s["state"] == "complete").count(), 1);
    assert_eq!(run(&temporary, &["snapshot"]).exits(0).number("unchanged"), 5);
}

#[test]
fn a_full_output_is_named_and_a_snapshot_stays_made() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "data/x", noise(1, 300_000));
    qbak(folder.path(), &["--store", "store", "init"]).exits(0);
    let run = |words: &[&str]| {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let first = ["--store", "store", "--source", "data"];
        let all: Vec<&str> = first.iter().chain(words).copied().collect();
        said(command(folder.path(), &all).stdout(full).stderr(Stdio::piped()).output().unwrap()).exits(1)
    };
    for (n, json) in [&[][..], &["--json"]].into_iter().enumerate() {
        let words: Vec<&str> = json.iter().copied().chain(["snapshot"]).collect();
        let said = run(&words);
        assert!(
            said.stderr.contains("is made and durable") && said.stderr.contains("standard output"),
            "{said:#?}"
        );
        let listed = qbak(folder.path(), &["--json", "--store", "store", "list"]).exits(0);
        assert_eq!(listed.lines("snapshot").len(), n + 1);
    }
    for words in [
        &["ls", "latest"][..],
        &["cat", "latest", "x"],
        &["list"],
        &["--json", "list"],
        &["stats"],
        &["verify"],
    ] {
        let said = run(words);
        assert!(
            said.stderr.contains("standard output cannot be written: No space left"),
            "{words:?}: {said:#?}"
        );
    }
    let said = run(&["--json", "cat", "latest", "no-such-key"]);
    assert!(
        said.stderr.contains("has no “no-such-key”"),
        "what went wrong is not lost with the output: {said:#?}"
    );
}

#[test]
fn a_limit_of_file_sizes_is_an_error_and_no_signal() {
    if !works(&["prlimit", "--version"]) {
        return missing("prlimit is needed here").unwrap_or(());
    }
    let folder = tempfile::tempdir().unwrap();
    past(folder.path(), &folder.path().join("store"), 100_000);
    write(folder.path(), "data/large", noise(9, 5_000_000));
    for limit in ["--fsize=3000000", "--fsize=100"] {
        let output = under(
            &["prlimit", limit],
            folder.path(),
            &["--json", "--store", "store", "--source", "data", "snapshot"],
        );
        assert_eq!(output.status.signal(), None, "{output:?}");
        let said = said(output).exits(1);
        assert!(message(&said).contains("ulimit -f"), "{said:#?}");
        qbak(folder.path(), &["--store", "store", "verify", "--data"]).exits(0);
    }
    qbak(folder.path(), &["--store", "store", "--source", "data", "snapshot"]).exits(0);
    // A restore: what is too large is named, the rest comes back.
    let restore = ["--json", "--store", "store", "restore", "latest", "--to", "out", "--overwrite"];
    let output = under(&["prlimit", "--fsize=3000000"], folder.path(), &restore);
    assert_eq!(output.status.signal(), None, "{output:?}");
    let said = said(output).exits(1);
    let failed: Vec<_> = said.lines("failed").iter().map(|f| f["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(failed, ["large"], "{said:#?}");
    qbak(folder.path(), &restore).exits(0);
    assert_eq!(tree(&folder.path().join("out")), tree(&folder.path().join("data")));
}

#[tokio::test(flavor = "multi_thread")]
async fn few_open_files_are_enough_or_too_few() {
    if !works(&["prlimit", "--version"]) {
        return missing("prlimit is needed here").unwrap_or(());
    }
    let bucket = Bucket::new().await;
    for n in 0..400 {
        bucket.put(&format!("d{:03}/a/b/{n}", n % 130), noise(n, 3_000));
    }
    let run = async |limit: &str, words: &[&str]| {
        let mut command = within(&["prlimit", &format!("--nofile={limit}")], bucket.folder.path(), words);
        command.env("QINIU_ACCESS_KEY", ACCESS).env("QINIU_SECRET_KEY", SECRET);
        said(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
    };
    for limit in ["32:32", "16:100"] {
        let said = run(limit, &["--json", "snapshot"]).await.exits(1);
        assert!(message(&said).contains("ulimit -n"), "{said:#?}");
        assert!(bucket.service.requests().is_empty());
    }
    // The least that is taken, and a low limit that may be raised.
    for limit in ["128:128", "32:128"] {
        run(limit, &["snapshot", "--full"]).await.exits(0);
        run(limit, &["restore", "latest", "--to", "out", "--overwrite"]).await.exits(0);
        run(limit, &["verify", "--data"]).await.exits(0);
        run(limit, &["diff", "latest", "live"]).await.exits(0);
    }
    run("128:128", &["prune", "--keep", "1", "--yes"]).await.exits(0);
    let there: BTreeMap<_, _> = bucket.newest().await;
    assert_eq!(there.len(), 400);
    for (key, bytes) in there {
        assert_eq!(fs::read(bucket.path("out").join(String::from_utf8(key).unwrap())).unwrap(), bytes);
    }
}

/// What only reads works on a store that cannot be written; a snapshot fails before it asks the source for anything.
async fn read_only(bucket: &Bucket, nobody: bool, store: &Path, asked: usize) {
    let run = async |words: &[&str]| {
        let first = ["--json", "--store", store.to_str().unwrap()];
        let words: Vec<&str> = first.iter().chain(words).copied().collect();
        let folder = bucket.folder.path();
        let mut command = if nobody { as_nobody(folder, &words).unwrap() } else { command(folder, &words) };
        command.env("QINIU_ACCESS_KEY", ACCESS).env("QINIU_SECRET_KEY", SECRET);
        said(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
    };
    bucket.service.clear_requests();
    for words in [&["snapshot"][..], &["prune", "--keep", "1", "--yes"]] {
        let said = run(words).await.exits(1);
        assert_eq!(said.summary()["kind"], "store_denied", "{said:#?}");
        assert!(said.summary()["hint"].as_str().unwrap().contains("read-only"), "{said:#?}");
    }
    let requests = bucket.service.requests();
    assert!(requests.len() <= asked && requests.iter().all(|r| r.kind != Kind::Download), "{requests:?}");
    assert_eq!(run(&["list"]).await.exits(0).lines("snapshot").len(), 2);
    assert_eq!(run(&["ls", "latest"]).await.exits(0).lines("object").len(), 20);
    assert_eq!(run(&["cat", "latest", "7"]).await.exits(0).stdout.as_bytes(), [b'7'; 100]);
    run(&["stats"]).await.exits(0);
    let out = bucket.path("everybody/out");
    let _ = fs::remove_dir_all(&out);
    run(&["restore", "latest", "--to", out.to_str().unwrap()]).await.exits(0);
    assert_eq!(fs::read(out.join("7")).unwrap(), [b'7'; 100]);
    run(&["verify"]).await.exits(0);
    let proven = run(&["verify", "--data"]).await.exits(0);
    assert!(proven.stderr.contains("could not be recorded"), "{proven:#?}");
    // Damage is found and told, though it cannot be recorded.
    let (pack, _) = bucket.packs().into_iter().next().unwrap();
    let whole = fs::read(&pack).unwrap();
    let mut bytes = whole.clone();
    bytes[40] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let damaged = run(&["verify", "--data"]).await.exits(4);
    assert!(damaged.stderr.contains("could not be recorded"), "{damaged:#?}");
    assert!(!bucket.store_folder().join("damaged").exists());
    fs::write(&pack, whole).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_written_can_be_read() {
    let bucket = Bucket::new().await;
    for n in 0..20 {
        bucket.put(&n.to_string(), n.to_string()[..1].repeat(100));
    }
    bucket.snapshot(&[]).await.exits(0);
    bucket.snapshot(&["--full"]).await.exits(0);
    fs::create_dir(bucket.path("everybody")).unwrap();
    fs::set_permissions(bucket.path("everybody"), fs::Permissions::from_mode(0o777)).unwrap();
    if let Some(disk) = Disk::read_only(&bucket.store_folder()) {
        read_only(&bucket, false, disk.path(), 0).await;
    }
    if as_nobody(bucket.folder.path(), &[]).is_some() {
        read_only(&bucket, true, &bucket.store_folder(), 0).await;
        // The lock may be anybody's while nothing else is: whether the source is there at all is looked at first.
        for lock in ["lock", "lock-prune"] {
            let file = bucket.store_folder().join(lock);
            fs::write(&file, "").unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
        }
        read_only(&bucket, true, &bucket.store_folder(), 2).await;
    }
}

/// A control group of memory, gone with the value.
struct Memories(PathBuf, &'static str);

impl Memories {
    fn new(name: &str, megabytes: u64) -> Option<Self> {
        let own = format!("qbak-test-{}-{name}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/memory").join(&own);
        let second = Path::new("/sys/fs/cgroup").join(&own);
        let made = if fs::create_dir(&first).is_ok() {
            Some(Self(first, "memory.limit_in_bytes"))
        } else if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() && fs::create_dir(&second).is_ok() {
            Some(Self(second, "memory.max"))
        } else {
            None
        };
        match made {
            Some(made) if fs::write(made.0.join(made.1), (megabytes << 20).to_string()).is_ok() => {
                let _ = fs::write(made.0.join("memory.swap.max"), "0");
                Some(made)
            }
            _ => missing("a control group of memory is needed here and cannot be made"),
        }
    }

    async fn run(&self, bucket: &Bucket, temporary: &Path, words: &[&str]) -> Output {
        let procs = self.0.join("cgroup.procs");
        let join = format!("echo $$ > {} && exec \"$@\"", procs.display());
        let mut command = within(&["sh", "-c", &join, "sh"], bucket.folder.path(), words);
        command.env("TMPDIR", temporary).env("QINIU_ACCESS_KEY", ACCESS).env("QINIU_SECRET_KEY", SECRET);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }
}

impl Drop for Memories {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_far_too_little_memory_or_temporary_room_nothing_is_lost_and_with_its_own_it_completes() {
    let memory = Arc::new(Memory::new());
    let bucket = Bucket::with(|c| c.backing = Backing::Catalog(memory.clone())).await;
    // Many names of few contents, and enough contents to fill every buffer there is.
    bucket.put("shared", "shared");
    let object: Arc<Object> = memory_object(&bucket);
    let keys = (0..100_000).map(|n| format!("photos/of/a/year/with/a/long/name/{n:06}.jpg"));
    memory.insert_shared(keys, &object, &Bytes::from_static(b"shared"));
    for n in 0..90 {
        bucket.put(&format!("zz/{n}"), noise(n, 1 << 20));
    }
    let temporary = std::env::temp_dir();
    let Some(tiny) = Memories::new("tiny", 6) else { return };
    let output = tiny.run(&bucket, &temporary, &["--json", "snapshot"]).await;
    assert!(!output.status.success(), "{output:?}");
    assert!(bucket.repo().await.snapshots().await.unwrap().finished.is_empty());
    let Some(enough) = Memories::new("enough", 256) else { return };
    // So many new contents are counted outside memory.
    let Some(disk) = Disk::tmpfs("size=100k") else { return };
    let failed = said(enough.run(&bucket, disk.path(), &["--json", "snapshot"]).await).exits(1);
    let text = message(&failed);
    assert!(text.contains(disk.path().to_str().unwrap()) && text.contains("no snapshot was made"), "{text}");
    assert_eq!(failed.summary()["kind"], "temporary_files");
    let whole = said(enough.run(&bucket, &temporary, &["--json", "snapshot"]).await).exits(0);
    assert_eq!(whole.number("objects"), 100_091);
    said(enough.run(&bucket, &temporary, &["--json", "verify", "--data"]).await).exits(0);
}

fn memory_object(bucket: &Bucket) -> Arc<Object> {
    bucket.service.catalog().find("shared").unwrap().unwrap()
}
