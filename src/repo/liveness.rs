//! What is needed: one pass over the distinct pages, segments and block lists of what is kept sets a bit for every record that leads to
//! a blob in use. Anything that cannot be read ends it with an error: an incomplete answer is none.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::blobs::{BlobReader, Groups};
use super::group::{Group, Located};
use super::manifest_reader::{page, segment};

use super::merge::{Found, Merge, Spot};
use super::needed::Needed;
use super::{RepoError, Repository};
use crate::format::manifest::{MAX_HEIGHT, Reference};
use crate::format::pack::BlobKind;
use crate::format::records::SnapshotRecord;
use crate::model::content::{block_range, blocks, parse_block_list};
use crate::model::entry::Entry;
use crate::model::id::{BlobId, ContentId, ContentKind, Digest, PackId};
use crate::model::key::Key;
use crate::model::name::RunName;

/// Why it could not be told what is needed.
#[derive(Debug)]
pub struct Trouble {
    /// Of which snapshot or run.
    pub snapshot: RunName,
    /// Which object's content is concerned, if it is one's.
    pub key: Option<Key>,
    /// What is wrong.
    pub error: RepoError,
}

/// Whose blobs are looked for, and where.
#[derive(Debug, Clone)]
struct Place {
    snapshot: RunName,
    home: RunName,
    needs: Vec<RunName>,
    reader: BlobReader,
}

/// A blob that is needed.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    kind: BlobKind,
    id: BlobId,
    digest: Option<Digest>,
    length: u64,
}

impl Wanted {
    fn fits(&self, l: &Located) -> bool {
        u64::from(l.record.length) == self.length && self.digest.is_none_or(|d| d == l.record.digest)
    }
}

/// What is known of the need for a pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackStat {
    /// Blobs in it.
    pub blobs: u64,
    /// Blobs in it that are needed.
    pub live: u64,
    /// Their bytes as stored.
    pub live_bytes: u64,
    /// One of them is damaged, or the pack is lost.
    pub damaged: bool,
}

/// Notes what is needed.
#[derive(Debug)]
pub struct Liveness {
    repo: Repository,
    groups: Arc<Groups>,
    /// A bit for every record that is needed.
    pub needed: Needed,
    /// Needed blobs of which every copy is known to be damaged.
    pub damaged: u64,
}

impl Liveness {
    /// Nothing is marked yet.
    pub fn new(repo: &Repository, groups: Arc<Groups>) -> Self {
        Self { repo: repo.clone(), groups, needed: Needed::default(), damaged: 0 }
    }

    fn place(&self, snapshot: RunName, home: RunName, needs: &[RunName]) -> Place {
        let reader = BlobReader::new(&self.repo, Arc::clone(&self.groups), home, needs);
        Place { snapshot, home, needs: needs.to_vec(), reader }
    }

    /// Notes what a snapshot needs. What an earlier one of the same group needed too is not read again.
    ///
    /// # Errors
    /// A part of its manifest cannot be read, or a blob it needs is in no pack.
    pub async fn snapshot(&mut self, s: &SnapshotRecord) -> Result<(), Trouble> {
        let place = self.place(s.name, s.group, &s.needs);
        self.tree(&place, s.manifest.height.min(MAX_HEIGHT), &s.manifest.refs).await
    }

    /// Notes what the checkpoints of a run that was cut off have saved: segments, and blocks of large objects.
    ///
    /// # Errors
    /// As [`Liveness::snapshot`].
    pub async fn run(
        &mut self,
        run: RunName,
        group: RunName,
        segments: &[Reference],
        begun: impl Iterator<Item = (Key, u64, Vec<BlobId>)>,
    ) -> Result<(), Trouble> {
        let place = self.place(run, group, &[]);
        self.tree(&place, 0, segments).await?;
        for (key, size, ids) in begun {
            for (n, id) in (0..).zip(ids) {
                let range = block_range(n, size);
                let length = range.end.saturating_sub(range.start);
                let wanted = Wanted { kind: BlobKind::Data, id, digest: None, length };
                self.mark(&place, &wanted).await.map_err(trouble(&place, Some(&key)))?;
            }
        }
        Ok(())
    }

