//! A group, open: which packs are there, and where each blob lies. What is on disk decides, not a record.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

use futures::{StreamExt, TryStreamExt, stream};

use super::chain::Condemned;
use super::index_file::IndexFile;
use super::merge::Spot;
use super::names::{self, Meaning};
use super::{RepoError, Repository};
use crate::format::FormatError;
use crate::format::index::{IndexRecord, PackEntry, prefix};
use crate::format::pack::{self, BlobKind, Record};
use crate::format::records::DamageRecord;
use crate::model::id::{BlobId, IndexId, PackId};
use crate::model::name::RunName;

/// A pack of a group.
#[derive(Debug, Clone)]
pub struct PackState {
    /// The size of its file; 0 when it is missing.
    pub size: u64,
    /// Whether it holds metadata.
    pub metadata: bool,
    /// Why it cannot be relied on, if so: missing, of another size, condemned by a prune, or a table that cannot be read.
    pub lost: Option<String>,
    /// Whether an index file names it.
    pub indexed: bool,
}

/// Where one copy of a blob lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// The group.
    pub group: RunName,
    /// The pack.
    pub pack: PackId,
    /// The record in its table.
    pub record: Record,
    /// The pack is there with the right size, and nothing is known against this blob.
    pub sound: bool,
}

/// A group of runs, with everything needed to find its blobs.
#[derive(Debug)]
pub struct Group {
    repo: Repository,
    /// Its name.
    pub name: RunName,
    files: RwLock<Vec<Arc<IndexFile>>>,
    packs: RwLock<HashMap<PackId, PackState>>,
    /// Blobs of packs that no index names, sorted by id and kind.
    loose: Loose,
    damage: Arc<BTreeMap<PackId, DamageRecord>>,
    /// What packs' own tables say in the place of pages that cannot be read, by index file; sorted by id and kind.
    instead: tokio::sync::Mutex<HashMap<IndexId, Arc<Loose>>>,
    /// Index files that could not be read and that no other replaces, and why; their packs were read by their own tables.
    pub unreadable: Vec<(IndexId, RepoError)>,
    /// Index files that a readable one replaces.
    pub replaced: Vec<IndexId>,
}

/// Blobs with their packs, sorted by id and kind.
type Loose = Vec<(PackId, Record)>;

/// Tables read at a time while a group is opened.
const AT_ONCE: usize = 8;

