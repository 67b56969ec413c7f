//! The steps of a prune, numbered as in `docs/protocol.md`, "A prune". Whether a run is at work is a guess: both are tried.

use crate::mutants as rule;
use crate::state::{Act, C1, C2, C3, FRESH_PRUNE, KEEP_ALL, Next, PruneState, R, Set, State, Wish, World};

/// How far a prune is.
const CHAIN: u8 = 0;
const LOOK: u8 = 1;
const SURVEY: u8 = 2;
const CHECKPOINTS: u8 = 3;
const CHOOSE: u8 = 4;
const COPY: u8 = 5;
const CLAIM: u8 = 6;
const MARK: u8 = 7;
const REMOVE: u8 = 8;
const LIST: u8 = 9;
const FENCE: u8 = 10;
const SECOND: u8 = 11;
const WEIGH: u8 = 12;
const DECIDE: u8 = 13;
const DELETE: u8 = 14;
const CLOSE: u8 = 15;
const DISCARD: u8 = 16;
pub(crate) const DONE: u8 = 17;

/// The prune that comes last wants no snapshot removed, and everything gone that nothing needs.
const LAST: Wish = Wish { remove: 0, condemn: &[], copies: false };

/// The packs into which a prune copies: every time another, and it needs no third.
const COPIES: [[Set; 2]; 2] = [[C1, C3], [C2, R]];

/// The pack into which a prune copies next; none is left: 0.
fn copy_of(who: usize, me: PruneState) -> Set {
    COPIES.get(who).and_then(|packs| packs.get(me.copied as usize)).copied().unwrap_or(0)
}

/// Everything that prune `who` could do next.
pub(crate) fn steps(world: &World, s: &State, who: usize, out: &mut Vec<Next>) {
    let at = s.prunes[who].at;
    if at <= DISCARD && (at <= MARK || at == DISCARD) {
        plan(world, s, who, out);
    } else if at < DISCARD {
        finish(world, s, who, out);
    }
}

/// Steps 1 to 5, up to the claim.
fn plan(world: &World, s: &State, who: usize, out: &mut Vec<Next>) {
    let me = s.prunes[who];
    let wish = if who == FRESH_PRUNE { &LAST } else { &world.setup.prunes[who] };
    let mut next = *s;
    let mut go = |act: Act, prune: PruneState, mut state: State| {
        state.prunes[who] = prune;
        out.push(Next { who: number_of(who), act, state });
    };
    let new = PruneState { copied: me.copied, ..PruneState::default() };
    match me.at {
        CHAIN if world.lacks(rule::CLAIM_THEN_MARK) => {
            let open = (1..).zip(s.numbers).filter(|(_, n)| n.open).fold(0, |all, (n, _)| all | 1 << n);
            go(Act::ReadsChain, PruneState { at: LOOK, rest: open, ..new }, next);
        }
        CHAIN => go(Act::ReadsChain, PruneState { at: LOOK, number: s.highest(), ..new }, next),
        LOOK => {
            let mut number = me.number;
            let mut open = number > 0 && s.number(number).open;
            if world.lacks(rule::CLAIM_THEN_MARK) {
                number = s.highest();
                open = number > 0 && me.rest & 1 << number != 0 && s.number(number).open;
            }
            if open && !world.lacks(rule::ONE_AT_A_TIME) {
                let n = s.number(number);
                let begun = PruneState { number, snapshots: n.remove, doomed: n.mark, ..new };
                let late = world.lacks(rule::FINISH_CLAIMED);
                go(Act::FindsOpen, if late { list(begun) } else { begin(world, begun, s) }, next);
            } else {
                go(Act::FindsClosed, PruneState { at: SURVEY, number: number + 1, ..new }, next);
            }
        }
        SURVEY => {
            let then = if world.setup.checkpoints { CHECKPOINTS } else { CHOOSE };
            let early = if world.lacks(rule::LIST_AFTER_CLAIM) { unfinished(s) } else { 0 };
            go(Act::Surveys, PruneState { at: then, snapshots: s.snapshots, early, ..me }, next);
        }
        CHECKPOINTS => {
            let named = s.records & !s.snapshots & s.checkpoints;
            go(Act::ReadsCheckpoints, PruneState { at: CHOOSE, rest: world.needs(named), ..me }, next);
        }
        CHOOSE => choose(world, s, who, wish, &mut go),
        COPY => {
            next.packs |= copy_of(who, me);
            go(Act::Copies, PruneState { at: CLAIM, copied: me.copied + 1, ..me }, next);
        }
        CLAIM if s.number(me.number).owner > 0 && world.lacks(rule::BEGIN_ANEW) => {
            go(Act::IsRefused, PruneState { number: me.number + 1, ..me }, next);
        }
        CLAIM if s.number(me.number).owner > 0 => {
            // Copies are left to the next prune: somebody may rely on them.
            let discard = world.lacks(rule::COPIES_STAY) && me.copied > 0;
            go(Act::IsRefused, PruneState { at: if discard { DISCARD } else { CHAIN }, ..new }, next);
        }
        CLAIM => {
            let parted = world.lacks(rule::MARK_BEFORE_CLAIM);
            let n = next.number_mut(me.number);
            let (owner, remove) = (who as u8 + 1, me.snapshots);
            *n = crate::state::Number { owner, remove, mark: me.doomed, open: !parted, ..*n };
            if parted {
                go(Act::ClaimsFirst, PruneState { at: MARK, ..me }, next);
            } else {
                go(Act::Claims, begin(world, me, s), next);
            }
        }
        MARK => {
            next.number_mut(me.number).open = true;
            go(Act::WritesMark, begin(world, me, s), next);
        }
        _ => {
            next.packs &= !COPIES[who][me.copied as usize - 1];
            go(Act::DeletesCopies, new, next);
        }
    }
}

