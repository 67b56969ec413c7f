//! `diff` against a naive comparison of the same entries, between snapshots and with a live listing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use common::{context, folder, new_store, options, write};
use futures::stream::BoxStream;
use proptest::prelude::*;
use qbak::format::records::{Completeness, Counts, RunKind, SnapshotRecord, SourceRecord, Transfer};
use qbak::model::content::sha1;
use qbak::model::entry::{Entry, Kind, State};
use qbak::model::event::Silent;
use qbak::model::id::ContentId;
use qbak::model::key::Key;
use qbak::model::listed::{Listed, ListedHash};
use qbak::model::time::Timestamp;
use qbak::op::diff::{self, Change, Sort, Summary, To};
use qbak::op::open::{Catalog, Opened};
use qbak::op::snapshot::{Options, snapshot};
use qbak::op::{Cancel, OpError};
use qbak::plan::compare::{Relation, relate};
use qbak::repo::Repository;
use qbak::repo::manifest_diff::ManifestDiff;
use qbak::repo::manifest_writer::ManifestWriter;
use qbak::repo::run::{self, Intent};
use qbak::repo::writer::Writer;
use qbak::source::{Identity, ReadError, Requests, Route, Source, SourceError, Verdict};
use qbak::store::Store;

type Entries = BTreeMap<Key, Entry>;

fn entry(key: &str, content: u32, time: i64) -> Entry {
    let mut entry = Entry::new(key.into(), Kind::Object);
    let text = format!("content {content}");
    entry.content = Some(ContentId::small(sha1(text.as_bytes())));
    entry.size = text.len() as u64;
    entry.put_time = Some(Timestamp::from_seconds(time));
    entry
}

fn ctx() -> diff::Context {
    diff::Context { spool: std::env::temp_dir(), observer: Arc::new(Silent), cancel: Cancel::never() }
}

/// A store whose snapshots hold just these entries; the contents themselves are not there, and need not be.
struct Saved {
    repo: Repository,
    next: i64,
}

impl Saved {
    async fn new() -> Self {
        let repo = Repository::init(Store::memory(), Timestamp::from_seconds(1), "test").await.unwrap();
        Self { repo, next: 1_700_000_000 }
    }

    async fn save(&mut self, entries: &Entries) -> Opened {
        let source = SourceRecord { url: "kodo://b".into(), scope: Key::from("") };
        let intent = Intent {
            kind: RunKind::Full,
            group: None,
            redownload: false,
            source: source.clone(),
            host: String::new(),
            pid: 0,
        };
        self.next += 10;
        let now = Timestamp::from_seconds(self.next);
        let record = run::begin(&self.repo, intent, &std::collections::BTreeSet::new(), now).await.unwrap();
        let group = Arc::new(qbak::repo::group::Group::empty(&self.repo, record.group));
        let writer = Arc::new(Writer::new(&self.repo, record.clone(), group));
        let mut manifest = ManifestWriter::new(Arc::clone(&writer));
        for entry in entries.values() {
            manifest.push(entry).await.unwrap();
        }
        let manifest = manifest.finish().await.unwrap();
        let snapshot = SnapshotRecord {
            name: record.name,
            sequence: u64::try_from(self.next).unwrap(),
            kind: record.kind,
            group: record.group,
            needs: vec![],
            state: Completeness::Complete,
            suspect: None,
            baseline: None,
            tags: vec![],
            source,
            started: now,
            finished: now,
            program: "test".into(),
            parent: None,
            counts: Counts::default(),
            transfer: Transfer::default(),
            full_postponed: false,
            indexes: writer.seal().await.unwrap(),
            manifest,
        };
        writer.commit(&snapshot).await.unwrap();
        Catalog::read(&self.repo).await.unwrap().open(record.name).await.unwrap()
    }
}

async fn changes(from: Option<&Opened>, to: To<'_>) -> (Vec<Change>, Summary) {
    let mut diff = diff::diff(&ctx(), from, to).await.unwrap();
    let mut all = Vec::new();
    while let Some(change) = diff.next_change().unwrap() {
        all.push(change);
    }
    assert!(all.is_sorted_by(|a, b| a.key < b.key));
    (all, diff.summary)
}

