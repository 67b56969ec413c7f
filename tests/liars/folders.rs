//! Folders that lie: files that change, grow or go while they are read, that cannot be read, and a disk that fails.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use qbak::model::key::Key;
use qbak::model::listed::Listed;
use qbak::source::{
    BlockingRead, ErrorKind, Identity, ReadError, Requests, Route, Source, SourceError, Verdict,
};

use crate::common::bucket::Bucket;
use crate::common::{folder, noise, options, write};
use crate::quick::told;

type Meddle = dyn Fn(&Listed) -> Result<(), ReadError> + Send + Sync;

/// A folder with somebody else at work in it: they are called before each read.
struct Meddled {
    inner: Arc<dyn Source>,
    meddle: Box<Meddle>,
}

#[async_trait]
impl Source for Meddled {
    fn identity(&self) -> &Identity {
        self.inner.identity()
    }

    async fn check(&self) -> Result<(), SourceError> {
        self.inner.check().await
    }

    fn list(&self) -> BoxStream<'_, Result<Vec<Listed>, SourceError>> {
        self.inner.list()
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, SourceError> {
        self.inner.stat(key).await
    }

    async fn read(
        &self,
        object: &Listed,
        range: std::ops::Range<u64>,
        route: Route,
    ) -> Result<Bytes, ReadError> {
        (self.meddle)(object)?;
        self.inner.read(object, range, route).await
    }

    fn blocking(&self) -> Option<&dyn BlockingRead> {
        Some(self)
    }

    async fn judge(&self, object: &Listed, route: Route) -> Result<Verdict, SourceError> {
        self.inner.judge(object, route).await
    }

    fn requests(&self) -> Requests {
        self.inner.requests()
    }
}

impl BlockingRead for Meddled {
    fn read_blocking(&self, object: &Listed, range: std::ops::Range<u64>) -> Result<Bytes, ReadError> {
        (self.meddle)(object)?;
        self.inner.blocking().unwrap().read_blocking(object, range)
    }
}

struct Folder {
    bucket: Bucket,
    root: PathBuf,
}

impl Folder {
    async fn new() -> Self {
        let bucket = Bucket::new().await;
        let root = bucket.path("data");
        for n in 0..20 {
            write(&root, &format!("a/{n:02}"), noise(n, 500));
        }
        write(&root, "b/film", noise(100, (5 << 20) + 3));
        write(&root, "c/last", "last");
        Self { bucket, root }
    }

    async fn run(
        &self,
        meddle: impl Fn(&Listed) -> Result<(), ReadError> + Send + Sync + 'static,
    ) -> crate::quick::Told {
        let source = Meddled { inner: folder(&self.root), meddle: Box::new(meddle) };
        told(&self.bucket, Arc::new(source), options()).await
    }
}

