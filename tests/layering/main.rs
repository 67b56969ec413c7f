//! The house rules that a compiler does not know, checked in the sources: which floor may use which, what is pure, who may
//! look at the clock, and how long a file may get. What counts as source and what as test is in `source.rs`.
//!
//! Tests within the sources (`#[cfg(test)]`) may use anything; what `tests/` does is its own business.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails is a test that fails")]

mod source;

use std::collections::{BTreeMap, BTreeSet};

use source::{SourceFile, read_tree};

/// Every folder of `src/`: its floor, and the folders that it may use. Three rules make the table, and
/// [`the_table_keeps_its_own_rules`] holds it to them: down is allowed, up is not, and on one floor there is an order.
///
/// `control` holds the switches of builds that tests break on purpose; all but `model` may ask it.
///
/// On floor 1 the order is: `target` knows folders as `source` does (it opens and stamps them alike), and both know the
/// side file of `format`; a Kodo source is made of the `kodo` protocol. `format`, `store` and `kodo` know nothing of
/// each other or of who uses them: bytes, places and a protocol. On floor 2 `plan` decides over values without asking the
/// store and `repo` asks the store without deciding, so neither needs the other; `op` brings them together.
/// `emulator` stands beside the house: it is the other side of the wire, so it shares the protocol's spelling and
/// nothing else ([`EMULATOR_KODO`]), and only the command line starts it.
const HOUSE: &[(&str, u8, &[&str])] = &[
    ("model", 0, &[]),
    ("control", 0, &[]),
    ("format", 1, &["control", "model"]),
    ("store", 1, &["control", "model"]),
    ("kodo", 1, &["control", "model"]),
    ("source", 1, &["control", "model", "format", "kodo"]),
    ("target", 1, &["control", "model", "format", "source"]),
    ("plan", 2, &["control", "model", "format", "store", "kodo", "source", "target"]),
    ("repo", 2, &["control", "model", "format", "store", "kodo", "source", "target"]),
    ("op", 3, &["control", "model", "format", "store", "kodo", "source", "target", "plan", "repo"]),
    ("render", 4, &["control", "model", "format", "store", "kodo", "source", "target", "plan", "repo", "op"]),
    (
        "cli",
        5,
        &[
            "control", "model", "format", "store", "kodo", "source", "target", "plan", "repo", "op",
            "render", "emulator",
        ],
    ),
    ("emulator", 4, &["model", "kodo"]),
];

/// The parts of `kodo` that are pure (spelling and signatures), which the emulator may use. What it answers and how it
/// hashes is its own, so that a mistake in one is not made in the other too.
const EMULATOR_KODO: &[&str] = &["encode", "sign"];

/// Decisions and encodings: no `async`, nothing that waits.
const PURE: &[&str] = &["model", "format", "plan"];

/// What a program can look at without being given it, and the files that do so for all others.
const AMBIENT: &[(&str, &str, &[&str])] = &[
    ("SystemTime::now", "the wall clock", &["src/model/clock.rs"]),
    ("Utc::now", "the wall clock", &[]),
    ("Local::now", "the wall clock", &[]),
    ("env::var", "the environment", &["src/cli/env.rs"]),
    ("env::var_os", "the environment", &["src/cli/env.rs", "src/control/active.rs"]),
    ("env::vars", "the environment", &["src/cli/env.rs"]),
    ("env::vars_os", "the environment", &["src/cli/env.rs"]),
    ("env::current_dir", "the environment", &["src/cli/env.rs"]),
    ("env::home_dir", "the environment", &["src/cli/env.rs"]),
    ("env::temp_dir", "the environment", &["src/cli/env.rs"]),
    ("env::args", "the environment", &["src/cli/mod.rs"]),
    ("env::args_os", "the environment", &["src/cli/mod.rs"]),
    ("env::current_exe", "the environment", &["src/cli/env.rs"]),
    ("env::set_var", "the environment", &[]),
    ("env::set_current_dir", "the environment", &[]),
    ("process::id", "who runs it", &["src/cli/session.rs"]),
    ("system::uname", "who runs it", &["src/cli/session.rs"]),
    ("process::exit", "the end of the process", &["src/cli/interrupt.rs"]),
];

/// Folders in which even a stopwatch is somebody else's.
const TIMELESS: &[&str] = &["model", "format", "plan", "repo", "store"];

