//! The set-ups: who is at work on which store. One blob is enough nearly everywhere, for what happens to one happens to any.

use crate::state::{C1, C2, P, Q1, Q2, R, S0, S1, Setup, Wish};

/// Every pack holds the one blob, and every snapshot needs it.
const ONE: Setup = Setup {
    name: "",
    packs: 0,
    holds: [1; 8],
    snapshots: 0,
    needs: [1; 5],
    runs: 0,
    prunes: &[],
    checkpoints: false,
    begins_anew: false,
    lost_answers: false,
    reuses_name: false,
};

/// Condemns one of these, or does not begin.
const fn sweep(condemn: &'static [u8]) -> Wish {
    Wish { remove: 0, condemn, copies: false }
}

/// The set-ups of the quick test.
pub(crate) const SMALL: &[Setup] = &[
    Setup {
        name: "A1: a garbage pack, 1 run, 2 prunes of which one helps",
        packs: P,
        runs: 1,
        prunes: &[sweep(&[P]), sweep(&[P])],
        begins_anew: true,
        ..ONE
    },
    Setup {
        name: "A: a garbage pack, 2 runs, 2 prunes of which one helps",
        packs: P,
        runs: 2,
        prunes: &[sweep(&[P]), sweep(&[P])],
        ..ONE
    },
    Setup {
        name: "B: two copies, a snapshot, 2 prunes that each condemn either",
        packs: P | R,
        snapshots: S0,
        prunes: &[sweep(&[P, R]), sweep(&[P, R])],
        ..ONE
    },
    Setup {
        name: "B3: the same, 3 prunes",
        packs: P | R,
        snapshots: S0,
        prunes: &[sweep(&[P, R]), sweep(&[P, R]), sweep(&[P, R])],
        ..ONE
    },
    Setup {
        name: "D1: two garbage packs, 1 run, a prune of both and one of either",
        packs: P | R,
        runs: 1,
        prunes: &[sweep(&[P | R]), sweep(&[P, R])],
        ..ONE
    },
    Setup {
        name: "E: a run whose own fresh pack is condemned, 2 prunes",
        packs: P,
        runs: 1,
        prunes: &[sweep(&[P, Q1]), sweep(&[P | Q1])],
        ..ONE
    },
    Setup {
        name: "P: the parent S0 is removed, the only user of P; 1 run, 2 prunes",
        packs: P | R,
        holds: [1, 2, 1, 1, 1, 1, 1, 1],
        snapshots: S0 | S1,
        needs: [1, 2, 1, 1, 1],
        runs: 1,
        prunes: &[Wish { remove: S0, condemn: &[P], copies: false }, sweep(&[P])],
        begins_anew: true,
        ..ONE
    },
    Setup {
        name: "K: S0 is removed and what S1 needs of P copied, 1 run, 2 prunes",
        packs: P,
        snapshots: S0 | S1,
        runs: 1,
        prunes: &[
            Wish { remove: S0, condemn: &[0, P], copies: true },
            Wish { remove: S0, condemn: &[P, C1], copies: true },
        ],
        ..ONE
    },
    Setup {
        name: "Q: two snapshots with a pack each, each of 2 prunes removes another; a third helps",
        packs: P | R,
        holds: [1, 2, 1, 1, 1, 1, 1, 1],
        snapshots: S0 | S1,
        needs: [1, 2, 1, 1, 1],
        prunes: &[
            Wish { remove: S0, condemn: &[0, P], copies: false },
            Wish { remove: S1, condemn: &[0, R], copies: false },
            sweep(&[P, R]),
        ],
        ..ONE
    },
    Setup {
        name: "R: a live pack is copied by each of 2 prunes, either of which condemns any; 1 run",
        packs: P,
        snapshots: S0,
        runs: 1,
        prunes: &[
            Wish { remove: 0, condemn: &[P], copies: true },
            Wish { remove: 0, condemn: &[P, C1, P | C1], copies: true },
        ],
        ..ONE
    },
    Setup {
        name: "S: a run with checkpoints, another goes on from them, 1 prune",
        runs: 2,
        prunes: &[sweep(&[Q1])],
        checkpoints: true,
        ..ONE
    },
    Setup {
        name: "L: a run whose commit's answer is lost, a prune that removes its snapshot",
        packs: P | R,
        holds: [1, 2, 1, 1, 1, 1, 1, 1],
        snapshots: S1,
        needs: [1, 2, 1, 1, 1],
        runs: 1,
        prunes: &[Wish { remove: crate::state::W1, condemn: &[P, Q1, P | Q1], copies: false }],
        lost_answers: true,
        ..ONE
    },
    Setup {
        name: "N: a run of the name of a snapshot that 2 prunes are removing",
        packs: P | R,
        holds: [1, 2, 1, 1, 1, 1, 1, 1],
        snapshots: S0 | S1,
        needs: [1, 2, 1, 1, 1],
        runs: 1,
        prunes: &[Wish { remove: S0, condemn: &[P], copies: false }, sweep(&[P])],
        reuses_name: true,
        ..ONE
    },
];

