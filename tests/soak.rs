//! Everything at once, for as long as one likes: snapshots, prunes, healings, verifications, restores and reads of one store by processes of
//! their own, which are killed and put to sleep at random, while the source changes. A read is never wrong: it gives what the snapshot
//! held, or says what is the matter. Not part of the ordinary tests:
//!
//! ```sh
//! QBAK_SOAK_MINUTES=10 cargo test --release --test soak -- --ignored --nocapture
//! ```
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::rig::{Rig, wish};
use common::weeks::Tree;
use common::{files, noise};
use rustix::process::{Pid, Signal, kill_process};

/// Chance, the same for the same seed as far as the processes allow.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        let hash = blake3::hash(&self.0.to_le_bytes());
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()) % sides
    }
}

/// How the commands ended, by verb: well, with an error, killed.
#[derive(Default)]
struct Score(Mutex<BTreeMap<&'static str, [u64; 3]>>);

impl Score {
    fn add(&self, verb: &'static str, how: usize) {
        self.0.lock().unwrap().entry(verb).or_default()[how] += 1;
    }
}

/// One who does one thing again and again.
struct Worker {
    verb: &'static str,
    rig: Rig,
    dice: Dice,
    score: Arc<Score>,
    until: Instant,
    /// Of a hundred, how many are killed.
    killed: u64,
}

impl Worker {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// Runs a command, which may be killed or sleep for a while; `None`: it was killed.
    fn run(&mut self, words: &[&str]) -> Option<Output> {
        let mut child = self.rig.command(&[], words).spawn().unwrap();
        let fate = self.dice.roll(100);
        if fate < self.killed {
            self.wait(&mut child, 400);
            child.kill().unwrap();
            let killed = child.wait().unwrap().code().is_none();
            self.score.add(self.verb, if killed { 2 } else { 0 });
            return None;
        }
        if fate < self.killed + 15 {
            self.wait(&mut child, 200);
            let pid = Pid::from_child(&child);
            let _ = kill_process(pid, Signal::STOP);
            thread::sleep(Duration::from_millis(self.dice.roll(1500)));
            let _ = kill_process(pid, Signal::CONT);
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{words:?}: {said}");
        match output.status.code() {
            Some(0) => self.score.add(self.verb, 0),
            Some(1..=6) => {
                assert!(!said.trim().is_empty(), "{words:?} failed and said nothing: {output:?}");
                // Damage there is none: whoever sees some sees wrong.
                assert!(output.status.code() != Some(4), "{words:?}: {said}");
                self.score.add(self.verb, 1);
            }
            other => panic!("{words:?} ended with {other:?}: {said}"),
        }
        Some(output)
    }

    fn wait(&mut self, child: &mut Child, most: u64) {
        let end = Instant::now() + Duration::from_millis(self.dice.roll(most));
        while Instant::now() < end && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The states that the source has been in: whatever a snapshot holds is one of them, and which one its own file says.
fn state_of(tree: &Tree) -> Option<u64> {
    String::from_utf8(tree.get("state")?.clone()).ok()?.parse().ok()
}

/// The source in its n-th state: a file comes and goes, so that blobs are needed again that nothing needed.
fn change(data: &Path, n: u64) {
    let put = |name: &str, bytes: &[u8]| {
        let temporary = data.parent().unwrap().join("next");
        std::fs::write(&temporary, bytes).unwrap();
        std::fs::create_dir_all(data.join(name).parent().unwrap()).unwrap();
        std::fs::rename(temporary, data.join(name)).unwrap();
    };
    for slot in 0..8 {
        put(&format!("slot/{slot}"), &noise((n / (slot + 1)) % 5 + slot * 10, 20_000));
    }
    let comes = data.join("comes-and-goes");
    if n.is_multiple_of(3) {
        put("comes-and-goes", &noise(99, 60_000));
    } else {
        let _ = std::fs::remove_file(comes);
    }
    put("state", n.to_string().as_bytes());
}

fn states(data: &Path, n: u64) -> Tree {
    change(data, n);
    files(data)
}

#[test]
#[ignore = "runs for minutes; see the first lines"]
fn everything_at_once() {
    let minutes: f64 = wish("QBAK_SOAK_MINUTES").and_then(|m| m.to_str()?.parse().ok()).unwrap_or(2.0);
    let seed: u64 =
        wish("QBAK_SOAK_SEED").and_then(|s| s.to_str()?.parse().ok()).unwrap_or(std::process::id().into());
    println!("QBAK_SOAK_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let (store, data) = (folder.path().join("store"), folder.path().join("data"));
    let rig = Rig::new(&store, &data);
    let known: Arc<Mutex<BTreeMap<u64, Tree>>> = Arc::default();
    known.lock().unwrap().insert(0, states(&data, 0));
    rig.run(&["snapshot", "--full"]);
    let until = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let score = Arc::new(Score::default());
    let worker = |verb: &'static str, n: u64, killed: u64| Worker {
        verb,
        rig: Rig { store: store.clone(), data: data.clone(), taken: BTreeMap::new() },
        dice: Dice(seed.wrapping_mul(1000).wrapping_add(n << 32)),
        score: Arc::clone(&score),
        until,
        killed,
    };
    thread::scope(|scope| {
        // The one who snapshots also changes the source, between runs: a run sees one state.
        let (mut w, all, at) = (worker("snapshot", 1, 25), Arc::clone(&known), data.clone());
        scope.spawn(move || {
            let mut n = 0;
            while w.goes_on() {
                n += 1;
                all.lock().unwrap().insert(n, states(&at, n));
                let full = w.dice.roll(6) == 0;
                w.run(if full { &["snapshot", "--full"] } else { &["snapshot"] });
            }
        });
        for (n, killed) in [(2, 30), (3, 10)] {
            let mut w = worker("prune", n, killed);
            scope.spawn(move || {
                while w.goes_on() {
                    let keep = (1 + w.dice.roll(3)).to_string();
                    w.run(&["prune", "--keep", &keep, "--yes"]);
                    thread::sleep(Duration::from_millis(w.dice.roll(300)));
                }
            });
        }
        let mut w = worker("verify", 4, 10);
        scope.spawn(move || {
            while w.goes_on() {
                w.run(&["verify", "--data"]);
            }
        });
        let mut w = worker("heal", 7, 20);
        scope.spawn(move || {
            while w.goes_on() {
                w.run(&["heal"]);
                thread::sleep(Duration::from_millis(w.dice.roll(2000)));
            }
        });
        let (mut w, all, out) = (worker("restore", 5, 15), Arc::clone(&known), folder.path().join("out"));
        scope.spawn(move || {
            while w.goes_on() {
                let to = out.join(w.dice.roll(1 << 40).to_string());
                let done = w.run(&["restore", "latest", "--to", to.to_str().unwrap()]);
                judge_restored(&to, &all.lock().unwrap(), done.is_some_and(|o| o.status.success()));
                let _ = std::fs::remove_dir_all(&to);
            }
        });
        let (mut w, all) = (worker("cat", 6, 5), Arc::clone(&known));
        scope.spawn(move || {
            while w.goes_on() {
                let slot = w.dice.roll(8);
                let key = format!("slot/{slot}");
                if let Some(output) = w.run(&["cat", "latest", &key]).filter(|o| o.status.success()) {
                    let all = all.lock().unwrap();
                    assert!(all.values().any(|t| t[&key] == output.stdout), "{key} has never been that");
                }
            }
        });
    });
    // What is left is whole, without any help but the next run's.
    rig.run(&["snapshot"]);
    rig.run(&["prune", "--keep", "2", "--yes"]);
    rig.run(&["verify", "--data"]);
    let to: PathBuf = folder.path().join("last");
    rig.run(&["restore", "latest", "--to", to.to_str().unwrap()]);
    judge_restored(&to, &known.lock().unwrap(), true);
    let score = score.0.lock().unwrap();
    println!("{:10} {:>6} {:>6} {:>6}", "", "well", "failed", "killed");
    for (verb, [well, failed, killed]) in score.iter() {
        println!("{verb:10} {well:6} {failed:6} {killed:6}");
    }
    let verbs: BTreeSet<&str> = score.iter().filter(|(_, s)| s[0] > 0).map(|(v, _)| *v).collect();
    assert_eq!(
        verbs,
        BTreeSet::from(["cat", "heal", "prune", "restore", "snapshot", "verify"]),
        "what ever went well"
    );
}

/// What was restored is of one state of the source, byte for byte; all of it, if it is `whole`.
fn judge_restored(to: &Path, known: &BTreeMap<u64, Tree>, whole: bool) {
    if !to.is_dir() {
        assert!(!whole, "a restore went well and left nothing");
        return;
    }
    let mut tree = files(to);
    tree.retain(|name, _| !name.contains(".qbak-"));
    if whole {
        let n = state_of(&tree).unwrap_or_else(|| panic!("no state: {:?}", tree.keys()));
        assert!(known[&n] == tree, "what was restored is not state {n}");
        return;
    }
    let fits = |state: &Tree| tree.iter().all(|(name, bytes)| state.get(name) == Some(bytes));
    assert!(known.values().any(fits), "half a restore fits no state: {:?}", tree.keys());
}
