//! Prune: what is kept restores to the byte, whatever went; what nobody needs goes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::sync::Arc;

use common::faulty::{Counted, Fault, FaultyStore};
use common::noise;
use common::quota::Quota;
use common::weeks::{Weeks, held, keep, plenty, prune_options, remove, store};
use proptest::prelude::*;
use qbak::format::records::DamageRecord;
use qbak::format::records::RunKind::{Full, Incremental};
use qbak::model::name::RunName;
use qbak::op::{OpError, prune};
use qbak::plan::retention::{Rules, Wish};
use qbak::repo::Repository;
use qbak::repo::blobs::{BlobReader, Groups};

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
    assert_eq!(planned.report().removed, 5);
    planned.execute(&ctx).await.unwrap();
    weeks.check(&weeks.repo, &names(&weeks)[5..]).await;
}

/// The files of a store with their bytes.
async fn everything(repo: &Repository) -> Vec<(String, bytes::Bytes)> {
    let mut all = Vec::new();
    for file in repo.store().list_all("").await.unwrap() {
        all.push((file.name.clone(), repo.store().get(&file.name, 1 << 30).await.unwrap()));
    }
    all.sort();
    all
}

/// Each file that a kept snapshot cannot do without, spoilt in turn: nothing may be deleted.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_stops_it_before_anything_goes() {
    let weeks = plenty(false).await;
    let all = names(&weeks);
    let last = weeks.records.last().unwrap();
    let group = format!("groups/{}/", last.group);
    let groups = Groups::new(&weeks.repo).await.unwrap();
    let packs = groups.get(last.group).await.unwrap().packs();
    let (mut refused, mut done) = (0, 0);
    for name in weeks.files().await.iter().filter(|f| f.starts_with(&group) || f.starts_with("snapshots/")) {
        for how in ["gone", "short", "flipped"] {
            let memory = Arc::new(weeks.memory.fork());
            let repo = Repository::open(store(&memory)).await.unwrap();
            let bytes = repo.store().get(name, 1 << 30).await.unwrap();
            let mut spoilt = bytes.to_vec();
            match how {
                "short" => spoilt.truncate(bytes.len() / 2),
                "flipped" => spoilt[bytes.len() / 2] ^= 1,
                _ => {}
            }
            if how == "gone" {
                memory.spoil(name, None);
            } else {
                memory.spoil(name, Some(spoilt));
            }
            let before = everything(&repo).await;
            let (ctx, _) = weeks.prune_context(&repo);
            match prune::prune(&ctx, prune_options(keep(2)), &chrono::Utc).await {
                Err(OpError::Damage(text)) => {
                    refused += 1;
                    assert!(text.contains("othing was deleted") || text.contains("othing was"), "{text}");
                    assert_eq!(everything(&repo).await, before, "{name} {how}");
                }
                Err(e) => panic!("{name} {how}: {e}"),
                Ok(_) => {
                    done += 1;
                    // What a snapshot needs that is there and cannot be read, nobody knows.
                    assert!(how == "gone" || !name.starts_with("snapshots/"), "{name} {how}: it went on");
                    // An index file that is gone is no loss; a snapshot that is gone was one that went anyway, or
                    // leaves the others as they are; rot in a pack's contents shows only when they are read.
                    let left = repo.snapshots().await.unwrap().finished;
                    for s in left.iter().filter(|s| all[3..].contains(&s.name)) {
                        let whole = held(&repo, s).await.is_ok_and(|tree| tree == weeks.taken[&s.name]);
                        let pack = name.ends_with(".pack") && how == "flipped";
                        assert!(whole || pack, "{name} {how}: {}", s.name);
                    }
                }
            }
        }
    }
    assert!(refused > packs.len() && done > 5, "{refused} {done}");
}