/// Larger ones, for a release build.
pub(crate) const LARGE: &[Setup] = &[
    Setup {
        name: "C: two copies, a snapshot, 2 runs, 2 prunes that each condemn either",
        packs: P | R,
        snapshots: S0,
        runs: 2,
        prunes: &[sweep(&[P, R]), sweep(&[P, R])],
        ..ONE
    },
    Setup {
        name: "D: two garbage packs, 2 runs, 2 prunes that condemn either or both",
        packs: P | R,
        runs: 2,
        prunes: &[sweep(&[P, P | R]), sweep(&[R, P | R])],
        ..ONE
    },
    Setup {
        name: "E2: two runs whose own fresh packs are condemned, 2 prunes",
        packs: P,
        runs: 2,
        prunes: &[sweep(&[P | Q1]), sweep(&[Q1, P | Q2])],
        ..ONE
    },
    Setup {
        name: "P2: S0 and with it P goes, 2 runs, 2 prunes",
        packs: P | R,
        holds: [1, 2, 1, 1, 1, 1, 1, 1],
        snapshots: S0 | S1,
        needs: [1, 2, 1, 1, 1],
        runs: 2,
        prunes: &[Wish { remove: S0, condemn: &[P], copies: false }, sweep(&[P])],
        ..ONE
    },
    Setup {
        name: "R2: copies of a live pack, 3 prunes that condemn any, 1 run",
        packs: P,
        snapshots: S0,
        runs: 1,
        prunes: &[
            Wish { remove: 0, condemn: &[P], copies: true },
            Wish { remove: 0, condemn: &[P, C1, P | C1], copies: true },
            sweep(&[P, C1, C2, P | C1, P | C2]),
        ],
        ..ONE
    },
    Setup {
        name: "A3: a garbage pack, 1 run, 3 prunes",
        packs: P,
        runs: 1,
        prunes: &[sweep(&[P]), sweep(&[P]), sweep(&[P])],
        ..ONE
    },
    Setup {
        name: "Q2: two snapshots with a pack each, each of 2 prunes removes another; 2 runs",
        packs: P | R,
        holds: [1, 2, 1, 2, 1, 1, 1, 1],
        snapshots: S0 | S1,
        needs: [1, 2, 1, 2, 1],
        runs: 2,
        prunes: &[
            Wish { remove: S0, condemn: &[P], copies: false },
            Wish { remove: S1, condemn: &[R], copies: false },
        ],
        ..ONE
    },
    Setup {
        name: "S2: runs with checkpoints, 2 prunes",
        packs: P,
        runs: 2,
        prunes: &[sweep(&[P, Q1, P | Q1]), sweep(&[P | Q1, Q1 | Q2])],
        checkpoints: true,
        ..ONE
    },
];