/// What a diff should say, by maps and nested loops.
fn naive(old: &Entries, new: &Entries) -> Vec<Change> {
    let mut all = Vec::new();
    let change = |sort, key: &Key, from, old_size, new_size| Change {
        sort,
        key: key.clone(),
        from,
        old_size,
        new_size,
    };
    let counted = |e: &Entry| matches!(e.state, State::Ok | State::Unavailable);
    let mut gone: Vec<&Entry> = old.values().filter(|e| !new.contains_key(&e.key) && counted(e)).collect();
    for (key, n) in new {
        let o = old.get(key);
        let old_size = o.map_or(0, |o| o.size);
        match relate(n, o) {
            Relation::Unread | Relation::Unchanged => {}
            Relation::Changed => all.push(change(Sort::Changed, key, None, old_size, n.size)),
            Relation::Metadata => all.push(change(Sort::Metadata, key, None, old_size, n.size)),
            Relation::Added => {
                let twin = gone.iter().position(|g| n.content.is_some() && g.content == n.content);
                match twin.map(|at| gone.remove(at)) {
                    Some(g) => all.push(change(Sort::Renamed, key, Some(g.key.clone()), g.size, n.size)),
                    None => all.push(change(Sort::Added, key, None, 0, n.size)),
                }
            }
        }
    }
    all.extend(gone.into_iter().map(|g| change(Sort::Removed, &g.key, None, g.size, 0)));
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

fn count(all: &[Change], summary: &Summary) {
    let of = |sort| all.iter().filter(|c| c.sort == sort).count() as u64;
    assert_eq!(
        (of(Sort::Added), of(Sort::Removed), of(Sort::Changed), of(Sort::Renamed), of(Sort::Metadata)),
        (summary.added, summary.removed, summary.changed, summary.renamed, summary.metadata)
    );
    assert_eq!(summary.is_empty(), all.is_empty());
}

/// A change of the entries: what, where, how many in a row.
type Op = (u8, u16, u8);

fn apply(entries: &mut Entries, ops: &[Op]) {
    for (number, (what, at, many)) in ops.iter().enumerate() {
        let keys: Vec<Key> = entries
            .keys()
            .skip(usize::from(*at) % entries.len().max(1))
            .take(usize::from(*many))
            .cloned()
            .collect();
        for (n, key) in keys.iter().enumerate() {
            let fresh = 1_000_000 + u32::try_from(number * 1000 + n).unwrap();
            let Some(mut e) = entries.remove(key) else { continue };
            match what % 7 {
                0 => {}
                1 => drop(entries.insert(key.clone(), entry(key.text().unwrap(), fresh, 5))),
                2 => {
                    e.put_time = Some(Timestamp::from_seconds(99));
                    entries.insert(key.clone(), e);
                }
                3 => {
                    e.key = Key::from(format!("{}-moved-{number}", key.text().unwrap()));
                    entries.insert(e.key.clone(), e);
                }
                4 => {
                    let more = entry(&format!("{}+{number}", key.text().unwrap()), fresh, 1);
                    entries.insert(more.key.clone(), more);
                    entries.insert(key.clone(), e);
                }
                5 => {
                    e.state = State::Failed;
                    e.content = None;
                    e.reason = Some("no".into());
                    entries.insert(key.clone(), e);
                }
                _ => {
                    e.kind = Kind::Folder;
                    e.content = None;
                    e.size = 0;
                    entries.insert(key.clone(), e);
                }
            }
        }
    }
}

fn base(size: u32, contents: u32) -> Entries {
    (0..size)
        .map(|n| entry(&format!("f{:02}/{n:06}", n % 7), n % contents.max(1), 1))
        .map(|e| (e.key.clone(), e))
        .collect()
}

/// A source that can be listed and nothing else.
struct Listing {
    identity: Identity,
    pages: Vec<Vec<Listed>>,
}

impl Listing {
    fn of(entries: &Entries) -> Self {
        let listed: Vec<Listed> = entries.values().map(listed).collect();
        let pages = listed.chunks(300).rev().map(<[Listed]>::to_vec).collect();
        Self { identity: Identity { url: "kodo://b".into(), scope: Key::from("") }, pages }
    }
}

fn listed(e: &Entry) -> Listed {
    let mut l = Listed::new(e.key.clone(), e.kind);
    l.size = e.size;
    l.hash = e.content.map(ListedHash::Etag);
    l.put_time = e.put_time;
    l.failed = (e.state == State::Failed).then(|| "no".into());
    l
}

#[async_trait]
impl Source for Listing {
    fn identity(&self) -> &Identity {
        &self.identity
    }
    async fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }
    fn list(&self) -> BoxStream<'_, Result<Vec<Listed>, SourceError>> {
        // The pages come in the wrong order: nobody may rely on it.
        Box::pin(futures::stream::iter(self.pages.clone().into_iter().map(Ok)))
    }
    async fn stat(&self, _: &Key) -> Result<Option<Listed>, SourceError> {
        panic!("only listed")
    }
    async fn read(&self, _: &Listed, _: Range<u64>, _: Route) -> Result<Bytes, ReadError> {
        panic!("nothing is downloaded")
    }
    async fn judge(&self, _: &Listed, _: Route) -> Result<Verdict, SourceError> {
        panic!("only listed")
    }
    fn requests(&self) -> Requests {
        Requests::default()
    }
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap())
}

