//! Every state that can be reached, breadth first, so that the first loss found has the shortest way to it.

use std::collections::BTreeSet;

use crate::state::{Act, FRESH_PRUNE, FRESH_RUN, NAMES, Next, PACKS, RUNS, Set, State, World, snapshot_of};
use crate::{prune, run};

/// What came of an exploration.
pub(crate) struct Explored {
    /// How many states were reached.
    pub states: usize,
    /// How many different stores there were among them.
    pub stores: usize,
    /// The steps that were taken in any of them: a bit of each [`Act`].
    pub acts: u64,
    /// The shortest way to a loss, and what is lost.
    pub loss: Option<String>,
}

/// States in the order in which they were reached, each once.
struct Found {
    states: Vec<State>,
    /// From which state each was reached.
    from: Vec<u32>,
    /// Open addressing: the upper half of a hash, and a position counted from 1.
    table: Vec<(u32, u32)>,
}

impl Found {
    fn new() -> Self {
        Self { states: Vec::new(), from: Vec::new(), table: vec![(0, 0); 1 << 12] }
    }

    /// Adds a state, if it is new.
    fn add(&mut self, state: &State, from: u32) -> bool {
        if self.states.len() * 2 > self.table.len() {
            self.grow();
        }
        let hash = state.hash();
        let (tag, mask) = ((hash >> 32) as u32, self.table.len() - 1);
        let mut slot = hash as usize & mask;
        loop {
            let (other, position) = self.table[slot];
            if position == 0 {
                self.states.push(*state);
                self.from.push(from);
                self.table[slot] = (tag, u32::try_from(self.states.len()).unwrap());
                return true;
            }
            if other == tag && self.states[position as usize - 1] == *state {
                return false;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let mask = self.table.len() * 2 - 1;
        let mut table = vec![(0, 0); mask + 1];
        for (position, state) in (1..).zip(&self.states) {
            let hash = state.hash();
            let mut slot = hash as usize & mask;
            while table[slot] != (0, 0) {
                slot = (slot + 1) & mask;
            }
            table[slot] = ((hash >> 32) as u32, position);
        }
        self.table = table;
    }
}

/// Explores a set-up, until a loss is found or there is nothing new.
pub(crate) fn explore(world: &World) -> Explored {
    let begin = world.begin();
    let (mut found, mut stores) = (Found::new(), Found::new());
    found.add(&begin, 0);
    let (mut acts, mut next, mut at) = (0, Vec::new(), 0);
    let healthy = world.left_out == 0;
    let mut loss = None;
    'all: while at < found.states.len() {
        let state = found.states[at];
        next.clear();
        steps(world, &state, &mut next);
        for n in &next {
            acts |= 1 << n.act as u8;
            let from = u32::try_from(at).unwrap();
            if !found.add(&n.state, from) {
                continue;
            }
            let mut wrong = lost(world, &n.state);
            if wrong.is_none() && healthy {
                if stores.add(&n.state.store(), 0) {
                    wrong = unfinishable(world, &n.state.store());
                }
                // What most of the reasoning rests on.
                if n.state.numbers.iter().filter(|n| n.open).count() > 1 {
                    wrong = Some("two prunes are open".into());
                }
            }
            if let Some(wrong) = wrong {
                loss = Some(format!("{}\n   => {wrong}", trace(world, &found)));
                break 'all;
            }
        }
        at += 1;
    }
    Explored { states: found.states.len(), stores: stores.states.len(), acts, loss }
}

/// Whatever any process can do now.
fn steps(world: &World, s: &State, out: &mut Vec<Next>) {
    for who in 0..world.setup.runs {
        run::steps(world, s, who, out);
    }
    for who in 0..world.setup.prunes.len() {
        prune::steps(world, s, who, out);
    }
}

/// What is wrong in this state, if anything.
fn lost(world: &World, s: &State) -> Option<String> {
    let missing = world.needs(s.snapshots) & !world.blobs(s.packs);
    if missing != 0 {
        let hurt = (0..5).map(|n| 1 << n).filter(|name| s.snapshots & name & 0x1f != 0);
        let hurt: Set = hurt.filter(|name| world.needs(*name) & missing != 0).sum();
        return Some(format!("LOST: {} needs a blob that no pack holds", names(hurt, &NAMES)));
    }
    if s.snapshots == 0 && world.setup.snapshots != 0 {
        return Some("LOST: no snapshot is left, though each prune kept one".into());
    }
    s.deleted_wrongly.then(|| "LOST: a snapshot was deleted that no prune meant".into())
}

/// When all have stopped for ever: a prune that comes then must close what is open and leave no garbage, and a run must
/// commit, in either order.
fn unfinishable(world: &World, store: &State) -> Option<String> {
    let prune = |s: State| alone(world, s, true);
    let run = |s: State| alone(world, s, false);
    let wrong = |what: String| Some(format!("all stop; then {what}"));
    let pruned = match prune(*store) {
        Ok(s) => s,
        Err(e) => return wrong(format!("a prune: {e}")),
    };
    let unfinished = pruned.records & pruned.checkpoints & !pruned.snapshots;
    let live = world.needs(pruned.snapshots | unfinished);
    if pruned.numbers.iter().any(|n| n.open) {
        return wrong("a prune leaves one open".into());
    }
    if prune::unneeded(world, pruned.packs, live) != 0 {
        return wrong("a prune leaves garbage".into());
    }
    let committed = |s: &State| s.snapshots & snapshot_of(FRESH_RUN) != 0;
    match run(pruned) {
        Ok(s) if committed(&s) => {}
        Ok(_) => return wrong("a prune and then a run, which has no snapshot".into()),
        Err(e) => return wrong(format!("a prune and then a run: {e}")),
    }
    match run(*store) {
        Ok(s) if committed(&s) => match prune(s) {
            Ok(s) if committed(&s) => None,
            Ok(_) => wrong("a run and then a prune, which removes its snapshot".into()),
            Err(e) => wrong(format!("a run and then a prune: {e}")),
        },
        Ok(_) => wrong("a run, which has no snapshot".into()),
        Err(e) => wrong(format!("a run: {e}")),
    }
}

/// Lets the fresh run or prune go to its end, with nobody else about: all others are taken to be cut off.
fn alone(world: &World, mut s: State, prunes: bool) -> Result<State, String> {
    let mut next = Vec::new();
    for _ in 0..100 {
        next.clear();
        if prunes {
            prune::steps(world, &s, FRESH_PRUNE, &mut next);
        } else {
            run::steps(world, &s, FRESH_RUN, &mut next);
        }
        let Some(first) = next.iter().find(|n| n.act != Act::SeesAtWork) else { return Ok(s) };
        s = first.state;
        if let Some(wrong) = lost(world, &s) {
            return Err(wrong);
        }
    }
    Err("it has no end".into())
}

/// The way to the state found last.
fn trace(world: &World, found: &Found) -> String {
    let mut way = vec![found.states.len() - 1];
    while let Some(last) = way.last().filter(|last| **last != 0) {
        way.push(found.from[*last] as usize);
    }
    way.reverse();
    let mut lines = Vec::new();
    for pair in way.windows(2) {
        let (from, to) = (&found.states[pair[0]], &found.states[pair[1]]);
        let mut next = Vec::new();
        steps(world, from, &mut next);
        let step = next.iter().find(|n| n.state == *to).unwrap();
        lines.push(format!("   {}{}", said(step), difference(from, to)));
    }
    lines.join("\n")
}

fn said(step: &Next) -> String {
    let who = step.who as usize;
    if who < RUNS {
        format!("run W{} {}", who + 1, step.act.text())
    } else {
        format!("prune {} {}", (b'A' + (who - RUNS) as u8) as char, step.act.text())
    }
}

/// What a step changes, of what is worth saying.
fn difference(from: &State, to: &State) -> String {
    let mut said = String::new();
    let mut say = |what: &str, before: Set, after: Set, of: &[&str]| {
        for (sign, set) in [("+", after & !before), ("-", before & !after)] {
            if set != 0 {
                said.push_str(&format!("  [{what} {sign}{}]", names(set, of)));
            }
        }
    };
    say("packs", from.packs, to.packs, &PACKS);
    say("snapshots", from.snapshots, to.snapshots, &NAMES);
    say("tombstones", from.tombstones, to.tombstones, &NAMES);
    for (before, after) in from.numbers.iter().zip(&to.numbers) {
        say("claim removes", before.remove, after.remove, &NAMES);
        say("mark", before.mark, after.mark, &PACKS);
        say("keep", before.keep, after.keep, &PACKS);
    }
    for (before, after) in from.prunes.iter().zip(&to.prunes) {
        if before.number != after.number && after.number > 0 {
            said.push_str(&format!("  [number {}]", after.number));
        }
    }
    said
}

fn names(set: Set, of: &[&str]) -> String {
    let list = of.iter().enumerate().filter(|(n, _)| set & 1 << n != 0).map(|(_, name)| *name);
    list.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}
