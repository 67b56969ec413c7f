//! The pages people read: the commands in them work, their links lead somewhere, and what they say is missing is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod run;
mod testing;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use qbak::cli::args::Cli;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// README.md and everything in docs/, with their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(Path::new(ROOT).join("docs"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "md"))
        .collect();
    paths.push(Path::new(ROOT).join("README.md"));
    paths.sort();
    paths.into_iter().map(|p| (p.clone(), std::fs::read_to_string(p).unwrap())).collect()
}

#[test]
fn the_readme_begins_with_the_two_commands_that_ci_runs() {
    let ci = std::fs::read_to_string(Path::new(ROOT).join(".ci/run")).unwrap();
    for page in ["README.md", "docs/README.zh.md"] {
        let text = std::fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
        let first = run::blocks(&text, "sh").into_iter().next().unwrap();
        let commands: Vec<&str> =
            first.lines().map(|l| l.split('#').next().unwrap().trim()).filter(|l| !l.is_empty()).collect();
        assert_eq!(commands, ["cargo run --release -- demo", "cargo test"], "{page}");
    }
    assert!(ci.contains("cargo run --locked --release -- demo") && ci.contains("stage test cargo test"));
}

#[test]
fn links_lead_somewhere() {
    let mut seen = 0;
    for (page, text) in pages() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.starts_with('#') {
                continue;
            }
            let file = page.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(file.exists(), "{}: {link} leads nowhere", page.display());
            seen += 1;
        }
        // Files are also named in passing.
        for word in
            text.split(['`', ' ', '(', ')', ',', '\n']).filter(|w| w.ends_with(".rs") || w.ends_with(".md"))
        {
            let known =
                ["src/", "tests/", "docs/"].iter().any(|f| word.starts_with(f)) && !word.contains('*');
            assert!(!known || Path::new(ROOT).join(word).exists(), "{}: there is no {word}", page.display());
        }
    }
    assert!(seen > 5, "only {seen} links were found");
}

/// The commands of the contract (the first words of the lines of the first block of docs/cli.md), and what its last
/// section says is missing: commands, and flags.
fn contract() -> (BTreeSet<String>, BTreeSet<String>, BTreeSet<String>) {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/cli.md")).unwrap();
    let block = run::blocks(&text, "").into_iter().next().unwrap();
    let words = block.lines().filter_map(|l| l.strip_prefix("qbak ")).flat_map(|l| l.split(" | "));
    let named: BTreeSet<String> = words
        .filter_map(|part| part.split([' ', '[']).next())
        .filter(|word| {
            word.chars().all(|c| c.is_ascii_lowercase()) && !["show", "example", "live"].contains(word)
        })
        .map(str::to_owned)
        .collect();
    let (_, section) = text.split_once("## Not in this version").unwrap();
    let quoted = |line: &str| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let commands = section.lines().filter(|l| l.starts_with("- Commands:")).flat_map(quoted).collect();
    let flags = section.lines().flat_map(quoted).filter(|w| w.starts_with("--")).collect();
    (named, commands, flags)
}

#[test]
fn what_the_contract_has_and_this_version_has_not_is_listed() {
    let (promised, missing, listed) = contract();
    assert!(
        promised.contains("snapshot") && promised.contains("migrate") && promised.contains("unpin"),
        "{promised:?}"
    );
    let mut command = Cli::command();
    command.build();
    let there: BTreeSet<String> =
        command.get_subcommands().map(|c| c.get_name().to_owned()).filter(|n| n != "help").collect();
    for name in &promised {
        assert!(there.contains(name) != missing.contains(name), "{name}: there, or listed as missing");
    }
    assert!(there.is_subset(&promised), "{:?} are not in the contract", there.difference(&promised));
    let hidden = |c: &Command| -> Vec<String> {
        let args = c.get_arguments().filter(|a| a.is_hide_set() && !a.is_global_set());
        args.filter_map(|a| a.get_long()).map(|l| format!("--{l}")).collect()
    };
    let mut flags: BTreeSet<String> = command.get_subcommands().flat_map(hidden).collect();
    let globals = command.get_arguments().filter(|a| a.is_hide_set()).filter_map(|a| a.get_long());
    flags.extend(globals.map(|l| format!("--{l}")));
    assert_eq!(flags, listed, "flags that are refused, and those listed as missing");
}
