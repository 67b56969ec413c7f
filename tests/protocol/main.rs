//! The protocol of `docs/protocol.md` as a model, and every interleaving of it explored: each file operation is a step, and any
//! process may stop between two of its steps, for ever or for a while. Nothing may be lost, and each part of the protocol
//! that is left out must lose something.
//!
//! `state.rs` has the store and what each process knows, `run.rs` and `prune.rs` their steps under the numbers of that page,
//! `setups.rs` who is at work on what, `mutants.rs` what can be left out, `explore.rs` the search. With `--nocapture` the tests
//! say how many states they saw, and print the shortest way to each loss.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stdout, reason = "how much was explored, and the shortest way to each loss")]

mod explore;
mod mutants;
mod prune;
mod run;
mod setups;
mod state;

use explore::explore;
use mutants::{EITHER, ROWS, Rules};
use setups::{LARGE, SMALL};
use state::{Act, Setup, World};

/// Steps that only mutants take: the name of a removed snapshot is never free, and the packs are listed last, which shows as
/// what follows from it.
const MUTANT: &[Act] = &[
    Act::FindsNameFree,
    Act::ListsPacks,
    Act::ReadsClaimsEarly,
    Act::TrustsCheckpoint,
    Act::CommitsAgain,
    Act::ClaimsFirst,
    Act::WritesMark,
    Act::DeletesCopies,
];

/// Explores these, and fails at a loss; returns the steps that were taken.
fn whole(setups: &[Setup], left_out: Rules) -> u64 {
    let (mut total, mut acts) = (0, 0);
    for setup in setups {
        let found = explore(&World { setup: *setup, left_out });
        println!("{:>9} states, {:>6} stores  {}", found.states, found.stores, setup.name);
        if let Some(loss) = found.loss {
            panic!("{}\n{loss}", setup.name);
        }
        total += found.states;
        acts |= found.acts;
    }
    println!("{total:>9} states in all");
    acts
}

#[test]
fn nothing_is_lost() {
    let acts = whole(SMALL, 0);
    for act in Act::ALL {
        let taken = acts & 1 << *act as u8 != 0;
        assert_eq!(
            taken,
            !MUTANT.contains(act),
            "{act:?}: every step of the protocol is tried, and no other"
        );
    }
}

#[test]
#[ignore = "millions of states; docs/testing.md has the command"]
fn nothing_is_lost_at_large() {
    whole(LARGE, 0);
}

#[test]
fn every_part_is_needed() {
    for (rules, what, letter) in ROWS {
        let begins = format!("{letter}:");
        let setup = SMALL.iter().find(|s| s.name.starts_with(&begins)).unwrap();
        let found = explore(&World { setup: *setup, left_out: *rules });
        let loss = found.loss.unwrap_or_else(|| panic!("without {what}, nothing is lost in {}", setup.name));
        println!("Without {what}; {}\n{loss}\n", setup.name);
    }
}

/// Of two parts that make up for one another the page says so; were that no longer true, its table would have to change.
#[test]
fn either_of_two_is_enough() {
    // Where no snapshot is removed, both are idle.
    let removing: Vec<Setup> =
        SMALL.iter().filter(|s| s.prunes.iter().any(|wish| wish.remove != 0)).copied().collect();
    for rule in EITHER {
        whole(&removing, rule);
    }
}

/// The page's table and the mutants are the same rows in the same order.
#[test]
fn the_table_says_what_is_tried() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md")).unwrap();
    let rows = page.lines().skip_while(|line| !line.starts_with("| left out |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let rows: Vec<&str> = rows.map(|line| line.split('|').nth(1).unwrap().trim()).collect();
    let mut tried: Vec<&str> = ROWS.iter().map(|(_, what, _)| *what).collect();
    tried.dedup();
    assert_eq!(rows, tried);
}
