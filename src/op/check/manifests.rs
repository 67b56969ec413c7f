//! Walks the manifests: every page and segment is read and checked once, and every entry is followed to its blobs.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};

use super::finding::{Finding, Findings};
use super::harm::{Harms, Hurt, Needed, about};
use crate::format::manifest::{MAX_HEIGHT, Reference};
use crate::format::pack::BlobKind;
use crate::format::records::{Completeness, SnapshotRecord};
use crate::model::content::{block_range, blocks, parse_block_list, sha1};
use crate::model::entry::{Entry, State};
use crate::model::event::{Event, Observer};
use crate::model::id::{BlobId, ContentKind, Digest};
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::op::{Cancel, OpError};
use crate::repo::blobs::{BlobReader, Groups};
use crate::repo::group::{Group, Located};
use crate::repo::manifest_reader;
use crate::repo::{RepoError, Repository, names};

/// Segments in the works at a time.
const AT_ONCE: usize = 4;

/// What stands under a piece of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    entries: u64,
    bytes: u64,
    failed: u64,
    vanished: u64,
    unavailable: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.entries = self.entries.saturating_add(other.entries);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.failed = self.failed.saturating_add(other.failed);
        self.vanished = self.vanished.saturating_add(other.vanished);
        self.unavailable = self.unavailable.saturating_add(other.unavailable);
    }
}

/// A piece that has been looked at: what stands under it; `None` when something is wrong with it or below it.
type Seen = Option<Tally>;

/// A snapshot's view: where its blobs should lie.
struct View {
    /// Equal for snapshots that look in the same places: what is sound for one is sound for the other.
    place: u32,
    snapshot: RunName,
    home: Arc<Group>,
    needs: Vec<RunName>,
    reader: BlobReader,
}

impl View {
    fn is_home(&self, copy: &Located) -> bool {
        copy.group == self.home.name || self.needs.contains(&copy.group)
    }
}

struct Walk {
    groups: Arc<Groups>,
    /// Pieces that are sound, and all below them.
    clean: Mutex<HashMap<(u32, BlobId), Tally>>,
    /// Block lists that are sound, and all blocks on them.
    lists: Mutex<HashSet<(u32, BlobId)>>,
    harms: Mutex<Harms>,
    cancel: Cancel,
    observer: Arc<dyn Observer>,
}

fn locked<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>, OpError> {
    mutex.lock().map_err(|_| OpError::Failed("a worker stopped while it checked".into()))
}

/// Walks all of them; returns whom damage harms.
pub(super) async fn check(
    repo: &Repository,
    groups: &Arc<Groups>,
    snapshots: &[&SnapshotRecord],
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
    findings: &mut Findings,
) -> Result<Harms, OpError> {
    let objects = snapshots.iter().map(|s| s.counts.objects).sum();
    observer.event(Event::Phase { name: "checking entries", objects: Some(objects), bytes: None });
    let walk = Arc::new(Walk {
        groups: Arc::clone(groups),
        clean: Mutex::default(),
        lists: Mutex::default(),
        harms: Mutex::default(),
        cancel: cancel.clone(),
        observer: Arc::clone(observer),
    });
    let mut places: Vec<(RunName, Vec<RunName>)> = Vec::new();
    for snapshot in snapshots {
        let mut needs = snapshot.needs.clone();
        needs.sort_unstable();
        let place = (snapshot.group, needs.clone());
        let number = places.iter().position(|p| *p == place).unwrap_or_else(|| {
            places.push(place);
            places.len() - 1
        });
        let view = Arc::new(View {
            place: u32::try_from(number).unwrap_or(u32::MAX),
            snapshot: snapshot.name,
            home: groups.get(snapshot.group).await?,
            reader: BlobReader::new(repo, Arc::clone(groups), snapshot.group, &needs),
            needs,
        });
        let refs = &snapshot.manifest.refs;
        let whole = snapshot.manifest.height <= MAX_HEIGHT && refs.is_sorted_by(|a, b| a.last < b.first);
        let seen = if whole {
            Arc::clone(&walk).pieces(&view, snapshot.manifest.height, refs.clone()).await?
        } else {
            Some(Tally { entries: u64::MAX, ..Tally::default() })
        };
        if let Some(what) = seen.and_then(|tally| contradiction(snapshot, tally)) {
            let file = names::snapshot(snapshot.name);
            findings.push(Finding::damage(file, what).snapshot(snapshot.name));
        }
    }
    let harms = std::mem::take(&mut *locked(&walk.harms)?);
    Ok(harms)
}

