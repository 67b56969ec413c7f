//! Killed by SIGKILL at every named point, at every pass, in a process of its own: what was acknowledged is whole, and the next
//! run needs no help. Needs a build with the feature `controls`, which has the points; `tests/controls.sh` runs it.
#![cfg(feature = "controls")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;

use common::rig::{Rig, quick_folder};
use common::{files, noise};
use qbak::control::{Control, Point};

/// How often each point is passed.
type Passes = BTreeMap<Point, u64>;

/// Runs the command on a copy, and counts.
fn passes(base: &Rig, words: &[&str]) -> Passes {
    let folder = quick_folder();
    let rig = base.fork(folder.path());
    let log = folder.path().join("points");
    let output = rig.command(&[], words).env("QBAK_POINTS", &log).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut passes = Passes::new();
    for line in std::fs::read_to_string(log).unwrap().lines() {
        *passes.entry(Point::named(line).unwrap()).or_default() += 1;
    }
    passes
}

/// Runs the command until it dies at that pass. False: it came to its end before.
fn killed(rig: &Rig, words: &[&str], point: Point, pass: u64) -> bool {
    let place = format!("{}:{pass}", point.text());
    let output = rig.command(&[], words).env("QBAK_KILL", &place).output().unwrap();
    match output.status.signal() {
        Some(9) => true,
        None if output.status.success() => false,
        _ => panic!("{words:?} to be killed at {place}: {output:?}"),
    }
}

/// Every point at every pass, but of many passes only some.
fn places(passes: &Passes, most: u64) -> Vec<(Point, u64)> {
    let some = |(point, count): (&Point, &u64)| {
        let step = count.div_ceil(most).max(1);
        let all = (1..=*count).filter(move |n| n % step == 1 % step || n == count);
        let point = *point;
        all.map(move |n| (point, n)).collect::<Vec<_>>()
    };
    passes.iter().flat_map(some).collect()
}

async fn base() -> (tempfile::TempDir, Rig) {
    let folder = quick_folder();
    let rig = Rig::with_weeks(&folder.path().join("store"), &folder.path().join("data")).await;
    (folder, rig)
}

#[tokio::test]
async fn a_snapshot_killed_at_every_point() {
    let (_folder, base) = base().await;
    let known: Vec<_> = base.taken.keys().copied().collect();
    let all = passes(&base, &["snapshot"]);
    assert!(all.contains_key(&Point::PackWritten) && all.contains_key(&Point::SnapshotCreated), "{all:?}");
    let (places, mut died) = (places(&all, 8), 0);
    for &(point, pass) in &places {
        let when = format!("a snapshot killed at {}:{pass}", point.text());
        let folder = quick_folder();
        let mut rig = base.fork(folder.path());
        // A name that was taken costs a create more; the last pass may not come again.
        died += usize::from(killed(&rig, &["snapshot"], point, pass));
        rig.judge(&known, &when).await;
        let next = rig.snapshot(&[]).await;
        rig.judge(&[&known[..], &[next]].concat(), &format!("{when}, and run again")).await;
    }
    assert!(died * 2 > places.len(), "only {died} of {} were killed", places.len());
}

/// A pack that is full has a checkpoint behind it: only then is there something to go on from.
#[tokio::test]
async fn a_long_run_killed_around_its_checkpoint() {
    let folder = quick_folder();
    let base = Rig::new(&folder.path().join("store"), &folder.path().join("data"));
    base.write("film", noise(1, 37 << 20));
    base.write("small", noise(2, 1000));
    let all = passes(&base, &["snapshot"]);
    assert!(all.contains_key(&Point::CheckpointWritten), "{all:?}");
    for (point, pass) in [(Point::CheckpointWritten, 1), (Point::IndexWritten, 1), (Point::PackWritten, 2)] {
        let when = format!("a long snapshot killed at {}:{pass}", point.text());
        let folder = quick_folder();
        let mut rig = base.fork(folder.path());
        assert!(killed(&rig, &["snapshot"], point, pass), "{when}: it was not");
        rig.judge(&[], &when).await;
        let next = rig.snapshot(&[]).await;
        rig.judge(&[next], &format!("{when}, and run again")).await;
    }
}

/// Two levels: the prune that comes next is killed too. Every other time a snapshot is made in between.
#[tokio::test]
async fn a_prune_killed_at_every_point_and_the_next_one_too() {
    let (_folder, base) = base().await;
    let prune = ["prune", "--keep", "1", "--yes"];
    let newest = *base.taken.keys().next_back().unwrap();
    let all = passes(&base, &prune);
    assert!(all[&Point::PackWritten] > 0 && all[&Point::StoreDeleted] > 4, "{all:?}");
    let places = places(&all, 12);
    for (n, (point, pass)) in places.iter().enumerate() {
        let mut when = format!("a prune killed at {}:{pass}", point.text());
        let folder = quick_folder();
        let mut rig = base.fork(folder.path());
        assert!(killed(&rig, &prune, *point, *pass), "{when}: it was not");
        rig.judge(&[newest], &when).await;
        let mut stay = newest;
        if n % 2 == 1 {
            stay = rig.snapshot(&[]).await;
            when.push_str(", a snapshot made");
            rig.judge(&[newest, stay], &when).await;
        }
        let (second, pass) = places[(n * 7 + 3) % places.len()];
        when = format!("{when}, the next killed at {}:{pass}", second.text());
        killed(&rig, &prune, second, pass);
        rig.judge(&[stay], &when).await;
        rig.run(&prune);
        assert_eq!(rig.names().await, [stay], "{when}");
        rig.judge(&[stay], &format!("{when}, and run again")).await;
    }
}

