//! The brakes: a bucket that was emptied, encrypted or lost stays noticed for as long as it is so, and no rule of retention takes
//! what was there before. Contract: `docs/cli.md`, *suspect* and *prune*.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::bucket::Bucket;
use common::noise;
use common::weeks::{Weeks, keep, remove};
use qbak::emulator::Catalog;
use qbak::format::records::{Completeness, RunKind, SnapshotRecord};
use qbak::model::name::RunName;
use qbak::op::accept::{Accepted, accept};

const OBJECTS: u64 = 40;

fn key(n: u64) -> String {
    format!("{n:02}")
}

/// What happens to a bucket. The second number is the week, of a damage that goes on.
type Damage = fn(&Weeks, u64);

fn each(weeks: &Weeks, some: impl Iterator<Item = u64>, bytes: impl Fn(u64) -> Vec<u8>) {
    some.for_each(|n| weeks.write(&key(n), bytes(n)));
}

const DAMAGES: [(&str, Damage, &str); 6] = [
    ("most are deleted", |w, _| (0..30).for_each(|n| w.delete(&key(n))), "30 of"),
    ("all are deleted", |w, _| (0..OBJECTS).for_each(|n| w.delete(&key(n))), "are gone"),
    ("the bucket is empty", |w, _| w.source.lock().unwrap().clear(), "are gone"),
    (
        "all are overwritten",
        |w, week| each(w, 0..OBJECTS, |n| noise(1000 * (week + 1) + n, 900)),
        "are overwritten",
    ),
    ("all are emptied", |w, _| each(w, 0..OBJECTS, |_| Vec::new()), "emptied to zero bytes"),
    (
        "some are deleted, some emptied",
        |w, _| {
            (0..7).for_each(|n| w.delete(&key(n)));
            each(w, 7..14, |_| Vec::new());
        },
        "14 of",
    ),
];

/// Ten weeks of a bucket in which a little happens, with a prune after each snapshot. `archived`: one object can never be read.
async fn ten_weeks(archived: bool, share: bool) -> (Weeks, Vec<SnapshotRecord>) {
    let mut weeks = Weeks::new().await;
    weeks.share = share;
    each(&weeks, 0..OBJECTS, |n| noise(n, 900));
    if archived {
        weeks.write("archived/film", noise(77, 5000));
    }
    let mut good = Vec::new();
    for week in 0..10 {
        weeks.write(&key(week), noise(500 + week, 900));
        good.push(a_week(&mut weeks).await);
        let state = if archived { Completeness::Partial } else { Completeness::Complete };
        assert_eq!((good[week as usize].state, &good[week as usize].suspect), (state, &None));
        let pruned = weeks.prune(keep(8)).await.unwrap();
        assert!(!pruned.is_refused());
    }
    (weeks, good)
}

/// A snapshot, every eighth a full one.
async fn a_week(weeks: &mut Weeks) -> SnapshotRecord {
    let kind = if weeks.week % 8 == 0 { RunKind::Full } else { RunKind::Incremental };
    weeks.snapshot(kind).await
}

fn names(records: &[SnapshotRecord]) -> Vec<RunName> {
    records.iter().map(|r| r.name).collect()
}