impl Group {
    /// Opens a group: lists its packs, opens its index files but those `doubted`, and reads the tables of packs that no
    /// index names. Condemned packs are there, and not to be relied on.
    ///
    /// # Errors
    /// The store could not be listed.
    pub async fn open(
        repo: &Repository,
        name: RunName,
        damage: Arc<BTreeMap<PackId, DamageRecord>>,
        condemned: Option<&Condemned>,
        doubted: &BTreeSet<IndexId>,
    ) -> Result<Self, RepoError> {
        let mut present: HashMap<PackId, u64> = HashMap::new();
        let mut indexes: Vec<(IndexId, u64)> = Vec::new();
        for file in repo.store().list_all(&names::group(name)).await? {
            match names::meaning(&file.name) {
                Meaning::Pack(group, id) if group == name => drop(present.insert(id, file.size)),
                Meaning::Index(group, id) if group == name => indexes.push((id, file.size)),
                _ => {}
            }
        }
        indexes.sort_unstable();
        let mut files = Vec::new();
        let mut unreadable = Vec::new();
        for (id, size) in indexes {
            if doubted.contains(&id) {
                let what = FormatError::Damaged("it is known to be damaged".into());
                unreadable.push((id, RepoError::file(names::index(name, id), what)));
                continue;
            }
            match IndexFile::open(repo, name, id, size).await {
                Ok(file) => files.push(Arc::new(file)),
                Err(RepoError::Store(e)) if e.kind == crate::store::StoreErrorKind::NotFound => {}
                Err(e) if e.is_damage() => unreadable.push((id, e)),
                Err(e) => return Err(e),
            }
        }
        let replaced: BTreeSet<IndexId> = files.iter().flat_map(|f| f.replaces.iter().copied()).collect();
        files.retain(|f| !replaced.contains(&f.id));
        unreadable.retain(|(id, _)| !replaced.contains(id));
        let mut packs: HashMap<PackId, PackState> = HashMap::new();
        for entry in files.iter().flat_map(|f| &f.packs) {
            let lost = match present.get(&entry.id) {
                None => Some("it is missing".to_owned()),
                Some(size) if *size != entry.size => {
                    Some(format!("it has {size} bytes instead of {}", entry.size))
                }
                Some(_) => None,
            };
            let size = present.get(&entry.id).copied().unwrap_or(0);
            packs.insert(entry.id, PackState { size, metadata: entry.metadata, lost, indexed: true });
        }
        let unnamed: Vec<(PackId, u64)> =
            present.iter().filter(|(id, _)| !packs.contains_key(id)).map(|(id, size)| (*id, *size)).collect();
        let tables: Vec<_> = stream::iter(unnamed)
            .map(|(id, size)| async move {
                let table = read_table(repo, name, id, size).await;
                match table {
                    Err(e) if !e.is_damage() => Err(e),
                    table => Ok((id, size, table)),
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let mut loose = Vec::new();
        for (id, size, table) in tables {
            let state = match table {
                Ok((metadata, records)) => {
                    loose.extend(records.into_iter().map(|r| (id, r)));
                    PackState { size, metadata, lost: None, indexed: false }
                }
                Err(e) => PackState { size, metadata: false, lost: Some(e.to_string()), indexed: false },
            };
            packs.insert(id, state);
        }
        if let Some(condemned) = condemned {
            for (_, state) in packs.iter_mut().filter(|(id, _)| condemned.holds(id)) {
                state.lost.get_or_insert_with(|| "a prune is about to delete it".to_owned());
            }
        }
        loose.sort_unstable_by_key(|(pack, r)| (r.id, r.kind, *pack));
        Ok(Self {
            repo: repo.clone(),
            name,
            files: RwLock::new(files),
            packs: RwLock::new(packs),
            loose,
            damage,
            instead: tokio::sync::Mutex::default(),
            unreadable,
            replaced: replaced.into_iter().collect(),
        })
    }

    /// A group that does not exist yet.
    pub fn empty(repo: &Repository, name: RunName) -> Self {
        Self {
            repo: repo.clone(),
            name,
            files: RwLock::default(),
            packs: RwLock::default(),
            loose: Vec::new(),
            damage: Arc::default(),
            instead: tokio::sync::Mutex::default(),
            unreadable: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Its index files.
    pub fn files(&self) -> Vec<Arc<IndexFile>> {
        self.files.read().map(|f| f.clone()).unwrap_or_default()
    }

    /// Adds what a run has written: an index file and the packs it names.
    pub(crate) fn add_file(&self, file: Arc<IndexFile>) {
        if let (Ok(mut files), Ok(mut packs)) = (self.files.write(), self.packs.write()) {
            for PackEntry { id, size, metadata } in &file.packs {
                let state = PackState { size: *size, metadata: *metadata, lost: None, indexed: true };
                packs.insert(*id, state);
            }
            files.push(file);
        }
    }

    /// Whether one of its index files replaces this one.
    pub fn is_replaced(&self, id: &IndexId) -> bool {
        self.replaced.contains(id) || self.files().iter().any(|f| f.replaces.contains(id))
    }

    /// Puts an index file in the place of those it replaces.
    pub(crate) fn join_files(&self, file: Arc<IndexFile>) {
        if let Ok(mut files) = self.files.write() {
            files.retain(|f| !file.replaces.contains(&f.id));
            files.push(file);
        }
    }

    /// Its packs, those that are missing too.
    pub fn packs(&self) -> BTreeMap<PackId, PackState> {
        self.packs.read().map(|p| p.iter().map(|(k, v)| (*k, v.clone())).collect()).unwrap_or_default()
    }

    /// The size of a pack's file; 0 if it is not there.
    pub fn pack_size(&self, id: &PackId) -> u64 {
        self.packs.read().ok().and_then(|p| p.get(id).map(|s| s.size)).unwrap_or(0)
    }

    /// Whether a pack is not there as it should be: missing, of another size, or unknown.
    pub fn is_lost(&self, id: &PackId) -> bool {
        self.packs.read().map_or(true, |p| p.get(id).is_none_or(|s| s.lost.is_some()))
    }

    /// The blobs of packs that no index names.
    pub fn loose(&self) -> &[(PackId, Record)] {
        &self.loose
    }

    /// Nothing is known to be wrong: every pack that an index names is there with its size, no damage is recorded, and
    /// each of `indexes` is either there or replaced. Then every blob that was ever stored here still is, and need not
    /// be looked up one by one.
    pub fn is_sound(&self, indexes: &[IndexId]) -> bool {
        let files = self.files();
        let known = |id: &IndexId| self.replaced.contains(id) || files.iter().any(|f| f.id == *id);
        self.unreadable.is_empty()
            && indexes.iter().all(known)
            && self
                .packs
                .read()
                .is_ok_and(|p| p.iter().all(|(id, s)| s.lost.is_none() && !self.damage.contains_key(id)))
    }

    /// Every copy of a blob in this group, sound ones first. Where a page of an index file is damaged, the packs' own tables
    /// answer for it.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn find(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<Located>, RepoError> {
        match self.find_at(kind, id).await {
            Ok(found) => Ok(found.into_iter().map(|(_, l)| l).collect()),
            Err(e) if e.is_damage() => self.find_without(kind, id).await,
            Err(e) => Err(e),
        }
    }

    async fn find_without(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<Located>, RepoError> {
        let (_, loose) = of_blob(&self.loose, kind, id);
        let mut found: Vec<Located> = loose.iter().map(|(pack, r)| self.locate(*pack, *r)).collect();
        for file in self.files() {
            match file.find(kind, id).await {
                Ok(hits) => {
                    let pack = |r: &IndexRecord| Some((file.packs.get(r.pack as usize)?.id, r.record));
                    found.extend(hits.iter().filter_map(pack).map(|(pack, r)| self.locate(pack, r)));
                }
                Err(e) if e.is_damage() => {
                    let tables = self.instead_of(&file, id, e).await?;
                    let (_, own) = of_blob(&tables, kind, id);
                    found.extend(own.iter().map(|(pack, r)| self.locate(*pack, *r)));
                }
                Err(e) => return Err(e),
            }
        }
        found.sort_by_key(|l| !l.sound);
        Ok(found)
    }

    /// What the packs of an index file say themselves of the blobs on its damaged pages. Read once: all damaged pages are
    /// found, then each table is read, and only records that stood on such a page are kept.
    async fn instead_of(
        &self,
        file: &IndexFile,
        id: &BlobId,
        error: RepoError,
    ) -> Result<Arc<Loose>, RepoError> {
        let mut known = self.instead.lock().await;
        if let Some(tables) = known.get(&file.id) {
            return Ok(Arc::clone(tables));
        }
        let spans = file.damaged_spans().await?;
        let stood = |id: &BlobId| spans.iter().any(|s| s.contains(&prefix(id)));
        // The disk reads the page again, or reads it sometimes: what it did not say just now is not to be guessed at.
        if !stood(id) {
            return Err(error);
        }
        let there: Vec<(PackId, u64)> =
            file.packs.iter().filter(|p| !self.is_lost(&p.id)).map(|p| (p.id, p.size)).collect();
        let mut tables = stream::iter(there)
            .map(|(pack, size)| async move { (pack, self.table(pack, size).await) })
            .buffer_unordered(AT_ONCE);
        let mut records = Vec::new();
        while let Some((pack, table)) = tables.next().await {
            match table {
                Ok((_, table)) => {
                    records.extend(table.into_iter().filter(|r| stood(&r.id)).map(|r| (pack, r)));
                }
                Err(e) if e.is_damage() => {}
                Err(e) => return Err(e),
            }
        }
        records.sort_unstable_by_key(|(pack, r)| (r.id, r.kind, *pack));
        let records = Arc::new(records);
        known.insert(file.id, Arc::clone(&records));
        Ok(records)
    }

    /// As [`Group::find`], each copy with the place of its record.
    ///
    /// # Errors
    /// An index page cannot be read: a place on it has no number that could be relied on.
    pub async fn find_at(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<(Spot, Located)>, RepoError> {
        let mut found = Vec::new();
        let (start, own) = of_blob(&self.loose, kind, id);
        for (number, (pack, record)) in (start as u64..).zip(own) {
            found.push((Spot { file: None, number }, self.locate(*pack, *record)));
        }
        for (place, file) in self.files().iter().enumerate() {
            for (number, hit) in file.find_numbered(kind, id).await? {
                if let Some(pack) = file.packs.get(hit.pack as usize) {
                    found.push((Spot { file: Some(place), number }, self.locate(pack.id, hit.record)));
                }
            }
        }
        found.sort_by_key(|(_, l)| !l.sound);
        Ok(found)
    }

    /// What is known of a blob that lies in one of its packs.
    pub(crate) fn locate(&self, pack: PackId, record: Record) -> Located {
        let there = self.packs.read().is_ok_and(|p| p.get(&pack).is_some_and(|s| s.lost.is_none()));
        let hurt = self.damage.get(&pack).is_some_and(|d| {
            d.whole || d.blobs.iter().any(|(k, id)| BlobKind::from(*k) == record.kind && *id == record.id)
        });
        Located { group: self.name, pack, record, sound: there && !hurt }
    }

    /// A copy of a blob that can be relied on.
    ///
    /// # Errors
    /// An index page cannot be read.
    pub async fn sound(&self, kind: BlobKind, id: &BlobId) -> Result<Option<Located>, RepoError> {
        Ok(self.find(kind, id).await?.into_iter().find(|l| l.sound))
    }

    /// What the index files say lies in one of its packs, by id and kind; of a pack that no index names, what its own
    /// table says. Reads every page: only for a pack that something is wrong with. Damaged pages say nothing.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn records_of(&self, pack: PackId) -> Result<Vec<Record>, RepoError> {
        let mut records: Vec<Record> =
            self.loose.iter().filter(|(id, _)| *id == pack).map(|(_, record)| *record).collect();
        for file in self.files() {
            let Some(number) = file.packs.iter().position(|p| p.id == pack) else { continue };
            for n in 0..file.pages() {
                let page = match file.read_page(n).await {
                    Err(e) if e.is_damage() => continue,
                    page => page?,
                };
                records.extend(page.iter().filter(|r| r.pack as usize == number).map(|r| r.record));
            }
        }
        records.sort_unstable_by_key(|r| (r.id, r.kind));
        records.dedup();
        Ok(records)
    }

    /// The table of one of its packs, read from the pack itself.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub async fn table(&self, id: PackId, size: u64) -> Result<(bool, Vec<Record>), RepoError> {
        read_table(&self.repo, self.name, id, size).await
    }
}

/// The records of one blob among those sorted by id and kind, and the number of the first.
fn of_blob<'a>(
    sorted: &'a [(PackId, Record)],
    kind: BlobKind,
    id: &BlobId,
) -> (usize, &'a [(PackId, Record)]) {
    let start = sorted.partition_point(|(_, r)| (r.id, r.kind) < (*id, kind));
    let end = sorted.partition_point(|(_, r)| (r.id, r.kind) <= (*id, kind));
    (start, sorted.get(start..end).unwrap_or_default())
}

async fn read_table(
    repo: &Repository,
    group: RunName,
    id: PackId,
    size: u64,
) -> Result<(bool, Vec<Record>), RepoError> {
    let name = names::pack(group, id);
    let bad = |e| RepoError::file(&name, e);
    if size < (pack::HEADER + pack::FOOTER) as u64 || size > pack::MAX_PACK {
        return Err(bad(FormatError::Damaged(format!("{size} bytes cannot be a pack"))));
    }
    let header = repo.store().get_range(&name, 0..pack::HEADER as u64).await?;
    let footer = repo.store().get_range(&name, size - pack::FOOTER as u64..size).await?;
    let outline = pack::Outline::parse(&header, &footer, size).map_err(bad)?;
    let range = outline.table_range();
    let frame = repo.store().get_range(&name, range.start as u64..range.end as u64).await?;
    let records = outline.table(repo.sealer(), &frame).map_err(bad)?;
    Ok((outline.metadata, records))
}
