//! The fuzzing targets on stable: every committed seed, and mutations of it that are the same in every run.
//!
//! `QBAK_FUZZ_SECONDS=600 cargo test --release --test fuzz_corpus` goes on for so long with mutations that differ from
//! run to run. What makes a target fail is kept in `target/fuzz-failures/`; put it into `fuzz/corpus/<target>/` once
//! the fault is mended, and it is tried for ever. `QBAK_MAKE_SEEDS=1 cargo test --test fuzz_corpus -- --ignored` writes
//! the seeds anew after the format has changed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails is a test that fails")]

mod mutate;
mod seeds;
#[path = "../../fuzz/targets/mod.rs"]
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutate::Mutator;
use targets::{ALL, Target};

/// So many mutations of a target's seeds are tried in every run of the tests.
const MUTATIONS: u64 = 600;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn corpus(target: &str) -> PathBuf {
    Path::new(ROOT).join("fuzz/corpus").join(target)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    files.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

/// The seeds of a target, in the order of their names.
fn committed(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus(target);
    names(&folder).into_iter().map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap())).collect()
}

/// Runs a target; what makes it fail is written down.
fn try_one(name: &str, target: Target, data: &[u8]) -> bool {
    match catch_unwind(AssertUnwindSafe(|| target(data))) {
        Ok(taken) => taken,
        Err(_) => {
            let folder = Path::new(ROOT).join("target/fuzz-failures").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            let file = folder.join(blake3::hash(data).to_hex().as_str());
            std::fs::write(&file, data).unwrap();
            panic!("the target {name} fails (the reason stands above) on {}", file.display());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a switch for whoever looks for more")]
fn switch(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

#[test]
fn each_target_has_its_program_and_its_seeds() {
    let all: BTreeSet<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(all.len(), ALL.len());
    assert_eq!(names(&Path::new(ROOT).join("fuzz/corpus")), all);
    let programs: BTreeSet<String> = all.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&Path::new(ROOT).join("fuzz/fuzz_targets")), programs);
    let manifest = std::fs::read_to_string(Path::new(ROOT).join("fuzz/Cargo.toml")).unwrap();
    let mut total = 0;
    for (name, target) in ALL {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name} is not in fuzz/Cargo.toml"
        );
        let program = Path::new(ROOT).join(format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(
            std::fs::read_to_string(program).unwrap().contains(&format!("run(\"{name}\", data)")),
            "{name}"
        );
        let seeds = committed(name);
        total += seeds.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let taken = seeds.iter().filter(|(_, bytes)| try_one(name, *target, bytes)).count();
        assert!(taken > 0, "the parser of {name} takes none of its seeds: they are of an older format");
        assert!(taken * 2 >= seeds.len(), "{name} takes only {taken} of {} seeds", seeds.len());
    }
    assert!(total < 300_000, "the seeds have {total} bytes");
}

#[test]
fn seeds_and_their_mutations_hold() {
    let seconds = switch("QBAK_FUZZ_SECONDS");
    // Another start for each long run, named so that it can be had again.
    let start =
        seconds.map_or(0, |_| switch("QBAK_FUZZ_SEED").unwrap_or_else(|| u64::from(std::process::id())));
    let each = seconds.map(|s| Duration::from_secs_f64(s as f64 / ALL.len() as f64));
    let mut tried = BTreeMap::new();
    for (name, target) in ALL {
        let seeds: Vec<Vec<u8>> = committed(name).into_iter().map(|(_, bytes)| bytes).collect();
        let mut mutator = Mutator::new(name, start, seeds);
        let (begun, mut count, mut taken) = (Instant::now(), 0u64, 0u64);
        while each.map_or(count < MUTATIONS, |each| begun.elapsed() < each) {
            let data = mutator.mutation();
            if try_one(name, *target, &data) {
                taken += 1;
                // What a parser takes is worth changing further.
                mutator.keep(data);
            }
            count += 1;
        }
        tried.insert(*name, (count, taken));
    }
    // A mutation that no parser ever takes tries nothing but its first check.
    for (name, (count, taken)) in &tried {
        assert!(*taken > 0, "of {count} mutations the parser of {name} takes none");
    }
    if seconds.is_some() {
        let lines: Vec<String> =
            tried.iter().map(|(n, (c, t))| format!("{n}: {c} tried, {t} taken")).collect();
        eprintln!("QBAK_FUZZ_SEED={start}\n{}", lines.join("\n"));
    }
}

#[test]
#[ignore = "writes fuzz/corpus: QBAK_MAKE_SEEDS=1 cargo test --test fuzz_corpus -- --ignored"]
fn make_seeds() {
    if switch("QBAK_MAKE_SEEDS").is_none() {
        return;
    }
    for (target, name, bytes) in seeds::all() {
        assert!(ALL.iter().any(|(n, _)| *n == target), "there is no target {target}");
        let folder = corpus(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}