#[tokio::test]
async fn a_restore_killed_at_every_point() {
    let (_folder, base) = base().await;
    let expected = base.taken.values().next_back().unwrap();
    let folder = quick_folder();
    let out = |n: usize| folder.path().join(format!("out-{n}"));
    let path = |n| out(n).to_str().unwrap().to_owned();
    let all = passes(&base, &["restore", "latest", "--to", &path(0)]);
    assert!(all[&Point::FileNamed] >= expected.len() as u64, "{all:?}");
    for (n, (point, pass)) in (1..).zip(places(&all, 8)) {
        let when = format!("a restore killed at {}:{pass}", point.text());
        let words = ["restore", "latest", "--to", &path(n)];
        assert!(killed(&base, &words, point, pass), "{when}: it was not");
        let whole = |when: &str| {
            let mut there = files(&out(n));
            there.retain(|name, _| !name.contains(".qbak-"));
            assert!(
                there.iter().all(|(name, bytes)| expected.get(name) == Some(bytes)),
                "{when}: half a file"
            );
            there.len()
        };
        whole(&when);
        base.run(&["restore", "latest", "--overwrite", "--to", &path(n)]);
        assert_eq!(whole(&when), expected.len(), "{when}, and run again");
    }
}

/// Bad memory: a bit flips in a pack after everything in it was hashed, before it is written.
#[tokio::test]
async fn a_bit_that_flips_in_memory_never_reaches_the_store() {
    let (_folder, base) = base().await;
    let known: Vec<_> = base.taken.keys().copied().collect();
    for pass in 1..=passes(&base, &["snapshot"])[&Point::PackClosed] {
        let folder = quick_folder();
        let mut rig = base.fork(folder.path());
        let place = format!("pack.closed:{pass}");
        let output = rig.command(&[], &["snapshot"]).env("QBAK_SPOIL", &place).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{place}: {said}");
        assert!(said.contains("memory"), "{said}");
        assert_eq!(rig.names().await, known);
        rig.judge(&known, &place).await;
        rig.snapshot(&[]).await;
        rig.judge(&known, &place).await;
    }
}

/// A name that nothing passes any more tests nothing.
#[tokio::test]
async fn every_point_is_passed() {
    let (_folder, base) = base().await;
    let folder = quick_folder();
    let film = Rig::new(&folder.path().join("store"), &folder.path().join("data"));
    film.write("film", noise(1, 37 << 20));
    let out = folder.path().join("out");
    let mut reached: BTreeSet<Point> = BTreeSet::new();
    reached.extend(passes(&base, &["snapshot"]).keys());
    reached.extend(passes(&film, &["snapshot"]).keys());
    reached.extend(passes(&base, &["prune", "--keep", "1", "--yes"]).keys());
    reached.extend(passes(&base, &["restore", "latest", "--to", out.to_str().unwrap()]).keys());
    reached.extend(passes(&base, &["verify", "--data"]).keys());
    let all: BTreeSet<Point> = Point::ALL.iter().copied().collect();
    assert_eq!(
        all.difference(&reached).collect::<Vec<_>>(),
        [&Point::StoreCreate; 0],
        "points nothing passes"
    );
}

/// Every mechanism that can be left out has a line in the table, and every line is of one that there is.
#[test]
fn the_table_of_controls_is_complete() {
    let text = include_str!("controls.txt");
    let lines = text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty());
    let mut promises = BTreeSet::new();
    let mut named = BTreeSet::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words.len(), 4, "{line}");
        named.insert(Control::named(words[0]).unwrap_or_else(|| panic!("no control: {line}")));
        promises.extend(words[1].split(',').map(str::to_owned));
    }
    assert_eq!(named, Control::ALL.iter().copied().collect());
    // P13 is about a browser view, which this program has not.
    let wanted: BTreeSet<String> = (1..=15).filter(|n| *n != 13).map(|n| format!("P{n}")).collect();
    assert_eq!(promises, wanted);
}

#[test]
fn such_a_build_says_so_and_refuses_what_it_does_not_know() {
    let folder = quick_folder();
    let rig = Rig::new(&folder.path().join("store"), &folder.path().join("data"));
    let output = rig.command(&[], &["list"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("not for backups"), "{output:?}");
    let output = rig.command(&[], &["--version"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("not for backups"), "{output:?}");
    for (name, value) in
        [("QBAK_CONTROL", "no-such-thing"), ("QBAK_KILL", "pack.written"), ("QBAK_STOP", "x:1")]
    {
        let output = rig.command(&[], &["list"]).env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}
