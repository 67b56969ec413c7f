//! The real binary under `strace -e inject`: killed at its N-th write, flush, link, rename or deletion, or told that one of them
//! failed. It ends at once or says which file it is about, what was acknowledged is whole, the next run needs no help, and a file
//! whose flush failed never gets a name: that a second flush succeeds means nothing.
//!
//! `QBAK_SWEEP=all` tries every call instead of some of each sort; `QBAK_BIN` names another binary than the tests' own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

use common::rig::{Rig, quick_folder, strace_works, wish};
use qbak::model::name::RunName;

const WRITE: &str = "write,pwrite64";
const FLUSH: &str = "fsync,fdatasync";
const LINK: &str = "link,linkat";
const RENAME: &str = "rename,renameat,renameat2";
const UNLINK: &str = "unlink,unlinkat";

const PRUNE: [&str; 4] = ["prune", "--keep", "1", "--yes"];

/// Runs a command under strace; returns what it said, and the lines of the trace of these calls.
fn traced(rig: &Rig, words: &[&str], calls: &str, inject: Option<&str>) -> (Output, Vec<String>) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let (trace, log_name) = (format!("trace={calls}"), log.path().to_str().unwrap());
    // On one processor its threads share the calls in much the same way each time.
    let mut before = vec!["taskset", "-c", "0", "strace", "-f", "-y", "-o", log_name, "-e", &trace];
    let inject = inject.map(|how| format!("inject={calls}:{how}"));
    if let Some(inject) = &inject {
        before.extend(["-e", inject.as_str()]);
    }
    let output = rig.command(&before, words).output().unwrap();
    (output, std::fs::read_to_string(log.path()).unwrap().lines().map(str::to_owned).collect())
}

/// How often a thread makes such a call, the one that makes most: strace counts each thread by itself.
fn most(base: &Rig, words: &[&str], calls: &str) -> usize {
    let folder = quick_folder();
    let (output, lines) = traced(&base.fork(folder.path()), words, calls, None);
    assert!(output.status.success(), "{output:?}");
    let mut by_thread: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines.iter().filter(|l| !l.contains("resumed>") && l.contains('(')) {
        *by_thread.entry(line.split_whitespace().next().unwrap()).or_default() += 1;
    }
    by_thread.values().copied().max().unwrap_or(0)
}

/// So many of 1 to `last`, both ends among them; all, if that is wished.
fn some(last: usize, few: usize) -> Vec<usize> {
    if last <= few || wish("QBAK_SWEEP").is_some_and(|w| w == "all") {
        return (1..=last).collect();
    }
    (0..few).map(|n| 1 + n * (last - 1) / (few - 1)).collect()
}

async fn base() -> (tempfile::TempDir, Rig, Vec<RunName>) {
    let folder = quick_folder();
    let rig = Rig::with_weeks(&folder.path().join("store"), &folder.path().join("data")).await;
    let known = rig.taken.keys().copied().collect();
    (folder, rig, known)
}

async fn killed_everywhere(base: &Rig, words: &[&str], sorts: &[&str], few: usize, stay: &[RunName]) {
    let mut killed = 0;
    for calls in sorts {
        let last = most(base, words, calls);
        assert!(last > 0, "{words:?} makes none of {calls}");
        for n in some(last, few) {
            let folder = quick_folder();
            let mut rig = base.fork(folder.path());
            let when = format!("{words:?} killed at {calls} number {n} of {last}");
            let (output, _) = traced(&rig, words, calls, Some(&format!("signal=SIGKILL:when={n}")));
            match output.status.signal() {
                Some(9) => killed += 1,
                // Threads share the work differently each time.
                _ => assert!(output.status.success(), "{when}: {output:?}"),
            }
            rig.judge(stay, &when).await;
            rig.run(words);
            rig.judge(stay, &format!("{when}, and run again")).await;
        }
    }
    assert!(killed > few * sorts.len() / 2, "only {killed} were killed");
}

#[tokio::test]
async fn a_snapshot_killed_at_any_call() {
    if strace_works() {
        let (_folder, base, known) = base().await;
        killed_everywhere(&base, &["snapshot"], &[WRITE, FLUSH, LINK, UNLINK], 4, &known).await;
    }
}

#[tokio::test]
async fn a_prune_killed_at_any_call() {
    if strace_works() {
        let (_folder, base, known) = base().await;
        killed_everywhere(&base, &PRUNE, &[FLUSH, LINK, UNLINK], 3, &known[2..]).await;
    }
}

