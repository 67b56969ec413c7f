//! What is durable when: the system calls of the real binary, in their order. A file is flushed before it gets its name,
//! its folder after; a snapshot's name comes after everything it needs, and what it needs goes only after its name has.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{noise, write};

/// A call on files that matters here, in the order they returned.
#[derive(Debug, Clone, PartialEq)]
enum Call {
    Flush(String),
    Named { from: String, to: String },
    Gone(String),
}

/// Runs the binary under strace. `None`: there is no strace that works here, and that is said.
fn trace(store: &Path, source: &Path, words: &[&str]) -> Option<Vec<Call>> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let calls = "trace=fsync,fdatasync,link,linkat,rename,renameat,renameat2,unlink,unlinkat";
    // Some sandboxes have the program and forbid what it does.
    let works =
        Command::new("strace").args(["-o", "/dev/null", "true"]).output().is_ok_and(|o| o.status.success());
    if !works {
        #[expect(clippy::disallowed_methods, reason = "set by .ci/run")]
        let required = std::env::var_os("QBAK_REQUIRE_OUTSIDE").is_some();
        assert!(!required, "strace is needed here and does not work");
        println!("skipped: strace is missing or may not trace here");
        return None;
    }
    let output = Command::new("strace")
        .args(["-f", "-y", "-s", "4096", "-e", calls, "-o"])
        .arg(log.path())
        .arg(env!("CARGO_BIN_EXE_qbak"))
        .args(["-q", "--store"])
        .arg(store)
        .arg("--source")
        .arg(source)
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    let text = std::fs::read_to_string(log.path()).unwrap();
    // A call that another thread interrupts is written in two lines; the second says that it returned.
    let mut begun = std::collections::HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (pid, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim();
        if let Some(first) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(pid.to_owned(), first.to_owned());
            continue;
        }
        let whole = match rest.split_once("resumed>") {
            Some((_, second)) if rest.starts_with("<...") => {
                format!("{}{second}", begun.remove(pid).unwrap_or_default())
            }
            _ => rest.to_owned(),
        };
        calls.extend(parse(&whole));
    }
    Some(calls)
}

fn parse(line: &str) -> Option<Call> {
    if !line.trim_end().ends_with("= 0") {
        return None;
    }
    let quoted: Vec<String> = line.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    if line.starts_with("fsync") || line.starts_with("fdatasync") {
        return Some(Call::Flush(line.split('<').nth(1)?.split('>').next()?.to_owned()));
    }
    if line.starts_with("unlink") {
        return Some(Call::Gone(quoted.first()?.clone()));
    }
    Some(Call::Named { from: quoted.first()?.clone(), to: quoted.get(1)?.clone() })
}

/// Where a file gets its final name.
fn named(calls: &[Call], part: &str) -> Vec<usize> {
    let is = |c: &Call| matches!(c, Call::Named { to, .. } if to.contains(part));
    calls.iter().enumerate().filter(|(_, c)| is(c)).map(|(n, _)| n).collect()
}

fn gone(calls: &[Call], part: &str) -> Vec<usize> {
    let is = |c: &Call| matches!(c, Call::Gone(name) if name.contains(part) && !name.contains('#'));
    calls.iter().enumerate().filter(|(_, c)| is(c)).map(|(n, _)| n).collect()
}

fn flushed(calls: &[Call], name: &str, between: std::ops::Range<usize>) -> bool {
    calls[between].iter().any(|c| matches!(c, Call::Flush(f) if f == name))
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').unwrap().0
}

fn init(store: &Path, source: &Path) {
    let mut init = Command::new(env!("CARGO_BIN_EXE_qbak"));
    let status =
        init.args(["-q", "--store"]).arg(store).arg("--source").arg(source).arg("init").status().unwrap();
    assert!(status.success());
}

