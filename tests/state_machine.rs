//! Any sequence of what can happen to a store: objects come and go, runs and prunes finish or are stopped anywhere in any way, overlap, clocks
//! jump, files of the store are damaged. After each step every snapshot that must be there is there, each holds exactly what
//! the bucket held when it was made, and everything else that must hold does.
//!
//! `PROPTEST_CASES=5000 cargo test --release --test state_machine` looks for longer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::faulty::{Control, Counted, Fault, FaultyStore};
use common::history::leftovers;
use common::weeks::{Weeks, held, keep, prune_options, remove, store};
use common::{noise, unsound};
use proptest::prelude::*;
use qbak::format::records::RunKind::{Full, Incremental};
use qbak::model::clock::FixedClock;
use qbak::model::name::RunName;
use qbak::model::time::Timestamp;
use qbak::op::{OpError, prune, snapshot, verify};
use qbak::plan::retention::{Rules, Wish};
use qbak::repo::Repository;
use qbak::repo::chain::Chain;

/// Which snapshots a prune is to keep.
#[derive(Debug, Clone)]
enum Rule {
    Keep(u32),
    Groups(u32),
    /// The snapshot of this place, round and round.
    Remove(u16),
    DropIncomplete,
}

#[derive(Debug, Clone)]
enum Work {
    /// Whether it is full, and whether it says that it runs on the machine that prunes.
    Snapshot(bool, bool),
    Prune(Rule),
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Whole(Work),
    /// Stopped at an operation, in a way.
    Stopped(Work, u16, u8),
    /// The first stands still at an operation while the second runs from beginning to end.
    Overlap(Work, u16, Work),
    Damage(u8, u16),
    Clock(i32),
}

const DAMAGE: [&str; 4] = ["an index file goes", "an index file rots", "a pack goes", "a pack rots"];

fn rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        4 => (1u32..4).prop_map(Rule::Keep),
        2 => (1u32..3).prop_map(Rule::Groups),
        2 => any::<u16>().prop_map(Rule::Remove),
        1 => Just(Rule::DropIncomplete),
    ]
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        5 => (prop::bool::weighted(0.3), any::<bool>()).prop_map(|(full, here)| Work::Snapshot(full, here)),
        3 => rule().prop_map(Work::Prune),
    ]
}

/// A run that relies on what only older snapshots need, sleeps, and is taken for cut off by a prune that removes these.
fn sleeper() -> impl Strategy<Value = Step> {
    let at = prop_oneof![any::<u16>(), 20u16..60];
    (at, 1u32..3)
        .prop_map(|(at, n)| Step::Overlap(Work::Snapshot(false, true), at, Work::Prune(Rule::Keep(n))))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..8, 0u8..12).prop_map(|(k, c)| Step::Put(k, c)),
        // Contents that come back are what a run relies on without reading them.
        3 => (0u8..3, 0u8..4).prop_map(|(k, c)| Step::Put(k, c)),
        2 => (0u8..8).prop_map(Step::Delete),
        5 => work().prop_map(Step::Whole),
        5 => (work(), any::<u16>(), any::<u8>()).prop_map(|(w, at, how)| Step::Stopped(w, at, how)),
        5 => (work(), any::<u16>(), work()).prop_map(|(a, at, b)| Step::Overlap(a, at, b)),
        3 => sleeper(),
        1 => (0u8..4, any::<u16>()).prop_map(|(what, which)| Step::Damage(what, which)),
        1 => prop_oneof![Just(-86_400), Just(-3), Just(90_000), Just(40_000_000)].prop_map(Step::Clock),
    ]
}

/// What there is, and what is known of it.
struct World {
    weeks: Weeks,
    clock: i64,
    /// Snapshots that must be there.
    alive: BTreeSet<RunName>,
    /// Those that a stopped prune has said it removes: they may go at any later one.
    doomed: BTreeSet<RunName>,
    /// Every snapshot there ever was.
    known: BTreeMap<RunName, Known>,
    /// Those that damage has reached: right, or an error.
    harmed: BTreeSet<RunName>,
    damaged: bool,
    /// Index files that were spoilt.
    spoilt: Vec<String>,
    /// Deletes that may be outstanding.
    late: Vec<Arc<Control>>,
}

/// What the rules go by.
#[derive(Debug, Clone, Copy)]
struct Known {
    place: (u64, RunName),
    group: RunName,
    suspect: bool,
}

/// What came of a piece of work.
enum Done {
    Snapshot(Result<snapshot::Report, OpError>),
    Prune(Result<prune::Report, OpError>),
}

impl Done {
    fn error(&self) -> Option<&OpError> {
        match self {
            Self::Snapshot(r) => r.as_ref().err(),
            Self::Prune(r) => r.as_ref().err(),
        }
    }
}

