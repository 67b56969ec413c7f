//! A run is stopped at each of its operations, in each way. Whatever was there before is there after, the next run completes by
//! itself, and what a crash leaves behind is gone two prunes later.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use common::faulty::{Counted, Fault, FaultyStore};
use common::history::{Memory, leftovers};
use common::weeks::{Tree, Weeks, held, keep, prune_options, store};
use common::{noise, unsound};
use futures::StreamExt;
use qbak::format::records::RunKind::{self, Full, Incremental};
use qbak::model::clock::FixedClock;
use qbak::model::event::{Event, Observer};
use qbak::model::name::RunName;
use qbak::model::time::Timestamp;
use qbak::op::{Cancel, prune, snapshot};
use qbak::repo::Repository;

const KIB: usize = 1 << 10;

/// A store as it is before the run that will be stopped, and which run that is.
struct Stage {
    name: &'static str,
    weeks: Weeks,
    kind: RunKind,
    /// What cuts have left behind whose aftermath was looked at: sorts of files, and how many of each.
    seen: Mutex<BTreeSet<String>>,
}

fn change(weeks: &Weeks, week: u64) {
    weeks.write("changes", noise(100 + week, 20 * KIB));
    weeks.write(&format!("comes/{week}"), noise(200 + week, 3 * KIB));
    weeks.delete(&format!("comes/{}", week.wrapping_sub(1)));
}

async fn start() -> Weeks {
    let weeks = Weeks::new().await;
    for n in 0..4 {
        weeks.write(&format!("stays/{n}"), noise(n, 2 * KIB));
    }
    weeks.write("large", [noise(9, 3 * KIB), vec![7; (4 << 20) + 5]].concat());
    change(&weeks, 0);
    weeks
}

/// Says stop when so many objects are done.
struct StopAfter(AtomicI64, qbak::op::cancel::Stop);

impl Observer for StopAfter {
    fn event(&self, event: Event) {
        if let Event::Advance { objects, .. } = event
            && self.0.fetch_sub(i64::try_from(objects).unwrap(), Ordering::SeqCst) <= 0
        {
            self.1.stop();
        }
    }
}

/// A run that is told to stop in the middle leaves a checkpoint. How far it gets is not in our hand: tried until it does.
async fn cut_off(weeks: &mut Weeks, kind: RunKind) {
    weeks.week += 1;
    for n in 0..200 {
        let memory = Arc::new(weeks.memory.fork());
        let repo = Repository::open(store(&memory)).await.unwrap();
        let (stop, cancel) = Cancel::pair();
        let mut context = weeks.context(&repo);
        context.observer = Arc::new(StopAfter(AtomicI64::new(n % 12), stop));
        context.cancel = cancel;
        let finished = snapshot::snapshot(&context, weeks.options(kind)).await.is_ok();
        if !finished && memory.all().iter().any(|f| f.starts_with("runs/") && f.ends_with(".1.json")) {
            (weeks.memory, weeks.repo) = (memory, repo);
            return;
        }
    }
    panic!("no run left a checkpoint");
}

async fn stage(name: &'static str) -> Stage {
    let mut weeks = start().await;
    let kind = match name {
        "the first run" => Full,
        "an incremental" => {
            weeks.snapshot(Full).await;
            change(&weeks, 1);
            Incremental
        }
        "a full run that copies from the older group" => {
            weeks.snapshot(Full).await;
            change(&weeks, 1);
            weeks.snapshot(Incremental).await;
            change(&weeks, 2);
            Full
        }
        "a run that continues one that was cut off" => {
            weeks.snapshot(Full).await;
            change(&weeks, 1);
            for n in 10..16 {
                weeks.write(&format!("new/{n}"), noise(n, 5 * KIB));
            }
            weeks.write("film", [noise(17, 5 * KIB), vec![3; (8 << 20) + 5]].concat());
            cut_off(&mut weeks, Incremental).await;
            change(&weeks, 2);
            Incremental
        }
        "a run over a damaged index" => {
            weeks.snapshot(Full).await;
            let index = weeks.files().await.into_iter().find(|f| f.ends_with(".idx")).unwrap();
            let mut bytes = weeks.memory.bytes(&index).unwrap().to_vec();
            bytes.truncate(bytes.len() - 9);
            weeks.memory.spoil(&index, Some(bytes));
            change(&weeks, 1);
            Incremental
        }
        "a run that joins index files" => {
            weeks.snapshot(Full).await;
            weeks.write("large", "small");
            for week in 1..8 {
                change(&weeks, week);
                weeks.snapshot(Incremental).await;
            }
            change(&weeks, 8);
            Incremental
        }
        other => panic!("{other}"),
    };
    weeks.week += 1;
    Stage { name, weeks, kind, seen: Mutex::default() }
}

