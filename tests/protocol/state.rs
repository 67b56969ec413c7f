//! What a store holds, what each process knows, and what a set-up fixes. All of it small: millions of states are kept.
//!
//! Left out of the model, because nothing may rest on it: leases, clocks, and index files (a pack that no index names is read by
//! its own table). A mark and its claim are one step, unless a mutant parts them: nothing leads to a mark before its claim
//! stands, so a prune that stops between them has done nothing. A run that heeds a mark that has no claim yet only stores more.
//!
//! A listing is one step, though a real one takes time, and may or may not show what comes or goes meanwhile. That matters where
//! two things are concluded from one listing: the claim of a number and its mark, which are therefore two steps (`FindsOpen`).
//! Elsewhere each name stands for itself, and whatever it must show was there before the listing began and stays until
//! it ends.

use crate::mutants::Rules;

/// A set of packs, blobs, snapshots or runs: a bit each.
pub(crate) type Set = u8;

/// Runs of a set-up, and one more that comes when all others have stopped for ever.
pub(crate) const RUNS: usize = 3;
/// Prunes of a set-up, and one more.
pub(crate) const PRUNES: usize = 4;
/// The run and the prune that come last.
pub(crate) const FRESH_RUN: usize = RUNS - 1;
pub(crate) const FRESH_PRUNE: usize = PRUNES - 1;

/// Packs that are there at first.
pub(crate) const P: Set = 1;
pub(crate) const R: Set = 1 << 1;
/// The packs that the runs write.
pub(crate) const Q1: Set = 1 << 2;
pub(crate) const Q2: Set = 1 << 3;
/// The packs into which the prunes copy.
pub(crate) const C1: Set = 1 << 5;
pub(crate) const C2: Set = 1 << 6;
pub(crate) const C3: Set = 1 << 7;
pub(crate) const PACKS: [&str; 8] = ["P", "R", "Q1", "Q2", "Q3", "C1", "C2", "C3"];

/// Snapshots that are there at first.
pub(crate) const S0: Set = 1;
pub(crate) const S1: Set = 1 << 1;
/// The runs' snapshots.
pub(crate) const W1: Set = 1 << 2;
pub(crate) const NAMES: [&str; 5] = ["S0", "S1", "W1", "W2", "W3"];

/// Every pack stays: what a decision says when a run is at work.
pub(crate) const KEEP_ALL: Set = 0xff;

/// The snapshot that a run makes; also stands for its record and its checkpoint.
pub(crate) fn snapshot_of(run: usize) -> Set {
    W1 << run
}

/// The pack that a run writes.
pub(crate) fn pack_of(run: usize) -> Set {
    Q1 << run
}

/// `marks/<n>…`: claim, mark and decision of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Number {
    /// The prune that claimed it, counted from 1; 0: nobody.
    pub owner: u8,
    /// The claim: the snapshots that are to go.
    pub remove: Set,
    /// The mark: the packs that are to go.
    pub mark: Set,
    /// The mark is there.
    pub open: bool,
    /// There is a decision.
    pub decided: bool,
    /// The decision: the packs that stay after all.
    pub keep: Set,
}

impl Number {
    /// The packs that a run must not rely on.
    pub(crate) fn condemned(self) -> Set {
        if self.open && self.decided {
            self.mark & !self.keep
        } else if self.open {
            self.mark
        } else {
            0
        }
    }

    /// Whether "unchanged" does not mean "present" because of it.
    pub(crate) fn forbids_short_cut(self) -> bool {
        self.open && !(self.decided && self.keep == KEEP_ALL)
    }

    fn word(self) -> u64 {
        let flags = u8::from(self.open) | u8::from(self.decided) << 1;
        u64::from_le_bytes([self.owner, self.remove, self.mark, self.keep, flags, 0, 0, 0])
    }
}

/// What a run knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RunState {
    /// How far it is: see `run.rs`.
    pub at: u8,
    /// The packs that it saw condemned.
    pub condemned: Set,
    /// The packs that it listed.
    pub packs: Set,
    /// What else it saw: see `run.rs`.
    pub saw: u8,
}