/// A file of code is one job; a file of cases may be a long list of them.
const LONGEST: usize = 520;
const LONGEST_TESTS: usize = 800;

fn floor(folder: &str) -> Option<(u8, &'static [&'static str])> {
    HOUSE.iter().find(|(name, _, _)| *name == folder).map(|(_, floor, uses)| (*floor, *uses))
}

/// Everything wrong with these files, one sentence each.
fn violations(files: &[SourceFile]) -> Vec<String> {
    let mut out = Vec::new();
    for file in files {
        lengths(file, &mut out);
        first_lines(file, &mut out);
        if file.test_only {
            continue;
        }
        floors(file, &mut out);
        purity(file, &mut out);
        ambient(file, &mut out);
    }
    out
}

fn lengths(file: &SourceFile, out: &mut Vec<String>) {
    let most = if file.test_only { LONGEST_TESTS } else { LONGEST };
    if file.lines > most {
        out.push(format!(
            "{}: {} lines; at most {most}: which of its jobs can live elsewhere?",
            file.path, file.lines
        ));
    }
}

fn first_lines(file: &SourceFile, out: &mut Vec<String>) {
    if !file.begins_with_purpose && !file.test_only {
        out.push(format!("{}: its first line does not say what it is for (//!)", file.path));
    }
}

fn floors(file: &SourceFile, out: &mut Vec<String>) {
    // lib.rs only names the folders; main.rs only calls the command line.
    let Some(here) = file.folder() else {
        for path in file.paths() {
            if file.path == "src/main.rs" && path.names != ["cli", "main"] {
                out.push(format!("{}:{}: main.rs calls cli::main and nothing else", file.path, path.line));
            }
        }
        return;
    };
    let Some((_, allowed)) = floor(here) else {
        out.push(format!("{}: {here}/ has no floor; give it one in tests/layering", file.path));
        return;
    };
    for path in file.paths() {
        let at = format!("{}:{}", file.path, path.line);
        let Some(there) = path.names.first().map(String::as_str) else {
            out.push(format!("{at}: it takes the whole crate; say which part of it"));
            continue;
        };
        if there == here {
            continue;
        }
        match floor(there) {
            None => out.push(format!("{at}: {there} is no folder with a floor")),
            Some(_) if !allowed.contains(&there) => {
                out.push(format!("{at}: {here} must not use {there} (crate::{})", path.names.join("::")));
            }
            Some(_) if here == "emulator" && there == "kodo" => {
                if path.names.get(1).is_none_or(|n| !EMULATOR_KODO.contains(&n.as_str())) {
                    out.push(format!(
                        "{at}: the emulator judges the client, so of kodo it uses only {EMULATOR_KODO:?}"
                    ));
                }
            }
            Some(_) => {}
        }
    }
}

fn purity(file: &SourceFile, out: &mut Vec<String>) {
    if !file.folder().is_some_and(|f| PURE.contains(&f)) {
        return;
    }
    for word in ["async", "await", "tokio", "futures"] {
        for line in file.lines_with(word) {
            out.push(format!("{}:{line}: `{word}` in a folder of pure code", file.path));
        }
    }
}

fn ambient(file: &SourceFile, out: &mut Vec<String>) {
    for (what, why, allowed) in AMBIENT {
        if !allowed.contains(&file.path.as_str()) {
            for line in file.lines_with(what) {
                out.push(format!("{}:{line}: {what}: {why} is passed in, not looked at", file.path));
            }
        }
    }
    if file.folder().is_some_and(|f| TIMELESS.contains(&f)) {
        for line in file.lines_with("Instant::now") {
            out.push(format!("{}:{line}: a stopwatch in a folder that has no time", file.path));
        }
    }
}

/// The folders that each folder uses.
fn edges(files: &[SourceFile]) -> BTreeMap<String, BTreeSet<String>> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files.iter().filter(|f| !f.test_only) {
        let Some(here) = file.folder() else { continue };
        let to = out.entry(here.into()).or_default();
        to.extend(file.paths().iter().filter_map(|p| p.names.first().cloned()).filter(|n| n != here));
    }
    out
}

