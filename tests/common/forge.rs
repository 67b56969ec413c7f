//! Stores that nobody has made by a snapshot: manifests of whatever lines a test wants, well formed in every other way.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use qbak::format::entry::encode;
use qbak::format::manifest::Reference;
use qbak::format::pack::BlobKind;
use qbak::format::records::{
    Completeness, Counts, ManifestRecord, RunKind, RunRecord, SnapshotRecord, SourceRecord, Transfer,
};
use qbak::model::content::{content_id, hash};
use qbak::model::entry::{Entry, Kind};
use qbak::model::key::Key;
use qbak::model::name::RunName;
use qbak::model::time::Timestamp;
use qbak::repo::blobs::Groups;
use qbak::repo::writer::Writer;

/// A line of a manifest, and what the reference to its segment has to say of it.
pub struct Line {
    pub key: Vec<u8>,
    pub text: Vec<u8>,
}

fn line(entry: &Entry) -> Line {
    let mut text = Vec::new();
    encode(entry, &mut text).unwrap();
    Line { key: entry.key.bytes().to_vec(), text }
}

/// A file or object that holds these bytes.
pub fn object(key: &[u8], bytes: &[u8]) -> Line {
    let mut entry = Entry::new(Key::new(key), Kind::Object);
    entry.size = bytes.len() as u64;
    entry.content = Some(content_id(&[hash(bytes).id]));
    line(&entry)
}

pub fn folder(key: &[u8]) -> Line {
    let mut entry = Entry::new(Key::new(key), Kind::Folder);
    entry.attributes.mode = Some(0o700);
    entry.put_time = Some(Timestamp::from_seconds(1));
    line(&entry)
}

pub fn link(key: &[u8], to: &Path) -> Line {
    let mut entry = Entry::new(Key::new(key), Kind::Link);
    entry.target = Some(to.to_str().unwrap().as_bytes().to_vec());
    line(&entry)
}

/// Any JSON.
pub fn raw(key: &str, text: &str) -> Line {
    Line { key: key.as_bytes().to_vec(), text: format!("{text}\n").into_bytes() }
}

/// A store whose one snapshot, of `url`, has these segments of lines, as they are; `contents` are stored as blobs.
pub async fn store(at: &Path, url: &str, contents: &[&[u8]], segments: &[&[Line]]) {
    let repo = super::new_store(at).await;
    let now = Timestamp::from_seconds(1_800_000_000);
    let name = RunName::at(now);
    let source = SourceRecord { url: url.into(), scope: Key::new(Vec::new()) };
    let run = RunRecord {
        name,
        kind: RunKind::Full,
        group: name,
        redownload: false,
        source: source.clone(),
        started: now,
        host: "here".into(),
        pid: 1,
        nonce: "00".repeat(16),
    };
    let group = Arc::new(Groups::new(&repo).await.unwrap()).get(name).await.unwrap();
    let writer = Arc::new(Writer::new(&repo, run, group));
    for bytes in contents {
        writer.put(BlobKind::Data, hash(bytes), Bytes::copy_from_slice(bytes)).await.unwrap();
    }
    let mut refs = Vec::new();
    for lines in segments {
        let bytes: Vec<u8> = lines.iter().flat_map(|l| l.text.iter().copied()).collect();
        let hashes = hash(&bytes);
        let length = bytes.len() as u32;
        writer.put(BlobKind::Segment, hashes, bytes.into()).await.unwrap();
        refs.push(Reference {
            first: Key::new(lines[0].key.clone()),
            last: Key::new(lines[lines.len() - 1].key.clone()),
            entries: lines.len() as u64,
            bytes: 0,
            id: hashes.id,
            digest: hashes.digest,
            length,
        });
    }
    let indexes = writer.seal().await.unwrap();
    let counts = Counts { objects: refs.iter().map(|r| r.entries).sum(), ..Counts::default() };
    let snapshot = SnapshotRecord {
        name,
        sequence: 1,
        kind: RunKind::Full,
        group: name,
        needs: Vec::new(),
        state: Completeness::Complete,
        suspect: None,
        baseline: None,
        tags: Vec::new(),
        source,
        started: now,
        finished: now,
        program: "test".into(),
        parent: None,
        counts,
        transfer: Transfer::default(),
        full_postponed: false,
        indexes,
        manifest: ManifestRecord { height: 0, refs },
    };
    writer.commit(&snapshot).await.unwrap();
}