/// Twenty weeks of each damage under `prune --keep 8`: the last good state is there to its last byte, as are the seven before it. Once
/// the objects are back, the rules count again.
async fn twenty_weeks(damages: &[(&str, Damage, &str)], archived: bool, share: bool) {
    for (what, damage, words) in damages {
        let (mut weeks, good) = ten_weeks(archived, share).await;
        let before = weeks.source.lock().unwrap().clone();
        let mut kept = names(&good[2..]);
        for week in 0..20 {
            damage(&weeks, week);
            // Some life goes on, so that nothing is the same as a week ago.
            weeks.write("diary", format!("week {week}"));
            let record = a_week(&mut weeks).await;
            let suspect =
                record.suspect.clone().unwrap_or_else(|| panic!("{what}: week {week} is not suspect"));
            assert!(suspect.contains(words), "{what}: {suspect}");
            assert_eq!(record.baseline, Some(good[9].name), "{what}: the baseline has moved");
            kept.push(record.name);
            let pruned = weeks.prune(keep(8)).await.unwrap();
            // What would go are the damaged weeks before this one.
            assert_eq!((pruned.removed, pruned.held_back as u64), (0, week), "{what}: week {week}");
        }
        weeks.check(&weeks.repo.clone(), &kept).await;
        // What the last good state holds, as it was then.
        let mut last_good = before.clone();
        last_good.retain(|k, _| !k.starts_with("archived/"));
        assert_eq!(weeks.taken[&good[9].name], last_good);

        *weeks.source.lock().unwrap() = before;
        let back = a_week(&mut weeks).await;
        assert_eq!(back.suspect, None, "{what}: the objects are back");
        let pruned = weeks.prune(keep(8)).await.unwrap();
        assert!(!pruned.is_refused());
        let kept: Vec<RunName> = names(&good[3..]).into_iter().chain([back.name]).collect();
        weeks.check(&weeks.repo.clone(), &kept).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_weeks_of_damage() {
    twenty_weeks(&DAMAGES, false, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_weeks_of_damage_with_an_archived_object_in_every_snapshot() {
    twenty_weeks(&DAMAGES, true, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_weeks_of_damage_in_a_store_whose_groups_share() {
    twenty_weeks(&DAMAGES[2..4], true, true).await;
}

/// A hundred objects in one snapshot, then this: is the next one suspect?
async fn after(change: impl Fn(&Weeks)) -> (Weeks, Option<String>) {
    let mut weeks = Weeks::new().await;
    each(&weeks, 0..100, |n| noise(n, 50));
    weeks.write("empty", "");
    weeks.snapshot(RunKind::Full).await;
    change(&weeks);
    let suspect = weeks.snapshot(RunKind::Incremental).await.suspect;
    (weeks, suspect)
}

#[tokio::test(flavor = "multi_thread")]
async fn how_much_is_too_much() {
    let gone = |w: &Weeks, n: u64| (0..n).for_each(|n| w.delete(&key(n)));
    let emptied = |w: &Weeks, some: std::ops::Range<u64>| each(w, some, |_| Vec::new());
    let changed = |w: &Weeks, some: std::ops::Range<u64>| each(w, some, |n| noise(n + 500, 60));
    assert_eq!(after(|w| gone(w, 30)).await.1, None);
    assert_eq!(after(|w| gone(w, 31)).await.1.unwrap(), "31 of 101 objects are gone");
    assert_eq!(after(|w| emptied(w, 0..30)).await.1, None);
    assert_eq!(after(|w| emptied(w, 0..31)).await.1.unwrap(), "31 of 101 objects are emptied to zero bytes");
    assert_eq!(after(|w| changed(w, 0..80)).await.1, None);
    assert_eq!(after(|w| changed(w, 0..81)).await.1.unwrap(), "81 of 101 objects are overwritten");
    let both = after(|w| {
        gone(w, 20);
        emptied(w, 20..31);
    });
    assert!(both.await.1.unwrap().starts_with("31 of 101 objects are gone or emptied to zero bytes (11 of"));
    // What is emptied is overwritten as well.
    let both = after(|w| {
        emptied(w, 0..20);
        changed(w, 20..85);
    });
    assert_eq!(both.await.1.unwrap(), "85 of 101 objects are overwritten");
    // What was moved is there, and what was empty has lost nothing.
    let moved = after(|w| {
        for n in 0..60 {
            w.delete(&key(n));
            w.write(&format!("moved/{n}"), noise(n, 50));
        }
        w.write("empty", "");
    });
    assert_eq!(moved.await.1, None);
    // Fewer than ten are never too many, unless they are all there were.
    for (had, lost, suspect) in [(20, 9, false), (20, 10, true), (9, 8, false), (9, 9, true), (1, 1, true)] {
        for how in ["deleted", "emptied"] {
            let mut weeks = Weeks::new().await;
            each(&weeks, 0..had, |n| noise(n, 50));
            weeks.snapshot(RunKind::Full).await;
            match how {
                "deleted" => (0..lost).for_each(|n| weeks.delete(&key(n))),
                _ => emptied(&weeks, 0..lost),
            }
            let found = weeks.snapshot(RunKind::Incremental).await.suspect;
            assert_eq!(found.is_some(), suspect, "{lost} of {had} {how}: {found:?}");
        }
    }
}

/// It is the state before the damage that counts, not last week's: the brake holds until enough of it is back.
#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_let_go_a_week_later() {
    let (mut weeks, suspect) = after(|w| (0..40).for_each(|n| w.delete(&key(n)))).await;
    assert!(suspect.is_some());
    for (back, suspect) in [(0..0, true), (0..3, true), (3..8, true), (8..12, false), (12..12, false)] {
        each(&weeks, back.clone(), |n| noise(n, 50));
        let record = weeks.snapshot(RunKind::Incremental).await;
        assert_eq!(record.suspect.is_some(), suspect, "{back:?}: {record:?}");
        assert_eq!(weeks.prune(keep(1)).await.unwrap().is_refused(), suspect);
    }
    // Overwritten ones that are back as other objects are still not what was there.
    let (mut weeks, suspect) = after(|w| each(w, 0..90, |n| noise(n + 1000, 50))).await;
    assert!(suspect.is_some());
    each(&weeks, 0..90, |n| noise(n + 2000, 50));
    assert!(weeks.snapshot(RunKind::Full).await.suspect.is_some());
    each(&weeks, 0..20, |n| noise(n, 50));
    assert_eq!(weeks.snapshot(RunKind::Full).await.suspect, None);
}

/// What the brake is not for: a little every week is how a healthy bucket changes, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenth_every_week_is_not_noticed() {
    let mut weeks = Weeks::new().await;
    each(&weeks, 0..100, |n| noise(n, 50));
    let first = weeks.snapshot(RunKind::Full).await;
    let mut all = vec![first];
    for week in 0..9 {
        (10 * week..10 * week + 10).for_each(|n| weeks.delete(&key(n)));
        all.push(weeks.snapshot(RunKind::Incremental).await);
        // At the end ten of thirty and ten of twenty are more than three in ten.
        let suspect = &all[all.len() - 1].suspect;
        assert_eq!(suspect.is_some(), week >= 7, "week {week}: {suspect:?}");
        if week == 6 {
            // By now most is gone, and the rules have taken the state before it. Longer rules (--keep-monthly) are what helps.
            assert_eq!(weeks.prune(keep(4)).await.unwrap().removed, 4);
        }
    }
    assert!(weeks.prune(keep(1)).await.unwrap().is_refused());
    weeks.check(&weeks.repo.clone(), &names(&all[4..])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accepting_lifts_it_and_is_on_record() {
    let (mut weeks, good) = ten_weeks(false, false).await;
    (0..30).for_each(|n| weeks.delete(&key(n)));
    let mut damaged = Vec::new();
    for week in 0..4 {
        weeks.write("diary", format!("{week}"));
        damaged.push(a_week(&mut weeks).await);
    }
    let clock = qbak::model::clock::FixedClock(weeks.now());
    // An older one: the newest is as doubtful as before.
    let Accepted::Now { reason, others } = accept(&weeks.repo, damaged[1].name, &clock).await.unwrap() else {
        panic!("not accepted")
    };
    assert!(
        reason.starts_with("30 of")
            && others == names(&[damaged[0].clone(), damaged[2].clone(), damaged[3].clone()])
    );
    assert!(weeks.prune(keep(1)).await.unwrap().is_refused());
    // The newest: it is the state to keep, and what came before goes as the rules say.
    accept(&weeks.repo, damaged[3].name, &clock).await.unwrap();
    assert_eq!(accept(&weeks.repo, damaged[3].name, &clock).await.unwrap(), Accepted::Before);
    assert_eq!(accept(&weeks.repo, good[9].name, &clock).await.unwrap(), Accepted::NotSuspect);
    assert_eq!(weeks.repo.accepted().await.unwrap(), [damaged[1].name, damaged[3].name].into());
    let next = a_week(&mut weeks).await;
    assert_eq!((&next.suspect, next.baseline), (&None, None), "it is compared with what was accepted");
    let pruned = weeks.prune(keep(2)).await.unwrap();
    assert!(!pruned.is_refused());
    weeks.check(&weeks.repo.clone(), &[damaged[3].name, next.name]).await;
    // More damage is measured by the accepted state.
    (30..OBJECTS).for_each(|n| weeks.delete(&key(n)));
    let suspect = a_week(&mut weeks).await.suspect.unwrap();
    assert_eq!(suspect, "10 of 11 objects are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_by_name_goes_over_the_brake_but_not_over_the_last() {
    let (mut weeks, good) = ten_weeks(false, false).await;
    weeks.source.lock().unwrap().clear();
    let damaged = [a_week(&mut weeks).await, a_week(&mut weeks).await];
    // The damage itself may go: then what is left is healthy, and the rules count.
    let report = weeks.prune(remove(&names(&damaged))).await.unwrap();
    assert_eq!((report.removed, report.is_refused()), (2, false));
    let damaged = a_week(&mut weeks).await;
    // So may the good ones, one by one, but never all there is.
    let report = weeks.prune(remove(&names(&good[2..]))).await.unwrap();
    assert_eq!((report.removed, report.is_refused()), (8, false));
    let report = weeks.prune(remove(&[damaged.name])).await.unwrap();
    assert_eq!((report.removed, report.refused.len()), (0, 1));
    weeks.check(&weeks.repo.clone(), &[damaged.name]).await;
}

fn state(bucket: &Bucket) -> BTreeMap<String, Vec<u8>> {
    let folder = bucket.path("back");
    let mut files = common::files(&folder);
    files.remove(".qbak-keys.jsonl");
    files
}

/// The built program and its exit codes, from the first week to the restore.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_from_damage_to_restore() {
    let bucket = Bucket::new().await;
    let good: BTreeMap<String, Vec<u8>> = (0..30).map(|n| (format!("dir/{n:02}"), noise(n, 300))).collect();
    good.iter().for_each(|(k, v)| bucket.put(k, v));
    bucket.put("cold", "cold");
    let class = |key: &str, class| {
        let mut set = |o: &mut qbak::emulator::Object| {
            o.class = class;
            true
        };
        bucket.service.catalog().update(key, &mut set).map(drop).unwrap();
    };
    class("cold", 2);
    let prune = ["--json", "prune", "--keep", "1", "--yes"];
    for week in 0..3 {
        bucket.put("diary", format!("{week}"));
        let said = bucket.snapshot(&[]).await.exits(3);
        assert_eq!(
            (&said.summary()["state"], &said.summary()["suspect"]),
            (&"partial".into(), &false.into())
        );
    }
    let last_good = bucket.snapshot(&[]).await.exits(3).summary()["snapshot"].as_str().unwrap().to_owned();
    bucket.qbak(&prune).await.exits(0);

    // Encrypted in place, and archived on top of it: nothing is gone, and nothing can be read. 6 stands before 3.
    for (n, key) in good.keys().enumerate() {
        bucket.put(key, noise(700 + n as u64, 300));
        class(key, if n % 2 == 0 { 2 } else { 0 });
    }
    let said = bucket.snapshot(&[]).await.exits(6);
    let reason = said.summary()["suspect_reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("of 32 objects are overwritten"), "{reason}");
    assert_eq!((&said.summary()["state"], said.number("unavailable")), (&"partial".into(), 16), "{said:#?}");
    for week in 0..3 {
        bucket.put("diary", format!("after {week}"));
        bucket.snapshot(&["--dry-run"]).await.exits(6);
        bucket.snapshot(&[]).await.exits(6);
        let said = bucket.qbak(&prune).await.exits(6);
        assert_eq!(said.number("removed"), 0, "{said:#?}");
    }
    // With archived objects accepted it is no better.
    bucket.configure_with(
        &format!("domain = \"{}\"\nunavailable = \"accept\"", bucket.service.domain_url()),
        "",
    );
    let said = bucket.snapshot(&[]).await.exits(6);
    assert_eq!(said.summary()["state"], "complete");
    bucket.qbak(&prune).await.exits(6);

    let back = bucket.path("back");
    let words = [
        "--json",
        "restore",
        &last_good,
        "--prefix",
        "dir/",
        "--to",
        back.to_str().unwrap(),
        "--allow-incomplete",
    ];
    bucket.qbak(&words).await.exits(0);
    assert_eq!(state(&bucket), good);

    // Accepted after all: listed as such, and the rules count again.
    let listed = bucket.qbak(&["--json", "list"]).await.exits(0);
    let suspect =
        |said: &common::bucket::Said| said.lines("snapshot").iter().filter(|s| s["suspect"] == true).count();
    assert_eq!(suspect(&listed), 5);
    bucket.qbak(&["accept", "latest"]).await.exits(0);
    assert_eq!(suspect(&bucket.qbak(&["--json", "list"]).await.exits(0)), 4);
    bucket.qbak(&prune).await.exits(0);
    let left = bucket.qbak(&["--json", "list"]).await.exits(0).lines("snapshot");
    assert_eq!(left.len(), 1, "{left:?}");
    bucket.snapshot(&[]).await.exits(0);
    let catalog: Arc<dyn Catalog> = Arc::clone(bucket.service.catalog());
    for key in good.keys().map(String::as_str).chain(["cold", "diary"]) {
        assert!(catalog.delete(key).unwrap());
    }
    let said = bucket.snapshot(&[]).await.exits(6);
    assert_eq!((said.number("objects"), said.number("removed")), (0, 32));
    assert_eq!(said.summary()["suspect_reason"], "all 32 objects are gone");
}