/// A ring of folders that use each other, if there is one.
fn ring(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk(
        at: &str,
        edges: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(n) = way.iter().position(|w| w == at) {
            way.drain(..n);
            return true;
        }
        if !done.insert(at.to_owned()) {
            return false;
        }
        way.push(at.to_owned());
        for next in edges.get(at).into_iter().flatten() {
            if walk(next, edges, way, done) {
                return true;
            }
        }
        way.pop();
        false
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| {
        let mut way = Vec::new();
        walk(start, edges, &mut way, &mut done).then_some(way)
    })
}

#[test]
fn the_sources_keep_the_rules() {
    let files = read_tree();
    assert!(files.len() > 100, "only {} files were found", files.len());
    let wrong = violations(&files);
    assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(ring(&edges(&files)), None, "folders use each other in a ring");
}

#[test]
fn the_paths_are_really_seen() {
    // A reader that sees no paths would find nothing wrong: these are known to be there.
    let edges = edges(&read_tree());
    for (from, to) in
        [("source", "kodo"), ("repo", "store"), ("op", "plan"), ("render", "op"), ("cli", "render")]
    {
        assert!(edges[from].contains(to), "{from} -> {to} was not seen");
    }
    assert!(edges.get("model").is_none_or(BTreeSet::is_empty));
}

#[test]
fn the_table_keeps_its_own_rules() {
    let files = read_tree();
    let folders: BTreeSet<&str> = files.iter().filter_map(SourceFile::folder).collect();
    assert_eq!(
        folders,
        HOUSE.iter().map(|(name, _, _)| *name).collect(),
        "the folders of src/, and the table"
    );
    for (name, at, uses) in HOUSE {
        for used in *uses {
            let (below, _) =
                floor(used).unwrap_or_else(|| panic!("{name} may use {used}, which there is not"));
            assert!(below <= *at, "{name} on floor {at} may use {used} on floor {below}");
            assert!(*used != "emulator" || *name == "cli", "only cli starts the emulator");
        }
    }
    let table =
        HOUSE.iter().map(|(n, _, uses)| ((*n).into(), uses.iter().map(|u| (*u).into()).collect())).collect();
    assert_eq!(ring(&table), None, "the table allows a ring");
    let known: BTreeSet<&str> = files.iter().map(|f| f.path.as_str()).collect();
    for file in AMBIENT.iter().flat_map(|(_, _, files)| *files) {
        assert!(known.contains(file), "{file} may look around, and does not exist");
    }
}

/// What is said about one file of this text.
fn judge(path: &str, text: &str) -> Vec<String> {
    violations(&[SourceFile::parse(path, &format!("//! Purpose.\n{text}"), false)])
}

#[test]
fn a_path_that_climbs_is_found_however_it_is_written() {
    let climbs = [
        "use crate::op::Cancel;",
        "pub use crate::op::Cancel as Stop;",
        "use crate::{model::key::Key, op::{Cancel, OpError}};",
        "use crate::{\n    model::key::Key,\n    op,\n};",
        "fn f() -> crate::op::OpError { todo() }",
        "fn f(x: Vec<crate::op::OpError>) {}",
        "use super::super::op::Cancel;",
        "use super::{super::op::Cancel, names};",
        "fn f() { let c = 'c'; let l: &'static str = \"// no comment\"; crate::op::go(c, l) }",
        "fn f() { r#\"raw \" text\"#; /* a /* nested */ note */ crate::op::go() }",
        "#[cfg(not(test))]\nuse crate::op::Cancel;",
        "#[cfg(test)]\nuse crate::op::Cancel;\nuse crate::op::OpError;",
        "macro_rules! m { () => { $crate::op::go() } }",
        "use crate :: op :: Cancel;",
    ];
    for text in climbs {
        let said = judge("src/repo/names.rs", text);
        assert!(
            !said.is_empty() && said.iter().all(|s| s.contains("repo must not use op")),
            "{text}\n{said:?}"
        );
    }
    let whole =
        ["use crate as all;", "use crate::*;", "use crate::{self as all};", "use super::super as all;"];
    for text in whole {
        let said = judge("src/repo/names.rs", text);
        assert!(said.iter().any(|s| s.contains("the whole crate")), "{text}\n{said:?}");
    }
}

