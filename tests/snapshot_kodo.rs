//! Snapshots of a Kodo bucket by the real binary over real HTTP: what is downloaded, what is not, and what is said when
//! the source misbehaves.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::bucket::{Bucket, downloads_at};
use common::noise;
use qbak::emulator::{Action, Kind, Role, Rule};

const MIB: usize = 1 << 20;

async fn filled() -> (Bucket, BTreeMap<Vec<u8>, Vec<u8>>) {
    let bucket = Bucket::new().await;
    let mut expected = BTreeMap::new();
    let odd = [
        "",
        "//x//",
        "/lead",
        "trail/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a/./b",
        "100%/x?y#z+w&v=1",
        "目录/文 件.txt",
        "😀.png",
        "a:b",
        "???>>>",
        "back\\slash",
        "tab\there",
        "new\nline",
        "a%41",
        "p+q",
        " blank ",
        "x",
        "x/y",
        "nul\u{0}byte",
    ];
    for (n, key) in odd.iter().enumerate() {
        expected.insert(key.as_bytes().to_vec(), format!("odd {n}").into_bytes());
    }
    for n in 0..40 {
        expected.insert(
            format!("text/{n:02}.txt").into_bytes(),
            format!("line {n}\n").repeat(100 * n).into_bytes(),
        );
    }
    expected.insert(b"big/film.mp4".to_vec(), noise(1, 9 * MIB + 5));
    expected.insert(b"big/exact.bin".to_vec(), noise(2, 4 * MIB));
    for (key, bytes) in &expected {
        bucket.put(std::str::from_utf8(key).unwrap(), bytes);
    }
    (bucket, expected)
}