    async fn tree(&mut self, place: &Place, height: u32, refs: &[Reference]) -> Result<(), Trouble> {
        let mut stack: Vec<(u32, Reference)> = refs.iter().rev().map(|r| (height, r.clone())).collect();
        while let Some((level, reference)) = stack.pop() {
            let kind = if level == 0 { BlobKind::Segment } else { BlobKind::Page };
            let wanted = Wanted {
                kind,
                id: reference.id,
                digest: Some(reference.digest),
                length: reference.length.into(),
            };
            let bytes = self.visit(place, &wanted).await.map_err(trouble(place, None))?;
            let Some(bytes) = bytes else { continue };
            if level > 0 {
                let below = page(place.snapshot, &reference, &bytes).map_err(trouble(place, None))?;
                stack.extend(below.into_iter().rev().map(|r| (level - 1, r)));
                continue;
            }
            let snapshot = place.snapshot;
            let entries: Vec<Entry> =
                tokio::task::spawn_blocking(move || segment(snapshot, &reference, &bytes))
                    .await
                    .map_err(RepoError::from)
                    .and_then(|r| r)
                    .map_err(trouble(place, None))?;
            for entry in entries {
                if let Some(content) = entry.content {
                    let marked = self.content(place, content, entry.size).await;
                    marked.map_err(trouble(place, Some(&entry.key)))?;
                }
            }
        }
        Ok(())
    }

    async fn content(&mut self, place: &Place, content: ContentId, size: u64) -> Result<(), RepoError> {
        let data = |id, length| Wanted { kind: BlobKind::Data, id, digest: None, length };
        match content.kind() {
            ContentKind::Blob(id) => self.mark(place, &data(id, size)).await.map(drop),
            ContentKind::List(id) => {
                let length = blocks(size) * BlobId::LENGTH as u64;
                let list = Wanted { kind: BlobKind::List, id, digest: None, length };
                let Some(bytes) = self.visit(place, &list).await? else { return Ok(()) };
                let ids = parse_block_list(&bytes, size).ok_or_else(|| RepoError::Damaged {
                    kind: BlobKind::List,
                    id,
                    pack: "its pack".into(),
                    what: "it does not fit its content's size".into(),
                })?;
                for (n, id) in (0..).zip(ids) {
                    let range = block_range(n, size);
                    self.mark(place, &data(id, range.end - range.start)).await?;
                }
                Ok(())
            }
        }
    }

    /// The groups that may serve a blob its own group lacks: those the snapshot names first, as a reader asks them.
    fn elsewhere(&self, place: &Place) -> Vec<RunName> {
        let others = self.groups.names().rev().filter(|n| !place.needs.contains(n));
        place.needs.iter().copied().chain(others).filter(|n| *n != place.home).collect()
    }

