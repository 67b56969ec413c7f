//! What is fuzzed: each target is a plain function over bytes that nobody vouches for. It calls a parser of the library
//! and asserts what must hold whatever the bytes are; it answers whether the parser took them.
//!
//! Shared by the programs in `fuzz_targets/`, which libFuzzer drives (nightly), and by `tests/fuzz_corpus.rs`, which
//! runs the committed seeds and mutations of them as plain tests (stable).

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "compiled into tests and fuzzing programs alone: to panic is how a property says that it does not hold"
)]

mod container;
mod keys;
mod kodo;
mod manifest;
mod records;
mod settings;
mod words;

/// A target: takes any bytes; true if a parser took them.
pub type Target = fn(&[u8]) -> bool;

/// Every target by its name, which is that of its program and of its folder of seeds.
pub const ALL: &[(&str, Target)] = &[
    ("pack", container::pack),
    ("index", container::index),
    ("decompress", container::decompress),
    ("record", records::record),
    ("snapshot", records::snapshot),
    ("checkpoint", records::checkpoint),
    ("prune_record", records::prune_record),
    ("store_name", records::store_name),
    ("manifest", manifest::manifest),
    ("page", manifest::page),
    ("kodo_list", kodo::list),
    ("kodo_answer", kodo::answer),
    ("kodo_head", kodo::head),
    ("kodo_spelling", kodo::spelling),
    ("config", settings::config),
    ("credentials", settings::credentials),
    ("date", words::date),
    ("measure", words::measure),
    ("glob", words::glob),
    ("url", words::url),
    ("key_map", keys::key_map),
    ("side_file", keys::side_file),
];

/// Runs a target by its name; for the programs.
#[allow(dead_code, reason = "the test goes over all of them")]
pub fn run(name: &str, data: &[u8]) {
    let target = ALL.iter().find(|(n, _)| *n == name);
    target.unwrap_or_else(|| panic!("there is no target {name}")).1(data);
}

/// Whether a text can stand in one line of a terminal.
fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}
