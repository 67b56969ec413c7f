//! The steps of a run, numbered as in `docs/protocol.md`, "A run". Every reading and every writing is a step of its own.

use crate::mutants as rule;
use crate::state::{Act, Next, P, RunState, Set, State, World, pack_of, snapshot_of};

/// How far a run is: at first it reads, in the order of [`order`].
pub(crate) const READS: u8 = 4;
const WRITE: u8 = READS;
const CHECKPOINT: u8 = 5;
const COMMIT: u8 = 6;
const UNSURE: u8 = 7;
const PUT_ASIDE: u8 = 8;
const FORGET_THEM: u8 = 9;
const FORGET: u8 = 10;
const NAME: u8 = 11;
pub(crate) const DONE: u8 = 12;

/// What a run saw: a mark that forbids the short cut, a parent, a checkpoint of another run, its name in a claim; that it
/// looked for that, and that it began anew.
const MARK: u8 = 1;
const PARENT: u8 = 2;
const OTHERS: u8 = 4;
const USED: u8 = 8;
const LOOKED: u8 = 16;
const ANEW: u8 = 32;

#[derive(Clone, Copy, PartialEq)]
enum First {
    Record,
    Marks,
    Snapshots,
    Packs,
}

/// Its steps 1 to 4, or what a mutant makes of them.
fn order(world: &World) -> [First; READS as usize] {
    use First::{Marks, Packs, Record, Snapshots};
    if world.lacks(rule::RECORD_BEFORE_MARKS) {
        [Marks, Record, Snapshots, Packs]
    } else if world.lacks(rule::RECORD_BEFORE_PARENT) {
        [Snapshots, Record, Marks, Packs]
    } else if world.lacks(rule::MARKS_BEFORE_PACKS) {
        [Record, Packs, Marks, Snapshots]
    } else {
        [Record, Marks, Snapshots, Packs]
    }
}

/// Everything that run `who` could do next.
pub(crate) fn steps(world: &World, s: &State, who: usize, out: &mut Vec<Next>) {
    let me = s.runs[who];
    let name = snapshot_of(who);
    let mut next = *s;
    let mut go = |act: Act, at: u8, mut state: State| {
        state.runs[who].at = at;
        if at >= WRITE && at != NAME {
            state.runs[who] = RunState { at, ..RunState::default() };
        }
        out.push(Next { who: who as u8, act, state });
    };
    match me.at {
        DONE => {}
        0 if world.lacks(rule::CLAIMS_AFTER_RECORD) && world.setup.reuses_name && me.saw & LOOKED == 0 => {
            next.runs[who].saw |= if used(world, s, name) { LOOKED | USED } else { LOOKED };
            go(Act::ReadsClaimsEarly, 0, next);
        }
        NAME => {
            let used = if world.lacks(rule::CLAIMS_AFTER_RECORD) {
                me.saw & USED != 0
            } else {
                used(world, s, name)
            };
            next.runs[who].saw &= !(USED | LOOKED);
            if world.stands(s, name) || (used && !world.lacks(rule::NAMES_ONCE)) {
                next.records &= !name;
                go(Act::FindsNameTaken, DONE, next);
            } else {
                go(Act::FindsNameFree, 1, next);
            }
        }
        WRITE => {
            next.packs |= if world.lacks(rule::PACK_NAMES_ONCE) { P } else { pack_of(who) };
            go(Act::WritesPack, if world.setup.checkpoints { CHECKPOINT } else { COMMIT }, next);
        }
        CHECKPOINT => {
            next.checkpoints |= name;
            go(Act::WritesCheckpoint, COMMIT, next);
        }
        COMMIT if world.stands(s, name) && !world.lacks(rule::CREATE_ONLY) => go(Act::IsFenced, DONE, next),
        COMMIT => {
            next.snapshots |= name;
            next.tombstones &= !name;
            if world.setup.lost_answers {
                go(Act::Commits, UNSURE, next);
            }
            go(Act::Commits, if world.setup.checkpoints { PUT_ASIDE } else { FORGET }, next);
        }
        UNSURE if s.snapshots & name != 0 => go(Act::FindsCommitted, FORGET, next),
        UNSURE if world.lacks(rule::COMMIT_ONCE) && !world.stands(s, name) => {
            next.snapshots |= name;
            go(Act::CommitsAgain, FORGET, next);
        }
        UNSURE => go(Act::FindsNothing, DONE, next),
        PUT_ASIDE => {
            next.tombstones |= others(s, name) & !s.snapshots;
            go(Act::PutsAside, FORGET_THEM, next);
        }
        FORGET_THEM => {
            let settled = others(s, name) & (s.snapshots | s.tombstones);
            next.records &= !settled;
            next.checkpoints &= !settled;
            go(Act::ForgetsThem, FORGET, next);
        }
        FORGET => {
            next.records &= !name;
            next.checkpoints &= !name;
            go(Act::Forgets, DONE, next);
        }
        at => {
            let order = order(world);
            let first = order[at as usize];
            let act = see(world, &mut next, who, first);
            if first == First::Record && world.setup.reuses_name && who == 0 {
                go(act, NAME, next);
            } else if at + 1 < READS {
                go(act, at + 1, next);
            } else {
                outcomes(world, &next, who, &mut go);
            }
            // Of what it reads first, all could make it choose otherwise; the snapshots are enough.
            if first == First::Snapshots && world.setup.begins_anew && me.saw & ANEW == 0 {
                next.records &= !name;
                next.runs[who] = RunState { saw: ANEW, ..RunState::default() };
                go(Act::BeginsAnew, 0, next);
            }
        }
    }
}