/// What a prune knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PruneState {
    /// How far it is: see `prune.rs`.
    pub at: u8,
    /// The number that it is at.
    pub number: u8,
    /// The snapshots that it saw, or that it has still to remove.
    pub snapshots: Set,
    /// The packs that are to go.
    pub doomed: Set,
    /// The runs still to be fenced, the blobs of checkpoints, or the packs that stay: what the step needs.
    pub rest: Set,
    /// What mutants learn too early and use later.
    pub early: Set,
    /// How often it has copied.
    pub copied: u8,
}

/// Everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct State {
    pub packs: Set,
    pub snapshots: Set,
    /// Tombstones, under the names of the runs' snapshots.
    pub tombstones: Set,
    /// `runs/<name>.json`.
    pub records: Set,
    /// Their checkpoints, each of which names all that its run needs.
    pub checkpoints: Set,
    /// A snapshot was deleted that no claim had meant.
    pub deleted_wrongly: bool,
    pub numbers: [Number; PRUNES],
    pub runs: [RunState; RUNS],
    pub prunes: [PruneState; PRUNES],
}

impl State {
    /// The store alone, as it is found by whoever comes when all others have stopped.
    pub(crate) fn store(&self) -> Self {
        Self { runs: Default::default(), prunes: Default::default(), ..*self }
    }

    /// The highest number that was claimed; 0: none.
    pub(crate) fn highest(&self) -> u8 {
        (1..=PRUNES as u8).rev().find(|n| self.number(*n).owner > 0).unwrap_or(0)
    }

    pub(crate) fn number(&self, n: u8) -> Number {
        self.numbers[n as usize - 1]
    }

    pub(crate) fn number_mut(&mut self, n: u8) -> &mut Number {
        &mut self.numbers[n as usize - 1]
    }

    /// A hash of all of it, quick even where nothing is optimised.
    pub(crate) fn hash(&self) -> u64 {
        let wrongly = u8::from(self.deleted_wrongly);
        let head =
            [self.packs, self.snapshots, self.tombstones, self.records, self.checkpoints, wrongly, 0, 0];
        let mut hash = mix(0, u64::from_le_bytes(head));
        for n in self.numbers {
            hash = mix(hash, n.word());
        }
        for r in self.runs {
            hash = mix(hash, u64::from(u32::from_le_bytes([r.at, r.condemned, r.packs, r.saw])));
        }
        for p in self.prunes {
            hash = mix(
                hash,
                u64::from_le_bytes([p.at, p.number, p.snapshots, p.doomed, p.rest, p.early, p.copied, 0]),
            );
        }
        hash ^ hash >> 32
    }
}

fn mix(hash: u64, word: u64) -> u64 {
    ((hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)).rotate_left(29)
}

/// What a prune wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// The snapshots that it removes, if one stays.
    pub remove: Set,
    /// The packs that it condemns, if it may: one of these.
    pub condemn: &'static [Set],
    /// It copies what is live in them (step 3); otherwise it condemns only what nothing needs.
    pub copies: bool,
}

/// A set-up: who is at work on what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub name: &'static str,
    pub packs: Set,
    /// The blobs that each pack holds, if it is there.
    pub holds: [Set; 8],
    pub snapshots: Set,
    /// The blobs that each snapshot needs.
    pub needs: [Set; 5],
    pub runs: usize,
    pub prunes: &'static [Wish],
    /// Runs write checkpoints, and put those aside that were cut off when they have finished.
    pub checkpoints: bool,
    /// A run may take its record back once and begin anew.
    pub begins_anew: bool,
    /// The answer to a commit can be lost.
    pub lost_answers: bool,
    /// The first run's clock is wrong: it takes the name of S0.
    pub reuses_name: bool,
}

/// A set-up, and what is left out of the protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    pub setup: Setup,
    pub left_out: Rules,
}

impl World {
    pub(crate) fn lacks(&self, rule: Rules) -> bool {
        self.left_out & rule != 0
    }

    /// The blobs in these packs.
    pub(crate) fn blobs(&self, packs: Set) -> Set {
        union(&self.setup.holds, packs)
    }

