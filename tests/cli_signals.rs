//! Signals, in a process of their own: the first is passed on, the second ends it, and one that the parent had
//! ignored stays ignored.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails is a test that fails")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use qbak::cli::exit::Exit;
use qbak::cli::interrupt::listen;
use rustix::process::{Pid, Signal, kill_process};

const SWITCH: &str = "QBAK_TEST_SIGNAL_CHILD";

/// The child's side: not a test of its own, but what the others start.
#[test]
#[expect(clippy::disallowed_methods, reason = "the switch between parent and child")]
fn child() {
    if std::env::var_os(SWITCH).is_none() {
        return;
    }
    let say = |text: &str| {
        let mut out = std::io::stdout();
        writeln!(out, "\n@{text}").unwrap();
        out.flush().unwrap();
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async move {
        let heard = listen(move |signal| say(&format!("first {}", signal.name()))).unwrap();
        say("ready");
        // Twenty seconds at most, then an end that no signal asked for.
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if heard.signal().is_some_and(|s| Exit::from(s) == Exit::Interrupted) {
                // What is said of a signal comes just after it is heard.
                tokio::time::sleep(Duration::from_millis(200)).await;
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
        }
    });
}

struct Running(Child, BufReader<ChildStdout>);

impl Running {
    fn start(prefix: &[&str]) -> Self {
        let own = std::env::current_exe().unwrap();
        let mut words: Vec<&str> = prefix.to_vec();
        words.extend([own.to_str().unwrap(), "--exact", "child", "--nocapture"]);
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .env(SWITCH, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self(child, lines);
        running.expect("@ready");
        running
    }

    fn expect(&mut self, wanted: &str) {
        let mut line = String::new();
        while self.1.read_line(&mut line).unwrap() > 0 {
            if line.trim_end() == wanted {
                return;
            }
            line.clear();
        }
        panic!("the child ended without “{wanted}”");
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn code(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

#[test]
fn the_second_signal_ends_at_once() {
    let mut running = Running::start(&[]);
    running.send(Signal::TERM);
    running.expect("@first told to end");
    running.send(Signal::TERM);
    assert_eq!(running.code(), Some(143));
}

#[test]
fn the_first_signal_asks_the_operation_to_stop() {
    let mut running = Running::start(&[]);
    running.send(Signal::INT);
    running.expect("@first interrupted");
    assert_eq!(running.code(), Some(130));
}

#[test]
fn what_the_parent_ignored_stays_ignored() {
    let mut running = Running::start(&["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"]);
    running.send(Signal::HUP);
    running.send(Signal::INT);
    running.expect("@first interrupted");
    assert_eq!(running.code(), Some(130));
}