/// How a snapshot's own counts contradict what its manifest holds.
fn contradiction(snapshot: &SnapshotRecord, tally: Tally) -> Option<String> {
    let c = &snapshot.counts;
    let said = Tally {
        entries: c.objects,
        bytes: c.bytes,
        failed: c.failed,
        vanished: c.vanished,
        unavailable: c.unavailable,
    };
    if said != tally {
        return Some("its manifest is not the one that its counts are of".into());
    }
    let unread = snapshot.state == Completeness::Complete && (c.failed > 0 || c.vanished > 0);
    unread.then(|| "it calls itself complete, but objects could not be read".into())
}

impl Walk {
    /// The pieces that some references lead to, `level` levels of pages above the segments.
    fn pieces(
        self: Arc<Self>,
        view: &Arc<View>,
        level: u32,
        refs: Vec<Reference>,
    ) -> BoxFuture<'static, Result<Seen, OpError>> {
        let view = Arc::clone(view);
        Box::pin(async move {
            let mut total = Some(Tally::default());
            let mut add = |seen: Seen| match (&mut total, seen) {
                (Some(total), Some(tally)) => total.add(tally),
                (total, _) => *total = None,
            };
            if level > 0 {
                for reference in refs {
                    add(Arc::clone(&self).page(&view, level, reference).await?);
                }
                return Ok(total);
            }
            let mut segments = stream::iter(refs)
                .map(|reference| {
                    let (walk, view) = (Arc::clone(&self), Arc::clone(&view));
                    tokio::spawn(async move { walk.segment(&view, reference).await })
                })
                .buffered(AT_ONCE);
            while let Some(seen) = segments.next().await {
                add(seen??);
            }
            Ok(total)
        })
    }

    fn known(&self, view: &View, reference: &Reference) -> Result<Option<Tally>, OpError> {
        if self.cancel.is_set() {
            return Err(OpError::Interrupted);
        }
        let known = locked(&self.clean)?.get(&(view.place, reference.id)).copied();
        if known.is_some() {
            self.observer.event(Event::Advance { objects: reference.entries, bytes: 0 });
        }
        // Equal bytes under a reference that says something else are found out by reading them.
        Ok(known.filter(|t| t.entries == reference.entries && t.bytes == reference.bytes))
    }

    fn settle(&self, view: &View, reference: &Reference, seen: Seen) -> Result<Seen, OpError> {
        let Some(tally) = seen else { return Ok(None) };
        if (tally.entries, tally.bytes) != (reference.entries, reference.bytes) {
            let e = RepoError::Manifest {
                snapshot: view.snapshot,
                what: format!("piece {} does not hold as much as the reference to it says", reference.id),
            };
            self.contradicts(view, reference, &e)?;
            return Ok(None);
        }
        locked(&self.clean)?.insert((view.place, reference.id), tally);
        Ok(Some(tally))
    }

    async fn page(
        self: Arc<Self>,
        view: &Arc<View>,
        level: u32,
        reference: Reference,
    ) -> Result<Seen, OpError> {
        if let Some(tally) = self.known(view, &reference)? {
            return Ok(Some(tally));
        }
        let (bytes, sound) = self.piece(view, BlobKind::Page, &reference).await?;
        let Some(bytes) = bytes else { return Ok(None) };
        let refs = match manifest_reader::page(view.snapshot, &reference, &bytes) {
            Ok(refs) => refs,
            Err(e) => {
                self.contradicts(view, &reference, &e)?;
                return Ok(None);
            }
        };
        let below = Arc::clone(&self).pieces(view, level - 1, refs).await?;
        self.settle(view, &reference, below.filter(|_| sound))
    }

    async fn segment(&self, view: &View, reference: Reference) -> Result<Seen, OpError> {
        if let Some(tally) = self.known(view, &reference)? {
            return Ok(Some(tally));
        }
        let (bytes, mut sound) = self.piece(view, BlobKind::Segment, &reference).await?;
        let Some(bytes) = bytes else { return Ok(None) };
        let (snapshot, copy) = (view.snapshot, reference.clone());
        let decoded =
            tokio::task::spawn_blocking(move || manifest_reader::segment(snapshot, &copy, &bytes)).await?;
        let entries = match decoded {
            Ok(entries) => entries,
            Err(e) => {
                self.contradicts(view, &reference, &e)?;
                return Ok(None);
            }
        };
        let mut tally = Tally::default();
        for entry in &entries {
            tally.entries += 1;
            match entry.state {
                State::Ok => {}
                State::Failed => tally.failed += 1,
                State::Vanished => tally.vanished += 1,
                State::Unavailable => tally.unavailable += 1,
            }
            if entry.content.is_some() {
                tally.bytes = tally.bytes.saturating_add(entry.size);
                sound &= self.content(view, entry).await?;
            }
        }
        self.observer.event(Event::Advance { objects: reference.entries, bytes: 0 });
        self.settle(view, &reference, Some(tally).filter(|_| sound))
    }

    fn contradicts(&self, view: &View, reference: &Reference, e: &RepoError) -> Result<(), OpError> {
        let mut finding = Finding::damage(names::snapshot(view.snapshot), e).snapshot(view.snapshot);
        finding.keys = vec![reference.first.clone(), reference.last.clone()];
        finding.entries = reference.entries;
        locked(&self.harms)?.others.push(finding);
        Ok(())
    }

    /// The bytes of a page or segment, from wherever they can be had, and whether a copy is sound where it should be.
    async fn piece(
        &self,
        view: &View,
        kind: BlobKind,
        reference: &Reference,
    ) -> Result<(Option<Bytes>, bool), OpError> {
        let keys = [&reference.first, &reference.last];
        self.metadata(view, kind, &reference.id, Some(reference.digest), &keys, reference.entries).await
    }

    async fn metadata(
        &self,
        view: &View,
        kind: BlobKind,
        id: &BlobId,
        digest: Option<Digest>,
        keys: &[&Key],
        entries: u64,
    ) -> Result<(Option<Bytes>, bool), OpError> {
        let mut copies = view.reader.copies(kind, id).await?;
        copies.retain(|l| digest.is_none_or(|d| d == l.record.digest));
        let (mut found, mut why): (Option<Bytes>, Option<String>) = (None, None);
        for (n, copy) in copies.clone().iter().enumerate() {
            match view.reader.read_copy(copy).await {
                Ok(bytes) => {
                    if copy.sound && view.is_home(copy) {
                        if let Some(what) = why {
                            self.has_twin(kind, id, &copies[..n], copy, &what)?;
                        }
                        return Ok((Some(bytes), true));
                    }
                    found = Some(bytes);
                    break;
                }
                Err(e) if e.is_damage() => {
                    let what = match &e {
                        RepoError::Damaged { what, .. } => what.clone(),
                        e => e.to_string(),
                    };
                    if copy.sound {
                        copies[n].sound = false;
                        let (group, pack) = (copy.group, copy.pack);
                        let blob = Some((kind, *id));
                        locked(&self.harms)?.hurt.push(Hurt { group, pack, blob, what: what.clone() });
                        why = why.or(Some(what));
                    }
                }
                Err(e) => return Err(e.into()),
            }
        }
        // Other groups were not asked while a copy of the own looked sound.
        if found.is_none()
            && let Ok(bytes) = match digest {
                Some(digest) => view.reader.read_known(kind, id, digest).await,
                None => view.reader.read(kind, id).await,
            }
        {
            found = Some(bytes);
        }
        let needed = Needed { home: view.home.name, snapshot: view.snapshot, kind, id, keys, entries };
        locked(&self.harms)?.note(&needed, &copies, |l| view.is_home(l), &self.groups, why);
        Ok((found, false))
    }

    /// A copy that was thought sound is not, and another one of the same group is.
    fn has_twin(
        &self,
        kind: BlobKind,
        id: &BlobId,
        bad: &[Located],
        good: &Located,
        what: &str,
    ) -> Result<(), OpError> {
        let Some(bad) = bad.first() else { return Ok(()) };
        let file = names::pack(bad.group, bad.pack);
        let twin = names::pack(good.group, good.pack);
        let what = format!("{}; there is an undamaged copy in {twin}", about(kind, id, what));
        let mut finding = Finding::damage(file, what).pack(bad.pack);
        finding.blob = Some((kind, *id));
        locked(&self.harms)?.others.push(finding);
        Ok(())
    }

    /// Follows an entry to its blobs; false if one is missing.
    async fn content(&self, view: &View, entry: &Entry) -> Result<bool, OpError> {
        let Some(content) = entry.content else { return Ok(true) };
        let id = match content.kind() {
            ContentKind::Blob(id) => {
                return self.blob(view, BlobKind::Data, &id, entry.size, &entry.key).await;
            }
            ContentKind::List(id) => id,
        };
        if locked(&self.lists)?.contains(&(view.place, id)) {
            return Ok(true);
        }
        let length = blocks(entry.size).saturating_mul(BlobId::LENGTH as u64);
        if !self.blob(view, BlobKind::List, &id, length, &entry.key).await? {
            return Ok(false);
        }
        let (bytes, mut sound) = self.metadata(view, BlobKind::List, &id, None, &[&entry.key], 1).await?;
        let Some(bytes) = bytes else { return Ok(false) };
        let Some(ids) = parse_block_list(&bytes, entry.size).filter(|_| sha1(&bytes) == id) else {
            let what = format!("the block list {id} of {} is not one of its content", entry.key);
            let mut finding = Finding::damage(names::group(view.home.name), what).snapshot(view.snapshot);
            finding.blob = Some((BlobKind::List, id));
            finding.keys.push(entry.key.clone());
            finding.entries = 1;
            locked(&self.harms)?.others.push(finding);
            return Ok(false);
        };
        for (n, block) in (0..).zip(&ids) {
            let range = block_range(n, entry.size);
            sound &= self.blob(view, BlobKind::Data, block, range.end - range.start, &entry.key).await?;
        }
        if sound {
            locked(&self.lists)?.insert((view.place, id));
        }
        Ok(sound)
    }

    async fn blob(
        &self,
        view: &View,
        kind: BlobKind,
        id: &BlobId,
        length: u64,
        key: &Key,
    ) -> Result<bool, OpError> {
        let fits = |l: &Located| u64::from(l.record.length) == length;
        let own = view.home.find(kind, id).await?;
        if own.first().is_some_and(|l| l.sound && fits(l)) {
            return Ok(true);
        }
        let copies = view.reader.copies(kind, id).await?;
        if copies.iter().any(|l| l.sound && fits(l) && view.is_home(l)) {
            return Ok(true);
        }
        let wrong = copies.iter().any(|l| l.sound && view.is_home(l));
        let what = wrong.then(|| format!("it has not the {length} bytes that entries of it claim"));
        let keys = [key];
        let needed =
            Needed { home: view.home.name, snapshot: view.snapshot, kind, id, keys: &keys, entries: 1 };
        locked(&self.harms)?.note(&needed, &copies, |l| view.is_home(l), &self.groups, what);
        Ok(false)
    }
}