/// What is lost for good does not block for ever: letting the snapshot go that needs it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_can_be_let_go() {
    let mut weeks = Weeks::new().await;
    weeks.write("a", noise(1, 100 * KIB));
    weeks.snapshot(Full).await;
    weeks.write("a", noise(2, 100 * KIB));
    weeks.snapshot(Full).await;
    let all = names(&weeks);
    let packs: Vec<String> =
        weeks.files().await.into_iter().filter(|f| f.contains(&format!("{}/packs", all[0]))).collect();
    packs.iter().for_each(|p| weeks.memory.spoil(p, None));
    let Err(OpError::Damage(text)) = weeks.prune(keep(2)).await else { panic!("it was not noticed") };
    assert!(text.contains(&format!("qbak prune --remove {}", all[0])), "{text}");
    weeks.prune(remove(&[all[0]])).await.unwrap();
    weeks.check(&weeks.repo, &all[1..]).await;
}

/// A copy that is known to be damaged is not relied on, and is not thrown away while it is all there is.
#[tokio::test(flavor = "multi_thread")]
async fn known_damage() {
    let weeks = plenty(false).await;
    let all = names(&weeks);
    let last = weeks.records.last().unwrap();
    let groups = Groups::new(&weeks.repo).await.unwrap();
    let packs = groups.get(last.group).await.unwrap().packs();
    let (pack, _) = packs.iter().filter(|(_, p)| !p.metadata).max_by_key(|(_, p)| p.size).unwrap();
    let record = DamageRecord {
        pack: *pack,
        group: last.group,
        found: weeks.now(),
        whole: true,
        blobs: vec![],
        what: "a test says so".into(),
    };
    weeks.repo.note(&format!("damaged/{pack}.json"), &record).await.unwrap();
    // The first group has sound copies of some of it: they move before that group goes; the damaged pack stays, for
    // some of it is nowhere else.
    let report = weeks.prune(keep(2)).await.unwrap();
    assert!(report.damaged_blobs > 0 && report.moved_bytes > 110 * KIB as u64, "{report:?}");
    assert!(weeks.files().await.iter().any(|f| f.contains(&pack.to_string()) && f.contains("/packs/")));
    weeks.check(&weeks.repo, &all[3..]).await;
    let groups = Groups::new(&weeks.repo).await.unwrap();
    let group = groups.get(last.group).await.unwrap();
    let stays = qbak::model::content::hash(&noise(0, 20 * KIB)).id;
    assert!(group.sound(qbak::format::pack::BlobKind::Data, &stays).await.unwrap().is_some());
    // When nothing needs it any more, the pack and the record of its damage go.
    let mut weeks = weeks;
    weeks.snapshot(Full).await;
    let all = names(&weeks);
    weeks.prune(keep(1)).await.unwrap();
    assert!(!weeks.files().await.iter().any(|f| f.contains(&pack.to_string())));
    weeks.check(&weeks.repo, &all[5..]).await;
}

/// A reader that looked at the store before a prune finds what the prune has moved.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_from_before_goes_on() {
    let weeks = plenty(true).await;
    let all = names(&weeks);
    let last = weeks.records.last().unwrap();
    let groups = Arc::new(Groups::new(&weeks.repo).await.unwrap());
    for name in groups.names() {
        groups.get(name).await.unwrap();
    }
    let blobs = BlobReader::new(&weeks.repo, groups, last.group, &last.needs);
    let report = weeks.prune(keep(2)).await.unwrap();
    assert!(report.moved_bytes > 110 * KIB as u64 && report.removed == 3);
    let read = common::weeks::held_by(&blobs, last).await.unwrap();
    assert_eq!(read, weeks.taken[&last.name]);
    weeks.check(&weeks.repo, &all[3..]).await;
}

