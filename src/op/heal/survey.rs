//! What is needed and has no copy to be relied on where it should be: one pass over the manifests of all snapshots. A copy can
//! be relied on when nothing at all is known against its pack, so that hurt packs come to hold nothing that is needed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::Context;
use crate::format::manifest::{MAX_HEIGHT, Reference};
use crate::format::pack::BlobKind;
use crate::format::records::SnapshotRecord;
use crate::model::content::parse_block_list;
use crate::model::entry::Entry;
use crate::model::event::Event;
use crate::model::id::{BlobId, ContentKind, Digest};
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::op::OpError;
use crate::plan::heal::{Use, length_of_block, length_of_list};
use crate::repo::RepoError;
use crate::repo::blobs::{BlobReader, Groups};
use crate::repo::group::Group;
use crate::repo::manifest_reader;

/// Which blob, and for which group.
pub(super) type Name = (RunName, BlobKind, BlobId);

/// A blob that is to be brought back.
#[derive(Debug, Clone)]
pub(super) struct Need {
    /// The group that needs it.
    pub home: RunName,
    pub kind: BlobKind,
    pub id: BlobId,
    pub length: u64,
    /// Its BLAKE3, where the manifest says it.
    pub digest: Option<Digest>,
    /// Where the content stands that it is part of; none for a piece of a manifest.
    pub uses: Vec<Use>,
    pub keys: BTreeSet<Key>,
    pub entries: u64,
    pub snapshots: BTreeSet<RunName>,
}

impl Need {
    pub(super) fn name(&self) -> Name {
        (self.home, self.kind, self.id)
    }
}

/// So many uses and keys of a blob are kept.
const MOST_USES: usize = 8;
const MOST_KEYS: usize = 16;

/// A snapshot's view: where its blobs should lie.
struct View {
    /// Equal for snapshots that look in the same places.
    place: usize,
    snapshot: RunName,
    home: RunName,
    groups: Vec<Arc<Group>>,
    reader: BlobReader,
}

/// A blob that an entry or a reference leads to.
struct Wanted<'a> {
    kind: BlobKind,
    id: BlobId,
    length: u64,
    digest: Option<Digest>,
    used: Option<Use>,
    keys: &'a [&'a Key],
    entries: u64,
}

struct Walk<'a> {
    ctx: &'a Context,
    groups: &'a Arc<Groups>,
    known: &'a BTreeSet<Name>,
    most: usize,
    needs: BTreeMap<Name, Need>,
    /// Pieces of manifests, and block lists, that are whole with all below them.
    whole: HashSet<(usize, BlobKind, BlobId)>,
}

/// What is needed and not there, but for what is `known` already: at most `most` blobs.
pub(super) async fn survey(
    ctx: &Context,
    groups: &Arc<Groups>,
    known: &BTreeSet<Name>,
    most: usize,
) -> Result<BTreeMap<Name, Need>, OpError> {
    let snapshots = ctx.repo.snapshots().await?.finished;
    let objects = snapshots.iter().map(|s| s.counts.objects).sum();
    ctx.observer.event(Event::Phase { name: "looking for losses", objects: Some(objects), bytes: None });
    let mut walk = Walk { ctx, groups, known, most, needs: BTreeMap::new(), whole: HashSet::new() };
    let mut places: Vec<(RunName, Vec<RunName>)> = Vec::new();
    for snapshot in &snapshots {
        let view = walk.view(snapshot, &mut places).await?;
        let level = snapshot.manifest.height.min(MAX_HEIGHT);
        walk.pieces(&view, level, snapshot.manifest.refs.clone()).await?;
    }
    Ok(walk.needs)
}

