//! `heal`: damaged and missing blobs come back from wherever the same bytes still are; what is lost is said, and nothing else is ever
//! stored in its place.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::bucket::Bucket;
use common::faulty::{Counted, Fault, FaultyStore};
use common::matrix::{Files, damage, files_of, open, pattern, table, verified, with};
use common::noise;
use common::weeks::{Tree, Weeks, held};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use qbak::format::compress::Codec;
use qbak::format::index::{Encoder, IndexRecord, PackEntry};
use qbak::format::pack::{BlobKind, FOOTER, HEADER, Outline, Record, tail};
use qbak::format::records::RunKind::{Full, Incremental};
use qbak::format::seal::Sealer;
use qbak::model::clock::FixedClock;
use qbak::model::id::{BlobId, Digest, PackId};
use qbak::op::heal::{self, From, Options, heal};
use qbak::op::{Cancel, OpError};
use qbak::repo::Repository;
use qbak::repo::blobs::{BlobReader, Groups};
use qbak::repo::names::{self, Meaning};

fn context(weeks: &Weeks, repo: &Repository) -> heal::Context {
    heal::Context {
        repo: repo.clone(),
        source: Ok(weeks.context(repo).source),
        clock: Arc::new(FixedClock(weeks.now())),
        observer: Arc::new(common::Recorder::default()),
        cancel: Cancel::never(),
    }
}

fn options() -> Options {
    Options::new(std::env::temp_dir())
}

async fn healed(weeks: &Weeks, repo: &Repository) -> heal::Report {
    heal(&context(weeks, repo), &options()).await.unwrap()
}

async fn without_source(weeks: &Weeks, repo: &Repository) -> heal::Report {
    let ctx = heal::Context { source: Err("it is unplugged".into()), ..context(weeks, repo) };
    heal(&ctx, &options()).await.unwrap()
}

fn is_pack(name: &str) -> bool {
    name.ends_with(".pack")
}

fn is_metadata(pack: &[u8]) -> bool {
    pack[10] & 1 == 1
}

/// The packs of a group, of data or of metadata.
fn packs(files: &Files, group: impl ToString, metadata: bool) -> Vec<String> {
    let prefix = format!("groups/{}/", group.to_string());
    let all =
        files.iter().filter(|(n, b)| n.starts_with(&prefix) && is_pack(n) && is_metadata(b) == metadata);
    all.map(|(n, _)| n.clone()).collect()
}

/// Every byte of every blob of a pack is wrong.
fn spoil(files: &mut Files, name: &str) {
    let mut bytes = files[name].to_vec();
    let end = table(&bytes);
    bytes[HEADER..end].iter_mut().for_each(|b| *b ^= 0x5a);
    files.insert(name.into(), bytes.into());
}

/// All is as it was, and no trace of damage is left.
async fn is_whole(weeks: &Weeks, memory: &Arc<InMemory>, report: &heal::Report) {
    let repo = open(memory).await;
    for s in &weeks.records {
        assert_eq!(held(&repo, s).await.unwrap(), weeks.taken[&s.name]);
    }
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(damage(&verified(&repo, true).await), [""; 0]);
    assert!(repo.damage().await.unwrap().is_empty(), "a record of damage goes with its pack");
    let again = healed(weeks, &repo).await;
    assert_eq!((again.damaged, again.retired, again.written_bytes), (0, 0, 0), "nothing is left to do");
}

async fn two_groups() -> Weeks {
    let mut weeks = Weeks::new().await;
    weeks.write("a/one", "first");
    weeks.write("a/two", noise(2, 3000));
    weeks.write("big", pattern((4 << 20) + 1000));
    weeks.snapshot(Full).await;
    weeks.snapshot(Full).await;
    weeks
}