#[tokio::test(flavor = "multi_thread")]
async fn weeks_of_a_bucket() {
    let (bucket, mut expected) = filled().await;
    let first = bucket.snapshot(&[]).await.exits(0);
    assert_eq!(first.summary()["kind"], "full");
    assert_eq!(first.number("objects"), expected.len() as u64);
    assert_eq!(first.number("downloaded_objects"), expected.len() as u64);
    assert_eq!(bucket.newest().await, expected);

    // Nothing changed: listing calls and the region query, nothing else.
    bucket.service.clear_requests();
    let same = bucket.snapshot(&[]).await.exits(0);
    assert_eq!(same.summary()["kind"], "incremental");
    assert_eq!((same.number("unchanged"), same.number("stored_bytes")), (expected.len() as u64, 0));
    let counts = bucket.service.counts();
    assert_eq!(counts.total(), counts.of(Kind::List) + counts.of(Kind::Query), "{counts:?}");

    // A rename, a copy, a deletion, an overwrite at equal size, a new one.
    bucket.service.clear_requests();
    let film = expected.remove(b"big/film.mp4".as_slice()).unwrap();
    bucket.delete("big/film.mp4");
    bucket.put("moved/film.mp4", &film);
    bucket.put("copy of film.mp4", &film);
    bucket.delete("text/03.txt");
    expected.remove(b"text/03.txt".as_slice());
    bucket.put("text/04.txt", vec![b'#'; expected[b"text/04.txt".as_slice()].len()]);
    bucket.put("new.txt", "new");
    for key in ["moved/film.mp4", "copy of film.mp4"] {
        expected.insert(key.into(), film.clone());
    }
    let length = expected[b"text/04.txt".as_slice()].len();
    expected.insert(b"text/04.txt".to_vec(), vec![b'#'; length]);
    expected.insert(b"new.txt".to_vec(), b"new".to_vec());
    let week = bucket.snapshot(&[]).await.exits(0);
    let counted = |f: &str| week.number(f);
    assert_eq!(
        (counted("added"), counted("changed"), counted("removed"), counted("renamed")),
        (2, 1, 1, 1),
        "{week:#?}"
    );
    assert_eq!((counted("downloaded_objects"), counted("downloaded_bytes")), (2, length as u64 + 3));
    assert_eq!(bucket.downloads().len(), 2, "a rename or copy is not downloaded");
    assert_eq!(bucket.newest().await, expected);

    // A full run copies what the store has and downloads nothing.
    bucket.service.clear_requests();
    let full = bucket.snapshot(&["--full"]).await.exits(0);
    assert_eq!(full.number("downloaded_objects"), 0);
    assert_ne!(full.summary()["group"], first.summary()["group"]);
    assert!(bucket.downloads().is_empty());
    assert_eq!(bucket.newest().await, expected);

    // …unless it is asked to: every distinct content once.
    let audit = bucket.snapshot(&["--redownload"]).await.exits(0);
    let distinct: std::collections::BTreeSet<_> = expected.values().collect();
    assert_eq!(audit.number("downloaded_objects"), distinct.len() as u64);
    assert_eq!(audit.summary()["kind"], "full");
    assert_eq!(bucket.newest().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_contents_of_one_run_are_downloaded_once() {
    let bucket = Bucket::new().await;
    for n in 0..30 {
        bucket.put(&format!("twin-{n}"), noise(7, 5 * MIB));
    }
    bucket.slow(Duration::from_millis(20));
    let said = bucket.snapshot(&[]).await.exits(0);
    assert_eq!(said.number("downloaded_bytes"), 5 * MIB as u64);
    assert_eq!(bucket.downloads().len(), 2, "one object of two blocks");
    assert!(said.number("stored_bytes") < 6 * MIB as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_on_disk_is_stored_again() {
    let (bucket, expected) = filled().await;
    bucket.snapshot(&[]).await.exits(0);
    for harm in ["delete", "truncate", "lost index and pack"] {
        let packs = bucket.packs();
        let (pack, size) = packs.iter().max_by_key(|(_, size)| *size).unwrap();
        match harm {
            "truncate" => {
                std::fs::OpenOptions::new().write(true).open(pack).unwrap().set_len(size - 1).unwrap()
            }
            _ => std::fs::remove_file(pack).unwrap(),
        }
        if harm.starts_with("lost index") {
            let groups = std::fs::read_dir(bucket.store_folder().join("groups")).unwrap();
            for group in groups {
                let index = group.unwrap().path().join("index");
                std::fs::remove_dir_all(&index).unwrap();
                std::fs::create_dir(index).unwrap();
            }
        }
        let said = bucket.snapshot(&[]).await.exits(0);
        // A pack that lost its last byte still gives its blobs, every one checked: they are copied, not downloaded.
        let again = if harm == "truncate" { "stored_bytes" } else { "downloaded_objects" };
        assert!(said.number(again) > 0, "{harm}: {said:#?}");
        assert_eq!(said.number("unchanged"), expected.len() as u64, "{harm}");
        assert_eq!(bucket.newest().await, expected, "{harm}");
        bucket.service.clear_requests();
        let again = bucket.snapshot(&[]).await.exits(0);
        assert_eq!((again.number("downloaded_objects"), bucket.downloads().len()), (0, 0), "{harm}");
        // What is left of the hurt pack goes.
        bucket.qbak(&["heal"]).await.exits(0);
        assert_eq!(bucket.newest().await, expected, "{harm}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_change_or_go_under_the_run() {
    let bucket = Bucket::new().await;
    for key in ["changes", "goes", "stays"] {
        bucket.put(key, format!("{key} 1"));
    }
    let catalog = Arc::clone(bucket.service.catalog());
    let put = {
        let service_put = bucket.service.put("spare", b"changes 2").unwrap();
        move |catalog: &Arc<dyn qbak::emulator::Catalog>| {
            let mut spool = catalog.spool().unwrap();
            spool.write(b"changes 2").unwrap();
            let stored = spool.finish().unwrap();
            let object = (*service_put).clone();
            catalog.put("changes", object, stored, &|_| true).map(drop).unwrap();
        }
    };
    bucket.delete("spare");
    let once = Rule::on(Kind::Download).key("changes").times(1);
    let hook = Arc::clone(&catalog);
    bucket.service.faults().add(once.does(Action::Hook(Arc::new(move |_| put(&hook)))));
    let hook = Arc::clone(&catalog);
    let once = Rule::on(Kind::Download).key("goes").times(1);
    bucket
        .service
        .faults()
        .add(once.does(Action::Hook(Arc::new(move |_| assert!(hook.delete("goes").unwrap())))));
    let said = bucket.snapshot(&[]).await.exits(3);
    assert_eq!((said.number("vanished"), said.number("failed")), (1, 0), "{said:#?}");
    assert_eq!(said.summary()["state"], "partial");
    assert_eq!(said.lines("failed")[0]["key"], "goes");
    let newest = bucket.newest().await;
    assert_eq!(newest[b"changes".as_slice()], b"changes 2");
    let next = bucket.snapshot(&[]).await.exits(0);
    assert_eq!((next.number("removed"), next.number("objects")), (0, 2), "what vanished was never there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_alters_content_is_noticed_and_passed_by() {
    let bucket = Bucket::new().await;
    for n in 0..60 {
        bucket.put(&format!("photo-{n:02}.jpg"), noise(n, 2000));
    }
    let slim = Action::Replace(Bytes::from_static(b"slimmed"), "image/jpeg".into());
    bucket.service.faults().add(downloads_at(Role::Domain).key("*.jpg").does(slim));
    let said = bucket.snapshot(&[]).await.exits(0);
    assert_eq!(said.number("failed"), 0);
    let warnings = said.asides("warning");
    assert_eq!(warnings.len(), 1, "said once: {warnings:?}");
    assert!(warnings[0]["message"].as_str().unwrap().contains("domain"), "{warnings:?}");
    let at_domain = bucket.downloads().iter().filter(|r| r.role == Role::Domain).count();
    assert!((20..50).contains(&at_domain), "{at_domain} downloads went to the domain");
    assert_eq!(bucket.newest().await[b"photo-07.jpg".as_slice()], noise(7, 2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_flips_on_the_way_is_noticed_though_nothing_else_shows_it() {
    let bucket = Bucket::new().await;
    for n in 0..5 {
        bucket.put(&format!("{n}"), noise(n, 2000));
    }
    bucket.service.faults().add(downloads_at(Role::Domain).does(Action::FlipByte(700)));
    let said = bucket.snapshot(&[]).await.exits(0);
    assert_eq!(said.number("failed"), 0);
    for (n, (_, bytes)) in (0..).zip(bucket.newest().await) {
        assert_eq!(bytes, noise(n, 2000), "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_object_that_fails_is_named_and_tried_again_next_time() {
    let bucket = Bucket::new().await;
    for n in 0..30 {
        bucket.put(&format!("ok-{n:02}"), noise(n, 100));
    }
    bucket.put("broken", "broken");
    let rule =
        bucket.service.faults().add(Rule::on(Kind::Download).exactly("broken").does(Action::FlipByte(2)));
    let said = bucket.snapshot(&[]).await.exits(3);
    assert_eq!(said.number("failed"), 1);
    let failed = said.lines("failed");
    assert_eq!((failed.len(), &failed[0]["key"]), (1, &"broken".into()), "{said:#?}");
    assert!(!failed[0]["reason"].as_str().unwrap().is_empty());
    bucket.service.faults().remove(rule);
    let next = bucket.snapshot(&[]).await.exits(0);
    assert_eq!((next.number("downloaded_objects"), next.number("failed")), (1, 0));
    assert_eq!(bucket.newest().await[b"broken".as_slice()], b"broken");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_domain_never_becomes_the_latest_snapshot() {
    let bucket = Bucket::new().await;
    for n in 0..40 {
        bucket.put(&format!("{n:02}"), noise(n, 100));
    }
    bucket
        .service
        .faults()
        .add(downloads_at(Role::Domain).does(Action::Status(403, "domain expired".into())));
    let said = bucket.snapshot(&[]).await.exits(1);
    assert_eq!(said.summary()["type"], "error");
    assert!(bucket.repo().await.snapshots().await.unwrap().finished.is_empty());
    assert!(bucket.downloads().len() < 40 * 4, "it stopped early");
    bucket.service.faults().clear();
    bucket.snapshot(&[]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_fails_makes_no_snapshot() {
    let bucket = Bucket::new().await;
    for n in 0..2500 {
        bucket.put(&format!("{n:04}"), b"same");
    }
    bucket.snapshot(&[]).await.exits(0);
    let rule = Rule::on(Kind::List).after(2).does(Action::Status(631, "no such bucket".into()));
    let id = bucket.service.faults().add(rule);
    let said = bucket.snapshot(&[]).await.exits(1);
    assert!(said.summary()["message"].as_str().unwrap().contains("list"), "{said:#?}");
    assert_eq!(bucket.repo().await.snapshots().await.unwrap().finished.len(), 1);
    bucket.service.faults().remove(id);
    let next = bucket.snapshot(&[]).await.exits(0);
    assert_eq!((next.number("removed"), next.number("unchanged")), (0, 2500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_out_of_order_is_sorted() {
    let bucket = Bucket::new().await;
    for n in 0..1500 {
        bucket.put(&format!("{n:04}"), noise(n, 50));
    }
    bucket.service.faults().add(Rule::on(Kind::List).does(Action::Reverse));
    let said = bucket.snapshot(&[]).await.exits(0);
    assert_eq!((said.number("objects"), said.asides("warning").len()), (1500, 1), "{said:#?}");
    assert!(said.number("downloaded_objects") <= 1500);
    bucket.service.clear_requests();
    let again = bucket.snapshot(&[]).await.exits(0);
    assert_eq!((again.number("unchanged"), bucket.downloads().len()), (1500, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_objects_are_known_from_the_listing() {
    let bucket = Bucket::new().await;
    bucket.put("cold", "cold content");
    bucket.put("warm", "warm content");
    let set_class = |bucket: &Bucket, class| {
        let mut set = |o: &mut qbak::emulator::Object| {
            o.class = class;
            true
        };
        bucket.service.catalog().update("cold", &mut set).map(drop).unwrap();
    };
    set_class(&bucket, 2);
    let said = bucket.snapshot(&[]).await.exits(3);
    assert_eq!((said.number("unavailable"), said.number("failed")), (1, 0), "{said:#?}");
    assert!(bucket.downloads().iter().all(|r| r.key.as_deref() != Some("cold")), "it was not even tried");
    bucket.configure_with(
        &format!("domain = \"{}\"\nunavailable = \"accept\"", bucket.service.domain_url()),
        "",
    );
    let said = bucket.snapshot(&[]).await.exits(0);
    assert_eq!((said.number("unavailable"), &said.summary()["state"]), (1, &"complete".into()));
    // What was stored while it was readable stays readable from the store.
    set_class(&bucket, 0);
    assert_eq!(bucket.snapshot(&[]).await.exits(0).number("downloaded_objects"), 1);
    set_class(&bucket, 2);
    assert_eq!(bucket.snapshot(&[]).await.exits(0).number("unavailable"), 0);
    assert_eq!(bucket.newest().await[b"cold".as_slice()], b"cold content");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mass_deletion_is_suspect_until_the_objects_are_back() {
    let bucket = Bucket::new().await;
    for n in 0..40 {
        bucket.put(&format!("{n:02}"), noise(n, 100));
    }
    bucket.snapshot(&[]).await.exits(0);
    for n in 0..20 {
        bucket.delete(&format!("{n:02}"));
    }
    let said = bucket.snapshot(&[]).await.exits(6);
    assert_eq!((&said.summary()["suspect"], said.number("removed")), (&true.into(), 20));
    bucket.put("40", "a week later");
    assert_eq!(bucket.snapshot(&[]).await.exits(6).number("removed"), 0, "it still lacks them");
    for n in 0..20 {
        bucket.put(&format!("{n:02}"), noise(n, 100));
    }
    let back = bucket.snapshot(&[]).await.exits(0);
    assert_eq!((&back.summary()["suspect"], back.number("downloaded_objects")), (&false.into(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_said_in_one_sentence() {
    let bucket = Bucket::new().await;
    bucket.put("a", "a");
    let domain = format!("domain = \"{}\"", bucket.service.domain_url());
    let text = std::fs::read_to_string(bucket.path("qbak.toml")).unwrap();
    std::fs::write(bucket.path("qbak.toml"), text.replace("kodo://bkt", "kodo://bkd")).unwrap();
    let said = bucket.snapshot(&[]).await.exits(1);
    assert!(said.summary()["message"].as_str().unwrap().contains("bkd"), "{said:#?}");
    bucket.configure_with(&domain, "");
    std::fs::remove_dir_all(bucket.store_folder()).unwrap();
    let said = bucket.snapshot(&[]).await.exits(1);
    assert!(said.summary()["hint"].as_str().unwrap().contains("qbak init"), "{said:#?}");
}
