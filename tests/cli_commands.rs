//! Every command through the real binary: once for a person, once for a script; every exit code; the wrong turns that people
//! take. What the operations themselves promise is tested beside them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails is a test that fails")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::bucket::{Bucket, Said};
use common::noise;
use qbak::emulator::{Action, Kind, Rule};
use qbak::store::Store;
use qbak::store::lease::{self, Holder};
use serde_json::Value;

/// Eighteen small objects, snapshotted; then one new, one changed, one gone, one renamed, snapshotted again.
async fn two_weeks() -> Bucket {
    let bucket = Bucket::new().await;
    for n in 0..15 {
        bucket.put(&format!("photos/{n}.jpg"), noise(n, 2000));
    }
    bucket.put("notes/a.txt", "one");
    bucket.put("notes/b.txt", "two");
    bucket.put("../odd", "odd");
    bucket.snapshot(&[]).await.exits(0);
    bucket.put("notes/a.txt", "ONE");
    bucket.put("notes/new.txt", "new");
    bucket.delete("notes/b.txt");
    bucket.put("photos/renamed.jpg", noise(0, 2000));
    bucket.delete("photos/0.jpg");
    bucket.snapshot(&["--tag", "second"]).await.exits(0);
    bucket
}

impl Week<'_> {
    async fn text(&self, args: &[&str]) -> String {
        self.0.qbak(args).await.exits(0).stdout
    }

    async fn json(&self, args: &[&str]) -> Said {
        let all: Vec<&str> = ["--json"].into_iter().chain(args.iter().copied()).collect();
        self.0.qbak(&all).await.exits(0)
    }
}

struct Week<'a>(&'a Bucket);

#[tokio::test(flavor = "multi_thread")]
async fn every_command_for_people() {
    let bucket = two_weeks().await;
    let week = Week(&bucket);
    let text = week.text(&["init", "--store", "other"]).await;
    assert!(text.starts_with("made an empty store at ") && text.contains("qbak snapshot --store "), "{text}");
    let text = week.text(&["list", "--store", "other"]).await;
    assert!(text.starts_with("there are no snapshots here yet"), "{text}");
    let text = week.text(&["list"]).await;
    assert!(text.starts_with("snapshots of kodo://bkt\n") && text.contains(" second\n"), "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
    let text = week.text(&["ls", "latest", "--delimiter", "/"]).await;
    let last: Vec<&str> = text.lines().map(|l| l.rsplit("  ").next().unwrap()).collect();
    assert_eq!(last, ["../", "notes/", "photos/"]);
    let text = week.text(&["ls", "latest", "notes/"]).await;
    assert!(text.contains("3 B") && text.ends_with("notes/new.txt\n"), "{text}");
    let said = bucket.qbak(&["cat", "latest~1", "notes/b.txt"]).await.exits(0);
    assert_eq!(said.stdout, "two");
    assert!(said.stderr.starts_with("snapshot 2"), "what was chosen is said beside it: {}", said.stderr);
    let text = week.text(&["diff", "latest"]).await;
    assert_eq!(text, "~ notes/a.txt\n- notes/b.txt\n+ notes/new.txt\n> photos/0.jpg -> photos/renamed.jpg\n");
    let text = week.text(&["diff", "latest~1", "latest", "--stat"]).await;
    assert!(
        text.ends_with(
            "1 added, 1 removed, 1 changed, 1 renamed, 0 with other metadata; 6 B gone, 6 B new\n"
        )
    );
    assert_eq!(bucket.qbak(&["diff", "latest", "live", "--exit-code"]).await.exits(0).stdout, "");
    bucket.qbak(&["diff", "latest~1", "live", "--exit-code"]).await.exits(1);
    let text = week.text(&["restore", "latest", "--to", "out"]).await;
    assert!(text.contains("  18 objects, ") && text.contains("  18 written, 0 unchanged; "), "{text}");
    assert_eq!(std::fs::read(bucket.path("out/notes/a.txt")).unwrap(), b"ONE");
    assert!(!bucket.folder.path().parent().unwrap().join("odd").exists());
    let text = week.text(&["verify"]).await;
    assert!(text.contains("no contents were read") && text.ends_with("no damage found\n"), "{text}");
    let text = week.text(&["verify", "latest", "--restore", "--against", "live"]).await;
    assert!(text.contains("compared: 18 objects the same"), "{text}");
    week.text(&["verify", "--restore", "--against", "out"]).await;
    let text = week.text(&["stats"]).await;
    assert!(text.contains("2 snapshots of ") && text.contains("each byte is used 2.0 times"), "{text}");
    let text = week.text(&["accept", "latest"]).await;
    assert!(text.contains("is not suspect: there is nothing to accept"), "{text}");
    let text = week.text(&["prune", "--keep", "1", "--dry-run"]).await;
    assert!(
        text.starts_with("remove  ") && text.contains("\nwould keep 1 snapshot and remove 1; "),
        "{text}"
    );
    let text = week.text(&["prune", "--keep-weekly", "4"]).await;
    assert!(text.contains("the newest of one of the last 4 weeks") && text.contains("removed 1;"), "{text}");
    for quiet in [&["-q", "verify", "--data"][..], &["-q", "prune", "--keep", "1"], &["-q", "snapshot"]] {
        let said = bucket.qbak(quiet).await.exits(0);
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""), "{quiet:?}");
    }
}