/// The end of step 2: each choice of packs that leaves, or copies, what is needed.
fn choose(world: &World, s: &State, who: usize, wish: &Wish, go: &mut impl FnMut(Act, PruneState, State)) {
    let me = s.prunes[who];
    let mut remove = wish.remove & me.snapshots;
    if remove == me.snapshots {
        remove = 0;
    }
    let live = world.needs(me.snapshots & !remove) | me.rest & world.blobs(s.packs);
    let (all, mut tried, mut any) = ([unneeded(world, s.packs, live)], Vec::new(), false);
    for choice in if who == FRESH_PRUNE { &all } else { wish.condemn } {
        let doomed = choice & s.packs;
        let copied = live & !world.blobs(s.packs & !doomed);
        let can = copied == 0 || (wish.copies && copied & !world.blobs(copy_of(who, me)) == 0);
        if tried.contains(&doomed) || !can || (doomed == 0 && remove == 0) {
            continue;
        }
        tried.push(doomed);
        any = true;
        let at = if copied == 0 { CLAIM } else { COPY };
        go(Act::Chooses, PruneState { at, snapshots: remove, doomed, rest: 0, ..me }, *s);
    }
    if !any {
        go(Act::ChoosesNothing, PruneState { at: DONE, ..PruneState::default() }, *s);
    }
}

/// Each of these packs.
fn packs(set: Set) -> impl Iterator<Item = Set> {
    (0..8).map(|n| 1 << n).filter(move |pack| set & pack != 0)
}

/// Those of these packs that hold nothing needed.
pub(crate) fn unneeded(world: &World, of: Set, live: Set) -> Set {
    packs(of).filter(|pack| world.blobs(*pack) & live == 0).sum()
}

fn number_of(who: usize) -> u8 {
    (crate::state::RUNS + who) as u8
}

/// Where a claimed prune goes on: step 6, unless there is nothing to do in it.
fn begin(world: &World, me: PruneState, s: &State) -> PruneState {
    let me = PruneState { rest: 0, ..me };
    if world.lacks(rule::FILES_FIRST | rule::FILES_BEFORE_PACKS) {
        list(me)
    } else if world.lacks(rule::LOOK_AFTER_FENCES) {
        PruneState { at: SECOND, snapshots: 0, ..me }
    } else if me.snapshots & s.snapshots == 0 {
        list(me)
    } else {
        PruneState { at: REMOVE, ..me }
    }
}

/// Step 7, or what follows without it.
fn list(me: PruneState) -> PruneState {
    PruneState { at: LIST, snapshots: 0, rest: 0, ..me }
}

/// The runs that have a record and no snapshot.
fn unfinished(s: &State) -> Set {
    s.records & !(s.snapshots | s.tombstones)
}

/// What follows when some runs of step 7 are fenced: the others, then step 8.
fn fenced(world: &World, me: PruneState) -> PruneState {
    if me.rest != 0 {
        PruneState { at: FENCE, ..me }
    } else if world.lacks(rule::LOOK_AFTER_FENCES) {
        PruneState { at: DECIDE, rest: me.early, ..me }
    } else {
        PruneState { at: SECOND, ..me }
    }
}

/// What follows the decision: step 10.
fn decided(world: &World, me: PruneState, s: &State) -> PruneState {
    let remove = s.number(me.number).remove;
    let left = remove & s.snapshots != 0 && me.at != REMOVE;
    let nothing = me.doomed == 0 || world.lacks(rule::MARK_LAST);
    let me = PruneState { rest: 0, early: 0, snapshots: 0, ..me };
    if left && (world.lacks(rule::FILES_FIRST) || (world.lacks(rule::FILES_BEFORE_PACKS) && me.doomed == 0)) {
        PruneState { at: REMOVE, snapshots: remove, ..me }
    } else {
        PruneState { at: if nothing { CLOSE } else { DELETE }, ..me }
    }
}