#[test]
fn a_snapshot_is_durable_before_it_is_named_and_when_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (store, source) = (root.join("store"), root.join("data"));
    for n in 0..20 {
        write(&source, &format!("{n}"), noise(n, 300_000));
    }
    init(&store, &source);
    let Some(calls) = trace(&store, &source, &["snapshot"]) else { return };
    let commit = named(&calls, "/snapshots/");
    assert_eq!(commit.len(), 1, "{calls:?}");
    let (packs, indexes) = (named(&calls, ".pack"), named(&calls, ".idx"));
    assert!(packs.len() >= 2 && !indexes.is_empty());
    assert!(packs.iter().max() < indexes.iter().min(), "an index names only durable packs");
    for n in packs.iter().chain(&indexes).chain(&commit) {
        let Call::Named { from, to } = &calls[*n] else { unreachable!() };
        assert!(flushed(&calls, from, 0..*n), "{to} got its name before its bytes were flushed");
        let by = if *n == commit[0] { gone(&calls, "/runs/")[0] } else { commit[0] };
        assert!(flushed(&calls, parent(to), *n..by), "the folder of {to} was not flushed in time");
    }
    assert!(named(&calls, "/runs/")[0] < packs[0], "the run's record comes first");
    let record_gone = gone(&calls, "/runs/");
    assert!(!record_gone.is_empty() && record_gone[0] > commit[0], "the run's record goes last");
    let runs = store.join("runs").display().to_string();
    assert!(flushed(&calls, &runs, record_gone[0]..calls.len()), "its deletion is durable too");
}

#[test]
fn a_prune_deletes_names_first_and_durably() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (store, source) = (root.join("store"), root.join("data"));
    for n in 0..30 {
        write(&source, &format!("stays-{n}"), noise(1000 + n, 1000));
    }
    init(&store, &source);
    for week in 0..2 {
        for n in 0..10 {
            write(&source, &format!("{n}"), noise(week * 100 + n, 300_000));
        }
        if trace(&store, &source, &["snapshot", "--full"]).is_none() {
            return;
        }
    }
    let Some(calls) = trace(&store, &source, &["prune", "--keep", "1", "--yes"]) else { return };
    let (snapshots, packs) = (gone(&calls, "/snapshots/"), gone(&calls, ".pack"));
    assert_eq!(snapshots.len(), 1);
    assert!(!packs.is_empty() && snapshots[0] < packs[0], "a snapshot goes before what it needs");
    let folder = store.join("snapshots").display().to_string();
    assert!(flushed(&calls, &folder, snapshots[0]..packs[0]), "and durably so");
    let Call::Gone(last) = &calls[*packs.last().unwrap()] else { unreachable!() };
    assert!(flushed(&calls, parent(last), *packs.last().unwrap()..calls.len()), "so are the packs");
}

/// A run that was killed may have given a pack its name, and not have flushed the folder in which the name stands.
#[test]
fn what_a_killed_run_left_is_flushed_before_anything_relies_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (store, source) = (root.join("store"), root.join("data"));
    write(&source, "a", noise(1, 300_000));
    init(&store, &source);
    if trace(&store, &source, &["snapshot"]).is_none() {
        return;
    }
    write(&source, "b", noise(2, 300_000));
    let Some(first) = trace(&store, &source, &["snapshot"]) else { return };
    // Only its packs are left, as if it had been killed before its index.
    for part in ["/snapshots/", ".idx"] {
        let Call::Named { to, .. } = &first[named(&first, part)[0]] else { unreachable!() };
        std::fs::remove_file(to).unwrap();
    }
    let Some(calls) = trace(&store, &source, &["snapshot"]) else { return };
    let commit = named(&calls, "/snapshots/")[0];
    let packs = named(&first, ".pack");
    assert!(packs.len() >= 2 && !named(&calls, ".idx").is_empty());
    for n in packs {
        let Call::Named { to, .. } = &first[n] else { unreachable!() };
        assert!(flushed(&calls, parent(to), 0..commit), "the folder of {to}, which nobody had flushed");
    }
}