#[tokio::test(flavor = "multi_thread")]
async fn another_groups_copy_serves_and_no_source_is_needed() {
    let weeks = two_groups().await;
    let all = files_of(weeks.memory.as_ref()).await;
    let (first, second) = (weeks.records[0].group, weeks.records[1].group);
    for metadata in [false, true] {
        for gone in [false, true] {
            let mut files = all.clone();
            for name in packs(&all, first, metadata) {
                if gone {
                    files.remove(&name);
                } else {
                    spoil(&mut files, &name);
                }
            }
            let memory = with(&files).await;
            let repo = open(&memory).await;
            assert!(verified(&repo, true).await.damaged > 0);
            let report = without_source(&weeks, &repo).await;
            assert!(report.from_groups > 0 && report.from_packs + report.from_source == 0, "{report:?}");
            assert_eq!(report.healed.len() as u64, report.damaged);
            let item = &report.healed[0];
            assert_eq!((item.from, item.group), (Some(From::Group(second)), first));
            assert!(!item.keys.is_empty() && item.snapshots == [first]);
            assert!(report.retired > 0, "the damaged packs are gone: {report:?}");
            is_whole(&weeks, &memory, &report).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_gives_what_it_still_has_under_whatever_key() {
    let mut weeks = Weeks::new().await;
    let blocks = [noise(1, 4 << 20), noise(2, 4 << 20), noise(3, 500)];
    weeks.write("large", blocks.concat());
    weeks.write("moved", noise(4, 900));
    weeks.write("same", noise(5, 900));
    weeks.write("deleted", noise(6, 900));
    weeks.write("changed", noise(7, 900));
    weeks.snapshot(Full).await;
    // Since then: one renamed, one gone, one changed, and the middle of a large one.
    weeks.delete("moved");
    weeks.write("to/another place", noise(4, 900));
    weeks.delete("deleted");
    weeks.write("changed", noise(70, 900));
    weeks.write("large", [blocks[0].clone(), noise(20, 4 << 20), blocks[2].clone()].concat());
    let mut files = files_of(weeks.memory.as_ref()).await;
    let group = weeks.records[0].group;
    for name in packs(&files, group, false) {
        spoil(&mut files, &name);
    }
    let memory = with(&files).await;
    let repo = open(&memory).await;
    assert!(verified(&repo, true).await.damaged > 0);
    let before = files_of(memory.as_ref()).await;
    let dry = heal(&context(&weeks, &repo), &Options { dry_run: true, ..options() }).await.unwrap();
    assert_eq!(files_of(memory.as_ref()).await, before, "a dry run writes nothing");
    assert!(dry.dry_run && dry.damaged == 7 && dry.from_source >= 4, "{dry:?}");
    let report = healed(&weeks, &repo).await;
    assert_eq!(
        (report.damaged, report.from_source, report.lost, report.postponed),
        (7, 4, 3, 0),
        "{report:?}"
    );
    let mut lost: Vec<&str> = report.missing.iter().map(|m| m.keys[0].text().unwrap()).collect();
    lost.sort_unstable();
    assert_eq!(lost, ["changed", "deleted", "large"]);
    assert!(report.missing.iter().all(|m| m.for_good && m.snapshots == [group] && m.entries == 1));
    assert!(!report.is_whole() && report.damage_left > 0);
    // What is back is right; what is lost is still said.
    let read = object_by_object(&repo, &weeks).await;
    assert_eq!(read.keys().collect::<Vec<_>>(), ["moved", "same"]);
    assert!(verified(&repo, true).await.damaged > 0);
    // It comes back to the bucket: then it comes back here.
    weeks.write("found again", noise(6, 900));
    weeks.write("found too", noise(7, 900));
    weeks.write("large", blocks.concat());
    let report = healed(&weeks, &repo).await;
    assert_eq!((report.damaged, report.from_source), (3, 3), "{report:?}");
    is_whole(&weeks, &memory, &report).await;
}

/// The objects of the first snapshot that can be read; what comes must be right.
async fn object_by_object(repo: &Repository, weeks: &Weeks) -> Tree {
    let s = &weeks.records[0];
    let groups = Arc::new(Groups::new(repo).await.unwrap());
    let blobs = BlobReader::new(repo, groups, s.group, &s.needs);
    let span = qbak::repo::manifest_reader::Span::all();
    let entries = qbak::repo::manifest_reader::ManifestReader::new(blobs.clone(), s.name, &s.manifest, span);
    let mut read = BTreeMap::new();
    for entry in entries.collect().await.unwrap() {
        let mut bytes = Vec::new();
        let mut whole = true;
        for id in blobs.blocks(entry.content.unwrap(), entry.size).await.unwrap() {
            match blobs.read(BlobKind::Data, &id).await {
                Ok(b) => bytes.extend(b),
                Err(e) => {
                    assert!(e.is_damage());
                    whole = false;
                }
            }
        }
        if whole {
            let key = entry.key.text().unwrap().to_owned();
            assert_eq!(bytes, weeks.taken[&s.name][&key]);
            read.insert(key, bytes);
        }
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_list_is_found_out_from_the_object_itself() {
    let mut weeks = Weeks::new().await;
    weeks.write("large", pattern((8 << 20) + 5));
    weeks.snapshot(Full).await;
    let all = files_of(weeks.memory.as_ref()).await;
    let list = packs(&all, weeks.records[0].group, true).into_iter().find(|name| {
        let bytes = &all[name];
        let outline = Outline::parse(&bytes[..HEADER], tail(bytes), bytes.len() as u64).unwrap();
        outline.table(&Sealer::Plain, &bytes[outline.table_range()]).unwrap()[..]
            .iter()
            .any(|r| r.kind == BlobKind::List)
    });
    let name = list.unwrap();
    let outline = Outline::parse(&all[&name][..HEADER], tail(&all[&name]), all[&name].len() as u64).unwrap();
    let table = outline.table(&Sealer::Plain, &all[&name][outline.table_range()]).unwrap();
    let record = table.iter().find(|r| r.kind == BlobKind::List).unwrap();
    // The list alone is hurt; and all blocks with it, so that what is needed shows only when the list is back.
    for all_data in [false, true] {
        let mut files = all.clone();
        let mut bytes = all[&name].to_vec();
        bytes[record.offset as usize] ^= 1;
        files.insert(name.clone(), bytes.into());
        for data in packs(&all, weeks.records[0].group, false).iter().filter(|_| all_data) {
            spoil(&mut files, data);
        }
        let memory = with(&files).await;
        let repo = open(&memory).await;
        verified(&repo, true).await;
        let report = healed(&weeks, &repo).await;
        assert!(report.from_source == if all_data { 4 } else { 1 }, "{report:?}");
        is_whole(&weeks, &memory, &report).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whole_in_a_hurt_pack_is_taken_from_there_a_few_at_a_time() {
    let weeks = {
        let mut weeks = Weeks::new().await;
        for n in 0..20 {
            weeks.write(&format!("o{n:02}"), noise(n, 700));
        }
        weeks.snapshot(Full).await;
        weeks
    };
    let all = files_of(weeks.memory.as_ref()).await;
    let name = packs(&all, weeks.records[0].group, false)[0].clone();
    for case in 0..3 {
        let mut bytes = all[&name].to_vec();
        match case {
            // The footer; one blob; the second half.
            0 => {
                let at = bytes.len() - FOOTER + 5;
                bytes[at] ^= 1;
            }
            1 => bytes[HEADER + 100] ^= 1,
            _ => bytes.truncate(bytes.len() / 2),
        }
        let mut files = all.clone();
        files.insert(name.clone(), bytes.into());
        let memory = with(&files).await;
        let repo = open(&memory).await;
        verified(&repo, true).await;
        let most = if case == 0 { 3 } else { 50_000 };
        let report = heal(&context(&weeks, &repo), &Options { most, ..options() }).await.unwrap();
        assert_eq!((report.damaged, report.retired), (20, 1), "case {case}: {report:?}");
        match case {
            0 => assert_eq!(report.from_packs, 20),
            1 => assert_eq!((report.from_packs, report.from_source), (19, 1)),
            _ => assert!(report.from_packs >= 5 && report.from_source >= 5, "{report:?}"),
        }
        is_whole(&weeks, &memory, &report).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn index_files_and_small_records_are_made_again() {
    let mut weeks = two_groups().await;
    weeks.write("a/three", "third");
    weeks.snapshot(Incremental).await;
    let all = files_of(weeks.memory.as_ref()).await;
    for (name, bytes) in &all {
        let mut files = all.clone();
        match names::meaning(name) {
            Meaning::Index(..)
                if name < &all.keys().filter(|n| n.ends_with(".idx")).nth(1).unwrap().clone() =>
            {
                drop(files.remove(name));
            }
            Meaning::Index(..) | Meaning::Snapshot(_) | Meaning::Furniture => {
                let mut bad = bytes.to_vec();
                let middle = bad.len() / 2;
                bad[middle] ^= 4;
                files.insert(name.clone(), bad.into());
            }
            _ => continue,
        }
        let memory = with(&files).await;
        let repo = open(&memory).await;
        let report = without_source(&weeks, &repo).await;
        let index = name.ends_with(".idx");
        assert_eq!(
            (report.indexes, report.records),
            (u64::from(index), u64::from(!index)),
            "{name}: {report:?}"
        );
        is_whole(&weeks, &memory, &report).await;
        if !index {
            assert_eq!(files_of(memory.as_ref()).await[name], all[name], "as it was");
        }
        // The next run relies on what was made, and adds nothing.
        let mut ctx = weeks.context(&open(&memory).await);
        ctx.clock =
            Arc::new(FixedClock(qbak::model::time::Timestamp::from_seconds(weeks.now().seconds() + 900)));
        let made = qbak::op::snapshot::snapshot(&ctx, weeks.options(Incremental)).await.unwrap();
        assert_eq!((made.counts.unchanged, made.transfer.downloaded_bytes), (4, 0), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_is_not_a_loss_for_good() {
    let weeks = two_groups().await;
    let mut files = files_of(weeks.memory.as_ref()).await;
    for group in [weeks.records[0].group, weeks.records[1].group] {
        for name in packs(&files, group, false) {
            files.remove(&name);
        }
    }
    let memory = with(&files).await;
    let repo = open(&memory).await;
    let report = without_source(&weeks, &repo).await;
    assert!(report.lost == 0 && report.postponed == 8 && !report.is_whole(), "{report:?}");
    assert_eq!(report.no_source.as_deref(), Some("it is unplugged"));
    assert!(
        report.missing.iter().all(|m| !m.for_good && m.reason.as_ref().unwrap().contains("it is unplugged"))
    );
    let report = healed(&weeks, &repo).await;
    assert_eq!(report.from_source, 8, "{report:?}");
    is_whole(&weeks, &memory, &report).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_anywhere_it_does_no_harm_and_the_next_one_finishes() {
    let weeks = {
        let mut weeks = Weeks::new().await;
        for n in 0..6 {
            weeks.write(&format!("o{n}"), noise(n, 500));
        }
        weeks.snapshot(Full).await;
        weeks.snapshot(Full).await;
        weeks
    };
    let mut files = files_of(weeks.memory.as_ref()).await;
    let name = packs(&files, weeks.records[0].group, false)[0].clone();
    spoil(&mut files, &name);
    let index = files.keys().find(|n| n.ends_with(".idx")).unwrap().clone();
    files.remove(&index);
    let mut cuts = 0;
    for fault in [Fault::CutBefore, Fault::CutAfter, Fault::LostReply, Fault::Full] {
        for at in 0.. {
            let memory = with(&files).await;
            verified(&open(&memory).await, true).await;
            let inner = Arc::clone(&memory) as Arc<dyn ObjectStore>;
            let (faulty, control) = FaultyStore::new(inner, Counted::Changes, at, fault);
            let repo = Repository::open(faulty.store()).await.unwrap();
            let ended = heal(&context(&weeks, &repo), &options()).await;
            if !control.has_struck() {
                assert!(ended.unwrap().is_whole());
                assert!(at > 5, "{at} changes");
                break;
            }
            cuts += 1;
            let repo = open(&memory).await;
            for s in &weeks.records {
                assert_eq!(held(&repo, s).await.unwrap(), weeks.taken[&s.name], "{fault:?} at {at}");
            }
            let report = without_source(&weeks, &repo).await;
            assert!(report.is_whole(), "{fault:?} at {at}: {report:?}");
            assert_eq!(damage(&verified(&repo, true).await), [""; 0], "{fault:?} at {at}");
        }
    }
    assert!(cuts > 30, "{cuts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_stops() {
    let weeks = two_groups().await;
    let (stop, cancel) = Cancel::pair();
    stop.stop();
    let ctx = heal::Context { cancel, ..context(&weeks, &weeks.repo) };
    assert!(matches!(heal(&ctx, &options()).await, Err(OpError::Interrupted)));
}

/// An index file that is too large to be read whole: its pages are read one by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_of_a_large_index_costs_nothing() {
    let weeks = {
        let mut weeks = Weeks::new().await;
        for n in 0..40 {
            weeks.write(&format!("o{n:02}"), noise(n, 100));
        }
        weeks.snapshot(Full).await;
        weeks
    };
    let mut files = files_of(weeks.memory.as_ref()).await;
    let group = weeks.records[0].group;
    // The records of all packs, and so many others that the file grows large; these lie in a pack that is small and not needed.
    let (mut entries, mut records) = (Vec::new(), Vec::new());
    for (name, bytes) in files.iter().filter(|(n, _)| is_pack(n)) {
        let Meaning::Pack(_, id) = names::meaning(name) else { panic!("{name}") };
        let outline = Outline::parse(&bytes[..HEADER], tail(bytes), bytes.len() as u64).unwrap();
        let table = outline.table(&Sealer::Plain, &bytes[outline.table_range()]).unwrap();
        let pack = entries.len() as u32;
        entries.push(PackEntry { id, size: bytes.len() as u64, metadata: outline.metadata });
        records.extend(table.into_iter().map(|record| IndexRecord { record, pack }));
    }
    let gone = PackId([1; 32]);
    let pack = entries.len() as u32;
    entries.push(PackEntry { id: gone, size: 1 << 20, metadata: false });
    for n in 0..250_000u64 {
        let digest = Digest::of(&n.to_le_bytes());
        let id = BlobId(digest.0[..20].try_into().unwrap());
        let (offset, length) = (HEADER as u32, 1);
        let record =
            Record { id, kind: BlobKind::Data, codec: Codec::Raw, offset, stored: length, length, digest };
        records.push(IndexRecord { record, pack });
    }
    records.sort_by_key(IndexRecord::order);
    let mut encoder = Encoder::new(Sealer::Plain, [5; 16], Vec::new()).unwrap();
    records.iter().for_each(|r| encoder.push(r).unwrap());
    let old: Vec<_> = files.keys().filter(|n| n.ends_with(".idx")).cloned().collect();
    let replaces = old.iter().map(|n| match names::meaning(n) {
        Meaning::Index(_, id) => id,
        other => panic!("{other:?}"),
    });
    let (id, bytes) = encoder.finish(&entries, &replaces.collect::<Vec<_>>()).unwrap();
    assert!(bytes.len() > 16 << 20);
    let name = names::index(group, id);
    // Every page that names a blob of the store is hurt.
    let mut hurt = bytes;
    for (n, r) in records.iter().enumerate().filter(|(_, r)| r.pack != pack) {
        let _ = r;
        let page = n / 56;
        hurt[32 + page * (56 * 72 + 16) + 7] ^= 1;
        // Once more would mend it.
        if records[page * 56..n].iter().any(|r| r.pack != pack) {
            hurt[32 + page * (56 * 72 + 16) + 7] ^= 1;
        }
    }
    files.insert(name.clone(), Bytes::from(hurt));
    let memory = with(&files).await;
    let repo = open(&memory).await;
    let s = &weeks.records[0];
    assert_eq!(held(&repo, s).await.unwrap(), weeks.taken[&s.name], "the packs' own tables serve");
    let report = verified(&repo, true).await;
    assert!(
        damage(&report).iter().any(|d| d.starts_with(&name) && d.contains("page")),
        "{:?}",
        damage(&report)
    );
    assert!(damage(&report).iter().all(|d| d.starts_with(&name)), "{:?}", damage(&report));
    let report = without_source(&weeks, &repo).await;
    assert!(report.indexes == 1 && report.is_whole(), "{report:?}");
    is_whole(&weeks, &memory, &report).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_takes_away_what_cut_off_writes_left_long_ago() {
    let bucket = Bucket::new().await;
    bucket.put("a", "b");
    bucket.snapshot(&[]).await.exits(0);
    let pack = bucket.packs()[0].0.strip_prefix(bucket.store_folder()).unwrap().to_str().unwrap().to_owned();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let (ours, others) = (format!("{pack}#1"), ["notes#1", "snapshots/x#2"]);
    for name in [ours.as_str(), "qbak.json#12", "runs/2026-01-01T00-00-00Z.json#3"].into_iter().chain(others)
    {
        common::write(&bucket.store_folder(), name, "cut o");
        let file = std::fs::File::options().write(true).open(bucket.store_folder().join(name)).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    let young = format!("{pack}#2");
    common::write(&bucket.store_folder(), &young, "being written");
    bucket.qbak(&["prune", "--keep", "1", "--dry-run"]).await.exits(0);
    assert!(bucket.store_folder().join(&ours).exists(), "a dry run deletes nothing");
    bucket.qbak(&["prune", "--keep", "1"]).await.exits(0);
    let left: Vec<String> =
        common::files(&bucket.store_folder()).into_keys().filter(|n| n.contains('#')).collect();
    let mut expected = vec![young, others[0].to_owned(), others[1].to_owned()];
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_binary() {
    let bucket = Bucket::new().await;
    for n in 0..5 {
        bucket.put(&format!("photos/{n}.jpg"), noise(n, 2000));
    }
    bucket.put("gone", "gone");
    bucket.snapshot(&[]).await.exits(0);
    let text = bucket.qbak(&["heal"]).await.exits(0).stdout;
    assert!(
        text.ends_with("all that is known of is whole\n") && text.contains("qbak verify --data"),
        "{text}"
    );
    for (pack, _) in bucket.packs() {
        let mut bytes = std::fs::read(&pack).unwrap();
        if !is_metadata(&bytes) {
            let end = table(&bytes);
            bytes[HEADER..end].iter_mut().for_each(|b| *b ^= 1);
            std::fs::write(&pack, bytes).unwrap();
        }
    }
    bucket.qbak(&["verify", "--data"]).await.exits(4);
    bucket.delete("gone");
    bucket.delete("photos/4.jpg");
    bucket.put("photos/renamed.jpg", noise(4, 2000));
    // Without keys the store alone is asked, and it is said why.
    let said = bucket.without_keys(&["--json", "heal"]).await.exits(4);
    assert_eq!((said.number("postponed"), said.number("lost")), (6, 0), "{said:?}");
    assert!(said.summary()["no_source"].as_str().is_some_and(|w| w.contains("no Kodo keys")), "{said:?}");
    let said = bucket.qbak(&["heal", "--source", "kodo://elsewhere"]).await.exits(2);
    assert!(said.stderr.contains("snapshots of kodo://bkt"), "{said:?}");
    let said = bucket.qbak(&["--json", "heal", "--dry-run"]).await.exits(4);
    assert_eq!((said.number("from_source"), said.number("written_bytes")), (5, 0), "{said:?}");
    let said = bucket.qbak(&["--json", "heal"]).await.exits(4);
    assert_eq!((said.number("from_source"), said.number("lost")), (5, 1), "{said:?}");
    let lost = &said.lines("lost")[0];
    assert_eq!((lost["keys"][0].as_str(), lost["for_good"].as_bool()), (Some("gone"), Some(true)), "{lost}");
    assert_eq!(said.lines("healed").len(), 5);
    // What was recorded as the source serves where none is configured; the keys are there, the endpoint too.
    bucket.put("back again", "gone");
    let said = bucket.qbak(&["heal"]).await.exits(0);
    assert!(said.stdout.contains("1 from the source") && said.stdout.contains("damaged pack"), "{said:?}");
    bucket.qbak(&["verify", "--data"]).await.exits(0);
    bucket.qbak(&["restore", "latest", "--to", "out"]).await.exits(0);
    assert_eq!(std::fs::read(bucket.path("out/gone")).unwrap(), b"gone");
    // A store whose record is spoilt opens by the copy, and is mended; a second run leaves.
    std::fs::write(bucket.path("store/qbak.json"), b"{").unwrap();
    assert!(bucket.qbak(&["verify"]).await.exits(4).stdout.contains("damage: qbak.json: "));
    bucket.qbak(&["heal"]).await.exits(0);
    bucket.qbak(&["verify"]).await.exits(0);
    let me = qbak::store::lease::Holder {
        what: "test".into(),
        host: "here".into(),
        pid: 7,
        since: "2026-11-21T00:00:00Z".into(),
    };
    let store = qbak::store::Store::local(&bucket.store_folder()).unwrap();
    let held = qbak::store::lease::take(&store, qbak::store::lease::For::Run, &me).unwrap();
    bucket.qbak(&["heal"]).await.exits(5);
    drop(held);
}
