//! Objects that are overwritten or deleted under the run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use qbak::emulator::{Action, Catalog, Kind, Rule, Seen};

use crate::common::bucket::Bucket;
use crate::common::noise;

const BLOCK: usize = 4 << 20;

/// A hook that puts a content, made anew for each call, under a key.
fn overwrite(
    bucket: &Bucket,
    key: &'static str,
    content: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
) -> Action {
    let catalog: Arc<dyn Catalog> = Arc::clone(bucket.service.catalog());
    let calls = AtomicU64::new(0);
    // The service's own way of putting things needs the service, which owns its rules: a copy of an object serves as the mould.
    Action::Hook(Arc::new(move |_: &Seen| {
        let n = calls.fetch_add(1, Ordering::SeqCst);
        let bytes = content(n);
        let mut spool = catalog.spool().unwrap();
        spool.write(&bytes).unwrap();
        let stored = spool.finish().unwrap();
        let object = qbak::emulator::Object {
            hash: qbak::kodo::etag::etag(&bytes).to_string(),
            mime: "application/octet-stream".into(),
            put_time: 17_900_000_000_000_000 + n as i64,
            ..qbak::emulator::Object::default()
        };
        catalog.put(key, object, stored, &|_| true).map(drop).unwrap();
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn overwritten_before_every_read() {
    let bucket = Bucket::new().await;
    bucket.put("restless", "0");
    bucket.put("still", "still");
    let restless = overwrite(&bucket, "restless", |n| format!("version {n}").into_bytes());
    bucket.service.faults().add(Rule::on(Kind::Download).key("restless").does(restless));
    let said = bucket.snapshot(&[]).await.exits(3);
    let failed = said.lines("failed");
    assert_eq!((failed.len(), &failed[0]["key"]), (1, &"restless".into()), "{said:#?}");
    assert!(failed[0]["reason"].as_str().unwrap().contains("changed 3 times"), "{failed:?}");
    assert!(bucket.downloads().len() < 12);
    bucket.service.faults().clear();
    bucket.snapshot(&[]).await.exits(0);
    let newest = bucket.newest().await;
    assert!(newest[b"restless".as_slice()].starts_with(b"version "), "{newest:?}");
}

/// Of a large object one block is read, then it is overwritten: all of what is stored is of the new version.
#[tokio::test(flavor = "multi_thread")]
async fn overwritten_between_two_ranges() {
    for size in [2 * BLOCK + 77, 2 * BLOCK + 76, BLOCK / 2] {
        let bucket = Bucket::new().await;
        bucket.put("film", noise(1, 2 * BLOCK + 77));
        let new = overwrite(&bucket, "film", move |_| noise(2, size));
        let second = Rule::on(Kind::Download).key("film").range("bytes=8388608-8388684").times(1);
        let id = bucket.service.faults().add(second.does(new));
        let said = bucket.snapshot(&[]).await.exits(0);
        assert_eq!((bucket.service.faults().fired(id), said.number("failed")), (1, 0), "{said:#?}");
        assert_eq!(bucket.newest().await[b"film".as_slice()], noise(2, size), "{size}");
    }
}

/// Everything that was listed is deleted before it is read, or between two runs: never a healthy snapshot, and the next run has no
/// other opinion.
#[tokio::test(flavor = "multi_thread")]
async fn deleted_between_listing_and_reading() {
    let bucket = Bucket::new().await;
    for n in 0..40 {
        bucket.put(&format!("{n:02}"), noise(n, 100));
    }
    bucket.snapshot(&[]).await.exits(0);
    let catalog: Arc<dyn Catalog> = Arc::clone(bucket.service.catalog());
    let emptied = Action::Hook(Arc::new(move |_: &Seen| {
        (0..40).for_each(|n| assert!(catalog.delete(&format!("{n:02}")).unwrap()));
    }));
    // A full run looks every object up before it reads the first.
    bucket.service.faults().add(Rule::on(Kind::Batch).times(1).does(emptied));
    let said = bucket.snapshot(&["--redownload"]).await.exits(6);
    assert_eq!((said.number("vanished"), said.number("failed")), (40, 0), "{said:#?}");
    assert_eq!((&said.summary()["state"], &said.summary()["suspect"]), (&"partial".into(), &true.into()));
    bucket.service.faults().clear();
    // A week later they are not even listed.
    let said = bucket.snapshot(&[]).await.exits(6);
    assert_eq!(said.number("objects"), 0);
    let pruned = bucket.qbak(&["prune", "--keep", "1", "--yes"]).await.exits(6);
    assert!(pruned.stdout.contains("held back"), "{pruned:?}");
}