    /// Notes every sound copy in the own group (of several, [`Liveness::settle_duplicates`] leaves one); without one, the own
    /// damaged ones, so that they can be mended, and a sound one elsewhere. Whether anything was not marked before.
    async fn mark(&mut self, place: &Place, wanted: &Wanted) -> Result<bool, RepoError> {
        let home = self.groups.get(place.home).await?;
        let mut own = home.find_at(wanted.kind, &wanted.id).await?;
        own.retain(|(_, l)| wanted.fits(l));
        let sound = own.iter().any(|(_, l)| l.sound);
        let mut fresh = false;
        for (spot, _) in own.iter().filter(|(_, l)| l.sound == sound) {
            fresh |= self.needed.set(place.home, &home, *spot);
        }
        if sound || (!own.is_empty() && !fresh) {
            return Ok(fresh);
        }
        // A pack that is missing or of another size is lost; one with recorded damage may still be mended.
        let there = |group: &Group, l: &Located| !group.is_lost(&l.pack);
        let truth = own.first().map(|(_, l)| l.record.digest).or(wanted.digest);
        let mut hurt = own.iter().any(|(_, l)| there(&home, l)).then(|| (Arc::clone(&home), own[0].0));
        for name in self.elsewhere(place) {
            let group = self.groups.get(name).await?;
            for (spot, l) in group.find_at(wanted.kind, &wanted.id).await? {
                if !wanted.fits(&l) || truth.is_some_and(|t| t != l.record.digest) {
                    continue;
                }
                if l.sound {
                    return Ok(self.needed.set(place.home, &group, spot) | fresh);
                }
                if there(&group, &l) {
                    hurt.get_or_insert((Arc::clone(&group), spot));
                }
            }
        }
        match hurt {
            Some((group, spot)) => {
                fresh |= self.needed.set(place.home, &group, spot);
                self.damaged += u64::from(fresh);
                Ok(fresh)
            }
            None => Err(RepoError::Missing { kind: wanted.kind, id: wanted.id }),
        }
    }

    /// Notes a blob that leads to others, and reads it; `None` when it was marked before, and so has been followed.
    async fn visit(&mut self, place: &Place, wanted: &Wanted) -> Result<Option<Bytes>, RepoError> {
        if !self.mark(place, wanted).await? {
            return Ok(None);
        }
        let home = self.groups.get(place.home).await?;
        for (_, copy) in home.find_at(wanted.kind, &wanted.id).await? {
            if copy.sound && wanted.fits(&copy) {
                match place.reader.read_copy(&copy).await {
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(e) if e.is_damage() => {}
                    Err(e) => return Err(e),
                }
            }
        }
        // The own copy is not what it seems: the one that can be read must not go either.
        for name in self.elsewhere(place) {
            let group = self.groups.get(name).await?;
            for (spot, copy) in group.find_at(wanted.kind, &wanted.id).await? {
                if wanted.fits(&copy)
                    && let Ok(bytes) = place.reader.read_copy(&copy).await
                {
                    self.needed.set(place.home, &group, spot);
                    return Ok(Some(bytes));
                }
            }
        }
        match wanted.digest {
            Some(digest) => place.reader.read_known(wanted.kind, &wanted.id, digest).await.map(Some),
            None => place.reader.read(wanted.kind, &wanted.id).await.map(Some),
        }
    }

