//! A prune is stopped at each of its operations, in each way, and the prune that finishes it is stopped again. What is kept restores, runs
//! in between rely on nothing that is about to go, and the next prune brings the store to the state of one that was never stopped.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use common::faulty::{Counted, Fault, FaultyStore};
use common::history::{Memory, leftovers};
use common::unsound;
use common::weeks::{Weeks, held, keep, plenty, prune_options, store};
use futures::StreamExt;
use qbak::format::records::RunKind::Incremental;
use qbak::model::name::RunName;
use qbak::op::{OpError, prune, snapshot};
use qbak::repo::Repository;

const KIB: u64 = 1 << 10;

struct Stage {
    weeks: Weeks,
    /// What a prune that nobody stops leaves: the bytes of all files, and how many there are.
    whole: (u64, usize),
    /// What stops have left behind whose aftermath was looked at.
    seen: Mutex<BTreeSet<String>>,
}

/// How one prune is to be stopped.
#[derive(Debug, Clone, Copy)]
struct Stop {
    counted: Counted,
    at: u64,
    fault: Fault,
}

async fn stage(share: bool) -> Arc<Stage> {
    let mut weeks = plenty(share).await;
    weeks.week += 1;
    let mut stage = Stage { weeks, whole: (0, 0), seen: Mutex::default() };
    let memory = Arc::new(stage.weeks.memory.fork());
    stage.prune(&repo(&memory).await).await.unwrap();
    stage.weeks.check(&repo(&memory).await, &stage.kept()).await;
    stage.whole = size(&memory).await;
    Arc::new(stage)
}

async fn repo(memory: &Arc<Memory>) -> Repository {
    Repository::open(store(memory)).await.unwrap()
}

async fn size(memory: &Arc<Memory>) -> (u64, usize) {
    let files = repo(memory).await.store().list_all("").await.unwrap();
    let files: Vec<_> = files.iter().filter(|f| !f.name.contains('#')).collect();
    (files.iter().map(|f| f.size).sum(), files.len())
}

impl Stage {
    fn all(&self) -> Vec<RunName> {
        self.weeks.records.iter().map(|r| r.name).collect()
    }

    fn kept(&self) -> Vec<RunName> {
        self.all()[3..].to_vec()
    }

    async fn prune(&self, repo: &Repository) -> Result<prune::Report, OpError> {
        let (ctx, _) = self.weeks.prune_context(repo);
        prune::prune(&ctx, prune_options(keep(2)), &chrono::Utc).await
    }

    async fn run(&self, repo: &Repository) -> snapshot::Report {
        snapshot::snapshot(&self.weeks.context(repo), self.weeks.options(Incremental)).await.unwrap()
    }

    /// What is kept is there and holds what it must, and so does whatever else is left.
    async fn check(&self, memory: &Arc<Memory>, spoilt: &[String], place: &str) {
        let repo = repo(memory).await;
        let found = repo.snapshots().await.unwrap();
        assert!(found.unreadable.is_empty(), "{place}: {:?}", found.unreadable);
        let left: BTreeSet<RunName> = found.finished.iter().map(|s| s.name).collect();
        assert!(self.kept().iter().all(|k| left.contains(k)), "{place}: {left:?}");
        for s in &found.finished {
            let tree = held(&repo, s).await.unwrap_or_else(|e| panic!("{place}: {}: {e}", s.name));
            let right = self.weeks.taken.get(&s.name).cloned();
            assert!(tree == right.unwrap_or_else(|| self.weeks.source.lock().unwrap().clone()), "{place}");
        }
        let broken = unsound(&repo, spoilt).await;
        assert!(broken.is_empty(), "{place}: {broken:#?}");
    }

