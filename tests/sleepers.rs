//! Processes that fall asleep (SIGSTOP) at the worst moment while others go on, and wake up: what each part of `docs/protocol.md` is
//! for, with the real binary. Needs a build with the feature `controls`, which has the moments; `tests/controls.sh` runs it.
//!
//! In each, a file comes back that a former snapshot had. Its blob is in the store, in a pack that a prune is about to delete.
#![cfg(feature = "controls")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::process::{Child, Output};
use std::time::{Duration, Instant};

use common::noise;
use common::rig::{Rig, quick_folder};
use qbak::control::Point;
use qbak::model::name::RunName;
use rustix::process::{Pid, Signal, kill_process};

const PRUNE: [&str; 4] = ["prune", "--keep", "1", "--yes"];

/// A process that sleeps at a point. Dropped, it is killed.
struct Sleeper(Option<Child>);

impl Sleeper {
    /// Starts a command and waits until it sleeps.
    fn new(rig: &Rig, words: &[&str], point: Point) -> Self {
        let mut command = rig.command(&[], words);
        let mut child = command.env("QBAK_STOP", format!("{}:1", point.text())).spawn().unwrap();
        let began = Instant::now();
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            let state = stat.rsplit_once(") ").unwrap().1.chars().next().unwrap();
            if state == 'T' {
                return Self(Some(child));
            }
            let gone = child.try_wait().unwrap();
            assert!(gone.is_none(), "{words:?} ended before {}: {gone:?}", point.text());
            assert!(began.elapsed() < Duration::from_secs(60), "{words:?} does not come to {}", point.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Wakes it, and waits for its end.
    fn wake(mut self) -> Output {
        let child = self.0.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
        child.wait_with_output().unwrap()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Three snapshots, the newest of which lacks what has now come back.
async fn came_back() -> (tempfile::TempDir, Rig, RunName) {
    let folder = quick_folder();
    let rig = Rig::with_weeks(&folder.path().join("store"), &folder.path().join("data")).await;
    rig.write("0", noise(0, 9_000));
    let newest = *rig.taken.keys().next_back().unwrap();
    (folder, rig, newest)
}

/// The lease is lost, as on a network folder whose server was started anew: nothing shows that its holder lives.
fn lose(rig: &Rig, lease: &str) {
    std::fs::remove_file(rig.store.join(lease)).unwrap();
}

#[tokio::test]
async fn a_run_that_was_fenced_while_it_slept_does_not_commit() {
    let (_folder, mut rig, newest) = came_back().await;
    let sleeper = Sleeper::new(&rig, &["snapshot"], Point::RunSealed);
    lose(&rig, "lock");
    rig.run(&PRUNE);
    let output = sleeper.wake();
    rig.judge(&[newest], "a fenced run that woke").await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("fenced"), "{said}");
    let next = rig.snapshot(&[]).await;
    rig.judge(&[newest, next], "the run after it").await;
}

#[tokio::test]
async fn a_run_that_slept_before_its_record_sees_what_happened() {
    let (_folder, mut rig, newest) = came_back().await;
    let sleeper = Sleeper::new(&rig, &["snapshot"], Point::RunSurveyed);
    rig.run(&PRUNE);
    let output = sleeper.wake();
    rig.judge(&[newest], "a run that had no record yet").await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(rig.names().await.len(), 2);
}

#[tokio::test]
async fn a_run_that_finishes_while_a_prune_sleeps_before_its_mark_keeps_what_it_needs() {
    let (_folder, mut rig, newest) = came_back().await;
    let sleeper = Sleeper::new(&rig, &PRUNE, Point::PrunePlanned);
    let next = rig.snapshot(&[]).await;
    let output = sleeper.wake();
    assert!(output.status.success(), "{output:?}");
    rig.judge(&[newest, next], "a prune that did not know of the newest").await;
    rig.run(&PRUNE);
    rig.judge(&[next], "the prune after it").await;
}

#[tokio::test]
async fn a_run_that_begins_under_an_open_mark_relies_on_nothing_that_goes() {
    for point in [Point::PruneDecided, Point::PruneClaimed] {
        let (_folder, mut rig, newest) = came_back().await;
        let sleeper = Sleeper::new(&rig, &PRUNE, point);
        let next = rig.snapshot(&[]).await;
        let output = sleeper.wake();
        assert!(output.status.success(), "{output:?}");
        rig.judge(&[newest, next], &format!("a prune that slept at {}", point.text())).await;
    }
}

#[tokio::test]
async fn of_two_who_finish_one_prune_the_first_decides() {
    let (_folder, mut rig, newest) = came_back().await;
    let first = Sleeper::new(&rig, &PRUNE, Point::PruneLooked);
    // The second finds a run at work, so it keeps everything, and closes.
    let run = Sleeper::new(&rig, &["snapshot"], Point::RunRecorded);
    lose(&rig, "lock-prune");
    let second = rig.command(&[], &PRUNE).output().unwrap();
    assert!(second.status.code().is_some(), "{second:?}");
    drop(run);
    // No prune is open any more: what this one needs is there, and stays there.
    let next = rig.snapshot(&[]).await;
    let output = first.wake();
    rig.judge(&[newest, next], "a prune that woke when all was decided").await;
    assert!(output.status.code().is_some(), "{output:?}");
    rig.run(&PRUNE);
    rig.judge(&[next], "the prune after them").await;
}