proptest! {
    #![proptest_config(common::cases(30))]
    #[test]
    fn as_a_naive_diff_says(
        size in prop::sample::select(vec![0u32, 1, 40, 700, 3000]),
        contents in prop::sample::select(vec![3u32, 1_000_000]),
        before in prop::collection::vec(any::<Op>(), 0..3),
        after in prop::collection::vec(any::<Op>(), 0..5),
    ) {
        runtime().block_on(async {
            let mut old = base(size, contents);
            apply(&mut old, &before);
            let mut new = old.clone();
            apply(&mut new, &after);
            let mut saved = Saved::new().await;
            let (a, b) = (saved.save(&old).await, saved.save(&new).await);
            let (all, summary) = changes(Some(&a), To::Snapshot(&b)).await;
            assert_eq!(all, naive(&old, &new));
            count(&all, &summary);
            let (back, _) = changes(Some(&b), To::Snapshot(&a)).await;
            assert_eq!(back, naive(&new, &old));
            let (same, summary) = changes(Some(&b), To::Snapshot(&b)).await;
            assert!(same.is_empty() && summary == Summary::default());
            let (first, _) = changes(None, To::Snapshot(&a)).await;
            assert_eq!(first, naive(&Entries::new(), &old));
            // A live listing has what a snapshot of it would have.
            let (live, summary) = changes(Some(&a), To::Live(Arc::new(Listing::of(&new)))).await;
            assert_eq!(live, naive(&old, &new));
            count(&live, &summary);
        });
    }
}