impl Stage {
    fn earlier(&self) -> Vec<RunName> {
        self.weeks.records.iter().map(|r| r.name).collect()
    }

    fn tree(&self) -> Tree {
        self.weeks.source.lock().unwrap().clone()
    }

    async fn run(&self, repo: &Repository, later: i64) -> Result<snapshot::Report, qbak::op::OpError> {
        let mut context = self.weeks.context(repo);
        context.clock =
            Arc::new(FixedClock(Timestamp::from_nanos(self.weeks.now().nanos() + later * 1_000_000_000)));
        snapshot::snapshot(&context, self.weeks.options(self.kind)).await
    }

    /// The snapshots there are: those from before, byte for byte, and then any number of the same source.
    async fn check(&self, repo: &Repository, spoilt: &[String], at: &str) -> Vec<RunName> {
        let found = repo.snapshots().await.unwrap();
        assert!(found.unreadable.is_empty(), "{at}: {:?}", found.unreadable);
        let names: Vec<RunName> = found.finished.iter().map(|s| s.name).collect();
        assert!(names.starts_with(&self.earlier()), "{at}: {names:?}");
        for s in &found.finished {
            let tree = held(repo, s).await.unwrap_or_else(|e| panic!("{at}: {}: {e}", s.name));
            let right = self.weeks.taken.get(&s.name).cloned().unwrap_or_else(|| self.tree());
            assert!(tree == right, "{at}: {} does not hold what it should", s.name);
        }
        let broken = unsound(repo, spoilt).await;
        assert!(broken.is_empty(), "{at}: {broken:#?}");
        names
    }

    /// Files that are damaged from the start.
    fn damaged(&self) -> Vec<String> {
        let all = self.weeks.memory.all();
        if self.name != "a run over a damaged index" {
            return Vec::new();
        }
        all.into_iter().filter(|f| f.ends_with(".idx")).collect()
    }

    /// Stops the run at one operation; `false`: there are not so many.
    async fn stopped(&self, at: u64, counted: Counted, fault: Fault) -> bool {
        let memory = Arc::new(self.weeks.memory.fork());
        let (faulty, control) = FaultyStore::new(memory.clone(), counted, at, fault);
        let outcome = match Repository::open(faulty.store()).await {
            Ok(repo) => self.run(&repo, 0).await,
            Err(e) => Err(e.into()),
        };
        if !control.has_struck() {
            outcome.unwrap();
            return false;
        }
        let place = format!("{}: {fault:?} at {at} of {counted:?}: {}", self.name, control.struck());
        if let Err(e) = &outcome {
            let said = e.to_string();
            assert!(control.failed().iter().any(|f| said.contains(f.as_str())), "{place}: {said}");
        }
        // What stands half written under its own name may be found fault with, and nothing else.
        let mut spoilt = self.damaged();
        if fault == Fault::TornInPlace {
            spoilt.extend(control.failed());
        }
        let repo = Repository::open(store(&memory)).await.unwrap();
        let after = self.check(&repo, &spoilt, &place).await;
        if let Ok(report) = &outcome {
            assert!(after.contains(&report.snapshot), "{place}: it was acknowledged");
        }
        // Cut off before one read or before the next, it has written the same.
        if counted == Counted::Reads
            && fault == Fault::CutBefore
            && !self.seen.lock().unwrap().insert(shape(&memory))
        {
            return true;
        }
        if at.is_multiple_of(2) {
            control.land().await;
        }
        // In the same second, and later.
        let next = self.run(&repo, i64::try_from(at % 3).unwrap()).await;
        let next = next.unwrap_or_else(|e| panic!("{place}: the next run: {e}"));
        control.land().await;
        let names = self.check(&repo, &spoilt, &format!("{place}, the next run")).await;
        assert_eq!(names.last(), Some(&next.snapshot), "{place}");
        assert_eq!(names.len(), after.len() + 1, "{place}");
        self.tidied(&repo, &memory, &names, &place).await;
        true
    }

    /// Two prunes later nothing is left over, and the group is as sound as a run needs it to be.
    async fn tidied(&self, repo: &Repository, memory: &Arc<Memory>, names: &[RunName], place: &str) {
        let (ctx, _) = self.weeks.prune_context(repo);
        for n in [names.len() as u32, 1] {
            let report = prune::prune(&ctx, prune_options(keep(n)), &chrono::Utc).await;
            let report = report.unwrap_or_else(|e| panic!("{place}: prune: {e}"));
            assert_eq!(report.kept, u64::from(n), "{place}");
        }
        let found = repo.snapshots().await.unwrap();
        let last: Vec<RunName> = found.finished.iter().map(|s| s.name).collect();
        assert_eq!(last, names[names.len() - 1..], "{place}");
        assert!(held(repo, &found.finished[0]).await.unwrap() == self.tree(), "{place}: after the prunes");
        let broken = unsound(repo, &[]).await;
        assert!(broken.is_empty(), "{place}: after the prunes: {broken:#?}");
        assert_eq!(leftovers(repo).await, Vec::<String>::new(), "{place}: after the prunes");
        let foreign = qbak::repo::names::Meaning::Foreign;
        let files = memory.all();
        assert!(
            files.iter().filter(|f| !f.contains('#')).all(|f| qbak::repo::names::meaning(f) != foreign),
            "{place}: {files:?}"
        );
        assert!(memory.problems().is_empty(), "{place}: {:?}", memory.problems());
        let again = self.run(repo, 86_400).await.unwrap();
        assert_eq!(again.transfer.downloaded_bytes, 0, "{place}: {again:?}");
    }
}