#[tokio::test]
async fn a_restore_killed_at_any_call() {
    if !strace_works() {
        return;
    }
    let (folder, base, _) = base().await;
    let expected = base.taken.values().next_back().unwrap();
    let mut number = 0;
    for calls in [WRITE, RENAME] {
        let to = |n: usize| folder.path().join(format!("out-{n}")).to_str().unwrap().to_owned();
        number += 1;
        let last = most(&base, &["restore", "latest", "--to", &to(number)], calls);
        for n in some(last, 3) {
            number += 1;
            let out = to(number);
            traced(
                &base,
                &["restore", "latest", "--to", &out],
                calls,
                Some(&format!("signal=SIGKILL:when={n}")),
            );
            let whole = || {
                let mut there = common::files(std::path::Path::new(&out));
                there.retain(|name, _| !name.contains(".qbak-"));
                assert!(there.iter().all(|(name, bytes)| expected.get(name) == Some(bytes)), "{calls} {n}");
                there.len()
            };
            // Not even its folder may be there yet.
            std::fs::create_dir_all(&out).unwrap();
            whole();
            base.run(&["restore", "latest", "--overwrite", "--to", &out]);
            assert_eq!(whole(), expected.len(), "{calls} {n}");
        }
    }
}

/// The path of a call's first file, from a line of the trace: `fsync(9</store/x>)` or `link("/store/x", …)`.
fn first_file(line: &str) -> Option<&str> {
    let call = line.split_once('(')?.1;
    match call.strip_prefix('"') {
        Some(name) => name.split('"').next(),
        None => call.split_once('<')?.1.split('>').next(),
    }
}

#[tokio::test]
async fn what_fails_is_said_and_a_file_that_could_not_be_flushed_is_given_up() {
    if !strace_works() {
        return;
    }
    let (_folder, base, known) = base().await;
    let mut refused = 0;
    // Writes are left out: most of them wake threads, and fail nowhere. Full disks have tests of their own.
    for (calls, error) in [(FLUSH, "EIO"), (LINK, "EIO"), (FLUSH, "ENOSPC"), (LINK, "ENOSPC")] {
        let last = most(&base, &["snapshot"], calls);
        for n in some(last, 5) {
            let folder = quick_folder();
            let mut rig = base.fork(folder.path());
            let when = format!("{error} of {calls} number {n} of {last}");
            // Links are traced too: what was not flushed must not get one. Only the calls at hand fail.
            let all = format!("{calls},{LINK},{RENAME}");
            let log = folder.path().join("trace");
            let (trace, inject) = (format!("trace={all}"), format!("inject={calls}:error={error}:when={n}"));
            let log_name = log.to_str().unwrap();
            let before = ["strace", "-f", "-y", "-o", log_name, "-e", &trace, "-e", &inject];
            let output = rig.command(&before, &["snapshot"]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!said.contains("panicked"), "{when}: {said}");
            let text = std::fs::read_to_string(&log).unwrap();
            let store = rig.store.to_str().unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let mut hurt = false;
            for (at, line) in lines.iter().enumerate().filter(|(_, l)| l.contains("INJECTED")) {
                let Some(file) = first_file(line).filter(|f| f.starts_with(store)) else { continue };
                // Wherever it lies, a name that it gets afterwards is a name for bytes that may not be there.
                let named = |l: &&str| l.contains(&format!("\"{file}\"")) && l.contains("link(");
                let later = lines.iter().skip(at + 1).find(|l| named(l) && l.ends_with("= 0"));
                assert!(
                    calls != FLUSH || later.is_none(),
                    "{when}: {file} got a name all the same: {later:?}"
                );
                // Who holds the lease is a courtesy, and the run's own record only goes a little late.
                let matters = !file.ends_with("/lock") && !file.ends_with("/runs");
                hurt |= matters;
            }
            assert!(!hurt || !output.status.success(), "{when}: it went on\n{text}");
            if !output.status.success() {
                refused += 1;
                assert_eq!(output.status.code(), Some(1), "{when}: {said}\n{text}");
                let names = [".pack", ".idx", ".json", "groups/", "snapshots", "runs"];
                assert!(said.contains("error: ") && names.iter().any(|n| said.contains(n)), "{when}: {said}");
            }
            rig.judge(&known, &when).await;
            rig.run(&["snapshot"]);
            rig.judge(&known, &format!("{when}, and run again")).await;
        }
    }
    assert!(refused > 8, "only {refused} were told");
}