/// What a run that was cut off has stored serves the next one, until it is dropped by wish or one has finished.
#[tokio::test(flavor = "multi_thread")]
async fn unfinished_runs() {
    let mut weeks = plenty(false).await;
    let all = names(&weeks);
    let memory = Arc::new(weeks.memory.fork());
    weeks.write("new", noise(300, 60 << 10));
    weeks.write("newer", noise(301, 9 << 20));
    weeks.week += 1;
    // Cut off when its packs and its last checkpoint are there, before its index.
    let mut at = 0;
    let (memory, repo) = loop {
        let memory = Arc::new(memory.fork());
        let (faulty, _) = FaultyStore::new(memory.clone(), Counted::Changes, at, Fault::CutBefore);
        let cut = Repository::open(faulty.store()).await.unwrap();
        let _ = qbak::op::snapshot::snapshot(&weeks.context(&cut), weeks.options(Incremental)).await;
        let repo = Repository::open(store(&memory)).await.unwrap();
        assert_eq!(
            repo.snapshots().await.unwrap().finished.len(),
            5,
            "it finished: no cut left its packs loose"
        );
        let group = weeks.records[4].group;
        let loose = Groups::new(&repo).await.unwrap().get(group).await.unwrap().loose().len();
        if loose > 4 {
            break (memory, repo);
        }
        at += 1;
    };
    let run = *repo.runs().await.unwrap().keys().next().unwrap();
    let (ctx, _) = weeks.prune_context(&repo);
    let report = prune::prune(&ctx, prune_options(keep(2)), &chrono::Utc).await.unwrap();
    assert_eq!((report.runs.len(), report.runs[0].snapshot, report.runs[0].keep), (1, run, true));
    weeks.check(&repo, &all[3..]).await;
    let dropped = {
        let repo = Repository::open(store(&Arc::new(memory.fork()))).await.unwrap();
        let wish = Wish { drop_incomplete: true, ..Wish::default() };
        let (ctx, _) = weeks.prune_context(&repo);
        let report = prune::prune(&ctx, prune_options(wish), &chrono::Utc).await.unwrap();
        assert_eq!((report.removed, report.runs[0].keep), (0, false));
        assert!(repo.runs().await.unwrap().is_empty());
        assert!(
            repo.snapshots().await.unwrap().tombstones.contains(&run),
            "should it only sleep, it must not commit"
        );
        weeks.check(&repo, &all[3..]).await;
        report.freed_bytes
    };
    assert!(dropped > 9 << 20, "{dropped}");
    weeks.week += 1;
    let next = qbak::op::snapshot::snapshot(&weeks.context(&repo), weeks.options(Incremental)).await.unwrap();
    assert_eq!((next.counts.added, next.transfer.downloaded_bytes), (2, 0), "all of it was there already");
}

/// The disk is full to the last byte: whole groups and dead packs go all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_made_room_on() {
    let mut weeks = Weeks::new().await;
    weeks.write("stays", noise(1, 100 * KIB));
    weeks.snapshot(Full).await;
    for n in 0..8 {
        weeks.write(&format!("goes/{n}"), noise(10 + n, 200 * KIB));
    }
    weeks.snapshot(Full).await;
    weeks.write("other", noise(2, 300 * KIB));
    weeks.snapshot(Incremental).await;
    for n in 0..8 {
        weeks.delete(&format!("goes/{n}"));
    }
    weeks.delete("other");
    weeks.snapshot(Incremental).await;
    let all = names(&weeks);
    let memory = Arc::new(weeks.memory.fork());
    // A little room, as the reserve gives it: not enough to copy 100 KiB.
    let full = Quota::new(memory.clone(), weeks.size().await + 64 * KIB as u64);
    let repo = Repository::open(full.store()).await.unwrap();
    let (ctx, _) = weeks.prune_context(&repo);
    let report = prune::prune(&ctx, prune_options(keep(1)), &chrono::Utc).await.unwrap();
    // The first group and dead packs make room, and then there is enough to copy.
    assert_eq!((report.removed, report.pending_bytes), (3, 0), "{report:?}");
    assert!(report.freed_bytes > 2000 * KIB as u64 && report.moved_bytes > 100 * KIB as u64, "{report:?}");
    weeks.check(&repo, &all[3..]).await;
    let later = prune::prune(&ctx, prune_options(keep(1)), &chrono::Utc).await.unwrap();
    assert_eq!((later.freed_bytes, later.pending_bytes), (0, 0), "{later:?}");
    // Without any room nothing is begun: the claim cannot be written.
    let full = Quota::new(Arc::new(weeks.memory.fork()), 0);
    let repo = Repository::open(full.store()).await.unwrap();
    let (ctx, _) = weeks.prune_context(&repo);
    let refused = prune::prune(&ctx, prune_options(keep(1)), &chrono::Utc).await.unwrap_err().to_string();
    assert!(refused.contains("no space left") && refused.contains("marks/"), "{refused}");
    weeks.check(&repo, &all).await;
}