    /// The groups whose snapshots need the record at one of these places.
    fn homes_of<'a>(
        &'a self,
        homes: &'a [RunName],
        holder: RunName,
        spots: &'a [Spot],
    ) -> impl Iterator<Item = RunName> + 'a {
        homes
            .iter()
            .copied()
            .filter(move |home| spots.iter().any(|spot| self.needed.get(*home, holder, *spot)))
    }

    /// The groups whose snapshots need this blob of this pack.
    ///
    /// # Errors
    /// An index page cannot be read.
    pub async fn needed_by(
        &self,
        holder: &Group,
        pack: PackId,
        kind: BlobKind,
        id: &BlobId,
    ) -> Result<Vec<RunName>, RepoError> {
        let homes = self.needed.homes(holder.name);
        let found = holder.find_at(kind, id).await?;
        let spots: Vec<Spot> =
            found.into_iter().filter(|(_, l)| l.pack == pack).map(|(spot, _)| spot).collect();
        Ok(self.homes_of(&homes, holder.name, &spots).collect())
    }

    /// Counts what is needed of each pack of a group, after leaving one mark where a blob lies there several times.
    ///
    /// # Errors
    /// An index file cannot be read.
    pub async fn stats(&mut self, group: &Group) -> Result<HashMap<PackId, PackStat>, RepoError> {
        let (stats, several) = self.count(group).await?;
        if !several {
            return Ok(stats);
        }
        self.settle_duplicates(group, &stats).await?;
        Ok(self.count(group).await?.0)
    }

    async fn count(&self, group: &Group) -> Result<(HashMap<PackId, PackStat>, bool), RepoError> {
        let (mut stats, mut several) = (HashMap::<PackId, PackStat>::new(), false);
        let homes = self.needed.homes(group.name);
        if homes.is_empty() {
            return Ok((stats, false));
        }
        let (mut merge, mut found) = (Merge::of(group), Vec::new());
        while merge.next_blob(&mut found).await? {
            let mut live = 0;
            for (pack, (record, spots)) in by_pack(&found) {
                let stat = stats.entry(pack).or_default();
                stat.blobs += 1;
                if self.homes_of(&homes, group.name, &spots).next().is_some() {
                    live += 1;
                    stat.live += 1;
                    stat.live_bytes += u64::from(record.record.stored);
                    stat.damaged |= !group.locate(pack, record.record).sound;
                }
            }
            several |= live > 1;
        }
        Ok((stats, several))
    }

    /// Where a blob lies several times in a group (a prune or a run was cut off), leaves the mark in the pack of which
    /// most is needed: so the pack that was to go still goes, and the one that was to take its place stays. What stays
    /// alone is read first: a copy may have rotted unseen, and then another must do.
    async fn settle_duplicates(
        &mut self,
        group: &Group,
        stats: &HashMap<PackId, PackStat>,
    ) -> Result<(), RepoError> {
        let homes = self.needed.homes(group.name);
        let reader = BlobReader::new(&self.repo, Arc::clone(&self.groups), group.name, &[]);
        let (mut merge, mut found) = (Merge::of(group), Vec::new());
        let share = |pack: &PackId| {
            let s = stats.get(pack).copied().unwrap_or_default();
            // Nothing is to hang on a pack that is known to be hurt.
            (!self.groups.damage().contains_key(pack), s.live * 1000 / s.blobs.max(1), s.live_bytes, *pack)
        };
        while merge.next_blob(&mut found).await? {
            let mut copies: Vec<(PackId, (Found, Vec<Spot>))> = by_pack(&found).into_iter().collect();
            copies.retain(|(_, (_, spots))| self.homes_of(&homes, group.name, spots).next().is_some());
            if copies.len() < 2 {
                continue;
            }
            copies.sort_by_key(|(pack, _)| std::cmp::Reverse(share(pack)));
            let mut best = None;
            for (pack, (f, spots)) in &copies {
                let copy = group.locate(*pack, f.record);
                if copy.sound && reader.read_copy(&copy).await.is_ok() {
                    best = spots.first().copied().map(|spot| (*pack, spot));
                    break;
                }
            }
            // None can be read: they all stay.
            let Some((kept, place)) = best else { continue };
            for home in &homes {
                let all = copies.iter().flat_map(|(_, (_, spots))| spots);
                if !all.clone().any(|spot| self.needed.get(*home, group.name, *spot)) {
                    continue;
                }
                for (_, (_, spots)) in copies.iter().filter(|(pack, _)| *pack != kept) {
                    spots.iter().for_each(|spot| self.needed.clear(*home, group.name, *spot));
                }
                self.needed.set(*home, group, place);
            }
        }
        Ok(())
    }
}

/// The records of one blob by pack: two index files may name the same one.
fn by_pack(found: &[Found]) -> BTreeMap<PackId, (Found, Vec<Spot>)> {
    let mut packs: BTreeMap<PackId, (Found, Vec<Spot>)> = BTreeMap::new();
    for f in found {
        packs.entry(f.pack).or_insert_with(|| (*f, Vec::new())).1.push(f.spot);
    }
    packs
}

fn trouble<'a>(place: &'a Place, key: Option<&'a Key>) -> impl FnOnce(RepoError) -> Trouble + 'a {
    move |error| Trouble { snapshot: place.snapshot, key: key.cloned(), error }
}
