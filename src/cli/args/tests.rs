//! The command line is what the contract says, and nothing typed makes it panic.

use clap::CommandFactory as _;

use super::*;
use crate::cli::diff::Side;
use crate::cli::verify::Against;
use crate::model::date::DateSpec;
use crate::model::slice::Slice;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("qbak").chain(line.split(' ').filter(|w| !w.is_empty())))
}

#[test]
fn clap_finds_no_contradiction() {
    Cli::command().debug_assert();
}

#[test]
fn global_flags_stand_before_or_after() {
    for line in [
        "--store /s --source kodo://b --json -q --no-progress --color never --profile p --config c snapshot -n",
        "snapshot -n --store /s --source kodo://b --json -q --no-progress --color never --profile p --config c",
        "--store /s snapshot --source kodo://b --dry-run --json --quiet --no-progress --color=never --profile p \
         --config c",
    ] {
        let cli = parse(line).unwrap();
        let g = &cli.global;
        assert_eq!(g.store.as_deref(), Some("/s".as_ref()), "{line}");
        assert_eq!(g.overrides().source.as_deref(), Some("kodo://b".as_ref()), "{line}");
        assert!(g.json && g.quiet && g.no_progress && g.color == ColorWhen::Never, "{line}");
        assert!(matches!(&cli.command, Command::Snapshot(a) if a.dry_run), "{line}");
    }
    assert_eq!(parse("-v list -vv").unwrap().global.verbose, 2);
}

#[test]
fn keys_may_begin_with_a_dash_and_need_not_be_text() {
    let Command::Cat(args) = parse("cat latest -- -key").unwrap().command else { unreachable!() };
    assert_eq!(args.key, Key::from("-key"));
    assert!(parse("cat latest -key").is_err());
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt as _;
        let raw = OsString::from_vec(b"\xff/\x01".to_vec());
        let line = [
            "qbak".into(),
            "restore".into(),
            "latest".into(),
            "--prefix".into(),
            raw.clone(),
            "--".into(),
            raw,
        ];
        let Command::Restore(args) = Cli::try_parse_from(line).unwrap().command else { unreachable!() };
        assert_eq!((&args.keys[0], &args.prefixes[0]), (&Key::new(*b"\xff/\x01"), &Key::new(*b"\xff/\x01")));
    }
}

#[test]
fn every_command_of_the_contract_takes_its_flags() {
    for line in [
        "init",
        "snapshot --full --redownload --tag a --tag b --new-source",
        "snapshot --incremental --dry-run --wait 30min",
        "list",
        "ls latest~2",
        "ls 2026-11-21 photos/ --delimiter /",
        "cat 2026-11-21T22:48 a/b",
        "diff latest",
        "diff latest live --stat --exit-code",
        "restore latest a b --to ./x --prefix p --prefix q --include *.jpg --exclude ** --overwrite --delete --yes \
         --dry-run --allow-incomplete",
        "restore yesterday -n -y",
        "verify",
        "verify latest --data",
        "verify --sample 10",
        "verify --sample 2.5%",
        "verify --slice 2/8",
        "verify --incremental",
        "verify latest --restore --against live",
        "prune --keep 8 --keep-groups 2 --remove latest~3 --remove 2026-11-15 -n",
        "prune --keep-daily 7 --keep-weekly 8 --keep-monthly 12 --keep-yearly 3 --keep-within 1y6m --keep-tag t",
        "prune --drop-incomplete --yes",
        "accept latest",
        "stats",
        "emulate ./d --bucket b --addr 127.0.0.1:0 --access-key a --secret-key s --private",
        "demo --dir x",
        "completions bash",
    ] {
        let cli = parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(cli.later(), None, "{line}");
    }
}

#[test]
fn what_comes_later_is_refused_by_name_and_not_offered() {
    for (line, flag) in [
        ("--all-profiles list", "--all-profiles"),
        ("init --encrypt", "--encrypt"),
        ("snapshot --prune", "--prune"),
        ("prune --exclusive", "--exclusive"),
    ] {
        assert_eq!(parse(line).unwrap().later(), Some(flag), "{line}");
    }
    for line in
        ["history k", "find x", "pin latest", "status", "copy --to x", "key list", "login", "man", "help"]
    {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn wrong_usage_is_refused() {
    for line in [
        "",
        "snapshot --full --incremental",
        "snapshot --wait 1m",
        "snapshot --tag=a\tb",
        "snapshot --tag=",
        "ls",
        "ls someday",
        "cat latest",
        "diff latest dead",
        "restore latest --delete",
        "restore latest --to ftp://x",
        "restore latest --to kodo://b",
        "restore latest --include [",
        "verify --data --sample 10",
        "verify --slice 0/8",
        "verify --sample 0",
        "verify --sample 101",
        "verify --against live",
        "prune --keep 0",
        "prune --keep-within 1x",
        "emulate d --addr 0.0.0.0:80",
        "emulate d --access-key a",
        "list -q -v",
        "completions tcl",
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn words_become_values() {
    let Command::Diff(args) = parse("diff latest live").unwrap().command else { unreachable!() };
    assert_eq!((args.from, args.to), (DateSpec::Latest(0), Some(Side::Live)));
    let Command::Verify(args) = parse("verify --restore --against ./live --slice 1/2")
        .map_or_else(|_| parse("verify --restore --against ./live").unwrap().command, |c| c.command)
    else {
        unreachable!()
    };
    assert_eq!((args.against, args.slice), (Some(Against::Folder("./live".into())), None));
    let Command::Verify(args) = parse("verify --slice week/8").unwrap().command else { unreachable!() };
    assert_eq!(args.slice, Some(Slice::Week { n: 8 }));
    let line = ["qbak", "restore", "2 weeks ago", "k", "--include", "*.jpg", "--to", "out"];
    let Command::Restore(args) = Cli::try_parse_from(line).unwrap().command else { unreachable!() };
    let filter = args.filter();
    assert!(
        !filter.is_all() && !filter.takes(&"k".into()) && args.to == Some(Location::Folder("out".into()))
    );
}

proptest::proptest! {
    #[test]
    fn never_panics(words in proptest::collection::vec(
        "(--?[a-z]{0,8}|restore|snapshot|prune|--keep|--include|latest|[0-9-]{1,12}|.{0,6})", 0..6,
    )) {
        let _ = Cli::try_parse_from(std::iter::once("qbak".to_owned()).chain(words));
    }
}