impl Walk<'_> {
    async fn view(
        &self,
        snapshot: &SnapshotRecord,
        places: &mut Vec<(RunName, Vec<RunName>)>,
    ) -> Result<View, OpError> {
        let mut needs = snapshot.needs.clone();
        needs.sort_unstable();
        let mut groups = vec![self.groups.get(snapshot.group).await?];
        for name in &needs {
            groups.push(self.groups.get(*name).await?);
        }
        let reader =
            BlobReader::new(&self.ctx.repo, Arc::clone(self.groups), snapshot.group, &snapshot.needs);
        let key = (snapshot.group, needs);
        let place = places.iter().position(|p| *p == key).unwrap_or(places.len());
        if place == places.len() {
            places.push(key);
        }
        Ok(View { place, snapshot: snapshot.name, home: snapshot.group, groups, reader })
    }

    /// What some references lead to, `level` levels of pages above the segments; whether all of it is there.
    fn pieces<'b>(
        &'b mut self,
        view: &'b View,
        level: u32,
        refs: Vec<Reference>,
    ) -> BoxFuture<'b, Result<bool, OpError>> {
        Box::pin(async move {
            let mut whole = true;
            for reference in refs {
                if self.ctx.cancel.is_set() {
                    return Err(OpError::Interrupted);
                }
                whole &= self.piece(view, level, &reference).await?;
            }
            Ok(whole)
        })
    }

    async fn piece(&mut self, view: &View, level: u32, reference: &Reference) -> Result<bool, OpError> {
        let kind = if level > 0 { BlobKind::Page } else { BlobKind::Segment };
        let name = (view.place, kind, reference.id);
        if self.whole.contains(&name) {
            self.ctx.observer.event(Event::Advance { objects: reference.entries, bytes: 0 });
            return Ok(true);
        }
        let keys = [&reference.first, &reference.last];
        let wanted = Wanted {
            kind,
            id: reference.id,
            length: u64::from(reference.length),
            digest: Some(reference.digest),
            used: None,
            keys: &keys,
            entries: reference.entries,
        };
        let mut whole = self.settled(view, wanted).await?;
        let Some(bytes) = readable(manifest_reader::read(&view.reader, kind, reference).await)? else {
            return Ok(false);
        };
        if level > 0 {
            let Some(refs) = readable(manifest_reader::page(view.snapshot, reference, &bytes))? else {
                return Ok(false);
            };
            whole &= self.pieces(view, level - 1, refs).await?;
        } else {
            let (snapshot, copy) = (view.snapshot, reference.clone());
            let decoded =
                tokio::task::spawn_blocking(move || manifest_reader::segment(snapshot, &copy, &bytes))
                    .await?;
            let Some(entries) = readable(decoded)? else { return Ok(false) };
            for entry in &entries {
                whole &= self.entry(view, entry).await?;
            }
            self.ctx.observer.event(Event::Advance { objects: reference.entries, bytes: 0 });
        }
        if whole {
            self.whole.insert(name);
        }
        Ok(whole)
    }

    async fn entry(&mut self, view: &View, entry: &Entry) -> Result<bool, OpError> {
        let Some(content) = entry.content else { return Ok(true) };
        let keys = [&entry.key];
        let wanted = |kind, id, number, length| Wanted {
            kind,
            id,
            length,
            digest: None,
            used: Some(Use { key: entry.key.clone(), content, size: entry.size, number }),
            keys: &keys,
            entries: 1,
        };
        let id = match content.kind() {
            ContentKind::Blob(id) => {
                return self.settled(view, wanted(BlobKind::Data, id, 0, entry.size)).await;
            }
            ContentKind::List(id) => id,
        };
        let name = (view.place, BlobKind::List, id);
        if self.whole.contains(&name) {
            return Ok(true);
        }
        let length = length_of_list(entry.size);
        let mut whole = self.settled(view, wanted(BlobKind::List, id, 0, length)).await?;
        let Some(bytes) = readable::<Bytes>(view.reader.read(BlobKind::List, &id).await)? else {
            return Ok(false);
        };
        let Some(ids) = parse_block_list(&bytes, entry.size) else { return Ok(false) };
        for (number, block) in (0..).zip(ids) {
            let length = length_of_block(number, entry.size);
            whole &= self.settled(view, wanted(BlobKind::Data, block, number, length)).await?;
        }
        if whole {
            self.whole.insert(name);
        }
        Ok(whole)
    }

    /// Whether a blob is where it should be; if not, it is noted.
    async fn settled(&mut self, view: &View, wanted: Wanted<'_>) -> Result<bool, OpError> {
        for group in &view.groups {
            for copy in group.find(wanted.kind, &wanted.id).await? {
                let fits = u64::from(copy.record.length) == wanted.length
                    && wanted.digest.is_none_or(|d| d == copy.record.digest);
                if fits && copy.sound && !self.groups.damage().contains_key(&copy.pack) {
                    return Ok(true);
                }
            }
        }
        let name = (view.home, wanted.kind, wanted.id);
        if self.known.contains(&name) || (self.needs.len() >= self.most && !self.needs.contains_key(&name)) {
            return Ok(false);
        }
        let need = self.needs.entry(name).or_insert_with(|| Need {
            home: view.home,
            kind: wanted.kind,
            id: wanted.id,
            length: wanted.length,
            digest: wanted.digest,
            uses: Vec::new(),
            keys: BTreeSet::new(),
            entries: 0,
            snapshots: BTreeSet::new(),
        });
        for key in wanted.keys {
            if need.keys.len() < MOST_KEYS {
                need.keys.insert((*key).clone());
            }
        }
        if let Some(used) = wanted.used.filter(|u| need.uses.len() < MOST_USES && !need.uses.contains(u)) {
            need.uses.push(used);
        }
        need.entries += wanted.entries;
        need.snapshots.insert(view.snapshot);
        Ok(false)
    }
}

/// What cannot be read is no reason to stop: it has been noted. A store that cannot be reached is.
fn readable<T>(read: Result<T, RepoError>) -> Result<Option<T>, OpError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.is_damage() => Ok(None),
        Err(e) => Err(e.into()),
    }
}