    /// One prune, stopped; the files that stand half written. `None`: there are not so many operations.
    async fn stopped(&self, memory: &Arc<Memory>, stop: Stop, before: &str) -> Option<(Vec<String>, String)> {
        let (faulty, control) = FaultyStore::new(memory.clone(), stop.counted, stop.at, stop.fault);
        let outcome = match Repository::open(faulty.store()).await {
            Ok(repo) => self.prune(&repo).await,
            Err(e) => Err(e.into()),
        };
        if !control.has_struck() {
            outcome.unwrap_or_else(|e| panic!("{before}: {e}"));
            return None;
        }
        let place = format!("{before}{stop:?}: {}", control.struck());
        if let Err(e) = &outcome {
            let said = e.to_string();
            assert!(control.failed().iter().any(|f| said.contains(f.as_str())), "{place}: {said}");
        }
        assert_eq!(control.rash(), Vec::<String>::new(), "{place}");
        let torn = if stop.fault == Fault::TornInPlace { control.failed() } else { Vec::new() };
        self.check(memory, &torn, &place).await;
        Some((torn, place))
    }

    /// Whether this is the first stop that has left such a store behind.
    fn is_new(&self, memory: &Memory, stop: Stop) -> bool {
        let mut sorts = format!("{:?} ", stop.fault);
        for file in memory.all() {
            let other = matches!(qbak::repo::names::meaning(&file), qbak::repo::names::Meaning::Pack(..));
            let new = self.weeks.memory.bytes(&file).is_none();
            // New files have random names; old ones go one by one.
            sorts += &if new { format!("new {}", if other { "pack" } else { &file[..4] }) } else { file };
            sorts.push(' ');
        }
        self.seen.lock().unwrap().insert(sorts)
    }

    async fn case(&self, first: Stop, second: Option<Stop>) -> bool {
        let memory = Arc::new(self.weeks.memory.fork());
        let Some((mut torn, mut place)) = self.stopped(&memory, first, "").await else { return false };
        if first.counted == Counted::Reads && !self.is_new(&memory, first) {
            return true;
        }
        if let Some(second) = second
            && let Some((more, there)) = self.stopped(&memory, second, &format!("{place}, then ")).await
        {
            torn.extend(more);
            place = there;
        }
        // A run in between must rely on nothing that is about to go.
        let made = if first.at % 2 == 1 { Some(self.run(&repo(&memory).await).await.snapshot) } else { None };
        self.finish(&memory, &torn, made, &place).await;
        true
    }

    /// The next prune finishes the job.
    async fn finish(&self, memory: &Arc<Memory>, torn: &[String], made: Option<RunName>, place: &str) {
        let repo = repo(memory).await;
        let mut done = self.prune(&repo).await;
        if let Err(OpError::Damage(text)) = &done {
            // Half an index file under its own name is damage like any other: the next run puts it aside.
            assert!(torn.iter().any(|f| text.contains(f)), "{place}: {text}");
            self.run(&repo).await;
            done = self.prune(&repo).await;
        }
        done.unwrap_or_else(|e| panic!("{place}: the next prune: {e}"));
        self.prune(&repo).await.unwrap();
        let found = repo.snapshots().await.unwrap().finished;
        assert!(made.is_none_or(|m| found.iter().any(|s| s.name == m)), "{place}: the run in between");
        assert_eq!(found.len(), 2, "{place}");
        for s in &found {
            let right = self.weeks.taken.get(&s.name).cloned();
            let right = right.unwrap_or_else(|| self.weeks.source.lock().unwrap().clone());
            assert!(held(&repo, s).await.unwrap() == right, "{place}: {}", s.name);
        }
        let broken = unsound(&repo, &[]).await;
        assert!(broken.is_empty(), "{place}: {broken:#?}");
        assert_eq!(leftovers(&repo).await, Vec::<String>::new(), "{place}");
        assert!(memory.problems().is_empty(), "{place}: {:?}", memory.problems());
        let third = self.prune(&repo).await.unwrap();
        assert_eq!((third.removed, third.freed_bytes, third.moved_bytes), (0, 0, 0), "{place}");
        if found.iter().all(|s| self.weeks.taken.contains_key(&s.name)) {
            // Beside a note or two of what was done, it is as if nobody had stopped it.
            let (bytes, files) = size(memory).await;
            assert!(bytes.abs_diff(self.whole.0) < 20 * KIB, "{place}: {bytes} bytes, {:?}", self.whole);
            assert!(
                files <= self.whole.1 + 4,
                "{place}: {files} files, {:?}: {:?}",
                self.whole,
                memory.all()
            );
        }
        // The group is as sound as the next run needs it to be.
        let next = self.run(&repo).await;
        assert_eq!(
            (next.transfer.downloaded_bytes, next.counts.unchanged),
            (0, next.counts.objects),
            "{place}"
        );
    }
}