/// The small files of many runs are joined: index files by runs, packs by prune.
#[tokio::test(flavor = "multi_thread")]
async fn many_small_runs() {
    let mut weeks = Weeks::new().await;
    for week in 0..20u64 {
        weeks.write(&format!("{week}"), noise(week, KIB));
        weeks.snapshot(if week == 0 { Full } else { Incremental }).await;
        let indexes = weeks.records.last().unwrap().indexes.len();
        assert!(indexes <= 8, "{indexes} index files in week {week}");
    }
    let all = names(&weeks);
    weeks.check(&weeks.repo, &all).await;
    let before = weeks.files().await.len();
    let report = weeks.prune(keep(20)).await.unwrap();
    assert_eq!((report.removed, report.groups[0].rewritten), (0, 40));
    let after = weeks.files().await;
    assert!(after.len() + 35 < before, "{before} files, then {after:?}");
    weeks.check(&weeks.repo, &all).await;
    let again = weeks.prune(keep(20)).await.unwrap();
    assert_eq!((again.moved_bytes, again.freed_bytes), (0, 0));
    let next = weeks.snapshot(Incremental).await;
    assert_eq!(next.transfer.stored_bytes, 0, "the group is sound");
}

proptest! {
    #![proptest_config(common::cases(24))]

    /// Any weeks, any prunes: what is kept is what the bucket was.
    #[test]
    fn any_history(share: bool, steps in prop::collection::vec((0u8..10, any::<u16>(), 1u32..5), 4..16)) {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
            let mut weeks = Weeks::new().await;
            weeks.share = share;
            let mut alive: Vec<RunName> = Vec::new();
            for (what, seed, n) in steps {
                match what {
                    0..=5 => {
                        for i in 0..u64::from(n) * 3 {
                            let x = u64::from(seed).wrapping_mul(i + 7) % 31;
                            let key = format!("{}/{x}", x % 3);
                            match (x + i) % 4 {
                                0 => weeks.delete(&key),
                                1 => weeks.write(&key, noise(x % 5, 3000)),
                                2 => weeks.write(&key, noise(u64::from(seed) + i, (x * 900) as usize)),
                                _ => weeks.write(&key, vec![b'x'; (x * 50) as usize]),
                            }
                        }
                        let kind = if what < 4 { Incremental } else { Full };
                        alive.push(weeks.snapshot(kind).await.name);
                    }
                    _ => {
                        let wish = match what {
                            6 => keep(n),
                            7 => Wish { rules: Rules { keep_groups: Some(n), ..Rules::default() }, ..Wish::default() },
                            8 => Wish { rules: Rules { keep_monthly: Some(n), ..Rules::default() }, ..Wish::default() },
                            _ if alive.is_empty() => continue,
                            _ => remove(&[alive[usize::from(seed) % alive.len()]]),
                        };
                        let report = weeks.prune(wish).await.unwrap();
                        let kept: Vec<RunName> = report.decisions.iter().filter(|d| d.keep).map(|d| d.snapshot).collect();
                        assert!(report.removed as usize == alive.len() - kept.len());
                        assert!(alive.is_empty() || !kept.is_empty());
                        alive = kept;
                    }
                }
                weeks.check(&weeks.repo, &alive).await;
            }
        });
    }
}
