//! A small store with every kind of file in it, as bytes, to be damaged one way at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use qbak::format::manifest::Reference;
use qbak::format::pack::{BlobKind, HEADER};
use qbak::format::records::{
    AcceptRecord, CheckpointRecord, PinRecord, RunKind, RunRecord, SnapshotRecord, SourceRecord,
    TombstoneRecord, VerifiedRecord,
};
use qbak::model::clock::FixedClock;
use qbak::model::entry::Kind;
use qbak::model::id::{Digest, PackId};
use qbak::model::key::Key;
use qbak::model::name::RunName;
use qbak::op::check::Severity;
use qbak::op::heal::{self, heal};
use qbak::op::verify::{self, Depth, Report, verify};
use qbak::op::{Cancel, OpError};
use qbak::plan::verify::Choice;
use qbak::repo::blobs::{BlobReader, Groups};
use qbak::repo::manifest_reader::{ManifestReader, Span};
use qbak::repo::{RepoError, Repository, names};
use qbak::store::Store;

use super::weeks::{Tree, Weeks};
use super::{Recorder, noise};

/// All files of a store.
pub type Files = BTreeMap<String, Bytes>;

/// The store as it was made, and what it must hold.
pub struct Matrix {
    pub weeks: Weeks,
    pub files: Files,
}

/// What reading everything came to.
#[derive(Debug, Default)]
pub struct Reading {
    /// Objects that came back, and were right.
    pub whole: u64,
    /// Objects that did not, by snapshot and key; of a snapshot whose file cannot be read, all.
    pub missing: Vec<(RunName, String)>,
}

/// Everything in the store.
pub async fn files_of(memory: &impl ObjectStore) -> Files {
    let mut files = Files::new();
    let all: Vec<_> = memory.list(None).try_collect().await.unwrap();
    for meta in all {
        let bytes = memory.get(&meta.location).await.unwrap().bytes().await.unwrap();
        files.insert(meta.location.to_string(), bytes);
    }
    files
}

/// A store with these files.
pub async fn with(files: &Files) -> Arc<InMemory> {
    let memory = Arc::new(InMemory::new());
    for (name, bytes) in files {
        memory.put(&Path::parse(name).unwrap(), bytes.clone().into()).await.unwrap();
    }
    memory
}

impl Matrix {
    /// Two groups, three snapshots, and with `large` an object of more than 4 MiB, the same in both groups.
    pub async fn new(large: bool) -> Self {
        let mut weeks = Weeks::new().await;
        weeks.write("a/one", "the first of them");
        weeks.write("a/two", noise(2, 300));
        weeks.write("b/empty", "");
        if large {
            weeks.write("c/large", pattern((4 << 20) + 1000));
        }
        weeks.snapshot(RunKind::Full).await;
        weeks.write("a/one", "the first of them, changed");
        weeks.snapshot(RunKind::Incremental).await;
        weeks.write("d/new", noise(3, 200));
        weeks.snapshot(RunKind::Full).await;
        let repo = weeks.repo.clone();
        repo.store().replace("README.txt", "read me").await.unwrap();
        let (now, last) = (weeks.now(), weeks.records[2].clone());
        let other: RunName = "2026-02-03T04-05-06Z".parse().unwrap();
        let run = RunRecord {
            name: other,
            kind: RunKind::Incremental,
            group: last.group,
            redownload: false,
            source: SourceRecord { url: "kodo://weeks".into(), scope: Key::new(Vec::new()) },
            started: now,
            host: "h".into(),
            pid: 1,
            nonce: "n".into(),
        };
        repo.create(&names::run(other), &run).await.unwrap();
        let segments: Vec<Reference> = last.manifest.refs.clone();
        let checkpoint = CheckpointRecord { segments, waiting: Vec::new(), begun: Vec::new() };
        repo.create(&names::checkpoint(other, 1), &checkpoint).await.unwrap();
        let dead: RunName = "2025-01-01T00-00-00Z".parse().unwrap();
        let stone = TombstoneRecord { reason: "a test".into(), when: now };
        repo.create(&names::snapshot(dead), &stone).await.unwrap();
        let first = weeks.records[0].name;
        repo.create(&names::pin(first), &PinRecord { snapshot: first, when: now }).await.unwrap();
        repo.create(&names::accepted(first), &AcceptRecord { snapshot: first, when: now }).await.unwrap();
        let proven = VerifiedRecord { when: now, packs: vec![PackId([7; 32])] };
        let name = format!("{}/{}.json", names::VERIFIED, Digest([9; 32]));
        repo.create(&name, &proven).await.unwrap();
        let files = files_of(weeks.memory.as_ref()).await;
        Self { weeks, files }
    }

    /// The files with one of them changed, or gone.
    pub fn but(&self, name: &str, bytes: Option<Vec<u8>>) -> Files {
        let mut files = self.files.clone();
        match bytes {
            Some(bytes) => drop(files.insert(name.into(), bytes.into())),
            None => drop(files.remove(name)),
        }
        files
    }