    /// The blobs that these snapshots need.
    pub(crate) fn needs(&self, snapshots: Set) -> Set {
        union(&self.setup.needs, snapshots)
    }

    /// All snapshots whose file has the name of one of these.
    pub(crate) fn same_name(&self, snapshots: Set) -> Set {
        if self.setup.reuses_name && snapshots & (S0 | W1) != 0 { snapshots | S0 | W1 } else { snapshots }
    }

    /// Something stands under the name of this snapshot.
    pub(crate) fn stands(&self, s: &State, snapshot: Set) -> bool {
        (s.snapshots | s.tombstones) & self.same_name(snapshot) != 0
    }

    pub(crate) fn begin(&self) -> State {
        State { packs: self.setup.packs, snapshots: self.setup.snapshots, ..State::default() }
    }
}

fn union(of: &[Set], which: Set) -> Set {
    let (mut all, mut left, mut n) = (0, which, 0);
    while left != 0 {
        if left & 1 != 0 {
            all |= of[n];
        }
        left >>= 1;
        n += 1;
    }
    all
}

/// A step that can be taken, and where it leads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next {
    /// Who takes it: a run, or a prune counted from `RUNS`.
    pub who: u8,
    pub act: Act,
    pub state: State,
}

macro_rules! acts {
    ($($act:ident $text:literal,)*) => {
        /// Every step there is, in the words and numbers of `docs/protocol.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Act { $($act,)* }

        impl Act {
            pub(crate) const ALL: &[Act] = &[$(Act::$act,)*];

            pub(crate) fn text(self) -> &'static str {
                match self { $(Act::$act => $text,)* }
            }
        }
    };
}

acts! {
    Records "(1) creates its record",
    ReadsClaimsEarly "(1) reads the claims",
    FindsNameFree "(1) finds its name free",
    FindsNameTaken "(1) finds its name taken, takes its record back",
    BeginsAnew "(1) would choose otherwise, takes its record back, begins anew",
    ReadsMarks "(2) reads the marks",
    ReadsSnapshots "(3) reads the snapshots",
    ListsPacks "(4) lists the packs",
    TakesUnchanged "(4) unchanged: takes it to be present",
    TrustsCheckpoint "(4) takes what a checkpoint names to be present",
    FindsAll "(4) looks up, finds all it needs",
    LacksSome "(4) looks up, does not find what it needs",
    WritesPack "(5) writes its pack",
    WritesCheckpoint "(5) writes a checkpoint",
    Commits "(6) creates its snapshot",
    IsFenced "(6) is fenced",
    FindsCommitted "(6) has no answer, reads back: it stands",
    FindsNothing "(6) has no answer, reads back: nothing stands there",
    CommitsAgain "(6) has no answer, tries again",
    PutsAside "(6) puts the runs aside that were cut off",
    ForgetsThem "(6) deletes their records",
    Forgets "(6) deletes its record",
    ReadsChain "(1) looks for the highest number",
    FindsOpen "(1) finds it open, is going to finish it",
    FindsClosed "(1) finds it closed",
    Surveys "(2) reads the snapshots",
    ReadsCheckpoints "(2) reads the checkpoints",
    Chooses "(2) lists the packs, chooses what goes",
    ChoosesNothing "(2) lists the packs, nothing is to go",
    Copies "(3) copies what is live",
    Claims "(4, 5) writes the mark, claims the number",
    ClaimsFirst "(5) claims the number without a mark",
    WritesMark "(4) writes the mark",
    IsRefused "(4, 5) writes the mark, is refused the number, begins anew",
    DeletesCopies "deletes its copies",
    RemovesSnapshot "(6) deletes a snapshot file",
    ListsRuns "(7) lists the runs without a snapshot",
    SeesAtWork "(7) takes a run to be at work, is going to keep all",
    Fences "(7) takes a run to be cut off, fences it",
    FindsFinished "(7) takes a run to be cut off: it has finished",
    LooksAgain "(8) reads the snapshots again",
    Weighs "(8) lists the packs, sees what must stay",
    Decides "(9) creates the decision",
    FollowsDecision "(9) finds a decision, follows it",
    DeletesPack "(10) deletes a pack",
    Closes "(11) deletes the mark",
}