/// The fields of each type of line, in order of first appearance.
fn fields(command: &str, said: &Said, found: &mut BTreeMap<String, BTreeSet<String>>) {
    for line in said.stdout.lines() {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{command}: {e}: {line}"));
        let kind = value["type"].as_str().unwrap().to_owned();
        let names = value.as_object().unwrap().keys().filter(|k| *k != "type").cloned();
        found.entry(format!("{command}: {kind}")).or_default().extend(names);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own switch")]
fn blesses() -> bool {
    std::env::var_os("QBAK_BLESS").is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_names_of_json_fields_stay() {
    let bucket = two_weeks().await;
    let week = Week(&bucket);
    let mut found = BTreeMap::new();
    for args in [
        &["init", "--store", "other"][..],
        &["list"],
        &["ls", "latest", "--delimiter", "/"],
        &["ls", "latest"],
        &["diff", "latest"],
        &["diff", "latest", "--stat"],
        &["restore", "latest", "--to", "out"],
        &["restore", "latest~1", "--to", "out", "--overwrite", "--delete", "--dry-run"],
        &["verify"],
        &["verify", "--restore", "--against", "live"],
        &["stats"],
        &["accept", "latest"],
        &["prune", "--keep", "1"],
        &["snapshot"],
    ] {
        fields(args[0], &week.json(args).await, &mut found);
    }
    let (pack, _) = bucket.packs().into_iter().max_by_key(|(_, size)| *size).unwrap();
    std::fs::write(&pack, b"gone").unwrap();
    fields("verify", &bucket.qbak(&["--json", "verify", "--data"]).await.exits(4), &mut found);
    bucket.delete("../odd");
    fields("heal", &bucket.qbak(&["--json", "heal"]).await.exits(4), &mut found);
    fields("(error)", &bucket.qbak(&["--json", "ls", "2020-01-01"]).await.exits(1), &mut found);
    let text: String = found
        .iter()
        .map(|(line, names)| format!("{line}: {}\n", names.iter().cloned().collect::<Vec<_>>().join(", ")))
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/json_fields.txt");
    if blesses() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "names are a contract: more may come, none may go (docs/cli.md, JSON)");
    // The contract's own words.
    for (line, names) in [
        (
            "list: snapshot",
            "snapshot kind group state suspect pinned tags objects bytes source started finished",
        ),
        ("ls: object", "key state size etag put_time mime class meta"),
        ("diff: change", "change key from_key"),
        ("restore: summary", "snapshot objects bytes written unchanged deleted failed seconds"),
        ("verify: damage", "what pack blob keys snapshots"),
        ("verify: summary", "packs blobs bytes damaged seconds"),
        (
            "heal: summary",
            "damaged from_packs from_groups from_source lost postponed records indexes retired damage_left source no_source dry_run",
        ),
        ("heal: healed", "kind blob group from from_group keys entries snapshots"),
        ("heal: lost", "kind blob group reason for_good keys entries snapshots"),
        ("prune: decision", "snapshot keep reasons"),
        ("prune: summary", "kept removed freed_bytes moved_bytes pending_bytes"),
        (
            "snapshot: summary",
            "snapshot source kind group state suspect full_postponed dry_run requests seconds",
        ),
        ("(error): error", "code kind message object hint"),
    ] {
        for name in names.split(' ') {
            assert!(found[line].contains(name), "{line} lacks {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_exit_code() {
    let bucket = two_weeks().await;
    bucket.qbak(&["list"]).await.exits(0);
    bucket.qbak(&["cat", "latest", "no-such-key"]).await.exits(1);
    bucket.qbak(&["prune"]).await.exits(2);
    // 3: an object that cannot be read.
    bucket.put("broken", "broken");
    let rule =
        bucket.service.faults().add(Rule::on(Kind::Download).exactly("broken").does(Action::FlipByte(2)));
    bucket.qbak(&["snapshot"]).await.exits(3);
    let said = bucket.qbak(&["restore", "latest", "--to", "partial"]).await.exits(3);
    assert!(said.stdout.contains("1 without contents in the snapshot"), "{said:?}");
    let said =
        bucket.qbak(&["restore", "latest", "--to", "partial", "--overwrite", "--delete", "--yes"]).await;
    assert!(said.exits(1).stderr.contains("is partial"));
    bucket.service.faults().remove(rule);
    // 5: somebody is at work; whoever waits long enough has their turn.
    let me =
        Holder { what: "test".into(), host: "here".into(), pid: 7, since: "2026-11-21T00:00:00Z".into() };
    let store = Store::local(&bucket.store_folder()).unwrap();
    let held = lease::take(&store, lease::For::Run, &me).unwrap();
    let said = bucket.qbak(&["snapshot"]).await.exits(5);
    assert!(said.stderr.contains("test by process 7 on here since 2026-11-21T00:00:00Z"), "{said:?}");
    let also = lease::take(&store, lease::For::Prune, &me).unwrap();
    bucket.qbak(&["prune", "--keep", "1"]).await.exits(5);
    bucket.qbak(&["list"]).await.exits(0);
    drop((held, also));
    bucket.qbak(&["snapshot"]).await.exits(0);
    // 6: it looks wrong.
    for n in 1..15 {
        bucket.delete(&format!("photos/{n}.jpg"));
    }
    bucket.qbak(&["snapshot"]).await.exits(6);
    let said = bucket.qbak(&["prune", "--keep", "1"]).await.exits(6);
    assert!(said.stdout.contains("held back: "), "{said:?}");
    let said = bucket.qbak(&["accept", "latest"]).await.exits(0);
    assert!(said.stdout.contains(", which was suspect: ") && said.stderr.contains("SUSPECT"), "{said:?}");
    bucket.qbak(&["prune", "--keep", "1"]).await.exits(0);
    // 4: damage.
    bucket.qbak(&["snapshot", "--full"]).await.exits(0);
    for (pack, _) in bucket.packs() {
        let mut bytes = std::fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&pack, bytes).unwrap();
    }
    let said = bucket.qbak(&["-q", "verify", "--data"]).await.exits(4);
    assert!(said.stdout.starts_with("damage: "), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_has_its_turn() {
    let bucket = Bucket::new().await;
    bucket.put("a", "b");
    let me =
        Holder { what: "test".into(), host: "here".into(), pid: 7, since: "2026-11-21T00:00:00Z".into() };
    let store = Store::local(&bucket.store_folder()).unwrap();
    let held = lease::take(&store, lease::For::Run, &me).unwrap();
    let started = std::time::Instant::now();
    bucket.qbak(&["snapshot", "--wait", "1s"]).await.exits(2);
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        drop(held);
    });
    let said = bucket.qbak(&["snapshot", "--wait", "1h"]).await.exits(0);
    assert!(said.stderr.contains("waiting: the store is in use: test by process 7"), "{said:?}");
    assert!(started.elapsed() >= std::time::Duration::from_millis(700));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_turns_are_explained() {
    let bucket = two_weeks().await;
    std::fs::create_dir_all(bucket.path("full")).unwrap();
    std::fs::write(bucket.path("full/mine"), "mine").unwrap();
    for (args, code, words) in [
        (&["list", "--store", "nowhere"][..], 1, "run `qbak init`; or is the disk not mounted?"),
        (&["list", "--store", "full"], 1, "there is no qbak store at "),
        (&["init", "--store", "full"], 1, "is not empty"),
        (&["init"], 1, "already"),
        (&["ls", "2020-01-01"], 1, "the oldest is 2"),
        (&["ls", "latest~9"], 1, "there are 2 snapshots"),
        (&["ls", "someday"], 2, "is not a date"),
        (&["cat", "latest", "notes/a.txz"], 1, "is it “notes/a.txt”"),
        (&["restore", "latest", "notes/a.txz"], 1, "is it “notes/a.txt”"),
        (&["restore", "latest", "--to", "full"], 1, "is not empty (1 entries)"),
        (&["restore", "latest", "--to", "store/x"], 2, "lies inside the store"),
        (&["restore", "latest", "--to", "."], 2, "lies inside the target"),
        (&["restore", "latest", "--to", "full", "--delete"], 2, "--overwrite"),
        (&["restore", "latest", "--to", "full", "--overwrite", "--delete"], 2, "give --yes"),
        (&["prune"], 2, "nothing says what to keep"),
        (&["prune", "--remove", "latest", "--remove", "latest~1"], 6, "would be the last snapshot"),
        (&["prune", "--exclusive"], 2, "--exclusive is not part of this version yet"),
        (&["diff", "latest", "live", "--source", "kodo://elsewhere"], 2, "kodo://elsewhere"),
        (&["verify", "--restore", "--against", "live", "--source", "full"], 2, "snapshots of kodo://bkt"),
        (&["stats", "--config", "no.toml"], 2, "no.toml"),
    ] {
        let said = bucket.qbak(args).await;
        assert_eq!(said.code, code, "{args:?}: {said:?}");
        assert!(said.stderr.contains(words), "{args:?}: {said:?}");
    }
    assert_eq!(std::fs::read(bucket.path("full/mine")).unwrap(), b"mine");
    // With a yes it goes, and what the snapshot has comes.
    let said = bucket.qbak(&["restore", "latest", "--to", "full", "--overwrite", "--delete", "--yes"]).await;
    assert!(said.exits(0).stdout.contains("1 deleted"));
    assert!(!bucket.path("full/mine").exists() && bucket.path("full/notes/a.txt").exists());
}

/// Who only wants something back needs neither keys nor settings of the source.
#[tokio::test(flavor = "multi_thread")]
async fn reading_back_needs_nothing_but_the_store() {
    let bucket = two_weeks().await;
    std::fs::write(bucket.path("qbak.toml"), "store = \"./store\"\n").unwrap();
    for args in [
        &["list"][..],
        &["ls", "latest"],
        &["cat", "latest", "notes/a.txt"],
        &["restore", "latest"],
        &["verify", "--data"],
        &["diff", "latest"],
        &["stats"],
    ] {
        bucket.without_keys(args).await.exits(0);
    }
    let name = bucket.repo().await.snapshots().await.unwrap().finished.last().unwrap().name;
    assert!(
        bucket.path(&format!("restore-{name}/notes/a.txt")).exists(),
        "without --to it says its snapshot"
    );
}

/// Rules of the configuration serve a bare prune; flags replace them.
#[tokio::test(flavor = "multi_thread")]
async fn configured_retention() {
    let bucket = two_weeks().await;
    let domain = format!("domain = \"{}\"", bucket.service.domain_url());
    bucket.configure_with(&domain, "[retention]\nkeep = 1");
    let removed = |said: Said| said.exits(0).number("removed");
    assert_eq!(
        removed(bucket.qbak(&["--json", "prune", "--keep-groups", "1"]).await),
        0,
        "flags replace them"
    );
    let said = bucket.qbak(&["--json", "prune", "--dry-run"]).await;
    assert_eq!(removed(said), 1);
    assert_eq!(removed(bucket.qbak(&["--json", "prune"]).await), 1);
    assert_eq!(bucket.qbak(&["--json", "list"]).await.exits(0).number("snapshots"), 1);
}