    /// Reads every object of every snapshot that was ever made. Bytes that come back must be right.
    pub async fn read(&self, repo: &Repository) -> Reading {
        self.read_but(repo, &[]).await
    }

    /// As [`Matrix::read`], passing over some keys, for speed.
    pub async fn read_but(&self, repo: &Repository, pass: &[&str]) -> Reading {
        let mut reading = Reading::default();
        let snapshots = repo.snapshots().await.unwrap();
        let groups = Arc::new(Groups::new(repo).await.unwrap());
        for (name, tree) in &self.weeks.taken {
            let wanted = |key: &&String| !pass.contains(&key.as_str());
            let Some(s) = snapshots.finished.iter().find(|s| s.name == *name) else {
                reading.missing.extend(tree.keys().filter(wanted).map(|k| (*name, k.clone())));
                continue;
            };
            let blobs = BlobReader::new(repo, Arc::clone(&groups), s.group, &s.needs);
            let came = came(&blobs, s, tree, pass).await;
            for key in tree.keys().filter(wanted) {
                match came.get(key) {
                    Some(bytes) => {
                        assert_eq!(*bytes, tree[key], "a wrong byte came out: {key} of {name}");
                        reading.whole += 1;
                    }
                    None => reading.missing.push((*name, key.clone())),
                }
            }
            assert!(came.keys().all(|k| tree.contains_key(k)), "an object that was not there");
        }
        reading
    }

    /// The live source, as of the last week.
    pub fn heal_context(&self, repo: &Repository, with_source: bool) -> heal::Context {
        let source = self.weeks.context(repo).source;
        heal::Context {
            repo: repo.clone(),
            source: if with_source { Ok(source) } else { Err("it is not plugged in".into()) },
            clock: Arc::new(FixedClock(self.weeks.now())),
            observer: Arc::new(Recorder::default()),
            cancel: Cancel::never(),
        }
    }

    pub async fn heal(&self, repo: &Repository, with_source: bool) -> Result<heal::Report, OpError> {
        heal(&self.heal_context(repo, with_source), &heal::Options::new(std::env::temp_dir())).await
    }
}

async fn came(blobs: &BlobReader, s: &SnapshotRecord, tree: &Tree, pass: &[&str]) -> Tree {
    let mut came = Tree::new();
    let mut entries = ManifestReader::new(blobs.clone(), s.name, &s.manifest, Span::all());
    loop {
        let entry = match entries.next().await {
            Ok(Some(entry)) => entry,
            Ok(None) => return came,
            Err(e) if e.is_damage() => continue,
            Err(e) => panic!("not damage: {e}"),
        };
        let key = entry.key.text().unwrap().to_owned();
        if entry.kind != Kind::Object || pass.contains(&key.as_str()) {
            continue;
        }
        assert!(tree.contains_key(&key), "{key}");
        match object(blobs, &entry).await {
            Ok(bytes) => drop(came.insert(key, bytes)),
            Err(e) if e.is_damage() => {}
            Err(e) => panic!("not damage: {e}"),
        }
    }
}

async fn object(blobs: &BlobReader, entry: &qbak::model::entry::Entry) -> Result<Vec<u8>, RepoError> {
    let mut bytes = Vec::new();
    for id in blobs.blocks(entry.content.unwrap(), entry.size).await? {
        bytes.extend(blobs.read(BlobKind::Data, &id).await?);
    }
    Ok(bytes)
}

/// Bytes that compress, and of which no two blocks are the same.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n >> 16) as u8).collect()
}

pub async fn open(memory: &Arc<InMemory>) -> Repository {
    let store = Store::over(Arc::clone(memory) as Arc<dyn ObjectStore>, None, "memory:".into());
    open_store(store).await
}

pub async fn open_store(store: Store) -> Repository {
    Repository::open(store).await.unwrap()
}

/// Verifies; every byte of the packs with `data`.
pub async fn verified(repo: &Repository, data: bool) -> Report {
    let depth = if data { Depth::Data(Choice::All) } else { Depth::Structure };
    verify(&super::verification(repo), verify::Options { only: None, depth }).await.unwrap()
}

pub fn damage(report: &Report) -> Vec<String> {
    report.findings.iter().filter(|f| f.severity == Severity::Damage).map(ToString::to_string).collect()
}

/// Whether damage of this file is among what was found.
pub fn names_file(report: &Report, file: &str) -> bool {
    report.findings.iter().any(|f| f.severity == Severity::Damage && f.file.as_deref() == Some(file))
}

/// Where a pack's table begins.
pub fn table(pack: &[u8]) -> usize {
    u64::from_le_bytes(pack[pack.len() - 48..pack.len() - 40].try_into().unwrap()) as usize
}

/// Whether a place of a pack is part of its structure, not of a blob.
pub fn is_structure(pack: &[u8], place: usize) -> bool {
    place < HEADER || place >= table(pack)
}