impl World {
    async fn new() -> Self {
        Self {
            weeks: Weeks::new().await,
            clock: 1_767_520_800,
            alive: BTreeSet::new(),
            doomed: BTreeSet::new(),
            known: BTreeMap::new(),
            harmed: BTreeSet::new(),
            damaged: false,
            spoilt: Vec::new(),
            late: Vec::new(),
        }
    }

    fn wish(&self, rule: &Rule) -> Wish {
        match rule {
            Rule::Keep(n) => keep(*n),
            Rule::Groups(n) => {
                Wish { rules: Rules { keep_groups: Some(*n), ..Rules::default() }, ..Wish::default() }
            }
            Rule::Remove(n) => {
                let all: Vec<RunName> = self.alive.iter().copied().collect();
                if all.is_empty() { keep(1) } else { remove(&[all[usize::from(*n) % all.len()]]) }
            }
            Rule::DropIncomplete => Wish { drop_incomplete: true, ..Wish::default() },
        }
    }

    /// A piece of work over a store, as a process of its own would do it.
    fn process(&self, work: &Work, over: qbak::store::Store) -> impl Future<Output = Done> + Send + 'static {
        let clock = Arc::new(FixedClock(Timestamp::from_seconds(self.clock)));
        let (work, repo) = (work.clone(), self.weeks.repo.clone());
        let mut running = self.weeks.context(&repo);
        running.clock = clock.clone();
        let (mut pruning, _) = self.weeks.prune_context(&repo);
        pruning.clock = clock;
        let (snapshot_options, prune_options) = match &work {
            Work::Snapshot(full, here) => {
                let mut options = self.weeks.options(if *full { Full } else { Incremental });
                options.host = if *here { "here".into() } else { "there".into() };
                (options, prune_options(Wish::default()))
            }
            Work::Prune(rule) => {
                let options = prune_options(self.wish(rule));
                (self.weeks.options(Full), options)
            }
        };
        async move {
            let repo = Repository::open(over).await;
            match (work, repo) {
                (Work::Snapshot(..), Err(e)) => Done::Snapshot(Err(e.into())),
                (Work::Prune(_), Err(e)) => Done::Prune(Err(e.into())),
                (Work::Snapshot(..), Ok(repo)) => {
                    running.repo = repo;
                    Done::Snapshot(snapshot::snapshot(&running, snapshot_options).await)
                }
                (Work::Prune(_), Ok(repo)) => {
                    pruning.repo = repo;
                    Done::Prune(prune::prune(&pruning, prune_options, &chrono::Utc).await)
                }
            }
        }
    }

    fn over(&self) -> qbak::store::Store {
        store(&self.weeks.memory)
    }

    /// Whether a rule lets a snapshot go: what the rule counts may itself have gone by another prune since.
    fn lets_go(&self, rule: &Rule, name: RunName, present: &BTreeSet<RunName>) -> bool {
        let it = self.known[&name];
        let all = || self.alive.union(present).map(|n| self.known[n]);
        let newer = || all().filter(|other| other.place > it.place);
        let healthy = newer().filter(|other| !other.suspect).count();
        match rule {
            // Suspect ones do not count, and go when a healthy one came after.
            Rule::Keep(_) | Rule::Groups(_) if it.suspect => healthy > 0,
            Rule::Keep(n) => healthy >= *n as usize,
            Rule::Groups(n) => {
                let groups: BTreeSet<RunName> = newer().map(|o| o.group).filter(|g| *g != it.group).collect();
                groups.len() >= *n as usize
            }
            Rule::Remove(_) => self.wish(rule).remove.contains(&name),
            Rule::DropIncomplete => false,
        }
    }

    /// Whether this error may come of work that nothing disturbs.
    fn excused(&self, work: &Work, error: &OpError) -> bool {
        let pruning = matches!(work, Work::Prune(_));
        match error {
            // Prune says what is damaged, and refuses.
            OpError::Damage(text) => pruning && (self.damaged || !self.spoilt.is_empty()) && !text.is_empty(),
            // A prune that was stopped had removed it already.
            OpError::Usage(text) => {
                pruning && !self.doomed.is_empty() && text.contains("there is no snapshot")
            }
            _ => false,
        }
    }

    async fn whole(&mut self, work: &Work) {
        let done = self.process(work, self.over()).await;
        if let Some(e) = done.error() {
            assert!(self.excused(work, e), "{work:?}: {e}");
        }
        self.after(&[(work, &done)]).await;
    }

    async fn stopped(&mut self, work: &Work, at: u16, how: u8) {
        let (counted, fault) = [
            (Counted::Changes, Fault::CutBefore),
            (Counted::Changes, Fault::CutAfter),
            (Counted::Changes, Fault::LostReply),
            (Counted::Changes, Fault::Refused),
            (Counted::Writes, Fault::Torn),
            (Counted::Writes, Fault::Full),
            (Counted::Deletes, Fault::LateDelete(u64::from(how) / 8)),
            (Counted::All, Fault::CutBefore),
            (Counted::All, Fault::Refused),
        ][usize::from(how) % 9];
        // A prune rests on a file being gone when its delete is acknowledged: docs/protocol.md asks that of a store.
        let (counted, fault) = match (work, fault) {
            (Work::Prune(_), Fault::LateDelete(_)) => (Counted::Deletes, Fault::CutAfter),
            _ => (counted, fault),
        };
        let most = match counted {
            Counted::All => 90,
            Counted::Changes => 14,
            _ => 7,
        };
        let inner = Arc::clone(&self.weeks.memory);
        let (faulty, control) = FaultyStore::new(inner, counted, u64::from(at % most), fault);
        let done = self.process(work, faulty.store()).await;
        if let Some(e) = done.error() {
            let said = e.to_string();
            let named = control.failed().iter().any(|f| said.contains(f.as_str()));
            assert!(named || self.excused(work, e), "{work:?} {fault:?} at {}: {said}", control.struck());
        }
        assert_eq!(control.rash(), Vec::<String>::new(), "{work:?} {fault:?} at {}", control.struck());
        self.late.push(control);
        self.after(&[(work, &done)]).await;
    }

    async fn overlap(&mut self, first: &Work, at: u16, second: &Work) {
        let inner = Arc::clone(&self.weeks.memory);
        let (faulty, control) = FaultyStore::new(inner, Counted::All, u64::from(at % 110), Fault::Freeze);
        let mut running = tokio::spawn(self.process(first, faulty.store()));
        let early = tokio::select! {
            done = &mut running => Some(done.unwrap()),
            () = control.frozen() => None,
        };
        let b = self.process(second, self.over()).await;
        control.thaw();
        let a = match early {
            Some(done) => done,
            None => running.await.unwrap(),
        };
        for (work, done) in [(first, &a), (second, &b)] {
            if let Some(e) = done.error() {
                let fenced = matches!(work, Work::Snapshot(..)) && e.to_string().contains("fenced off");
                let in_use = matches!(e, OpError::InUse(_));
                let said = e.to_string();
                let removed_by_the_other = said.contains("there is no snapshot");
                assert!(
                    fenced || in_use || removed_by_the_other || self.excused(work, e),
                    "{first:?} stopped at {}, {second:?}: {work:?}: {said}",
                    control.struck()
                );
            }
        }
        self.after(&[(first, &a), (second, &b)]).await;
    }

    /// Takes note of what has happened, and looks at everything.
    async fn after(&mut self, done: &[(&Work, &Done)]) {
        let tree = self.weeks.source.lock().unwrap().clone();
        let found = self.weeks.repo.snapshots().await.unwrap();
        assert!(found.unreadable.is_empty(), "{:?}", found.unreadable);
        let present: BTreeSet<RunName> = found.finished.iter().map(|s| s.name).collect();
        for (_, done) in done {
            if let Done::Snapshot(Ok(report)) = done {
                assert!(present.contains(&report.snapshot), "{} was acknowledged", report.snapshot);
            }
        }
        self.known.extend(found.finished.iter().map(|s| {
            let known = Known { place: (s.sequence, s.name), group: s.group, suspect: s.suspect.is_some() };
            (s.name, known)
        }));
        for name in self.alive.difference(&present) {
            let may_go = done.iter().any(|(work, _)| match work {
                Work::Prune(rule) => self.doomed.contains(name) || self.lets_go(rule, *name, &present),
                Work::Snapshot(..) => false,
            });
            assert!(may_go, "{name} is gone");
        }
        let open = Chain::read(&self.weeks.repo).await.unwrap().open;
        self.doomed =
            open.and_then(|o| o.claim).map(|c| c.snapshots.into_iter().collect()).unwrap_or_default();
        for name in &present {
            if !self.weeks.taken.contains_key(name) {
                assert!(
                    done.iter().any(|(work, _)| matches!(work, Work::Snapshot(..))),
                    "{name} came from nowhere"
                );
                self.weeks.taken.insert(*name, tree.clone());
            } else {
                assert!(self.alive.contains(name), "{name} has come back");
            }
        }
        assert!(self.alive.is_empty() || !present.is_empty(), "the last snapshot went");
        self.alive = present;
        self.look().await;
    }

    /// Everything that must hold.
    async fn look(&mut self) {
        let repo = &self.weeks.repo;
        for s in repo.snapshots().await.unwrap().finished {
            match held(repo, &s).await {
                Ok(tree) => assert!(tree == self.weeks.taken[&s.name], "{} is not what it was", s.name),
                Err(e) => {
                    assert!(self.harmed.contains(&s.name), "{}: {e}", s.name);
                    let said = e.to_string();
                    assert!(["blob", ".pack", ".idx", "manifest"].iter().any(|w| said.contains(w)), "{said}");
                }
            }
        }
        if !self.damaged {
            let mut broken = unsound(repo, &self.spoilt).await;
            // An index file that is gone takes with it the knowledge of which others it had replaced.
            broken.retain(|what| self.spoilt.is_empty() || !what.contains(".idx: it is missing"));
            assert_eq!(broken, Vec::<String>::new());
        }
        assert_eq!(self.weeks.memory.problems(), Vec::<String>::new());
    }

    async fn damage(&mut self, what: u8, which: u16) {
        let index = what < 2;
        let files: Vec<String> = self.weeks.memory.all();
        let files: Vec<String> =
            files.into_iter().filter(|f| f.ends_with(if index { ".idx" } else { ".pack" })).collect();
        if files.is_empty() {
            return;
        }
        let file = &files[usize::from(which) % files.len()];
        let mut bytes = self.weeks.memory.bytes(file).unwrap().to_vec();
        if what.is_multiple_of(2) {
            self.weeks.memory.spoil(file, None);
        } else {
            let at = usize::from(which) * 31 % bytes.len();
            bytes[at] ^= 0x10;
            self.weeks.memory.spoil(file, Some(bytes));
        }
        if index {
            self.spoilt.push(file.clone());
            if !self.damaged {
                // Alone it costs nothing; where the table of a pack is bad too, it may have been all that knew what lies there.
                return self.look().await;
            }
        }
        // Rot shows when somebody reads: only then can a run know what it must store again.
        self.damaged = true;
        let options =
            verify::Options { only: None, depth: verify::Depth::Data(qbak::plan::verify::Choice::All) };
        let report = verify::verify(&common::verification(&self.weeks.repo), options).await.unwrap();
        for s in self.weeks.repo.snapshots().await.unwrap().finished {
            if held(&self.weeks.repo, &s).await.is_err() {
                assert!(report.damaged > 0, "{} of {file} is not found", DAMAGE[usize::from(what)]);
                self.harmed.insert(s.name);
            }
        }
        self.look().await;
    }

    async fn step(&mut self, step: &Step) {
        self.clock += 1;
        self.weeks.memory.set_clock(Timestamp::from_seconds(self.clock));
        match step {
            Step::Put(key, content) => {
                let bytes = match content {
                    0..4 => noise(u64::from(*content), 700),
                    4..10 => noise(u64::from(*content) * 100 + u64::from(*key), 900 * usize::from(*content)),
                    10 => vec![b'x'; 3000],
                    _ => vec![*key; (4 << 20) + 1],
                };
                self.weeks.write(&format!("{}/{key}", key % 3), bytes);
            }
            Step::Delete(key) => self.weeks.delete(&format!("{}/{key}", key % 3)),
            Step::Whole(work) => self.whole(work).await,
            Step::Stopped(work, at, how) => self.stopped(work, *at, *how).await,
            Step::Overlap(a, at, b) if OVERLAP => self.overlap(a, *at, b).await,
            Step::Overlap(a, _, b) => {
                self.whole(a).await;
                self.whole(b).await;
            }
            Step::Damage(what, which) => self.damage(*what, *which).await,
            Step::Clock(by) => self.clock += i64::from(*by),
        }
        if self.late.len() > 2 {
            self.late.remove(0).land().await;
        }
    }

    /// The next run completes, and two prunes later nothing lies about.
    async fn end(&mut self) {
        for control in std::mem::take(&mut self.late) {
            control.land().await;
        }
        self.clock = self.clock.max(1_767_520_800) + 90_000;
        self.whole(&Work::Snapshot(false, true)).await;
        if self.damaged || !self.spoilt.is_empty() {
            return;
        }
        self.whole(&Work::Prune(Rule::Keep(2))).await;
        self.clock += 90_000;
        self.whole(&Work::Prune(Rule::Keep(1))).await;
        assert_eq!(leftovers(&self.weeks.repo).await, Vec::<String>::new());
    }
}

/// Whether runs and prunes overlap.
const OVERLAP: bool = true;

fn play(steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new().await;
        for step in steps {
            world.step(step).await;
        }
        world.end().await;
    });
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 4..22)
}

// Four of a kind, so that they run side by side.
proptest! {
    #![proptest_config(common::cases(50))]

    #[test]
    fn any_sequence_a(steps in steps()) {
        play(&steps);
    }

    #[test]
    fn any_sequence_b(steps in steps()) {
        play(&steps);
    }

    #[test]
    fn any_sequence_c(steps in steps()) {
        play(&steps);
    }

    #[test]
    fn any_sequence_d(steps in steps()) {
        play(&steps);
    }
}
