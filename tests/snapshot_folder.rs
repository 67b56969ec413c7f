//! Snapshots of folders through the library: what is stored, what is read again, what is counted.

mod common;

use common::{bytes as bytes_of, context, entries, folder, new_store, noise, options, write};
use qbak::format::records::RunKind;
use qbak::op::snapshot::{Options, snapshot};

#[tokio::test(flavor = "multi_thread")]
async fn first_unchanged_and_changed() {
    let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = data.path();
    for n in 0..300 {
        write(root, &format!("a/{n:03}.txt"), format!("file {n} ").repeat(n));
    }
    write(root, "big.bin", noise(1, 9 << 20));
    write(root, "twin-1.bin", noise(2, 3000));
    write(root, "twin-2.bin", noise(2, 3000));
    write(root, "empty", b"");
    std::fs::create_dir(root.join("hollow")).unwrap();
    std::os::unix::fs::symlink("a/001.txt", root.join("link")).unwrap();
    // A fingerprint is only trusted when the file has been still for two seconds.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let repo = new_store(store.path()).await;
    let first = snapshot(&context(&repo, folder(root)), options()).await.unwrap();
    assert_eq!(first.kind, RunKind::Full);
    let files = 300 + 1 + 2 + 1;
    assert_eq!(first.counts.objects, files + 2 + 1);
    assert_eq!(first.counts.added, first.counts.objects);
    assert_eq!(first.transfer.downloaded_objects, files);
    let all = entries(&repo).await;
    assert!(all.is_sorted_by(|a, b| a.key < b.key));
    let big = all.iter().find(|e| e.key.bytes() == b"big.bin").unwrap();
    assert_eq!(bytes_of(&repo, big).await, noise(1, 9 << 20));

    let second = snapshot(&context(&repo, folder(root)), options()).await.unwrap();
    assert_eq!(second.kind, RunKind::Incremental);
    assert_eq!(second.counts.unchanged, second.counts.objects);
    assert_eq!((second.transfer.downloaded_bytes, second.transfer.stored_bytes), (0, 0));
    assert_eq!(entries(&repo).await, all);

    std::fs::rename(root.join("a/007.txt"), root.join("b.txt")).unwrap();
    std::fs::remove_file(root.join("a/008.txt")).unwrap();
    write(root, "a/009.txt", "other");
    write(root, "new", "new");
    let third = snapshot(&context(&repo, folder(root)), options()).await.unwrap();
    let c = third.counts;
    assert_eq!((c.added, c.changed, c.removed, c.renamed), (1, 1, 1, 1), "{c:?}");
    assert!(third.transfer.downloaded_objects <= 4, "{:?}", third.transfer);
    assert_eq!(third.group, first.group);

    let full = snapshot(&context(&repo, folder(root)), Options { kind: Some(RunKind::Full), ..options() })
        .await
        .unwrap();
    assert_ne!(full.group, first.group);
    assert_eq!(full.counts.unchanged, full.counts.objects);
    assert!(full.transfer.stored_bytes > 9 << 20);
    // Only what changed within the last two seconds has no fingerprint and is read again.
    assert!(full.transfer.downloaded_objects <= 4, "{:?}", full.transfer);
}

#[tokio::test(flavor = "multi_thread")]
async fn colliding_files_are_never_taken_for_one_another() {
    let bytes = |name: &str| {
        let text = std::fs::read_to_string(format!("fixtures/collision/{name}.hex")).unwrap();
        hex::decode(text.replace('\n', "")).unwrap()
    };
    let (a, b) = (bytes("a"), bytes("b"));
    assert!(a != b && qbak::model::content::sha1(&a) == qbak::model::content::sha1(&b));
    let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tail = noise(5, 6 << 20);
    write(data.path(), "1-small", &a);
    write(data.path(), "2-small", &b);
    write(data.path(), "3-large", [a.as_slice(), &tail].concat());
    write(data.path(), "4-large", [b.as_slice(), &tail].concat());
    let repo = new_store(store.path()).await;
    let mut ctx = context(&repo, folder(data.path()));
    let said = std::sync::Arc::new(common::Recorder::default());
    ctx.observer = said.clone();
    let report = snapshot(&ctx, options()).await.unwrap();
    assert_eq!((report.counts.failed, report.counts.added), (2, 2));
    let mut whole = 0;
    for entry in entries(&repo).await.iter().filter(|e| e.content.is_some()) {
        let name = entry.key.text().unwrap();
        assert_eq!(bytes_of(&repo, entry).await, std::fs::read(data.path().join(name)).unwrap(), "{name}");
        whole += 1;
    }
    assert_eq!(whole, 2);
    let warnings: Vec<String> = said
        .0
        .lock()
        .unwrap()
        .iter()
        .filter_map(|e| match e {
            qbak::model::event::Event::Warning(text) => Some(text.clone()),
            _ => None,
        })
        .collect();
    assert!(
        warnings.len() == 2 && warnings.iter().any(|w| w.contains("1-small") && w.contains("2-small")),
        "{warnings:?}"
    );
}
