//! What `--help` says, command by command, against files: whoever changes a word sees it in the diff.
//!
//! `QBAK_BLESS=1 cargo test --test cli_help` writes the files anew.

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory as _;
use qbak::cli::args::Cli;

#[expect(clippy::disallowed_methods, reason = "a test's own switch")]
fn blesses() -> bool {
    std::env::var_os("QBAK_BLESS").is_some()
}

#[test]
fn help_is_what_the_golden_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help");
    let mut command = Cli::command().term_width(110);
    command.build();
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let mut pages = vec![("qbak".to_owned(), command.render_long_help().to_string())];
    for name in names {
        let sub = command.find_subcommand_mut(&name).unwrap();
        assert!(sub.get_after_help().is_some(), "{name} has no example");
        pages.push((name, sub.render_long_help().to_string()));
    }
    let mut expected = BTreeSet::new();
    for (name, text) in pages {
        let text: String = text.lines().map(|l| format!("{}\n", l.trim_end())).collect();
        let path = folder.join(format!("{name}.txt"));
        if blesses() {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, golden, "{name}: if this is meant, run QBAK_BLESS=1 cargo test --test cli_help");
        expected.insert(format!("{name}.txt"));
    }
    let there: BTreeSet<String> =
        std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there, expected, "a page without a command");
}