/// Every operation of a sort, in one way; returns how many there were.
async fn sweep(
    stage: &Arc<Stage>,
    counted: Counted,
    fault: Fault,
    step: usize,
    second: Option<Stop>,
    wrong: &mut Vec<String>,
) -> u64 {
    let mut tries = futures::stream::iter((0..).step_by(step))
        .map(|at| {
            let stage = Arc::clone(stage);
            tokio::spawn(async move { stage.case(Stop { counted, at, fault }, second).await })
        })
        .buffered(3);
    for struck in 0.. {
        match tries.next().await.unwrap() {
            Ok(true) => {}
            Ok(false) => return struck * step as u64,
            Err(e) => {
                let panic = e.into_panic();
                wrong.push(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| format!("{panic:?}")));
            }
        }
    }
    unreachable!("a prune does not end")
}

fn right(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

async fn every_change(share: bool, step: usize) {
    let (stage, mut wrong) = (stage(share).await, Vec::new());
    for fault in [Fault::CutBefore, Fault::CutAfter, Fault::LostReply, Fault::Refused] {
        let n = sweep(&stage, Counted::Changes, fault, step, None, &mut wrong).await;
        assert!(n > 20, "{n} changes");
    }
    right(&wrong);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_every_change() {
    every_change(false, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_changes_of_a_store_that_shares() {
    every_change(true, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_torn_and_the_disk_full() {
    for share in [false, true] {
        let (stage, mut wrong) = (stage(share).await, Vec::new());
        for fault in [Fault::Torn, Fault::TornInPlace, Fault::Full] {
            let n = sweep(&stage, Counted::Writes, fault, 1, None, &mut wrong).await;
            assert!(n >= 5, "{n} writes");
        }
        right(&wrong);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_every_read() {
    let (stage, mut wrong) = (stage(true).await, Vec::new());
    for fault in [Fault::CutBefore, Fault::Refused, Fault::LostReply] {
        let n = sweep(&stage, Counted::Reads, fault, 1, None, &mut wrong).await;
        assert!(n > 60, "{n} reads");
    }
    right(&wrong);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finishes_it_is_stopped_too() {
    let (stage, mut wrong) = (stage(false).await, Vec::new());
    for at in (0..24u64).step_by(3) {
        let fault = if at.is_multiple_of(2) { Fault::CutAfter } else { Fault::CutBefore };
        let second = Some(Stop { counted: Counted::Changes, at, fault });
        sweep(&stage, Counted::Changes, Fault::CutAfter, 3, second, &mut wrong).await;
    }
    right(&wrong);
}

impl Stage {
    /// A delete is acknowledged and done only after another run has finished.
    async fn late(&self, at: u64) -> bool {
        let memory = Arc::new(self.weeks.memory.fork());
        let fault = Fault::LateDelete(u64::MAX);
        let (faulty, control) = FaultyStore::new(memory.clone(), Counted::Deletes, at, fault);
        let outcome = self.prune(&Repository::open(faulty.store()).await.unwrap()).await;
        if !control.has_struck() {
            outcome.unwrap();
            return false;
        }
        let place = format!("late delete {at}: {}", control.struck());
        if let Err(e) = outcome {
            assert!(e.to_string().contains("still shows it"), "{place}: {e}");
        }
        self.check(&memory, &[], &place).await;
        let made = self.run(&repo(&memory).await).await.snapshot;
        control.land().await;
        self.check(&memory, &[], &place).await;
        self.finish(&memory, &[], Some(made), &place).await;
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_that_land_after_the_next_run() {
    for share in [false, true] {
        let stage = stage(share).await;
        // The run in between is tempted: what it adds lies in packs that are to go.
        let old = &stage.weeks.taken[&stage.all()[0]];
        for (key, bytes) in old.iter().filter(|(key, _)| key.starts_with("goes/")).take(3) {
            stage.weeks.write(key, bytes);
        }
        let mut at = 0;
        while stage.late(at).await {
            at += 1;
        }
        assert!(at > 8, "{at} deletes");
    }
}
