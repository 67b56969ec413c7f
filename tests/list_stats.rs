//! `list`, `stats` and `accept`: what they say of a store with full and incremental, suspect and unfinished runs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::path::Path;

use common::{context, folder, new_store, noise, options, write};
use qbak::format::records::{RunKind, RunRecord, SourceRecord};
use qbak::model::clock::SystemClock;
use qbak::model::key::Key;
use qbak::model::name::RunName;
use qbak::model::time::Timestamp;
use qbak::op::accept::{Accepted, accept};
use qbak::op::list::list;
use qbak::op::snapshot::{Options, Report, snapshot};
use qbak::op::stats::stats;
use qbak::op::{Cancel, OpError};
use qbak::plan::select::Completeness;
use qbak::repo::{Repository, names};
use qbak::store::lease::{self, Holder};

async fn run(repo: &Repository, data: &Path, kind: RunKind) -> Report {
    let options = Options { kind: Some(kind), tags: vec!["weekly".into()], ..options() };
    snapshot(&context(repo, folder(data)), options).await.unwrap()
}

fn unfinished(seconds: i64, group: RunName) -> RunRecord {
    let name = RunName::at(Timestamp::from_seconds(seconds));
    RunRecord {
        name,
        kind: RunKind::Incremental,
        group,
        redownload: false,
        source: SourceRecord { url: "kodo://b".into(), scope: Key::from("") },
        started: name.time(),
        host: "here".into(),
        pid: 7,
        nonce: "n".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_runs_pins_and_labels() {
    let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repo = new_store(store.path()).await;
    assert_eq!(list(&repo).await.unwrap().rows, []);
    write(data.path(), "a", "a");
    let first = run(&repo, data.path(), RunKind::Full).await;
    let second = run(&repo, data.path(), RunKind::Incremental).await;
    let third = run(&repo, data.path(), RunKind::Full).await;
    repo.pin(second.snapshot, Timestamp::from_seconds(5)).await.unwrap();
    // A run that was cut off in the second group, one that opened a group, and what finished runs left behind.
    let late = unfinished(4_000_000_000, third.group);
    let alone = unfinished(4_000_000_100, RunName::at(Timestamp::from_seconds(4_000_000_100)));
    for record in [&late, &alone] {
        repo.create(&names::run(record.name), record).await.unwrap();
    }
    repo.create(&names::run(third.snapshot), &unfinished(1, third.group)).await.unwrap();
    write(store.path(), "snapshots/2001-01-01T00-00-00Z.json", "rubbish");
    let all = list(&repo).await.unwrap();
    let found: Vec<RunName> = all.rows.iter().map(|r| r.name).collect();
    assert_eq!(found, [first.snapshot, second.snapshot, third.snapshot, late.name, alone.name]);
    assert_eq!(all.groups().map(<[_]>::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(all.unreadable.len(), 1);
    let row = &all.rows[1];
    assert!(row.pinned && !all.rows[0].pinned && row.tags == ["weekly"] && row.suspect.is_none());
    assert_eq!((row.state, row.sequence, row.counts), (Completeness::Complete, Some(2), second.counts));
    let late_row = &all.rows[3];
    assert_eq!(
        (late_row.state, late_row.finished, late_row.running.clone()),
        (Completeness::Incomplete, None, None)
    );
    // Running is who holds the store now, as that process on that machine.
    let holder = Holder { what: "snapshot".into(), host: "here".into(), pid: 7, since: "now".into() };
    let lease = lease::take(repo.store(), lease::For::Run, &holder).unwrap();
    assert_eq!(list(&repo).await.unwrap().rows[3].running, Some(holder));
    drop(lease);
    assert_eq!(list(&repo).await.unwrap().rows[3].running, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_snapshot_is_accepted() {
    let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repo = new_store(store.path()).await;
    for n in 0..40 {
        write(data.path(), &format!("{n}"), format!("{n}"));
    }
    let good = run(&repo, data.path(), RunKind::Full).await;
    for n in 0..30 {
        std::fs::remove_file(data.path().join(format!("{n}"))).unwrap();
    }
    let bad = run(&repo, data.path(), RunKind::Incremental).await;
    let still = run(&repo, data.path(), RunKind::Incremental).await;
    assert!(bad.suspect.is_some() && still.suspect.is_some());
    assert_eq!(list(&repo).await.unwrap().rows[1].suspect, bad.suspect);
    assert_eq!(accept(&repo, good.snapshot, &SystemClock).await.unwrap(), Accepted::NotSuspect);
    let accepted = accept(&repo, still.snapshot, &SystemClock).await.unwrap();
    assert_eq!(accepted, Accepted::Now { reason: still.suspect.unwrap(), others: vec![bad.snapshot] });
    assert_eq!(accept(&repo, still.snapshot, &SystemClock).await.unwrap(), Accepted::Before);
    let rows = list(&repo).await.unwrap().rows;
    assert!(rows[1].suspect.is_some() && !rows[1].accepted);
    assert!(rows[2].suspect.is_none() && rows[2].accepted);
    let none = accept(&repo, RunName::at(Timestamp::from_seconds(0)), &SystemClock).await;
    assert!(matches!(none, Err(OpError::Failed(_))));
    assert_eq!(run(&repo, data.path(), RunKind::Incremental).await.suspect, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_add_up() {
    let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repo = new_store(store.path()).await;
    assert_eq!(stats(&repo, &Cancel::never()).await.unwrap().total.dedup_ratio(), 1.0);
    write(data.path(), "noise", noise(1, 50_000));
    write(data.path(), "twin", noise(1, 50_000));
    write(data.path(), "text", "the same again; ".repeat(5000));
    let first = run(&repo, data.path(), RunKind::Full).await;
    let second = run(&repo, data.path(), RunKind::Incremental).await;
    let third = run(&repo, data.path(), RunKind::Full).await;
    let stats = stats(&repo, &Cancel::never()).await.unwrap();
    assert_eq!(
        stats.snapshots.iter().map(|s| s.name).collect::<Vec<_>>(),
        [first.snapshot, second.snapshot, third.snapshot]
    );
    assert_eq!(stats.snapshots[0].bytes, 180_000);
    let (name, group) = stats.groups[0];
    assert_eq!((name, group.snapshots, group.logical_bytes), (first.group, 2, 360_000));
    assert_eq!((group.data_blobs, group.unique_bytes), (2, 130_000));
    assert!(group.packed_bytes > 50_000 && group.packed_bytes < 60_000);
    assert!(group.compression_ratio() > 2.0 && group.dedup_ratio() > 2.7 && group.dedup_ratio() < 2.8);
    let total = stats.total;
    assert_eq!(
        (total.snapshots, total.data_blobs, total.packs),
        (3, 4, stats.groups.iter().map(|g| g.1.packs).sum())
    );
    let of = |end: &str| -> u64 {
        common::files(store.path())
            .iter()
            .filter(|(n, _)| n.ends_with(end))
            .map(|(_, b)| b.len() as u64)
            .sum()
    };
    assert_eq!((total.pack_bytes, total.index_bytes), (of(".pack"), of(".idx")));
    assert_eq!(total.stored_bytes(), stats.snapshots.iter().map(|s| s.stored_bytes).sum::<u64>());
    assert_eq!(stats.damaged_packs, 0);
    assert!(stats.free_bytes.is_some());
}
