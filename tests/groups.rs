//! Groups: when a run is full, what it copies, what it shares, and what damage in one group does to another.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use common::bucket::Bucket;
use common::noise;

async fn filled(objects: u64) -> Bucket {
    let bucket = Bucket::new().await;
    for n in 0..objects {
        bucket.put(&format!("{n:03}"), noise(n, 2000));
    }
    bucket.put("large", noise(1000, 9 << 20));
    bucket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_comes_every_so_often() {
    let bucket = filled(20).await;
    bucket.configure("[groups]\nfull_every = 3");
    let mut kinds = Vec::new();
    for _ in 0..7 {
        kinds.push(bucket.snapshot(&[]).await.exits(0).summary()["kind"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds.join(" "), "full incremental incremental full incremental incremental full");
    assert_eq!(bucket.downloads().len(), 20 + 3, "each content came from the source once");
    assert_eq!(bucket.newest().await.len(), 21);
    let first = bucket.snapshot(&["--incremental"]).await.exits(0);
    assert_eq!(first.summary()["kind"], "incremental");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_incremental_is_a_full_run() {
    let bucket = filled(3).await;
    assert_eq!(bucket.snapshot(&["--incremental"]).await.exits(0).summary()["kind"], "full");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_needs_no_other() {
    let bucket = filled(20).await;
    let first = bucket.snapshot(&[]).await.exits(0);
    bucket.snapshot(&["--full"]).await.exits(0);
    let group = first.summary()["group"].as_str().unwrap().to_owned();
    std::fs::remove_dir_all(bucket.store_folder().join("groups").join(group)).unwrap();
    assert_eq!(bucket.newest().await.len(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_copy_is_downloaded_by_the_next_full_run() {
    let bucket = filled(20).await;
    bucket.snapshot(&[]).await.exits(0);
    let (pack, size) = bucket.packs().into_iter().max_by_key(|(_, size)| *size).unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = usize::try_from(size / 2).unwrap();
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    bucket.service.clear_requests();
    let full = bucket.snapshot(&["--full"]).await.exits(0);
    assert_eq!(full.number("downloaded_objects"), 1, "only what did not read back: {full:#?}");
    assert_eq!(bucket.newest().await[b"large".as_slice()], noise(1000, 9 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_groups_store_once_and_say_what_they_need() {
    let bucket = filled(20).await;
    bucket.configure("[groups]\nshare = true");
    let first = bucket.snapshot(&[]).await.exits(0);
    bucket.put("new", "new");
    let full = bucket.snapshot(&["--full"]).await.exits(0);
    assert_eq!(full.number("downloaded_objects"), 1);
    assert!(full.number("stored_bytes") < 100_000, "{full:#?}");
    let newest = bucket.repo().await.snapshots().await.unwrap().finished.pop().unwrap();
    assert_eq!(
        newest.needs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [first.summary()["group"].as_str().unwrap()]
    );
    assert_eq!(bucket.newest().await.len(), 22);
    let again = bucket.snapshot(&[]).await.exits(0);
    assert_eq!((again.number("stored_bytes"), again.number("unchanged")), (0, 22));
    // Back to groups that stand alone: the next run is full, and copies.
    bucket.configure("");
    let alone = bucket.snapshot(&[]).await.exits(0);
    assert_eq!((&alone.summary()["kind"], alone.number("downloaded_objects")), (&"full".into(), 0));
    assert!(alone.number("stored_bytes") > 9 << 20);
    assert!(bucket.repo().await.snapshots().await.unwrap().finished.pop().unwrap().needs.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn etags_that_are_not_trusted_are_only_fingerprints() {
    let bucket = filled(20).await;
    bucket.configure_with(&format!("domain = \"{}\"\ntrust_etag = false", bucket.service.domain_url()), "");
    bucket.snapshot(&[]).await.exits(0);
    bucket.service.clear_requests();
    assert_eq!(
        bucket.snapshot(&[]).await.exits(0).number("downloaded_objects"),
        0,
        "the same key and hash: unchanged"
    );
    bucket.put("copy", noise(3, 2000));
    let copied = bucket.snapshot(&[]).await.exits(0);
    assert_eq!((copied.number("downloaded_objects"), bucket.downloads().len()), (1, 1), "a copy is read");
    assert!(copied.number("stored_bytes") < 20_000, "but not stored again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_and_foresees_the_run() {
    let bucket = filled(20).await;
    bucket.snapshot(&[]).await.exits(0);
    bucket.put("new", noise(77, 5000));
    bucket.put("copy", noise(3, 2000));
    bucket.delete("004");
    let before = std::fs::read_dir(bucket.store_folder().join("snapshots")).unwrap().count();
    bucket.service.clear_requests();
    let dry = bucket.snapshot(&["--dry-run"]).await.exits(0);
    assert!(bucket.downloads().is_empty());
    assert_eq!(std::fs::read_dir(bucket.store_folder().join("snapshots")).unwrap().count(), before);
    let run = bucket.snapshot(&[]).await.exits(0);
    for field in [
        "added",
        "removed",
        "renamed",
        "changed",
        "unchanged",
        "objects",
        "bytes",
        "downloaded_objects",
        "downloaded_bytes",
    ] {
        assert_eq!(dry.number(field), run.number(field), "{field}");
    }
    assert_eq!(dry.summary()["dry_run"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_holds_one_source() {
    let bucket = filled(2).await;
    bucket.snapshot(&[]).await.exits(0);
    let other = bucket.path("folder");
    common::write(&other, "a", "a");
    let args = ["--source", other.to_str().unwrap()];
    let said = bucket.snapshot(&args).await.exits(2);
    let message = said.summary()["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("kodo://bkt") && message.contains("folder") && message.contains("--new-source"),
        "{message}"
    );
    let moved: Vec<&str> = args.iter().copied().chain(["--new-source"]).collect();
    let said = bucket.snapshot(&moved).await.exits(6);
    assert_eq!(said.number("objects"), 1, "suspect: all that was there is gone");
}

/// A small disk of its own, gone with the value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mut mount = std::process::Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|o| o.status.success()) {
            return Some(Self(folder));
        }
        #[expect(clippy::disallowed_methods, reason = "set by .ci/run")]
        let required = std::env::var_os("QBAK_REQUIRE_OUTSIDE").is_some();
        assert!(!required, "a tmpfs is needed here and cannot be mounted");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_that_would_not_fit_is_put_off_and_a_full_disk_loses_nothing() {
    let Some(disk) = SmallDisk::new(30) else {
        eprintln!("skipped: only root can mount a small disk");
        return;
    };
    let bucket = Bucket::new().await;
    bucket.put("film", noise(1, 18 << 20));
    let store = disk.0.path().join("store");
    let text = std::fs::read_to_string(bucket.path("qbak.toml")).unwrap();
    let text = text.replace("\"./store\"", &format!("\"{}\"", store.display()));
    std::fs::write(bucket.path("qbak.toml"), format!("{text}[groups]\nfull_every = 1\n")).unwrap();
    bucket.qbak(&["-q", "init"]).await.exits(0);
    assert_eq!(bucket.snapshot(&[]).await.exits(0).summary()["kind"], "full");
    let next = bucket.snapshot(&[]).await.exits(0);
    assert_eq!(
        (&next.summary()["kind"], &next.summary()["full_postponed"]),
        (&"incremental".into(), &true.into())
    );
    assert_eq!(next.asides("warning").len(), 1);
    // Asked for, it is tried; the disk is full, and nothing is lost by it.
    let full = bucket.snapshot(&["--full"]).await.exits(1);
    assert_eq!(full.summary()["kind"], "disk_full", "{full:#?}");
    bucket.qbak(&["verify", "--data"]).await.exits(0);
    let after = bucket.snapshot(&["--incremental"]).await.exits(0);
    assert_eq!((after.number("unchanged"), after.number("downloaded_objects")), (1, 0));
}
