//! Damage of every place of every kind of file: no wrong byte ever comes out, what is not hurt comes back, verify names what is
//! harmed, and what can be mended is mended.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use common::badplaces::{Bad, BadPlaces, EACCES, EIO, ETIMEDOUT};
use common::matrix::{
    Files, Matrix, damage, files_of, is_structure, names_file, open, open_store, table, verified, with,
};
use common::weeks::held;
use qbak::format::pack::{BlobKind, FOOTER, HEADER, Outline, Record, tail};
use qbak::format::records::RunKind;
use qbak::format::seal::Sealer;
use qbak::op::snapshot::snapshot;
use qbak::repo::names::{self, Meaning};
use qbak::repo::{RepoError, Repository};
use qbak::store::StoreErrorKind;

/// A pack's own table.
fn records(pack: &[u8]) -> Vec<Record> {
    let outline = Outline::parse(&pack[..HEADER], tail(pack), pack.len() as u64).unwrap();
    outline.table(&Sealer::Plain, &pack[outline.table_range()]).unwrap()
}

fn is_pack(name: &str) -> bool {
    name.ends_with(".pack")
}

/// What nobody checks, because nothing depends on it.
fn is_inert(name: &str) -> bool {
    name == "README.txt"
}

/// Splits the work among the cores.
async fn each<T: Send + Sync + 'static, F: Future<Output = ()> + Send>(
    cases: Vec<T>,
    work: impl Fn(Arc<Vec<T>>, usize) -> F + Copy + Send + 'static,
) {
    let cases = Arc::new(cases);
    let workers = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let jobs = (0..workers).map(|w| {
        let cases = Arc::clone(&cases);
        tokio::spawn(async move {
            for n in (w..cases.len()).step_by(workers) {
                work(Arc::clone(&cases), n).await;
            }
        })
    });
    for job in futures::future::join_all(jobs).await {
        job.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bit_of_every_structural_byte() {
    let matrix = Arc::new(Matrix::new(false).await);
    let mut cases: Vec<(Arc<Matrix>, String, usize)> = Vec::new();
    for (name, bytes) in matrix.files.iter().filter(|(n, _)| !is_inert(n)) {
        let places = (0..bytes.len()).filter(|at| !is_pack(name) || is_structure(bytes, *at));
        cases.extend(places.map(|at| (Arc::clone(&matrix), name.clone(), at)));
    }
    assert!(cases.len() > 5_000, "{}", cases.len());
    each(cases, |cases, n| async move {
        let (matrix, name, at) = &cases[n];
        flipped(matrix, name, *at).await;
    })
    .await;
}

async fn flipped(matrix: &Matrix, name: &str, at: usize) {
    let mut bytes = matrix.files[name].to_vec();
    bytes[at] ^= 1 << (at % 8);
    let memory = with(&matrix.but(name, Some(bytes.clone()))).await;
    let repo = open(&memory).await;
    let reading = matrix.read(&repo).await;
    let report = verified(&repo, is_pack(name)).await;
    // JSON has bits that mean nothing: the case of a letter in an escape, white space.
    let harmless = !is_pack(name) && !name.ends_with(".idx") && damage(&report).is_empty();
    match names::meaning(name) {
        Meaning::Snapshot(hurt) => {
            assert!(reading.missing.iter().all(|(s, _)| *s == hurt), "{name} at {at}: {reading:?}");
        }
        _ => assert!(reading.missing.is_empty(), "{name} at {at}: {reading:?}"),
    }
    if harmless {
        assert!(bytes.is_ascii() && reading.missing.is_empty(), "{name} at {at} was not noticed");
        return;
    }
    assert!(names_file(&report, name) && report.damaged > 0, "{name} at {at}: {:?}", damage(&report));
}

#[tokio::test(flavor = "multi_thread")]
async fn payload_bytes_harm_the_objects_that_have_them_and_no_other() {
    let mut cases: Vec<(Arc<Matrix>, String, Record, usize)> = Vec::new();
    for (matrix, name, record) in blobs().await {
        let (start, end) = (record.offset as usize, (record.offset + record.stored) as usize);
        let few = if is_of_large(&record) { 3 } else { 16 };
        let places = (start..end).step_by(((end - start) / few).max(1));
        cases.extend(places.map(|at| (Arc::clone(&matrix), name.clone(), record, at)));
    }
    assert!(cases.len() > 100, "{}", cases.len());
    each(cases, |cases, n| async move {
        let (matrix, name, record, at) = &cases[n];
        payload(matrix, name, record, *at).await;
    })
    .await;
}

fn is_of_large(record: &Record) -> bool {
    record.kind == BlobKind::List || record.length > 1 << 20
}

/// Every blob of a small store, and those of a large object.
async fn blobs() -> Vec<(Arc<Matrix>, String, Record)> {
    let mut all = Vec::new();
    for large in [false, true] {
        let matrix = Arc::new(Matrix::new(large).await);
        for (name, bytes) in matrix.files.iter().filter(|(n, _)| is_pack(n)) {
            let wanted = records(bytes).into_iter().filter(|r| !large || is_of_large(r));
            all.extend(wanted.map(|r| (Arc::clone(&matrix), name.clone(), r)));
        }
    }
    all
}

async fn payload(matrix: &Matrix, name: &str, record: &Record, at: usize) {
    let mut bytes = matrix.files[name].to_vec();
    bytes[at] ^= 1 << (at % 8);
    let memory = with(&matrix.but(name, Some(bytes))).await;
    let repo = open(&memory).await;
    let copies = matrix.files.iter().filter(|(n, _)| is_pack(n)).map(|(_, b)| records(b));
    let copies = copies.flatten().filter(|r| (r.id, r.kind) == (record.id, record.kind)).count();
    let reading = matrix.read(&repo).await;
    if copies > 1 {
        assert!(reading.missing.is_empty(), "{name} at {at}: another group has it: {reading:?}");
    } else if record.kind == BlobKind::Data {
        let has = |tree: &common::weeks::Tree, key: &str| {
            tree[key].chunks(4 << 20).any(|c| qbak::model::content::sha1(c) == record.id)
        };
        for (snapshot, key) in &reading.missing {
            assert!(has(&matrix.weeks.taken[snapshot], key), "{name} at {at} does not hurt {key}");
        }
    }
    let report = verified(&repo, true).await;
    assert!(names_file(&report, name), "{name} at {at}: {:?}", damage(&report));
    if reading.missing.is_empty() && copies == 1 {
        // A bit that decoders ignore: the bytes are right, the pack's name is not.
        return;
    }
    let finding = report
        .findings
        .iter()
        .find(|f| f.file.as_deref() == Some(name) && (f.blob.is_some() || f.entries > 0))
        .unwrap_or_else(|| panic!("{name} at {at}: no blob is named: {:?}", report.findings));
    assert!(
        finding.pack.is_some() && !finding.snapshots.is_empty() && !finding.keys.is_empty(),
        "{finding:?}"
    );
    if let Some((kind, id)) = finding.blob {
        assert_eq!((kind, id), (record.kind, record.id));
    }
    let harmed: BTreeSet<_> = reading.missing.iter().map(|(s, _)| *s).collect();
    assert!(harmed.iter().all(|s| finding.snapshots.contains(s)), "{finding:?}");
}

/// Cut, longer, gone, in another's place: one case a file each.
fn misfortunes(matrix: &Matrix) -> Vec<(String, String, Files)> {
    let mut all = Vec::new();
    for (name, bytes) in &matrix.files {
        let n = bytes.len();
        for cut in BTreeSet::from([0, 1, n / 2, n - 1]) {
            all.push((format!("cut to {cut}"), name.clone(), matrix.but(name, Some(bytes[..cut].to_vec()))));
        }
        all.push(("longer".into(), name.clone(), matrix.but(name, Some([bytes, &b"x"[..]].concat()))));
        all.push(("gone".into(), name.clone(), matrix.but(name, None)));
        if is_pack(name) {
            for at in [0, HEADER + 2, table(bytes) + 3, n - FOOTER, n - 1] {
                let mut bad = bytes.to_vec();
                bad[at] ^= 1;
                all.push((format!("a bit at {at}"), name.clone(), matrix.but(name, Some(bad))));
            }
        }
        let like = |a: &str, b: &str| {
            let suffix = |n: &str| n.rsplit('.').next().map(str::to_owned);
            // A tombstone does not say whose it is: under another name it is as good.
            let stone = |n: &str| n.contains("2025-01-01");
            !stone(a)
                && !stone(b)
                && a != b
                && suffix(a) == suffix(b)
                && a.split('/').next() == b.split('/').next()
        };
        if let Some((other, theirs)) = matrix.files.iter().find(|(o, _)| like(name, o)) {
            let mut swapped = matrix.but(name, Some(theirs.to_vec()));
            swapped.insert(other.clone(), bytes.clone());
            all.push((format!("swapped with {other}"), name.clone(), swapped));
            all.push((format!("{other} again"), name.clone(), matrix.but(name, Some(theirs.to_vec()))));
        }
    }
    all
}

/// What cannot be told from never having been there, or is nobody's loss.
fn may_go_unnoticed(what: &str, meaning: Meaning, name: &str) -> bool {
    let gone = what == "gone";
    match meaning {
        Meaning::Snapshot(_) | Meaning::Checkpoint(..) | Meaning::Run(_) | Meaning::Note => {
            // A file of the same kind under another name may say something true.
            gone || (what.ends_with("again") || what.starts_with("swapped"))
                && !name.starts_with("snapshots/")
        }
        // The packs' own tables serve, so nothing is harmed; it is named all the same.
        Meaning::Index(..) => gone,
        Meaning::Furniture => is_inert(name) || gone || what.contains("qbak"),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_cut_longer_gone_and_swapped_are_found_and_mended() {
    let mut cases = Vec::new();
    for large in [false, true] {
        let matrix = Arc::new(Matrix::new(large).await);
        let of_large = |n: &String| is_pack(n) && records(&matrix.files[n]).iter().any(is_of_large);
        // What is large takes long: of its packs one case of each sort.
        let wanted = |w: &str, n: &String| {
            !large || (of_large(n) && (w == "gone" || w == "a bit at 0" || w == "cut to 0"))
        };
        let all = misfortunes(&matrix).into_iter().filter(|(w, n, _)| wanted(w, n));
        cases.extend(all.map(|(w, n, f)| (Arc::clone(&matrix), w, n, f)));
    }
    assert!(cases.len() > 150, "{}", cases.len());
    each(cases, |cases, n| async move {
        let (matrix, what, name, files) = &cases[n];
        misfortune(matrix, what, name, files).await;
    })
    .await;
}

async fn misfortune(matrix: &Matrix, what: &str, name: &str, files: &Files) {
    let case = format!("{name} {what}");
    let memory = with(files).await;
    let repo = open(&memory).await;
    let meaning = names::meaning(name);
    let reading = matrix.read(&repo).await;
    let is_snapshot = matches!(meaning, Meaning::Snapshot(_));
    if !is_pack(name) && !is_snapshot {
        assert!(reading.missing.is_empty(), "{case}: {reading:?}");
    }
    let report = verified(&repo, name.starts_with("groups/")).await;
    if !may_go_unnoticed(what, meaning, name) {
        assert!(names_file(&report, name), "{case}: {:?}", damage(&report));
    }
    if matches!(meaning, Meaning::Index(..)) {
        assert!(report.findings.iter().any(|f| f.file.as_deref() == Some(name)), "{case}");
    }
    // What the source and the other group still have comes back.
    let healed = matrix.heal(&repo, true).await.unwrap_or_else(|e| panic!("{case}: {e}"));
    let repo = open(&memory).await;
    let after = matrix.read(&repo).await;
    let lost: BTreeSet<&str> = after.missing.iter().map(|(_, k)| k.as_str()).collect();
    if is_snapshot {
        assert!(after.missing.len() <= reading.missing.len(), "{case}");
        return;
    }
    // Only the first state of one object is neither in the source nor in the other group.
    assert!(lost.iter().all(|k| *k == "a/one") || !healed.is_whole(), "{case}: {lost:?}");
    assert_eq!(after.missing.is_empty(), healed.lost + healed.postponed == 0, "{case}: {after:?} {healed:?}");
    let again = verified(&repo, true).await;
    // What was cut off may be gone on from; its records go when the next run finishes.
    let unfinished = matches!(meaning, Meaning::Run(_) | Meaning::Checkpoint(..));
    if healed.is_whole() {
        assert_eq!(damage(&again), [""; 0], "{case}: {healed:?}");
        assert!(after.missing.is_empty());
    } else if !unfinished {
        assert!(again.damaged > 0, "{case}: what is left is not forgotten: {healed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_snapshot_mends_what_the_source_has() {
    let matrix = Arc::new(Matrix::new(false).await);
    let cases: Vec<_> = misfortunes(&matrix)
        .into_iter()
        .filter(|(_, n, _)| n.starts_with("groups/"))
        .map(|(w, n, f)| (Arc::clone(&matrix), w, n, f))
        .collect();
    each(cases, |cases, n| async move {
        let (matrix, what, name, files) = &cases[n];
        let memory = with(files).await;
        let repo = open(&memory).await;
        // As after a verification, or without one.
        if n % 2 == 0 {
            verified(&repo, true).await;
        }
        let mut ctx = matrix.weeks.context(&repo);
        let later = qbak::model::time::Timestamp::from_seconds(matrix.weeks.now().seconds() + 86_400);
        ctx.clock = Arc::new(qbak::model::clock::FixedClock(later));
        let report = snapshot(&ctx, matrix.weeks.options(RunKind::Incremental)).await;
        let report = report.unwrap_or_else(|e| panic!("{name} {what}: {e}"));
        let repo = open(&memory).await;
        let made = repo.snapshots().await.unwrap().finished.pop().unwrap();
        assert_eq!(made.name, report.snapshot);
        let newest = &matrix.weeks.taken[&matrix.weeks.records[2].name];
        let whole = held(&repo, &made).await;
        // A bit that nobody has read yet is not known; then a full look finds it, and the next run mends.
        let unread = what.starts_with("a bit") && n % 2 == 1;
        match whole {
            Ok(tree) => assert_eq!(tree, *newest, "{name} {what}"),
            Err(e) => assert!(unread && e.is_damage(), "{name} {what}: {e}"),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_files_change_nothing() {
    let matrix = Matrix::new(false).await;
    let pack = matrix.files.keys().find(|n| is_pack(n)).unwrap().clone();
    let other = matrix.weeks.records[2].group;
    let (_, tail) = pack.split_once("/packs/").unwrap();
    let moved = format!("groups/{other}/packs/{tail}");
    let mut files = matrix.files.clone();
    let foreign = [
        ".DS_Store".to_owned(),
        "lost+found/x".into(),
        "snapshots/2026-01-11T10-00-00Z (1).json".into(),
        format!("{pack} (1)"),
        "groups/x/index/y.idx".into(),
        "damaged/x".into(),
    ];
    for name in &foreign {
        files.insert(name.clone(), Bytes::from_static(b"mine"));
    }
    // A pack of another group: what is in it is right, and nobody needs it there.
    files.insert(moved.clone(), matrix.files[&pack].clone());
    let memory = with(&files).await;
    let repo = open(&memory).await;
    assert!(matrix.read(&repo).await.missing.is_empty());
    let report = verified(&repo, true).await;
    assert_eq!(damage(&report), [""; 0]);
    for name in &foreign {
        assert!(report.findings.iter().any(|f| f.file.as_ref() == Some(name)), "{name}");
    }
    let healed = matrix.heal(&repo, true).await.unwrap();
    assert!(healed.is_whole() && healed.damaged == 0, "{healed:?}");
    let after = files_of(memory.as_ref()).await;
    for name in foreign.iter().chain([&moved]) {
        assert_eq!(after[name], files[name], "{name} is left alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_the_disk_cannot_read_costs_what_lies_there() {
    each(blobs().await, |cases, n| async move {
        let (matrix, name, record) = &cases[n];
        // An empty blob lies nowhere.
        if record.stored == 0 {
            return;
        }
        let memory = with(&matrix.files).await;
        let start = u64::from(record.offset);
        let bad = Bad { file: name.clone(), bytes: start..start + 1, errno: EIO };
        let (store, places) = BadPlaces::over(memory.clone(), vec![bad]);
        let repo = open_store(store).await;
        let copies = matrix.files.iter().filter(|(n, _)| is_pack(n)).flat_map(|(_, b)| records(b));
        let copies = copies.filter(|r| (r.id, r.kind) == (record.id, record.kind)).count();
        let reading = matrix.read(&repo).await;
        assert!(copies == 1 || reading.missing.is_empty(), "{name}: {reading:?}");
        let lost: BTreeSet<_> = reading.missing.iter().map(|(_, k)| k.clone()).collect();
        assert!(record.kind != BlobKind::Data || lost.len() <= 1, "{name}: {reading:?}");
        let report = verified(&repo, true).await;
        assert!(names_file(&report, name), "{name}: {:?}", damage(&report));
        let named: Vec<_> = report.findings.iter().filter_map(|f| f.blob).collect();
        assert!(named.iter().all(|b| *b == (record.kind, record.id)), "{:?}", report.findings);
        let healed = matrix.heal(&repo, true).await.unwrap();
        let after = matrix.read(&repo).await;
        assert_eq!(after.missing.is_empty(), healed.lost + healed.postponed == 0, "{after:?} {healed:?}");
        assert!(copies == 1 || healed.is_whole(), "{healed:?}");
        drop(places);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_place_in_a_small_file_is_damage_of_that_file() {
    let matrix = Matrix::new(false).await;
    for name in matrix.files.keys().filter(|n| !is_pack(n) && !is_inert(n)) {
        let memory = with(&matrix.files).await;
        let bad = Bad { file: name.clone(), bytes: 3..4, errno: EIO };
        let repo = open_store(BadPlaces::over(memory, vec![bad]).0).await;
        let reading = matrix.read(&repo).await;
        let hurt = match names::meaning(name) {
            Meaning::Snapshot(name) => Some(name),
            _ => None,
        };
        assert!(reading.missing.iter().all(|(s, _)| Some(*s) == hurt), "{name}: {reading:?}");
        let report = verified(&repo, false).await;
        assert!(names_file(&report, name), "{name}: {:?}", damage(&report));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_reached_is_no_damage() {
    let matrix = Matrix::new(false).await;
    for errno in [ETIMEDOUT, EACCES] {
        let memory = with(&matrix.files).await;
        let packs = matrix.files.iter().filter(|(n, _)| is_pack(n));
        let bad = packs.map(|(n, b)| Bad { file: n.clone(), bytes: 0..b.len() as u64, errno }).collect();
        let (store, places) = BadPlaces::over(memory.clone(), bad);
        let repo = open_store(store).await;
        let last = matrix.weeks.records[2].clone();
        match held(&repo, &last).await {
            Err(RepoError::Store(e)) => {
                let kind = if errno == EACCES { StoreErrorKind::Denied } else { StoreErrorKind::Other };
                assert_eq!(e.kind, kind);
            }
            other => panic!("{other:?}"),
        }
        let options = || qbak::op::verify::Options {
            only: None,
            depth: qbak::op::verify::Depth::Data(qbak::plan::verify::Choice::All),
        };
        let ended = qbak::op::verify::verify(&common::verification(&repo), options()).await;
        assert!(ended.is_err(), "{:?}", ended.map(|r| r.findings));
        assert!(matrix.heal(&repo, true).await.is_err());
        assert!(repo.damage().await.unwrap().is_empty(), "nothing is called damaged");
        places.bad.lock().unwrap().clear();
        assert!(matrix.read(&repo).await.missing.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_good_one_of_two_copies_wins() {
    let matrix = Matrix::new(true).await;
    // Everything is in both groups: whichever pack is spoilt, and however, nothing is missed.
    let packs: Vec<&String> = matrix.files.keys().filter(|n| is_pack(n)).collect();
    let older: Vec<&&String> =
        packs.iter().filter(|n| n.contains(&matrix.weeks.records[0].group.to_string())).collect();
    for (n, name) in older.iter().enumerate() {
        let mut bytes = matrix.files[**name].to_vec();
        let end = table(&bytes);
        bytes[HEADER..end].iter_mut().for_each(|b| *b ^= 0x55);
        let memory = with(&matrix.but(name, Some(bytes))).await;
        let repo = open(&memory).await;
        // Known or not.
        if n % 2 == 0 {
            verified(&repo, true).await;
        }
        let reading = matrix.read(&repo).await;
        let first = matrix.weeks.records[0].name;
        let lost: BTreeSet<_> = reading.missing.iter().collect();
        assert!(
            lost.iter().all(|(s, k)| k == "a/one" || *s == first || reading.missing.len() < 6),
            "{name}: {lost:?}"
        );
        let repo: Repository = open(&memory).await;
        let last = matrix.weeks.records[2].clone();
        assert_eq!(held(&repo, &last).await.unwrap(), matrix.weeks.taken[&last.name]);
    }
}
