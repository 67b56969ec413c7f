//! Stores of every released format, frozen in `fixtures/`: each is read whole and compared with what it held when it was
//! made. `QBAK_MAKE_FIXTURE=fixtures/store-vN cargo test --test fixtures make` freezes the present format.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::bucket::Bucket;
use common::noise;
use qbak::format::VERSION;
use qbak::format::pack::BlobKind;
use qbak::repo::Repository;
use qbak::repo::blobs::{BlobReader, Groups};
use qbak::repo::manifest_reader::{ManifestReader, Span};
use qbak::store::Store;
use serde_json::{Value, json};

fn fixtures() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir("fixtures")
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir() && p.file_name().unwrap().to_string_lossy().starts_with("store-v"))
        .collect();
    all.sort();
    all
}

/// What every snapshot of a store holds: name → key → what is kept of it, its bytes as a digest.
async fn contents(store: &Path) -> BTreeMap<String, BTreeMap<String, Value>> {
    let repo = Repository::open(Store::local(store).unwrap()).await.unwrap();
    let groups = Arc::new(Groups::new(&repo).await.unwrap());
    let mut all = BTreeMap::new();
    let snapshots = repo.snapshots().await.unwrap();
    assert!(snapshots.unreadable.is_empty(), "{:?}", snapshots.unreadable);
    for s in snapshots.finished {
        let blobs = BlobReader::new(&repo, Arc::clone(&groups), s.group, &s.needs);
        let entries =
            ManifestReader::new(blobs.clone(), s.name, &s.manifest, Span::all()).collect().await.unwrap();
        let mut objects = BTreeMap::new();
        for entry in entries {
            let mut hasher = blake3::Hasher::new();
            if let Some(content) = entry.content {
                for id in blobs.blocks(content, entry.size).await.unwrap() {
                    hasher.update(&blobs.read(BlobKind::Data, &id).await.unwrap());
                }
            }
            let kept = json!({
                "size": entry.size, "etag": entry.content.map(|c| c.to_string()), "mime": entry.attributes.mime,
                "put_time": entry.put_time.map(qbak::model::time::Timestamp::nanos), "blake3": hasher.finalize().to_hex().as_str(),
            });
            objects.insert(hex::encode(entry.key.bytes()), kept);
        }
        all.insert(s.name.to_string(), objects);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_released_format_is_read() {
    let all = fixtures();
    assert!(
        all.iter().any(|p| p.ends_with(format!("store-v{VERSION}"))),
        "the present format has no fixture: {all:?}"
    );
    for fixture in all {
        // A copy: reading a store writes nothing, and this shows it.
        let copy = tempfile::tempdir().unwrap();
        let status =
            std::process::Command::new("cp").arg("-r").arg(&fixture).arg(copy.path()).status().unwrap();
        assert!(status.success());
        let folder = copy.path().join(fixture.file_name().unwrap());
        let expected = std::fs::read_to_string(fixture.with_extension("json")).unwrap();
        let expected: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_str(&expected).unwrap();
        assert!(expected.len() >= 3);
        assert_eq!(contents(&folder).await, expected, "{}", fixture.display());
        let same = std::process::Command::new("diff").arg("-r").arg(&fixture).arg(&folder).output().unwrap();
        assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn make() {
    #[expect(clippy::disallowed_methods, reason = "a switch for whoever freezes a format")]
    let Some(to) = std::env::var_os("QBAK_MAKE_FIXTURE").map(PathBuf::from) else { return };
    assert!(!to.exists(), "a frozen format is never made again");
    let bucket = Bucket::new().await;
    for n in 0..60 {
        bucket.put(&format!("text/{n:03}.txt"), format!("line {n} of a page\n").repeat(n % 20));
    }
    for (n, key) in
        ["", "//x//", "/lead", "trail/", ".", "..", "a/../b", "目录/文 件.txt", "😀.png", "x", "x/y"]
            .iter()
            .enumerate()
    {
        bucket.put(key, format!("odd {n}"));
    }
    bucket.put("photo.jpg", noise(1, 20_000));
    bucket.put("large.bin", [vec![b'z'; 9 << 20], noise(2, 1000)].concat());
    bucket.snapshot(&[]).await.exits(0);
    bucket.delete("text/007.txt");
    bucket.put("text/008.txt", "changed");
    bucket.put("copy of photo.jpg", noise(1, 20_000));
    bucket.snapshot(&["--tag", "second"]).await.exits(0);
    bucket.put("new", noise(3, 5000));
    bucket.snapshot(&["--full"]).await.exits(0);
    bucket.put("newer", "newer");
    bucket.snapshot(&[]).await.exits(0);
    let expected = contents(&bucket.store_folder()).await;
    std::fs::remove_file(bucket.store_folder().join("lock")).unwrap();
    let status =
        std::process::Command::new("cp").arg("-r").arg(bucket.store_folder()).arg(&to).status().unwrap();
    assert!(status.success());
    std::fs::write(to.with_extension("json"), serde_json::to_string(&expected).unwrap()).unwrap();
}
