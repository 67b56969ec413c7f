//! Runs and prunes between one another's steps: one of them falls asleep before its n-th store operation, for every n; another
//! begins and finishes; the first wakes and goes on. Nothing that was acknowledged may be lost, whoever wins.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::sync::Arc;

use common::gate::{Gate, GatedStore};
use common::history::Memory;
use common::noise;
use common::weeks::{Tree, Weeks, held, keep, prune_options, remove, store};
use qbak::format::records::RunKind::{Full, Incremental};
use qbak::model::name::RunName;
use qbak::op::cat::cat;
use qbak::op::open::Catalog;
use qbak::op::snapshot::{Report, snapshot};
use qbak::op::{Cancel, OpError, check, prune};
use qbak::plan::retention::Wish;
use qbak::repo::Repository;
use tokio::task::JoinHandle;

const KIB: usize = 1 << 10;

/// A store in which a prune has something of every sort to do: a whole group goes, dead packs, packs to rewrite; and in
/// which the bucket holds again what only a removed snapshot has, so that a run is tempted to rely on it.
async fn weeks(share: bool) -> Weeks {
    let mut weeks = Weeks::new().await;
    weeks.share = share;
    for n in 0..4 {
        weeks.write(&format!("stays/{n}"), noise(n, 3 * KIB));
        weeks.write(&format!("goes/{n}"), noise(50 + n, 5 * KIB));
    }
    weeks.snapshot(Full).await;
    weeks.write("comes", noise(60, 9 * KIB));
    weeks.snapshot(Full).await;
    (0..4).for_each(|n| weeks.delete(&format!("goes/{n}")));
    weeks.delete("comes");
    weeks.snapshot(Incremental).await;
    // As it was two weeks ago.
    weeks.write("comes", noise(60, 9 * KIB));
    weeks.write("goes/1", noise(51, 5 * KIB));
    weeks.write("new", noise(70, 2 * KIB));
    weeks
}

async fn open(memory: &Arc<Memory>) -> Repository {
    Repository::open(store(memory)).await.unwrap()
}

/// Starts a run or a prune on a store that stops before operation `at`.
async fn asleep(weeks: &Weeks, memory: &Arc<Memory>, at: u64, what: &What) -> Option<(Sleeper, Arc<Gate>)> {
    let (gated, gate) = GatedStore::new(memory.clone(), at);
    // Opening costs one operation, which every process has.
    let gated = gated.store();
    let opening = tokio::spawn(async move { Repository::open(gated).await.unwrap() });
    let repo = tokio::select! {
        repo = opening => repo.unwrap(),
        () = gate.arrived() => return None,
    };
    let sleeper = start(weeks, &repo, what);
    Some((sleeper, gate))
}

/// What is done.
#[derive(Clone)]
enum What {
    Run(qbak::format::records::RunKind),
    Prune(Wish),
}

enum Sleeper {
    Run(JoinHandle<Result<Report, OpError>>),
    Prune(JoinHandle<Result<prune::Report, OpError>>),
}

fn start(weeks: &Weeks, repo: &Repository, what: &What) -> Sleeper {
    match what {
        What::Run(kind) => {
            let (ctx, options) = (weeks.context(repo), weeks.options(*kind));
            Sleeper::Run(tokio::spawn(async move { snapshot(&ctx, options).await }))
        }
        What::Prune(wish) => {
            let ((ctx, _), options) = (weeks.prune_context(repo), prune_options(wish.clone()));
            Sleeper::Prune(tokio::spawn(async move { prune::prune(&ctx, options, &chrono::Utc).await }))
        }
    }
}

/// How one of the two ended.
#[derive(Debug)]
enum End {
    Made(RunName),
    Pruned,
    Failed(String),
}

impl Sleeper {
    fn is_done(&self) -> bool {
        match self {
            Self::Run(task) => task.is_finished(),
            Self::Prune(task) => task.is_finished(),
        }
    }

    async fn end(self) -> End {
        match self {
            Self::Run(task) => match task.await.unwrap() {
                Ok(report) => End::Made(report.snapshot),
                Err(e) => End::Failed(e.to_string()),
            },
            Self::Prune(task) => match task.await.unwrap() {
                Ok(_) => End::Pruned,
                Err(e) => End::Failed(e.to_string()),
            },
        }
    }
}

