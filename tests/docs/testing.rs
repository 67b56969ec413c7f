//! The page about tests: every test it names is there, in the program it is said to be in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::ROOT;

/// The texts of a test program; `lib`: of the library with its unit tests. `None`: there is no such program.
fn program(name: &str) -> Option<Vec<String>> {
    let plain =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let root = Path::new(ROOT);
    let (file, folder) = (root.join(format!("tests/{name}.rs")), root.join("tests").join(name));
    match name {
        _ if !plain => None,
        "lib" => Some(texts(root.join("src"))),
        _ if file.is_file() => Some(texts(file)),
        _ if folder.join("main.rs").is_file() => Some(texts(folder)),
        _ => None,
    }
}

fn texts(from: PathBuf) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![from]);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
    found
}

/// Whether a function of this name stands there behind a `#[…test…]`.
fn has_test(texts: &[String], name: &str) -> bool {
    let head = format!("fn {name}(");
    texts.iter().any(|text| {
        text.match_indices(&head).any(|(at, _)| {
            let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
            let mut above =
                text[..start].lines().rev().take_while(|l| !l.trim().is_empty() && l.trim() != "}");
            above.any(|l| {
                let attribute = l.trim();
                attribute.starts_with("#[test]") || attribute.starts_with("#[tokio::test")
            })
        })
    })
}

/// What a page says of tests that is not so. In a cell of a table, `program` is followed by names of its tests; anywhere
/// else a word that reads like a test's name is one of some program.
fn stale(page: &str) -> Vec<String> {
    let everything = [texts(Path::new(ROOT).join("src")), texts(Path::new(ROOT).join("tests"))].concat();
    let mut wrong = Vec::new();
    for line in page.lines() {
        for cell in line.split('|') {
            let mut within: Option<(&str, Vec<String>)> = None;
            let mut pieces = cell.split('`');
            let mut before = pieces.next().unwrap_or_default();
            while let (Some(word), after) = (pieces.next(), pieces.next().unwrap_or_default()) {
                // A sentence or a semicolon ends what belongs to a program; so does a list of something else.
                if before.contains([';', '.']) || before.contains("target") {
                    within = None;
                }
                let fuzzed = before.contains("target") || (before.trim() == "," && is_target(word));
                if let Some(texts) = program(word) {
                    within = Some((word, texts));
                } else if word.contains('_')
                    && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
                {
                    match &within {
                        _ if fuzzed && is_target(word) => {}
                        Some((name, texts)) if !has_test(texts, word) => {
                            wrong.push(format!("{name} has no test {word}"))
                        }
                        None if !has_test(&everything, word) => {
                            wrong.push(format!("there is no test {word}"))
                        }
                        _ => {}
                    }
                }
                before = after;
            }
        }
    }
    wrong
}

/// Whether there is a fuzzing target of this name.
fn is_target(word: &str) -> bool {
    Path::new(ROOT).join("fuzz/corpus").join(word).is_dir()
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/testing.md")).unwrap();
    assert_eq!(stale(&page), Vec::<String>::new());
    let named = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|w| w.contains('_') && !w.contains(['/', ' ', '.']))
        .count();
    assert!(named > 50, "only {named} tests were found in the page");
}

#[test]
fn a_stale_name_is_found() {
    for (text, wrong) in [
        ("| `docs`: `a_stale_name_is_found`, `every_test_that_the_page_names_is_there` |", None),
        ("`a_stale_name_is_found` says so, `layering` too", None),
        ("| `docs`: `a_test_that_is_gone` |", Some("docs has no test a_test_that_is_gone")),
        (
            "| `docs`: `links_lead_somewhere`, `the_sources_keep_the_rules` |",
            Some("docs has no test the_sources_keep_the_rules"),
        ),
        ("| `docs`: `links_lead_somewhere`; `the_sources_keep_the_rules` |", None),
        ("`has_test` is a function, but no test", Some("there is no test has_test")),
        ("| `fuzz_corpus`: targets `key_map`, `side_file` |", None),
        ("| `fuzz_corpus`: targets `key_mop` |", Some("there is no test key_mop")),
        ("| `lib`: `newer_is_said` |", None),
    ] {
        assert_eq!(stale(text), Vec::from_iter(wrong.map(str::to_owned)), "{text}");
    }
}

/// Each promise of the threat model is in the table, once, and each control of that table is one that can be tried.
#[test]
fn the_promises_are_those_of_the_threat_model() {
    let numbers = |page: &str| -> Vec<String> {
        let text = std::fs::read_to_string(Path::new(ROOT).join("docs").join(page)).unwrap();
        let rows = text.lines().filter_map(|l| l.strip_prefix("| P")).map(|l| l.split(' ').next().unwrap());
        rows.map(str::to_owned).collect()
    };
    let all: Vec<String> = (1..=15).map(|n| n.to_string()).collect();
    assert_eq!(numbers("threat-model.md"), all);
    assert_eq!(numbers("testing.md"), all);
    let Ok(controls) = std::fs::read_to_string(Path::new(ROOT).join("tests/controls.txt")) else { return };
    let lines = controls.lines().filter(|l| !l.starts_with('#'));
    let known = |promise: &str| -> BTreeSet<&str> {
        let fields = lines.clone().map(|l| l.split_whitespace().collect::<Vec<_>>());
        let about = |f: &Vec<&str>| f.get(1).is_some_and(|p| p.split(',').any(|p| p == promise));
        fields.filter(about).map(|f| f[0]).collect()
    };
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/testing.md")).unwrap();
    for row in page.lines().filter(|l| l.starts_with("| P")) {
        let cell = row.trim_end_matches(" |").rsplit("| ").next().unwrap();
        let named: BTreeSet<&str> = cell.split(", ").filter(|c| c.starts_with("no-")).collect();
        let promise = row.split(' ').nth(1).unwrap();
        assert_eq!(named, known(promise), "{promise}: its row in docs/testing.md, and tests/controls.txt");
    }
}
