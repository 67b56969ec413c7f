//! The process as a shell sees it: exit codes, a reader that goes away, a disk that is full.

use std::process::{Command, Stdio};

fn qbak() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qbak"));
    command.env_clear();
    command
}

#[test]
fn usage_errors_are_2_and_say_what_to_do() {
    let out = qbak().arg("snapshto").output().unwrap();
    assert_eq!((out.status.code(), out.stdout.len()), (Some(2), 0));
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(stderr.contains("'snapshot'"), "{stderr}");
    assert!(!stderr.contains('\x1b'), "no colours without a terminal");
    assert_eq!(qbak().output().unwrap().status.code(), Some(2));
}

#[test]
fn help_is_0_and_on_stdout() {
    let out = qbak().arg("--help").output().unwrap();
    assert_eq!((out.status.code(), out.stderr.len()), (Some(0), 0));
    assert!(String::from_utf8(out.stdout).unwrap().contains("Exit codes:"));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let mut child =
        qbak().args(["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.status.code(), String::from_utf8(out.stderr).unwrap().as_str()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let out = qbak().args(["completions", "bash"]).stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(stderr.starts_with("error: standard output cannot be written"), "{stderr}");
}
