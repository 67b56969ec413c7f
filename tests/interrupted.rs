//! Runs that are cut off: killed at random moments, and told to stop. What they stored serves the next run, and at most
//! one checkpoint's downloads (32 MiB, and what was on its way) are repeated.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use common::bucket::Bucket;
use common::noise;

const MIB: usize = 1 << 20;

/// Waits until so many downloads were answered since the log was cleared, or the process ended.
async fn until_downloads(bucket: &Bucket, child: &mut Child, n: usize) {
    let began = Instant::now();
    while bucket.downloads().len() < n && child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "the run does not come forward");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How often each range of each object was asked for.
fn asked(bucket: &Bucket) -> BTreeMap<(Option<String>, Option<String>), usize> {
    let mut all = BTreeMap::new();
    for r in bucket.downloads() {
        *all.entry((r.key, r.range)).or_insert(0) += 1;
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_inside_one_large_object() {
    let bucket = Bucket::new().await;
    let film = noise(1, 200 * MIB);
    bucket.put("film", &film);
    bucket.slow(Duration::from_millis(200));
    let blocks = 50;
    let mut killed = 0;
    // Moments that are no multiple of a checkpoint's eight blocks.
    for moment in [30, 15] {
        let before = bucket.downloads().len();
        let mut child = bucket.start(&["-q", "snapshot"]);
        until_downloads(&bucket, &mut child, before + moment).await;
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().signal() == Some(9));
    }
    assert_eq!(killed, 2);
    let open = bucket.repo().await.runs().await.unwrap();
    assert_eq!(open.len(), 2, "each shows as INCOMPLETE");
    bucket.snapshot(&[]).await.exits(0);
    assert_eq!(bucket.newest().await[b"film".as_slice()], film);
    assert!(bucket.repo().await.runs().await.unwrap().is_empty(), "they have served");
    let total: usize = asked(&bucket).values().sum();
    // A checkpoint is eight blocks; four more are on their way, and a few came while it was written. Without
    // checkpoints it would be 30 + 15 + 50.
    assert!(total <= blocks + killed * (8 + 4 + 5), "{total} requests for {blocks} blocks");
    assert!(asked(&bucket).len() == blocks);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_among_many_objects() {
    let bucket = Bucket::new().await;
    let objects = 160;
    for n in 0..objects {
        bucket.put(&format!("{n:03}"), noise(n, MIB));
    }
    bucket.slow(Duration::from_millis(25));
    let mut killed = 0;
    let mut seed = [0u8; 2];
    for round in 0..4u8 {
        blake3::Hasher::new().update(&[round]).finalize_xof().fill(&mut seed);
        let moment = 5 + usize::from(seed[0]) % 60;
        let before = bucket.downloads().len();
        let mut child = bucket.start(&["-q", "snapshot"]);
        until_downloads(&bucket, &mut child, before + moment).await;
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().signal() == Some(9));
    }
    let said = bucket.snapshot(&[]).await.exits(0);
    assert_eq!(said.number("objects"), objects);
    for (n, (_, bytes)) in (0..).zip(bucket.newest().await) {
        assert_eq!(bytes, noise(n, MIB));
    }
    let total: usize = asked(&bucket).values().sum();
    assert!(
        killed > 0 && total <= 160 + killed * (32 + 16 + 16),
        "{total} requests for 160 objects, {killed} kills"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_keeps_everything() {
    let bucket = Bucket::new().await;
    for n in 0..200 {
        bucket.put(&format!("{n:03}"), noise(n, 100_000));
    }
    bucket.slow(Duration::from_millis(40));
    let mut child = bucket.start(&["-q", "snapshot"]);
    until_downloads(&bucket, &mut child, 60).await;
    let asked_to = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(143));
    assert!(asked_to.elapsed() < Duration::from_secs(5));
    let before = bucket.downloads().len();
    let said = bucket.snapshot(&[]).await.exits(0);
    // Only what was on its way is asked for again.
    assert!(said.number("downloaded_objects") <= (200 - before + 16) as u64, "{before} then {said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_leaves_politely() {
    let bucket = Bucket::new().await;
    for n in 0..100 {
        bucket.put(&format!("{n:03}"), noise(n, 1000));
    }
    bucket.slow(Duration::from_millis(100));
    let mut child = bucket.start(&["-q", "snapshot"]);
    until_downloads(&bucket, &mut child, 5).await;
    let said = bucket.snapshot(&[]).await.exits(5);
    let message = said.summary()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&child.id().to_string()), "{message}");
    child.kill().unwrap();
    child.wait().unwrap();
    // A dead holder is noticed at once.
    bucket.service.faults().clear();
    bucket.snapshot(&[]).await.exits(0);
}