#[test]
fn what_is_no_path_is_left_alone() {
    let harmless = [
        "// crate::op::Cancel\n/// [`crate::op`]\nuse crate::model::key::Key;",
        "const S: &str = \"crate::op::Cancel\";",
        "const S: &str = r#\"crate::op::\"Cancel\"#;",
        "pub(crate) fn f() {}\npub(super) fn g() {}",
        "#[cfg(test)]\nmod tests {\n    use crate::op::Cancel;\n    fn f() { { } }\n}",
        "#[cfg(test)]\nuse crate::op::Cancel;",
        "#[cfg(all(test, unix))]\n#[allow(dead_code)]\nfn f(x: [u8; 2]) { crate::op::go(x) }",
        "use super::names;\nuse crate::{format::entry, store::{Store, StoreError}};",
    ];
    for text in harmless {
        assert_eq!(judge("src/repo/run.rs", text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn every_rule_can_be_broken() {
    let cases = [
        ("src/model/key.rs", "use crate::format::entry;", "model must not use format"),
        ("src/format/pack.rs", "use crate::store::Store;", "format must not use store"),
        ("src/store/mod.rs", "use crate::format::entry;", "store must not use format"),
        ("src/kodo/http.rs", "use crate::source::Source;", "kodo must not use source"),
        ("src/source/kodo.rs", "use crate::target::Target;", "source must not use target"),
        ("src/target/mod.rs", "use crate::kodo::sign;", "target must not use kodo"),
        ("src/plan/group.rs", "use crate::repo::Repository;", "plan must not use repo"),
        ("src/repo/writer.rs", "use crate::plan::group;", "repo must not use plan"),
        ("src/op/cancel.rs", "use crate::render::words;", "op must not use render"),
        ("src/render/words.rs", "use crate::cli::args;", "render must not use cli"),
        ("src/op/demo.rs", "use crate::emulator::Service;", "op must not use emulator"),
        ("src/emulator/ops.rs", "use crate::format::entry;", "emulator must not use format"),
        ("src/emulator/ops.rs", "use crate::kodo::http::Http;", "only [\"encode\", \"sign\"]"),
        ("src/emulator/ops.rs", "use crate::kodo;", "only [\"encode\", \"sign\"]"),
        ("src/attic/old.rs", "", "attic/ has no floor"),
        ("src/main.rs", "fn main() { qbak::op::go() }", "main.rs calls cli::main"),
        ("src/plan/prune.rs", "pub async fn f() {}", "`async` in a folder of pure code"),
        ("src/format/pack.rs", "use tokio::io::AsyncRead;", "`tokio` in a folder of pure code"),
        ("src/op/snapshot/mod.rs", "fn f() { std::time::SystemTime::now(); }", "the wall clock is passed in"),
        ("src/op/snapshot/mod.rs", "fn f() { chrono::Utc::now(); }", "the wall clock is passed in"),
        ("src/op/snapshot/mod.rs", "fn f() { std::env::temp_dir(); }", "the environment is passed in"),
        ("src/cli/run.rs", "fn f() { std::env::var(\"X\"); }", "the environment is passed in"),
        ("src/repo/run.rs", "fn f() { std::process::id(); }", "who runs it is passed in"),
        ("src/repo/run.rs", "fn f() { Instant::now(); }", "a stopwatch"),
    ];
    for (path, text, expected) in cases {
        let said = judge(path, text);
        assert!(said.len() == 1 && said[0].contains(expected), "{path}: {text}\n{said:?}");
    }
    let bare = violations(&[SourceFile::parse("src/op/mod.rs", "pub mod open;\n", false)]);
    assert!(bare.len() == 1 && bare[0].contains("what it is for"), "{bare:?}");
    let long = judge("src/op/open.rs", &"\n".repeat(LONGEST));
    assert!(long.len() == 1 && long[0].contains("at most 520"), "{long:?}");
    let cases = SourceFile::parse("src/op/tests.rs", &"use crate::cli::args;\n".repeat(LONGEST_TESTS), true);
    assert!(violations(&[cases]).is_empty());
}

#[test]
fn a_ring_is_found() {
    let edges = |text: &[(&str, &[&str])]| -> BTreeMap<String, BTreeSet<String>> {
        text.iter().map(|(a, b)| ((*a).into(), b.iter().map(|b| (*b).into()).collect())).collect()
    };
    assert_eq!(ring(&edges(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])), None);
    let found = ring(&edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["d", "b"]), ("d", &[])])).unwrap();
    assert_eq!(found, ["b", "c"]);
}
