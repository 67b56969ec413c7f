//! `qbak demo` from end to end. What it checks it checks itself; here it is held to having done so.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails is a test that fails")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn demo(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qbak"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("TMPDIR", folder)
        // A user's own settings must not reach it.
        .env("QBAK_STORE", "/nowhere")
        .env("QBAK_SOURCE", "kodo://nobody")
        .output()
        .unwrap()
}

#[test]
fn the_whole_job() {
    let folder = tempfile::tempdir().unwrap();
    let out = demo(folder.path(), &["--json", "demo", "--dir", "here"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&out.stderr));
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let of = |kind: &str| lines.iter().filter(|l| l["type"] == kind).collect::<Vec<_>>();
    let summary = lines.last().unwrap();
    assert_eq!((summary["type"].as_str(), summary["steps"].as_u64()), (Some("summary"), Some(7)));
    assert_eq!(summary["checks"].as_u64().unwrap(), of("check").len() as u64);
    assert!(of("check").len() >= 12, "{text}");
    // Every command of a year's use took part, and the damage was seen.
    let commands: Vec<&str> = of("command").iter().map(|c| c["command"].as_str().unwrap()).collect();
    for verb in ["init", "snapshot", "ls", "list", "diff", "restore", "cat", "verify", "prune"] {
        assert!(commands.iter().any(|c| c.split(' ').any(|w| w == verb)), "{verb} in {commands:?}");
    }
    let exits: Vec<i64> = of("command").iter().map(|c| c["exit"].as_i64().unwrap()).collect();
    assert_eq!(exits.iter().filter(|e| **e == 4).count(), 1, "{exits:?}");
    // What it says lies there lies there.
    for name in
        ["bucket", "store/qbak.json", "store/README.txt", "first-week/notes/draft.txt", "latest", "qbak.toml"]
    {
        assert!(folder.path().join("here").join(name).exists(), "{name}");
    }
    assert!(!folder.path().join("outside.txt").exists() && !folder.path().join("here/outside.txt").exists());
    // A folder that is there is nobody's to write into.
    let again = demo(folder.path(), &["demo", "--dir", "here"]);
    assert_eq!(again.status.code(), Some(2));
}

#[test]
fn for_people_it_ends_with_where_everything_lies() {
    let folder = tempfile::tempdir().unwrap();
    let out = demo(folder.path(), &["demo"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("$ qbak prune --keep 1\n") && !text.contains("emulated-secret-key"), "{text}");
    let (_, end) = text.split_once("Everything lies in ").unwrap();
    let (place, rest) = end.split_once(":\n").unwrap();
    assert!(Path::new(place).join("store/qbak.json").exists(), "{place}");
    assert_eq!(
        rest.lines().filter(|l| l.starts_with("  qbak ") || l.starts_with("  export ")).count(),
        5,
        "{rest}"
    );
}