/// What follows when the prune has done all: its owner is done, whoever only helped begins their own.
fn leave(me: PruneState, owner: bool) -> PruneState {
    if owner {
        PruneState { at: DONE, ..PruneState::default() }
    } else {
        PruneState { at: CHAIN, copied: me.copied, ..PruneState::default() }
    }
}

/// Steps 6 to 11, by whoever claimed it or whoever came next.
fn finish(world: &World, s: &State, who: usize, out: &mut Vec<Next>) {
    let me = s.prunes[who];
    let mut next = *s;
    let mut go = |act: Act, prune: PruneState, mut state: State| {
        state.prunes[who] = prune;
        out.push(Next { who: number_of(who), act, state });
    };
    let number = s.number(me.number);
    let mine = number.owner == who as u8 + 1;
    match me.at {
        REMOVE => {
            let one = me.snapshots & me.snapshots.wrapping_neg();
            let gone = s.snapshots & world.same_name(one);
            next.snapshots &= !gone;
            next.deleted_wrongly |= gone & !number.remove != 0;
            let me = PruneState { snapshots: me.snapshots & !one, ..me };
            let then = if me.snapshots != 0 {
                me
            } else if world.lacks(rule::FILES_FIRST | rule::FILES_BEFORE_PACKS) {
                decided(world, me, &next)
            } else {
                list(me)
            };
            go(Act::RemovesSnapshot, then, next);
        }
        LIST => {
            let rest = if world.lacks(rule::LIST_RUNS) {
                0
            } else if world.lacks(rule::LIST_AFTER_CLAIM) && mine {
                me.early
            } else {
                unfinished(s)
            };
            go(Act::ListsRuns, fenced(world, PruneState { rest, ..me }), next);
        }
        FENCE => {
            let one = me.rest & me.rest.wrapping_neg();
            let rest = me.rest & !one;
            let then = fenced(world, PruneState { rest, ..me });
            if world.stands(s, one) {
                go(Act::FindsFinished, then, next);
            } else {
                next.tombstones |= one;
                go(Act::Fences, then, next);
                go(Act::SeesAtWork, PruneState { at: DECIDE, rest: KEEP_ALL, ..me }, *s);
            }
        }
        SECOND => {
            let snapshots = s.snapshots & !number.remove;
            if world.lacks(rule::SECOND_LOOK) {
                go(Act::LooksAgain, PruneState { at: DECIDE, ..me }, next);
            } else {
                go(Act::LooksAgain, PruneState { at: WEIGH, snapshots, ..me }, next);
            }
        }
        WEIGH => {
            let missing = world.needs(me.snapshots) & !world.blobs(s.packs & !me.doomed);
            let there = me.doomed & s.packs;
            let mut keep = there & !unneeded(world, there, missing);
            if world.lacks(rule::KEEP_ONE_COPY) {
                // The mutant takes "the only copy" by its word.
                keep =
                    packs(keep).filter(|p| world.blobs(*p) & missing & !world.blobs(there & !p) != 0).sum();
            }
            // All that hold any of it, or any one that holds all of it.
            let one = packs(keep).filter(|p| *p != keep && missing & !world.blobs(*p) == 0);
            for keep in std::iter::once(keep).chain(one) {
                let then = if world.lacks(rule::LOOK_AFTER_FENCES) {
                    PruneState { at: LIST, early: keep, ..me }
                } else {
                    PruneState { at: DECIDE, rest: keep, ..me }
                };
                go(Act::Weighs, PruneState { snapshots: 0, ..then }, next);
            }
        }
        DECIDE => {
            let (mut keep, mut act) = (me.rest, Act::Decides);
            if number.decided && !world.lacks(rule::ONE_DECISION) {
                (keep, act) = (number.keep, Act::FollowsDecision);
            } else {
                let n = next.number_mut(me.number);
                (n.decided, n.keep) = (true, keep);
            }
            go(act, decided(world, PruneState { doomed: me.doomed & !keep, ..me }, s), next);
        }
        DELETE => {
            let one = me.doomed & me.doomed.wrapping_neg();
            next.packs &= !one;
            let me = PruneState { doomed: me.doomed & !one, ..me };
            let then = if me.doomed != 0 {
                me
            } else if world.lacks(rule::MARK_LAST) {
                leave(me, mine)
            } else {
                decided(world, me, s)
            };
            go(Act::DeletesPack, then, next);
        }
        _ => {
            let n = next.number_mut(me.number);
            n.open = false;
            if world.lacks(rule::CLAIMS_STAY) {
                *n = crate::state::Number::default();
            }
            if world.lacks(rule::TOMBSTONES_STAY) {
                next.tombstones = 0;
            }
            let left = world.lacks(rule::MARK_LAST) && me.doomed != 0;
            go(Act::Closes, if left { PruneState { at: DELETE, ..me } } else { leave(me, mine) }, next);
        }
    }
}
