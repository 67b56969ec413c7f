//! Damage of every sort: verify finds it, names it, says whom it harms; the next run mends what the source still has.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::path::Path;

use common::{context, files, folder, new_store, noise, options, verification, write};
use qbak::format::pack::{BlobKind, FOOTER, HEADER};
use qbak::format::records::{AcceptRecord, DamageRecord, PinRecord, RunKind, RunRecord, SourceRecord};
use qbak::model::id::PackId;
use qbak::model::key::Key;
use qbak::model::name::RunName;
use qbak::model::share::Share;
use qbak::model::time::Timestamp;
use qbak::op::check::{self, Severity};
use qbak::op::snapshot::{Options, snapshot};
use qbak::op::verify::{self, Against, Depth, Report, Trial, Way, verify};
use qbak::plan::verify::Choice;
use qbak::repo::Repository;
use qbak::repo::names::{self, Meaning};
use qbak::store::Store;

struct Ground {
    data: tempfile::TempDir,
    store: tempfile::TempDir,
    repo: Repository,
}

impl Ground {
    /// A store with some snapshots, each a full one or not, and one file more in each.
    async fn new(kinds: &[RunKind]) -> Self {
        let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for n in 0..30 {
            write(data.path(), &format!("a/{n:02}.txt"), format!("file {n} ").repeat(n * 20));
        }
        write(data.path(), "big.bin", noise(1, (4 << 20) + 1000));
        let repo = new_store(store.path()).await;
        let ground = Self { data, store, repo };
        for (n, kind) in kinds.iter().enumerate() {
            write(ground.data.path(), &format!("b/{n}"), noise(100 + n as u64, 2000));
            ground.run(Some(*kind)).await;
        }
        ground
    }

    async fn run(&self, kind: Option<RunKind>) -> RunName {
        let ctx = context(&self.repo, folder(self.data.path()));
        snapshot(&ctx, Options { kind, ..options() }).await.unwrap().snapshot
    }

    /// A fresh look at the store: nothing is remembered from before.
    async fn open(&self) -> Repository {
        Repository::open(Store::local(self.store.path()).unwrap()).await.unwrap()
    }

    async fn verify(&self, depth: Depth) -> Report {
        let ctx = verification(&self.open().await);
        verify(&ctx, verify::Options { only: None, depth }).await.unwrap()
    }

    async fn data(&self) -> Report {
        self.verify(Depth::Data(Choice::All)).await
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.store.path().join(name)
    }

    /// The packs of contents, or of metadata, with their groups, oldest group first.
    fn packs(&self, metadata: bool) -> Vec<String> {
        let is = |bytes: &[u8]| bytes[10] & 1 == u8::from(metadata);
        let all = files(self.store.path()).into_iter();
        all.filter(|(name, bytes)| name.ends_with(".pack") && is(bytes)).map(|(name, _)| name).collect()
    }
}

const FULL: RunKind = RunKind::Full;
const INCREMENTAL: RunKind = RunKind::Incremental;

/// A trial restore that writes nothing.
fn stream() -> Depth {
    Depth::Restore(Trial { against: None, scratch: std::env::temp_dir(), stream: true })
}

fn damage(report: &Report) -> Vec<String> {
    report.findings.iter().filter(|f| f.severity == Severity::Damage).map(ToString::to_string).collect()
}

fn names_file(report: &Report, file: &str) -> bool {
    report.findings.iter().any(|f| f.severity == Severity::Damage && f.file.as_deref() == Some(file))
}