/// A failed folder hides the keys in it, not those that only begin alike.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_folder_hides_only_what_lies_in_it() {
    let mut old = base(40, 3);
    apply(&mut old, &[(26, 5360, 18), (39, 35721, 12)]);
    let mut new = old.clone();
    apply(&mut new, &[(81, 15, 4), (17, 12604, 1), (97, 43739, 235)]);
    let a = Saved::new().await.save(&old).await;
    let (live, _) = changes(Some(&a), To::Live(Arc::new(Listing::of(&new)))).await;
    assert_eq!(live, naive(&old, &new));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_equal_is_not_read() {
    let old = base(80_000, 1_000_000);
    let mut new = old.clone();
    let key = Key::from("f03/040001");
    new.insert(key.clone(), entry("f03/040001", 77_000_000, 1));
    let mut saved = Saved::new().await;
    let (a, b) = (saved.save(&old).await, saved.save(&new).await);
    let ([x], [y]) = (a.manifests(), b.manifests()) else { panic!() };
    assert!(x.height >= 1, "high enough to have pages");
    let mut walk = ManifestDiff::new((a.blobs.clone(), a.name, x), (b.blobs.clone(), b.name, y));
    let pair = walk.next().await.unwrap().unwrap();
    assert_eq!((pair.old.unwrap().key, pair.new.unwrap().key), (key.clone(), key));
    assert_eq!(walk.next().await.unwrap(), None);
    assert!(walk.pieces_read() <= 4, "a page and a segment on each side, not {}", walk.pieces_read());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_what_became_of_it() {
    let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = data.path();
    for n in 0..20 {
        write(root, &format!("a/{n:02}"), format!("file {n}"));
    }
    let repo = new_store(store.path()).await;
    let first = snapshot(&context(&repo, folder(root)), options()).await.unwrap();
    write(root, "a/03", "something else");
    write(root, "b/new", "new");
    std::fs::rename(root.join("a/05"), root.join("b/05")).unwrap();
    std::fs::remove_file(root.join("a/07")).unwrap();
    let second = snapshot(&context(&repo, folder(root)), Options::new(std::env::temp_dir())).await.unwrap();
    let catalog = Catalog::read(&repo).await.unwrap();
    assert_eq!(diff::before(&catalog, second.snapshot), Some(first.snapshot));
    assert_eq!(diff::before(&catalog, first.snapshot), None);
    let (a, b) = (catalog.open(first.snapshot).await.unwrap(), catalog.open(second.snapshot).await.unwrap());
    let (all, summary) = changes(Some(&a), To::Snapshot(&b)).await;
    let c = second.counts;
    assert_eq!(
        (summary.added, summary.removed, summary.changed, summary.renamed, summary.metadata),
        (c.added, c.removed, c.changed, c.renamed, c.metadata_changed),
        "as the snapshot itself counted"
    );
    let said: Vec<(Sort, String)> = all.iter().map(|c| (c.sort, c.key.to_string())).collect();
    for expected in [
        (Sort::Changed, "a/03"),
        (Sort::Removed, "a/07"),
        (Sort::Added, "b/"),
        (Sort::Renamed, "b/05"),
        (Sort::Added, "b/new"),
    ] {
        assert!(said.contains(&(expected.0, expected.1.to_owned())), "{said:?}");
    }
    // Live: the listing alone tells what is new and gone, and that the rest has not been touched.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    snapshot(&context(&repo, folder(root)), options()).await.unwrap();
    let third = Catalog::read(&repo).await.unwrap();
    let newest = third.open(third.snapshots.finished.last().unwrap().name).await.unwrap();
    let (all, _) = changes(Some(&newest), To::Live(folder(root))).await;
    assert_eq!(all, []);
    write(root, "c", "c");
    std::fs::remove_file(root.join("a/09")).unwrap();
    let (all, summary) = changes(Some(&newest), To::Live(folder(root))).await;
    assert_eq!((summary.added, summary.removed, summary.changed), (1, 1, 0), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_an_error_and_stop_stops() {
    let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(data.path(), "a", "a");
    let repo = new_store(store.path()).await;
    snapshot(&context(&repo, folder(data.path())), options()).await.unwrap();
    let catalog = Catalog::read(&repo).await.unwrap();
    let opened = catalog.open(catalog.snapshots.finished[0].name).await.unwrap();
    let (stop, cancel) = Cancel::pair();
    stop.stop();
    let stopped = diff::diff(&diff::Context { cancel, ..ctx() }, None, To::Snapshot(&opened)).await;
    assert!(matches!(stopped, Err(OpError::Interrupted)));
    for (name, _) in common::files(store.path()) {
        if name.ends_with(".pack") {
            std::fs::remove_file(store.path().join(name)).unwrap();
        }
    }
    let opened = catalog.open(catalog.snapshots.finished[0].name).await.unwrap();
    let damaged = diff::diff(&ctx(), None, To::Snapshot(&opened)).await;
    assert!(matches!(damaged, Err(OpError::Repo(e)) if e.is_damage()));
}