/// How many files there are of each sort.
fn shape(memory: &Memory) -> String {
    let mut sorts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let all = memory.all();
    for file in &all {
        let folder = file.split('/').next().unwrap_or_default();
        *sorts.entry((folder, file.rsplit('.').next().unwrap_or_default())).or_default() += 1;
    }
    format!("{sorts:?}")
}

/// Every operation of a sort, in one way. Returns how many there were, and what went wrong at which.
async fn sweep(stage: &Arc<Stage>, counted: Counted, fault: Fault, wrong: &mut Vec<String>) -> u64 {
    let mut tries = futures::stream::iter(0..)
        .map(|at| {
            let stage = Arc::clone(stage);
            tokio::spawn(async move { stage.stopped(at, counted, fault).await })
        })
        .buffered(3);
    for struck in 0.. {
        match tries.next().await.unwrap() {
            Ok(true) => {}
            Ok(false) => return struck,
            Err(e) => {
                let panic = e.into_panic();
                wrong.push(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| format!("{panic:?}")));
            }
        }
    }
    unreachable!("a run does not end")
}

async fn all_ways(name: &'static str, writes: u64, deletes: u64, reads: u64) {
    let stage = Arc::new(stage(name).await);
    let mut wrong = Vec::new();
    for fault in [Fault::CutBefore, Fault::CutAfter, Fault::LostReply, Fault::Refused] {
        let n = sweep(&stage, Counted::Changes, fault, &mut wrong).await;
        assert!(n >= writes + deletes, "{name}: {n} changes");
    }
    for fault in [Fault::Torn, Fault::TornInPlace, Fault::Full] {
        let n = sweep(&stage, Counted::Writes, fault, &mut wrong).await;
        assert!(n >= writes, "{name}: {n} writes");
    }
    let n = sweep(&stage, Counted::Deletes, Fault::LateDelete(u64::MAX), &mut wrong).await;
    assert!(n >= deletes, "{name}: {n} deletes");
    for fault in [Fault::CutBefore, Fault::Refused] {
        let n = sweep(&stage, Counted::Reads, fault, &mut wrong).await;
        assert!(n >= reads, "{name}: {n} reads");
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_run() {
    all_ways("the first run", 5, 1, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental() {
    all_ways("an incremental", 5, 1, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_that_copies() {
    all_ways("a full run that copies from the older group", 5, 1, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_continues() {
    all_ways("a run that continues one that was cut off", 5, 3, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_a_damaged_index() {
    all_ways("a run over a damaged index", 6, 1, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_joins_index_files() {
    all_ways("a run that joins index files", 6, 1, 20).await;
}

/// Snapshots that cannot be read for a while take their place again afterwards: whatever was made meanwhile is newer.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_read_for_a_while_is_not_newer_afterwards() {
    let mut weeks = start().await;
    for week in 0..4 {
        change(&weeks, week);
        weeks.snapshot(if week == 0 { Full } else { Incremental }).await;
    }
    let hidden: Vec<String> =
        weeks.records[2..].iter().map(|r| qbak::repo::names::snapshot(r.name)).collect();
    let bytes: Vec<_> = hidden.iter().map(|f| weeks.memory.bytes(f).unwrap().to_vec()).collect();
    hidden.iter().for_each(|f| weeks.memory.spoil(f, Some(b"a bad sector".to_vec())));
    change(&weeks, 4);
    weeks.week += 1;
    let made = snapshot::snapshot(&weeks.context(&weeks.repo), weeks.options(Incremental)).await.unwrap();
    for (file, bytes) in hidden.iter().zip(bytes) {
        weeks.memory.spoil(file, Some(bytes));
    }
    let found = weeks.repo.snapshots().await.unwrap().finished;
    assert_eq!(found.last().unwrap().name, made.snapshot);
    assert_eq!(found.len(), 5);
    let report = weeks.prune(keep(1)).await.unwrap();
    assert_eq!(report.removed, 4);
    assert_eq!(weeks.repo.snapshots().await.unwrap().finished[0].name, made.snapshot);
}