/// Lets `first` sleep before every one of its operations in turn, and `second` run meanwhile. `stays`: the snapshots that no
/// wish removes. Returns how often either failed.
async fn between(weeks: &mut Weeks, first: What, second: What, stays: &[RunName]) -> (u32, u32) {
    let tree: Tree = weeks.source.lock().unwrap().clone();
    let (mut failed, mut moments) = ((0, 0), 0);
    for at in 0.. {
        let memory = Arc::new(weeks.memory.fork());
        weeks.week = 10;
        let Some((sleeper, gate)) = asleep(weeks, &memory, at, &first).await else { continue };
        let stopped = tokio::select! {
            () = gate.arrived() => true,
            () = async { while !sleeper.is_done() { tokio::task::yield_now().await } } => false,
        };
        if !stopped {
            break;
        }
        moments += 1;
        weeks.week = 11;
        let repo = open(&memory).await;
        let other = start(weeks, &repo, &second).end().await;
        gate.open();
        let one = sleeper.end().await;
        let repo = open(&memory).await;
        let say = || format!("asleep before operation {at}: {one:?}, meanwhile {other:?}");
        if let Err(e) = check::invariants(&repo).await {
            panic!("{}: {e}", say());
        }
        assert_eq!(check::contents(&repo).await.unwrap(), [], "{}", say());
        let found = repo.snapshots().await.unwrap();
        assert!(found.unreadable.is_empty(), "{}", say());
        let names: Vec<RunName> = found.finished.iter().map(|s| s.name).collect();
        assert!(stays.iter().all(|s| names.contains(s)), "{}: {names:?}", say());
        assert!(!names.is_empty(), "{}", say());
        let mut made = Vec::new();
        for (n, end) in [&one, &other].into_iter().enumerate() {
            match end {
                End::Made(name) => made.push(*name),
                End::Failed(why) => {
                    let words = ["was fenced off", "the store is in use", "there is no snapshot"];
                    let expected = words.iter().any(|w| why.contains(w));
                    assert!(expected, "{}", say());
                    if n == 0 { failed.0 += 1 } else { failed.1 += 1 }
                }
                End::Pruned => {}
            }
        }
        assert!(made.iter().all(|m| names.contains(m)), "acknowledged and gone: {}", say());
        for s in &found.finished {
            let expected = weeks.taken.get(&s.name).unwrap_or(&tree);
            match held(&repo, s).await {
                Ok(got) => assert!(got == *expected, "{}: {} holds something else", say(), s.name),
                Err(e) => panic!("{}: {}: {e}", say(), s.name),
            }
        }
        // The next of each needs nobody's help; then nothing is left over.
        weeks.week = 12;
        for what in [What::Run(Incremental), What::Prune(keep(2)), What::Prune(keep(2))] {
            if let End::Failed(why) = start(weeks, &repo, &what).end().await {
                panic!("{}: the next one fails: {why}", say());
            }
        }
        check::invariants(&repo).await.unwrap();
        let left = repo.snapshots().await.unwrap().finished;
        assert_eq!(held(&repo, left.last().unwrap()).await.unwrap(), tree, "{}", say());
        let marks = repo.store().list_all("marks").await.unwrap();
        let open = marks.iter().filter(|f| f.name.matches('.').count() == 2 && !f.name.contains("decision"));
        assert_eq!(open.count(), 0, "{}: {marks:?}", say());
        assert!(repo.runs().await.unwrap().is_empty(), "{}", say());
    }
    assert!(moments > 20, "{moments}");
    failed
}

fn names(weeks: &Weeks) -> Vec<RunName> {
    weeks.records.iter().map(|r| r.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_between_any_two_steps_of_a_run() {
    for share in [false, true] {
        let mut weeks = weeks(share).await;
        let all = names(&weeks);
        let failed = between(&mut weeks, What::Run(Incremental), What::Prune(keep(2)), &all[2..]).await;
        assert!(failed.0 > 0, "a run that slept through a prune is fenced");
        assert_eq!(failed.1, 0, "nobody waits for a sleeper");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_that_removes_the_parent_between_any_two_steps_of_a_run() {
    let mut weeks = weeks(false).await;
    let all = names(&weeks);
    between(&mut weeks, What::Run(Incremental), What::Prune(remove(&all[1..])), &all[..1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_between_any_two_steps_of_a_prune() {
    for share in [false, true] {
        let mut weeks = weeks(share).await;
        let all = names(&weeks);
        let failed = between(&mut weeks, What::Prune(keep(2)), What::Run(Incremental), &all[2..]).await;
        assert_eq!(failed, (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_between_any_two_steps_of_a_prune_that_removes_its_parent() {
    let mut weeks = weeks(false).await;
    let all = names(&weeks);
    let failed = between(&mut weeks, What::Prune(remove(&all[1..])), What::Run(Incremental), &all[..1]).await;
    assert_eq!(failed, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_between_any_two_steps_of_a_prune() {
    let mut weeks = weeks(true).await;
    let all = names(&weeks);
    between(&mut weeks, What::Prune(keep(2)), What::Prune(keep(1)), &all[2..]).await;
    // Each alone would leave a snapshot; both together must too.
    between(&mut weeks, What::Prune(remove(&all[..2])), What::Prune(remove(&all[1..])), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_between_any_two_steps_of_a_run() {
    let mut weeks = weeks(false).await;
    let all = names(&weeks);
    between(&mut weeks, What::Run(Incremental), What::Run(Full), &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_removed_under_its_reader_is_not_called_damaged() {
    let weeks = weeks(false).await;
    let all = names(&weeks);
    let catalog = Catalog::read(&weeks.repo).await.unwrap();
    let (old, new) = (catalog.open(all[0]).await.unwrap(), catalog.open(all[2]).await.unwrap());
    weeks.prune(keep(1)).await.unwrap();
    let mut out = Vec::new();
    let said = cat(&old, &"goes/1".into(), &mut out, &Cancel::never()).await.unwrap_err().to_string();
    assert!(said.contains("was removed while it was read"), "{said}");
    assert!(out.is_empty());
    cat(&new, &"stays/1".into(), &mut out, &Cancel::never()).await.unwrap();
    assert_eq!(out, noise(1, 3 * KIB));
}