fn is(listed: &Listed, key: &str) -> bool {
    listed.key.bytes() == key.as_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_or_go_while_they_are_read() {
    for (key, reads) in [("a/07", 1), ("b/film", 1), ("b/film", 2)] {
        let it = Folder::new().await;
        let path = it.root.join(key);
        // Once, in the middle: what is stored is the new state, whole.
        let (seen, changed) = (Mutex::new(0), path.clone());
        let told = it
            .run(move |listed| {
                let mut seen = seen.lock().unwrap();
                *seen += usize::from(is(listed, key));
                if *seen == reads && is(listed, key) {
                    let longer = [noise(7, std::fs::metadata(&changed).unwrap().len() as usize), vec![1]];
                    std::fs::write(&changed, longer.concat()).unwrap();
                }
                Ok(())
            })
            .await
            .exits(0);
        assert!(told.failed.is_empty());
        assert_eq!(it.bucket.newest().await[key.as_bytes()], std::fs::read(&path).unwrap(), "{key}");

        // All the time, as a log does: named, and the rest is there.
        let grows = path.clone();
        let told = it
            .run(move |listed| {
                if is(listed, key) {
                    use std::io::Write;
                    let file = std::fs::OpenOptions::new().append(true).open(&grows);
                    file.unwrap().write_all(b"and on").unwrap();
                }
                Ok(())
            })
            .await;
        if told.code == 3 {
            let [(failed, reason)] = &told.failed[..] else { panic!("{told:#?}") };
            assert!(failed == key && reason.contains("changed 3 times"), "{reason}");
        } else {
            // It was not read at all: nothing had happened to it since.
            assert_eq!((told.code, told.report().transfer.downloaded_objects), (0, 0), "{told:#?}");
        }

        // Gone.
        write(&it.root, key, "something new");
        let gone = path.clone();
        let told = it
            .run(move |listed| {
                if is(listed, key) {
                    let _ = std::fs::remove_file(&gone);
                }
                Ok(())
            })
            .await
            .exits(3);
        assert_eq!((told.report().counts.vanished, told.failed[0].0.as_str()), (1, key), "{told:#?}");
        let next = it.run(|_| Ok(())).await.exits(0);
        assert_eq!(next.report().counts.failed + next.report().counts.vanished, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_read() {
    let it = Folder::new().await;
    let broken = |listed: &Listed| {
        let message = format!("{} cannot be read: Input/output error (os error 5)", listed.key);
        Err(ReadError::Failed(SourceError { kind: ErrorKind::Other, message }))
    };
    // One place: that file is named.
    for key in ["a/03", "b/film"] {
        let told = it.run(move |l| if is(l, key) { broken(l) } else { Ok(()) }).await.exits(3);
        let [(failed, reason)] = &told.failed[..] else { panic!("{told:#?}") };
        assert!(failed == key && reason.contains("Input/output error"), "{reason}");
        it.run(|_| Ok(())).await.exits(0);
        std::fs::write(it.root.join("b/film"), noise(200, (5 << 20) + 3)).unwrap();
    }
    let before = it.bucket.newest().await;
    // All that is new: there is no snapshot, and the last one is as it was.
    for n in 0..20 {
        write(&it.root, &format!("n/{n:02}"), noise(n + 1000, 501));
    }
    let told = it.run(broken).await.exits(1);
    assert!(told.message.contains("could not be read") || told.message.contains("alike"), "{}", told.message);
    assert_eq!(it.bucket.newest().await, before);
    it.run(|_| Ok(())).await.exits(0);
    assert_eq!(it.bucket.newest().await.len(), 42);
}

/// A folder that nobody may look into is no folder without files. The built program, as a user whom permissions stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_read_has_lost_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt as _;
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "folders::a_folder_that_cannot_be_read_has_lost_nothing";
        again.args(["--exact", name, "--nocapture"]).uid(65_534).gid(65_534).current_dir("/");
        match again.output() {
            Ok(out) => assert!(out.status.success(), "{out:?}"),
            Err(e) => {
                #[expect(clippy::disallowed_methods, reason = "set by .ci/run")]
                let required = std::env::var_os("QBAK_REQUIRE_OUTSIDE").is_some_and(|v| v == "1");
                assert!(!required, "another user is needed here: {e}");
                println!("skipped: root may read everything, and no other user can run this test: {e}");
            }
        }
        return;
    }
    let it = Folder::new().await;
    let mode = |name: &str, mode| {
        std::fs::set_permissions(it.root.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let source = format!("--source={}", it.root.display());
    let all = ["--json", source.as_str(), "snapshot"];
    it.bucket.qbak(&all).await.exits(0);
    // Few of many: partial. `a` holds 20 of 22: then too much fails, and the last snapshot stays the latest.
    mode("c", 0o000);
    let said = it.bucket.qbak(&all).await.exits(3);
    assert_eq!(said.number("removed"), 0, "{said:#?}");
    mode("c", 0o700);
    mode("a", 0o000);
    let said = it.bucket.qbak(&all).await.exits(1);
    assert!(said.summary()["message"].as_str().unwrap().contains("could not be read"), "{said:#?}");
    mode("a", 0o700);
    let said = it.bucket.qbak(&all).await.exits(0);
    assert_eq!(said.number("removed"), 0);
    assert_eq!(it.bucket.newest().await.len(), 22);
}