fn change(path: &Path, f: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    f(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_store_is_clean_at_every_depth() {
    let ground = Ground::new(&[FULL, INCREMENTAL, FULL]).await;
    check::invariants(&ground.repo).await.unwrap();
    let structure = ground.verify(Depth::Structure).await;
    assert_eq!((structure.damaged, structure.contents, structure.bytes), (0, false, 0));
    assert_eq!(structure.findings, []);
    assert_eq!(structure.snapshots, 3);
    let data = ground.data().await;
    let all = files(ground.store.path());
    let bytes: u64 = all.iter().filter(|(n, _)| n.ends_with(".pack")).map(|(_, b)| b.len() as u64).sum();
    assert_eq!((data.damaged, data.contents, data.bytes), (0, true, bytes));
    assert_eq!(data.packs as usize, ground.packs(false).len() + ground.packs(true).len());
    assert_eq!(data.blobs, structure.blobs);
    let restore = ground.verify(stream()).await;
    assert_eq!((restore.damaged, restore.contents), (0, true));
    assert!(restore.bytes > 4 << 20 && restore.compared.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_structural_byte_and_some_of_the_rest() {
    let ground = Ground::new(&[FULL, INCREMENTAL]).await;
    // One of each sort of record.
    let name: RunName = "2001-02-03T04-05-06Z".parse().unwrap();
    let when = Timestamp::from_seconds(7);
    let run = RunRecord {
        name,
        kind: FULL,
        group: name,
        redownload: false,
        source: SourceRecord { url: "x".into(), scope: Key::from("") },
        started: when,
        host: String::new(),
        pid: 1,
        nonce: "n".into(),
    };
    let repo = &ground.repo;
    repo.create(&names::run(name), &run).await.unwrap();
    repo.create(&names::pin(name), &PinRecord { snapshot: name, when }).await.unwrap();
    repo.create(&names::accepted(name), &AcceptRecord { snapshot: name, when }).await.unwrap();
    assert_eq!(ground.data().await.damaged, 0);
    let pack: PackId = ground.packs(false)[0].rsplit('/').next().unwrap()[..64].parse().unwrap();
    let record = DamageRecord {
        pack,
        group: repo.group_names().await.unwrap()[0],
        found: when,
        whole: false,
        blobs: Vec::new(),
        what: "nothing".into(),
    };
    let mut flips = 0;
    let mut all = files(ground.store.path());
    repo.create(&names::damaged(pack), &record).await.unwrap();
    all.extend(files(ground.store.path()));
    for (file, bytes) in &all {
        if matches!(names::meaning(file), Meaning::Furniture) {
            continue;
        }
        let places: Vec<usize> = if file.ends_with(".pack") {
            let table = u64::from_le_bytes(bytes[bytes.len() - 48..bytes.len() - 40].try_into().unwrap());
            let payload = (HEADER..table as usize).step_by((table as usize / 5).max(1));
            let structure = (0..HEADER).chain(table as usize..bytes.len());
            payload.chain(structure.step_by(41)).collect()
        } else if file.ends_with(".idx") {
            (0..bytes.len()).step_by(61).collect()
        } else {
            (0..bytes.len()).step_by(bytes.len() / 12 + 1).collect()
        };
        for place in places {
            change(&ground.path(file), |b| b[place] ^= 1 << (place % 8));
            let deep = file.ends_with(".pack");
            let depth = if deep { Depth::Data(Choice::All) } else { Depth::Structure };
            let report = ground.verify(depth).await;
            assert!(names_file(&report, file), "{file} at {place}: {:?}", damage(&report));
            assert!(report.damaged > 0);
            std::fs::write(ground.path(file), bytes).unwrap();
            // Verify keeps records of its own; the next case begins as this one did.
            for (name, _) in files(ground.store.path()) {
                if name.starts_with("damaged/") || name.starts_with("verified/") {
                    std::fs::remove_file(ground.path(&name)).unwrap();
                }
            }
            for (name, bytes) in
                all.iter().filter(|(n, _)| n.starts_with("damaged/") || n.starts_with("verified/"))
            {
                write(ground.store.path(), name, bytes);
            }
            flips += 1;
        }
    }
    assert!(flips > 150, "{flips}");
    // Back in order: what was recorded as damaged is not.
    assert_eq!(damage(&ground.data().await), [""; 0]);
    assert!(!ground.path(&names::damaged(pack)).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_cut_gone_and_swapped() {
    let ground = Ground::new(&[FULL, INCREMENTAL, FULL]).await;
    let all = files(ground.store.path());
    let packs = ground.packs(false);
    let groups = ground.repo.group_names().await.unwrap();
    for (file, bytes) in &all {
        let meaning = names::meaning(file);
        if matches!(meaning, Meaning::Furniture | Meaning::Note) {
            continue;
        }
        let lengths = [0, 1, bytes.len() / 2, bytes.len() - 1];
        for length in lengths {
            std::fs::write(ground.path(file), &bytes[..length]).unwrap();
            let report = ground.verify(Depth::Structure).await;
            assert!(names_file(&report, file), "{file} cut to {length}: {:?}", damage(&report));
        }
        std::fs::write(ground.path(file), [bytes.as_slice(), b"x"].concat()).unwrap();
        assert!(names_file(&ground.verify(Depth::Structure).await, file), "{file} with a byte more");
        std::fs::remove_file(ground.path(file)).unwrap();
        let report = ground.verify(Depth::Structure).await;
        // That a snapshot's file was there at all, nobody knows.
        if !matches!(meaning, Meaning::Snapshot(_)) {
            assert!(names_file(&report, file), "{file} deleted: {:?}", damage(&report));
        }
        if let Meaning::Pack(group, _) = meaning {
            for finding in report.findings.iter().filter(|f| f.severity == Severity::Damage) {
                assert!(!finding.snapshots.is_empty() && !finding.keys.is_empty(), "{finding}");
                if !packs.contains(file) {
                    continue;
                }
                let other = groups.iter().find(|g| **g != group).unwrap();
                assert!(finding.what.contains(&other.to_string()), "a copy elsewhere is named: {finding}");
            }
        }
        std::fs::write(ground.path(file), bytes).unwrap();
    }
    assert_eq!(damage(&ground.verify(Depth::Structure).await), [""; 0]);
    // Two packs under each other's names.
    let (a, b) = (&packs[0], packs.last().unwrap());
    std::fs::write(ground.path(a), &all[b]).unwrap();
    std::fs::write(ground.path(b), &all[a]).unwrap();
    let report = ground.data().await;
    assert!(names_file(&report, a) && names_file(&report, b), "{:?}", damage(&report));
    std::fs::write(ground.path(a), &all[a]).unwrap();
    std::fs::write(ground.path(b), &all[b]).unwrap();
    assert_eq!(damage(&ground.data().await), [""; 0]);
    // Two snapshots under each other's names.
    let snapshots: Vec<&String> = all.keys().filter(|n| n.starts_with("snapshots/")).collect();
    std::fs::write(ground.path(snapshots[0]), &all[snapshots[2]]).unwrap();
    std::fs::write(ground.path(snapshots[2]), &all[snapshots[0]]).unwrap();
    let report = ground.verify(Depth::Structure).await;
    assert!(names_file(&report, snapshots[0]) && names_file(&report, snapshots[2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_under_a_name_that_is_not_its_own_is_found() {
    let ground = Ground::new(&[FULL]).await;
    let pack = ground.packs(false)[0].clone();
    let stem = pack.strip_suffix(".pack").unwrap();
    let last = if stem.ends_with('0') { '1' } else { '0' };
    let other = format!("{}{last}.pack", &stem[..stem.len() - 1]);
    // Every blob in it can be read, and no index knows better.
    std::fs::copy(ground.path(&pack), ground.path(&other)).unwrap();
    let report = ground.data().await;
    assert!(names_file(&report, &other) && !names_file(&report, &pack), "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_stays_in_its_group() {
    let ground = Ground::new(&[FULL, FULL]).await;
    let groups = ground.repo.group_names().await.unwrap();
    for pack in &ground.packs(false) {
        if pack.contains(&groups[0].to_string()) {
            std::fs::remove_file(ground.path(pack)).unwrap();
        }
    }
    let report = ground.data().await;
    assert!(report.damaged > 0);
    for finding in report.findings.iter().filter(|f| f.severity == Severity::Damage) {
        assert_eq!(finding.snapshots, [groups[0]], "{finding}");
    }
    let restore = ground.verify(stream()).await;
    assert!(restore.findings.iter().all(|f| !f.snapshots.contains(&groups[1])));
    // Even the first is restored whole, from the other group's copies.
    let ctx = verification(&ground.open().await);
    let first = verify::Options { only: Some(groups[0]), depth: stream() };
    let report = verify(&ctx, first).await.unwrap();
    assert!(report.bytes > 4 << 20);
    assert!(damage(&report).iter().all(|d| d.contains("it is missing; there is an undamaged copy")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_mends() {
    for case in 0..5 {
        let ground = Ground::new(&[FULL, INCREMENTAL]).await;
        let (data, metadata) = (ground.packs(false), ground.packs(true));
        match case {
            0 => std::fs::remove_file(ground.path(&data[0])).unwrap(),
            1 => change(&ground.path(&data[1]), |b| b.truncate(100)),
            2 => change(&ground.path(&data[0]), |b| b[HEADER + 5] ^= 1),
            3 => change(&ground.path(&metadata[0]), |b| b[HEADER + 5] ^= 1),
            _ => {
                for pack in &data {
                    change(&ground.path(pack), |b| {
                        let at = b.len() - FOOTER + 20;
                        b[at] ^= 1;
                    });
                }
            }
        }
        let found = ground.data().await;
        assert!(found.damaged > 0, "case {case}");
        assert!(
            found.findings.iter().any(|f| f.pack.is_some() && !f.keys.is_empty()),
            "case {case}: {:?}",
            damage(&found)
        );
        let again = ground.data().await;
        assert!(again.damaged > 0, "case {case}: nothing has mended it yet");
        ground.run(None).await;
        let after = ground.data().await;
        assert_eq!(damage(&after), [""; 0], "case {case}");
        assert!(after.findings.iter().any(|f| f.severity == Severity::Notice), "case {case}");
        assert_eq!(damage(&ground.verify(stream()).await), [""; 0], "case {case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_missing_index_costs_nothing() {
    for gone in [false, true] {
        let ground = Ground::new(&[FULL, INCREMENTAL]).await;
        let all = files(ground.store.path());
        let indexes: Vec<&String> = all.keys().filter(|n| n.ends_with(".idx")).collect();
        for index in &indexes {
            match gone {
                true => std::fs::remove_file(ground.path(index)).unwrap(),
                false => change(&ground.path(index), |b| b[200] ^= 1),
            }
        }
        let report = ground.verify(stream()).await;
        assert_eq!(report.damaged as usize, indexes.len(), "{:?}", damage(&report));
        assert!(report.findings.iter().all(|f| f.keys.is_empty()));
        ground.run(None).await;
        assert_eq!(damage(&ground.data().await), [""; 0]);
        check::invariants(&ground.open().await).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_files_are_named_and_left_alone() {
    let ground = Ground::new(&[FULL]).await;
    let foreign =
        [".DS_Store", "lost+found/x", "snapshots/x (1).json", "groups/notes.txt", "a b%20c", "ключ/日本"];
    for name in foreign {
        write(ground.store.path(), name, b"mine");
    }
    let report = ground.data().await;
    assert_eq!(report.damaged, 0);
    for name in foreign {
        assert!(
            report.findings.iter().any(|f| f.file.as_deref() == Some(name)),
            "{name}: {:?}",
            report.findings
        );
        assert!(ground.path(name).exists());
    }
    ground.run(None).await;
    check::invariants(&ground.open().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_samples_and_what_is_proven() {
    let ground = Ground::new(&[FULL, INCREMENTAL, FULL, INCREMENTAL]).await;
    let all = (ground.packs(false).len() + ground.packs(true).len()) as u64;
    let mut seen = 0;
    for k in 1..=3 {
        seen += ground.verify(Depth::Data(Choice::Slice { k, n: 3 })).await.packs;
    }
    assert_eq!(seen, all);
    assert_eq!(ground.verify(Depth::Data(Choice::Unproven)).await.packs, 0);
    ground.run(Some(FULL)).await;
    let new = (ground.packs(false).len() + ground.packs(true).len()) as u64 - all;
    assert!(new > 0);
    assert_eq!(ground.verify(Depth::Data(Choice::Unproven)).await.packs, new);
    assert_eq!(ground.verify(Depth::Data(Choice::Unproven)).await.packs, 0);
    let sample = Choice::Sample { share: Share::percent(50), seed: [3; 32] };
    assert_eq!(ground.verify(Depth::Data(sample)).await.packs, (all + new).div_ceil(2));
    // One snapshot: only its group's packs.
    let name = ground.repo.snapshots().await.unwrap().finished[0].name;
    let ctx = verification(&ground.open().await);
    let one = verify::Options { only: Some(name), depth: Depth::Data(Choice::All) };
    let report = verify(&ctx, one).await.unwrap();
    assert!(report.packs > 0 && report.packs < all + new);
    assert_eq!((report.damaged, report.snapshots), (0, 1));
    // What is found damaged is not proven any more.
    let pack = ground.packs(false)[0].clone();
    let bytes = std::fs::read(ground.path(&pack)).unwrap();
    change(&ground.path(&pack), |b| b[HEADER] ^= 1);
    assert!(ground.data().await.damaged > 0);
    assert_eq!(ground.verify(Depth::Data(Choice::Unproven)).await.packs, 1);
    std::fs::write(ground.path(&pack), bytes).unwrap();
    assert_eq!(ground.verify(Depth::Data(Choice::Unproven)).await.damaged, 0);
    assert!(ground.repo.damage().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_copies_and_one_of_them_bad() {
    let ground = Ground::new(&[FULL]).await;
    // A pack that was lost for a while and then came back: its blobs are stored twice.
    let pack = ground.packs(false)[0].clone();
    let bytes = std::fs::read(ground.path(&pack)).unwrap();
    std::fs::remove_file(ground.path(&pack)).unwrap();
    ground.run(None).await;
    write(ground.store.path(), &pack, &bytes);
    assert_eq!(damage(&ground.data().await), [""; 0]);
    check::invariants(&ground.open().await).await.unwrap();
    change(&ground.path(&pack), |b| b[HEADER + 3] ^= 1);
    let report = ground.data().await;
    assert!(names_file(&report, &pack), "{:?}", report.findings);
    assert!(damage(&report).iter().all(|d| d.contains("undamaged copy in")), "{:?}", damage(&report));
    assert_eq!(damage(&ground.verify(stream()).await), [""; 0], "the good copy is read");
    assert_eq!(damage(&ground.data().await), [""; 0], "it is known, and harms nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_compared() {
    let ground = Ground::new(&[FULL]).await;
    let scratch = tempfile::tempdir().unwrap();
    let against = |path: &Path, live| {
        let against = Some(Against { source: folder(path), live });
        Depth::Restore(Trial { against, scratch: scratch.path().into(), stream: false })
    };
    let live = ground.verify(against(ground.data.path(), true)).await;
    let c = live.compared.unwrap();
    assert_eq!((live.damaged, c.changed, c.gone, c.new, c.different, c.unread), (0, 0, 0, 0, 0, 0));
    assert_eq!(c.same, 30 + 1 + 1 + 2);
    assert_eq!((live.way, live.blobs), (Some(Way::Folder), 30 + 2 + 1));
    let left = || std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left(), 0, "the trial is removed");
    write(ground.data.path(), "a/03.txt", "changed since");
    write(ground.data.path(), "new", "new");
    std::fs::remove_file(ground.data.path().join("a/04.txt")).unwrap();
    let live = ground.verify(against(ground.data.path(), true)).await;
    let c = live.compared.unwrap();
    assert_eq!((live.damaged, c.changed, c.gone, c.new, c.different), (0, 1, 1, 1, 0), "{c:?}");
    let folder = ground.verify(against(ground.data.path(), false)).await;
    let c = folder.compared.unwrap();
    assert_eq!((folder.damaged, c.different), (2, 2), "{:?}", damage(&folder));
    assert!(damage(&folder)[0].contains("a/03.txt"));
    // The listing ends before the entries do.
    for name in ["new", "big.bin", "b/0"] {
        std::fs::remove_file(ground.data.path().join(name)).unwrap();
    }
    let c = ground.verify(against(ground.data.path(), true)).await.compared.unwrap();
    assert_eq!((c.changed, c.gone, c.new, c.different), (1, 3, 0, 0), "{c:?}");
    // A blob that is gone is damage of the store, whatever it is compared with.
    let pack = &ground.packs(false)[0];
    change(&ground.path(pack), |b| b[HEADER + 1] ^= 1);
    let report = ground.verify(against(ground.data.path(), true)).await;
    let found = report.findings.iter().find(|f| f.severity == Severity::Damage).unwrap();
    assert!(found.pack.is_some() && matches!(found.blob, Some((BlobKind::Data, _))), "{found:?}");
    assert_eq!(ground.repo.damage().await.unwrap().len(), 1, "the next run is to know of it");
    assert_eq!(left(), 0);
    write(ground.data.path(), "big.bin", noise(1, (4 << 20) + 1000));
    ground.run(None).await;
    assert_eq!(damage(&ground.verify(against(ground.data.path(), true)).await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_keys_are_restored_for_the_trial_and_read_back() {
    let bucket = common::bucket::Bucket::new().await;
    let keys = ["a", "a/", "a/b", "a//b", "/x", "../up", "dot/./dot", "C:\\con", "empty", "é", "x\ny"];
    for key in keys {
        bucket.put(key, format!("content of {key}"));
    }
    bucket.put("empty", "");
    bucket.put("large", noise(5, (4 << 20) + 5));
    bucket.snapshot(&[]).await.exits(0);
    let repo = Repository::open(Store::local(&bucket.store_folder()).unwrap()).await.unwrap();
    for stream in [false, true] {
        let scratch = tempfile::tempdir().unwrap();
        let trial = Trial { against: None, scratch: scratch.path().into(), stream };
        let options = verify::Options { only: None, depth: Depth::Restore(trial) };
        let report = verify(&verification(&repo), options).await.unwrap();
        assert_eq!(damage(&report), [""; 0]);
        assert_eq!(report.findings, []);
        assert_eq!(report.blobs as usize, keys.len() + 2);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_when_told_to() {
    let ground = Ground::new(&[FULL]).await;
    let (stop, cancel) = qbak::op::Cancel::pair();
    stop.stop();
    let ctx = verify::Context { cancel, ..verification(&ground.open().await) };
    for depth in [Depth::Structure, Depth::Data(Choice::All), stream()] {
        let ended = verify(&ctx, verify::Options { only: None, depth }).await;
        assert!(matches!(ended, Err(qbak::op::OpError::Interrupted)));
    }
}