/// A claim names the snapshot's name.
fn used(world: &World, s: &State, name: Set) -> bool {
    s.numbers.iter().any(|n| n.owner > 0 && world.same_name(n.remove) & name != 0)
}

/// The runs but this that have a record.
fn others(s: &State, me: Set) -> Set {
    s.records & !me
}

/// One of the first steps: what the run learns goes into its state.
fn see(world: &World, s: &mut State, who: usize, first: First) -> Act {
    let name = snapshot_of(who);
    match first {
        First::Record => {
            s.records |= name;
            Act::Records
        }
        First::Marks => {
            if !world.lacks(rule::HEED_MARKS) {
                s.runs[who].condemned = s.numbers.iter().fold(0, |all, n| all | n.condemned());
                if s.numbers.iter().any(|n| n.forbids_short_cut()) {
                    s.runs[who].saw |= MARK;
                }
            }
            Act::ReadsMarks
        }
        First::Snapshots => {
            let need = world.needs(name);
            // A parent is any snapshot that has all of it: which one does not matter.
            if world.needs(s.snapshots) & need == need {
                s.runs[who].saw |= PARENT;
            }
            if s.checkpoints & !name != 0 {
                s.runs[who].saw |= OTHERS;
            }
            Act::ReadsSnapshots
        }
        First::Packs => {
            s.runs[who].packs = s.packs;
            Act::ListsPacks
        }
    }
}

/// What it may rely on, after steps 1 to 4.
fn outcomes(world: &World, s: &State, who: usize, go: &mut impl FnMut(Act, u8, State)) {
    let me = s.runs[who];
    let need = world.needs(snapshot_of(who));
    if me.saw & PARENT != 0 && (me.saw & MARK == 0 || world.lacks(rule::NO_SHORT_CUT)) {
        go(Act::TakesUnchanged, COMMIT, *s);
    }
    if me.saw & OTHERS != 0 && world.lacks(rule::CHECKPOINTS_LOOKED_UP) {
        go(Act::TrustsCheckpoint, COMMIT, *s);
    }
    // It may look up all the same: the parent's group was not sound, or the object changed back.
    if need & !world.blobs(me.packs & !me.condemned) == 0 {
        go(Act::FindsAll, COMMIT, *s);
    } else {
        go(Act::LacksSome, WRITE, *s);
    }
}
