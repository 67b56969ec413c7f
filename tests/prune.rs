//! Prune: what is kept restores to the byte, whatever went; what nobody needs goes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::sync::Arc;

use common::faulty::{Counted, Fault, FaultyStore};
use common::noise;
use common::weeks::{Weeks, held, keep, prune_options, remove, store};
use qbak::format::records::RunKind::{Full, Incremental};
use qbak::model::name::RunName;
use qbak::op::{OpError, prune};
use qbak::plan::retention::{Rules, Wish};
use qbak::repo::Repository;

const KIB: usize = 1 << 10;

/// Two groups of three weeks each; in every week one file changes, one comes, one goes.
async fn two_groups(share: bool) -> Weeks {
    let mut weeks = Weeks::new().await;
    weeks.share = share;
    for n in 0..20 {
        weeks.write(&format!("stays/{n:02}"), noise(n, 4 * KIB));
    }
    for week in 0..6u64 {
        weeks.write("changes", noise(100 + week, 300 * KIB));
        weeks.write(&format!("comes/{week}"), noise(200 + week, 100 * KIB));
        weeks.delete(&format!("comes/{}", week.wrapping_sub(2)));
        weeks.snapshot(if week % 3 == 0 { Full } else { Incremental }).await;
    }
    weeks
}

fn names(weeks: &Weeks) -> Vec<RunName> {
    weeks.records.iter().map(|r| r.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_removes_the_oldest_and_frees_what_only_they_needed() {
    let weeks = two_groups(false).await;
    let all = names(&weeks);
    weeks.check(&weeks.repo, &all).await;
    let before = weeks.size().await;
    let dry = prune::Options { dry_run: true, ..prune_options(keep(2)) };
    let dry = prune::prune(&weeks.prune_context(&weeks.repo).0, dry, &chrono::Utc).await.unwrap();
    assert_eq!(weeks.size().await, before, "a dry run writes nothing");
    let report = weeks.prune(keep(2)).await.unwrap();
    assert_eq!((report.kept, report.removed), (2, 4));
    assert_eq!((dry.kept, dry.removed, dry.dry_run), (2, 4, true));
    assert_eq!(report.decisions, dry.decisions);
    let after = weeks.size().await;
    assert_eq!(before - after, report.freed_bytes);
    // The first group alone is more than a megabyte; of the second, one state of "changes" and one file go.
    assert!(report.freed_bytes > 1400 * KIB as u64, "{report:?}");
    assert!(report.freed_bytes.abs_diff(dry.freed_bytes) < 30 * KIB as u64, "{report:?} {dry:?}");
    assert_eq!(report.moved_bytes, dry.moved_bytes);
    weeks.check(&weeks.repo, &all[4..]).await;
    assert!(!weeks.files().await.iter().any(|f| f.contains(&format!("groups/{}", all[0]))));
    // There is nothing more to do, and the next run finds its group as sound as before.
    let again = weeks.prune(keep(2)).await.unwrap();
    assert_eq!((again.removed, again.freed_bytes, again.moved_bytes), (0, 0, 0), "{again:?}");
    let mut weeks = weeks;
    let next = weeks.snapshot(Incremental).await;
    assert_eq!(next.transfer.stored_bytes, 0, "{next:?}");
    weeks.check(&weeks.repo, &[&all[4..], &[next.name]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_stay_whole_and_pins_hold() {
    let weeks = two_groups(false).await;
    let all = names(&weeks);
    weeks.repo.pin(all[1], weeks.now()).await.unwrap();
    let rules = Rules { keep_groups: Some(1), ..Rules::default() };
    let report = weeks.prune(Wish { rules, ..Wish::default() }).await.unwrap();
    assert_eq!((report.kept, report.is_refused()), (4, false));
    weeks.check(&weeks.repo, &[&all[1..2], &all[3..]].concat()).await;
    let refused = weeks.prune(remove(&[all[1]])).await.unwrap();
    assert!(refused.is_refused() && refused.removed == 0);
    let removed = weeks.prune(remove(&[all[4]])).await.unwrap();
    assert_eq!((removed.kept, removed.removed, removed.is_refused()), (3, 1, false));
    weeks.check(&weeks.repo, &[all[1], all[3], all[5]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_blobs_move_into_the_group_that_needs_them() {
    let mut weeks = two_groups(true).await;
    let all = names(&weeks);
    let last = weeks.records.last().unwrap().clone();
    assert_eq!(last.needs, [all[0]], "the second group relies on the first");
    let report = weeks.prune(keep(2)).await.unwrap();
    assert!(report.moved_bytes >= 20 * 4 * KIB as u64, "{report:?}");
    weeks.check(&weeks.repo, &all[4..]).await;
    assert!(!weeks.files().await.iter().any(|f| f.contains(&format!("groups/{}", all[0]))));
    let next = weeks.snapshot(Incremental).await;
    assert_eq!(next.transfer.downloaded_bytes, 0);
    weeks.check(&weeks.repo, &[all[4], all[5], next.name]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_of_which_little_is_needed_is_written_anew() {
    let mut weeks = Weeks::new().await;
    weeks.write("stays", noise(1, 100 * KIB));
    for n in 0..9 {
        weeks.write(&format!("goes/{n}"), noise(10 + n, 200 * KIB));
    }
    weeks.snapshot(Full).await;
    for n in 0..9 {
        weeks.delete(&format!("goes/{n}"));
    }
    let second = weeks.snapshot(Incremental).await;
    let report = weeks.prune(keep(1)).await.unwrap();
    assert!(report.freed_bytes > 1700 * KIB as u64, "{report:?}");
    assert_eq!(report.groups.len(), 1);
    assert!(report.groups[0].rewritten >= 1 && !report.groups[0].whole);
    assert!(report.moved_bytes >= 100 * KIB as u64 && report.moved_bytes < 200 * KIB as u64);
    weeks.check(&weeks.repo, &[second.name]).await;
    let next = weeks.snapshot(Incremental).await;
    assert_eq!((next.group, next.transfer.stored_bytes), (second.group, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_newest_snapshot_holds_back_what_is_older() {
    let mut weeks = Weeks::new().await;
    for n in 0..40 {
        weeks.write(&format!("{n:02}"), noise(n, KIB));
    }
    for week in 0..4 {
        weeks.write("week", format!("{week}"));
        weeks.snapshot(if week == 0 { Full } else { Incremental }).await;
    }
    (0..40).for_each(|n| weeks.delete(&format!("{n:02}")));
    for week in 0..3 {
        weeks.write("week", format!("after {week}"));
        assert!(weeks.snapshot(Full).await.suspect.is_some());
    }
    let all = names(&weeks);
    let report = weeks.prune(keep(1)).await.unwrap();
    assert!(report.is_refused());
    assert_eq!((report.held_back, report.removed), (5, 0), "{report:?}");
    weeks.check(&weeks.repo, &all).await;
    weeks.repo.accept(all[6], weeks.now()).await.unwrap();
    let report = weeks.prune(keep(1)).await.unwrap();
    assert_eq!((report.held_back, report.removed, report.is_refused()), (0, 6, false));
    weeks.check(&weeks.repo, &all[6..]).await;
    assert_eq!(weeks.repo.accepted().await.unwrap(), [all[6]].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_at_a_time() {
    let weeks = two_groups(false).await;
    let (ctx, _) = weeks.prune_context(&weeks.repo);
    let planned = prune::plan(&ctx, prune_options(keep(1)), &chrono::Utc).await.unwrap();
    assert!(matches!(weeks.prune(keep(1)).await, Err(OpError::InUse(_))));
    let run = qbak::op::snapshot::snapshot(&weeks.context(&weeks.repo), weeks.options(Full)).await;
    assert!(matches!(run, Err(OpError::InUse(_))));
    assert_eq!(planned.report().removed, 5);
    planned.execute(&ctx).await.unwrap();
    weeks.check(&weeks.repo, &names(&weeks)[5..]).await;
}

/// Weeks in which every sort of work is to be done: a whole group goes, dead packs, packs to rewrite, blobs shared into
/// another group, an unfinished run's leftovers.
async fn plenty(share: bool) -> Weeks {
    let mut weeks = Weeks::new().await;
    weeks.share = share;
    for n in 0..6 {
        weeks.write(&format!("stays/{n}"), noise(n, 20 * KIB));
        weeks.write(&format!("goes/{n}"), noise(50 + n, 30 * KIB));
    }
    weeks.write("large", noise(90, (4 << 20) + 5));
    weeks.snapshot(Full).await;
    weeks.write("week", "2");
    weeks.snapshot(Incremental).await;
    (0..6).for_each(|n| weeks.delete(&format!("goes/{n}")));
    weeks.write("comes", noise(70, 50 * KIB));
    for n in 0..6 {
        weeks.write(&format!("brief/{n}"), noise(80 + n, 40 * KIB));
    }
    weeks.snapshot(Full).await;
    (0..6).for_each(|n| weeks.delete(&format!("brief/{n}")));
    weeks.write("week", "4");
    weeks.snapshot(Incremental).await;
    weeks.write("week", "5");
    weeks.snapshot(Incremental).await;
    weeks
}

/// Stops a prune at each of its operations, in each way; then every snapshot that is left restores, and a second prune
/// brings the store to the same state as one that was never stopped.
async fn stopped_everywhere(share: bool, counted: Counted, fault: Fault, step: u64) {
    let weeks = plenty(share).await;
    let all = names(&weeks);
    let wish = || keep(2);
    let fork = || Arc::new(weeks.memory.fork());
    let whole = {
        let memory = fork();
        let repo = Repository::open(store(&memory)).await.unwrap();
        let (ctx, _) = weeks.prune_context(&repo);
        prune::prune(&ctx, prune_options(wish()), &chrono::Utc).await.unwrap();
        weeks.check(&repo, &all[3..]).await;
        repo.store().list_all("").await.unwrap()
    };
    let mut struck = 0;
    for at in (0..).step_by(step as usize) {
        let memory = fork();
        let (faulty, control) = FaultyStore::new(memory.clone(), counted, at, fault);
        let repo = match Repository::open(faulty.store()).await {
            Ok(repo) => repo,
            Err(_) => continue,
        };
        let (ctx, _) = weeks.prune_context(&repo);
        let cut = prune::prune(&ctx, prune_options(wish()), &chrono::Utc).await;
        if !control.has_struck() {
            cut.unwrap();
            break;
        }
        struck += 1;
        let repo = Repository::open(store(&memory)).await.unwrap();
        let found = repo.snapshots().await.unwrap();
        assert!(found.unreadable.is_empty());
        let left: Vec<RunName> = found.finished.iter().map(|s| s.name).collect();
        assert!(left.ends_with(&all[3..]), "{fault:?} at {at}: {left:?}");
        for s in found.finished.iter().filter(|s| all[3..].contains(&s.name)) {
            assert_eq!(held(&repo, s).await.unwrap(), weeks.taken[&s.name], "{fault:?} at {at}: {}", s.name);
        }
        let (ctx, _) = weeks.prune_context(&repo);
        prune::prune(&ctx, prune_options(wish()), &chrono::Utc).await.unwrap();
        weeks.check(&repo, &all[3..]).await;
        // What is left over is at most a file or two of room.
        let after = repo.store().list_all("").await.unwrap();
        let size = |files: &[qbak::store::StoredFile]| files.iter().map(|f| f.size).sum::<u64>();
        assert!(
            size(&after).abs_diff(size(&whole)) < 20 * KIB as u64,
            "{fault:?} at {at}: {after:?}\n{whole:?}"
        );
        assert!(after.len() <= whole.len() + 2, "{fault:?} at {at}: {after:?}\n{whole:?}");
        let third = prune::prune(&ctx, prune_options(wish()), &chrono::Utc).await.unwrap();
        assert_eq!((third.removed, third.freed_bytes, third.moved_bytes), (0, 0, 0), "{fault:?} at {at}");
        // The group is as sound as the next run needs it to be.
        let next =
            qbak::op::snapshot::snapshot(&weeks.context(&repo), weeks.options(Incremental)).await.unwrap();
        assert_eq!((next.transfer.downloaded_bytes, next.counts.unchanged), (0, next.counts.objects));
    }
    assert!(struck > 10, "{struck}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_every_change() {
    stopped_everywhere(false, Counted::Changes, Fault::CutBefore, 1).await;
    stopped_everywhere(true, Counted::Changes, Fault::CutBefore, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_every_change() {
    stopped_everywhere(false, Counted::Changes, Fault::CutAfter, 1).await;
    stopped_everywhere(true, Counted::Changes, Fault::CutAfter, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reply_lost_and_the_disk_full_at_every_write() {
    stopped_everywhere(false, Counted::Changes, Fault::LostReply, 1).await;
    stopped_everywhere(true, Counted::Changes, Fault::Full, 1).await;
}

/// A read or a listing that fails must end a prune before it deletes anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_fails_deletes_nothing_that_is_kept() {
    stopped_everywhere(true, Counted::All, Fault::LostReply, 3).await;
}
