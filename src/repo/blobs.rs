//! Reading blobs: from the own group first, then from others; only bytes that BLAKE3 confirms come out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::chain::Condemned;
use super::error::is_gone;
use super::group::{Group, Located};
use super::names;
use super::{RepoError, Repository};
use crate::format::pack::{self, BlobKind};
use crate::format::records::DamageRecord;
use crate::model::content::{MAX_CONTENT, parse_block_list};
use crate::model::id::{BlobId, ContentId, ContentKind, Digest, IndexId, PackId};
use crate::model::name::RunName;

/// All groups of a store, opened when they are first needed.
#[derive(Debug)]
pub struct Groups {
    repo: Repository,
    cells: BTreeMap<RunName, OnceCell<Arc<Group>>>,
    /// Index files that are known to be damaged, and not read.
    doubted: Arc<BTreeSet<IndexId>>,
    /// Groups that a run has opened since: everybody here must see the same one fill.
    made: Mutex<BTreeMap<RunName, Arc<Group>>>,
    damage: Arc<BTreeMap<PackId, DamageRecord>>,
    condemned: Option<Condemned>,
}

impl Groups {
    /// Knows which groups there are and what is recorded as damaged; opens none.
    ///
    /// # Errors
    /// The store could not be listed.
    pub async fn new(repo: &Repository) -> Result<Self, RepoError> {
        Self::knowing(repo, repo.damage().await?).await
    }

    /// As [`Groups::new`], with damage that may not be recorded yet.
    ///
    /// # Errors
    /// The store could not be listed.
    pub async fn knowing(
        repo: &Repository,
        damage: BTreeMap<PackId, DamageRecord>,
    ) -> Result<Self, RepoError> {
        Self::doubting(repo, damage, BTreeSet::new()).await
    }

    /// As [`Groups::knowing`], without these index files: their packs are read by their own tables.
    ///
    /// # Errors
    /// The store could not be listed.
    pub async fn doubting(
        repo: &Repository,
        damage: BTreeMap<PackId, DamageRecord>,
        doubted: BTreeSet<IndexId>,
    ) -> Result<Self, RepoError> {
        let (damage, doubted) = (Arc::new(damage), Arc::new(doubted));
        let cells = repo.group_names().await?.into_iter().map(|n| (n, OnceCell::new())).collect();
        Ok(Self { repo: repo.clone(), cells, doubted, made: Mutex::default(), damage, condemned: None })
    }

    /// As [`Groups::new`], for a run: packs that a prune is about to delete are not to be relied on. What is condemned must
    /// have been read before, or it may go between the two.
    ///
    /// # Errors
    /// The store could not be listed.
    pub async fn heeding(repo: &Repository, condemned: Option<Condemned>) -> Result<Self, RepoError> {
        Ok(Self { condemned, ..Self::new(repo).await? })
    }

    /// Whether no prune was open when they were listed, or none that deletes anything.
    pub fn is_calm(&self) -> bool {
        self.condemned.is_none()
    }

    /// Their names, oldest first.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = RunName> + '_ {
        self.cells.keys().copied()
    }

    /// What is recorded as damaged.
    pub fn damage(&self) -> &BTreeMap<PackId, DamageRecord> {
        &self.damage
    }

    /// A group; if there is none of that name, an empty one that a run may fill.
    ///
    /// # Errors
    /// It could not be opened.
    pub async fn get(&self, name: RunName) -> Result<Arc<Group>, RepoError> {
        match self.cells.get(&name) {
            Some(cell) => cell
                .get_or_try_init(|| async {
                    let (damage, condemned) = (Arc::clone(&self.damage), self.condemned.as_ref());
                    let group = Group::open(&self.repo, name, damage, condemned, &self.doubted).await?;
                    Ok(Arc::new(group))
                })
                .await
                .cloned(),
            None => {
                let mut made = self
                    .made
                    .lock()
                    .map_err(|_| RepoError::System("a worker stopped while it opened a group".into()))?;
                let empty = || Arc::new(Group::empty(&self.repo, name));
                Ok(Arc::clone(made.entry(name).or_insert_with(empty)))
            }
        }
    }
}

/// Reads the blobs of one snapshot's group, falling back to other groups.
#[derive(Debug, Clone)]
pub struct BlobReader {
    repo: Repository,
    groups: Arc<Groups>,
    home: RunName,
    needs: Arc<[RunName]>,
    windows: Arc<Mutex<Windows>>,
    /// The groups as they stood when something could not be found.
    again: Arc<OnceCell<Arc<Groups>>>,
}

/// A stretch of a pack that was read in one go: small blobs lie in packs in the order they are asked for.
#[derive(Debug, Clone)]
struct Window {
    pack: PackId,
    start: u64,
    bytes: Bytes,
}

#[derive(Debug, Default)]
struct Windows(VecDeque<Window>);

/// How much is read at once for small blobs, and what counts as small.
const WINDOW: u64 = 1 << 20;
const SMALL: u64 = 256 << 10;
const KEPT: usize = 8;

impl BlobReader {
    /// A reader for a snapshot in group `home` that needs other groups too.
    pub fn new(repo: &Repository, groups: Arc<Groups>, home: RunName, needs: &[RunName]) -> Self {
        let (windows, again) = (Arc::default(), Arc::default());
        Self { repo: repo.clone(), groups, home, needs: needs.into(), windows, again }
    }

    /// The groups it reads from.
    pub fn groups(&self) -> &Arc<Groups> {
        &self.groups
    }

    /// The group it reads from first.
    pub fn home(&self) -> RunName {
        self.home
    }

    /// Every copy that may serve a blob, in the order they are to be tried. A copy of another group serves only under
    /// the length and BLAKE3 that the own group has recorded.
    ///
    /// # Errors
    /// An index cannot be read.
    pub async fn copies(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<Located>, RepoError> {
        let mut copies = self.groups.get(self.home).await?.find(kind, id).await?;
        let mut truth = copies.first().map(|l| (l.record.length, l.record.digest));
        let others = self.groups.names().rev().filter(|n| *n != self.home && !self.needs.contains(n));
        let order: Vec<RunName> =
            self.needs.iter().copied().filter(|n| *n != self.home).chain(others).collect();
        if !copies.iter().any(|l| l.sound) {
            for name in order {
                let found = self.groups.get(name).await?.find(kind, id).await?;
                truth = truth.or(found.first().map(|l| (l.record.length, l.record.digest)));
                copies
                    .extend(found.into_iter().filter(|l| truth == Some((l.record.length, l.record.digest))));
            }
            copies.sort_by_key(|l| !l.sound);
        }
        Ok(copies)
    }

    /// A blob's bytes, checked.
    ///
    /// # Errors
    /// No copy can be found or read; the error names the last one tried.
    pub async fn read(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes, RepoError> {
        self.read_as(kind, id, None).await
    }

    /// As [`BlobReader::read`], for a blob whose BLAKE3 a reference gives: a copy with another one is not it.
    ///
    /// # Errors
    /// As [`BlobReader::read`].
    pub async fn read_known(&self, kind: BlobKind, id: &BlobId, digest: Digest) -> Result<Bytes, RepoError> {
        self.read_as(kind, id, Some(digest)).await
    }

    async fn read_as(&self, kind: BlobKind, id: &BlobId, digest: Option<Digest>) -> Result<Bytes, RepoError> {
        match self.read_once(kind, id, digest).await {
            // A prune may have moved it since the groups were opened: one more look, with fresh eyes.
            Err(e) if e.is_damage() => match self.afresh().await?.read_once(kind, id, digest).await {
                Err(again) if again.is_damage() => Err(e),
                other => other,
            },
            other => other,
        }
    }

    /// A reader that sees the groups as they stood when this one first missed something.
    async fn afresh(&self) -> Result<Self, RepoError> {
        let open = || async {
            let damage = self.groups.damage().clone();
            Ok::<_, RepoError>(Arc::new(Groups::knowing(&self.repo, damage).await?))
        };
        let groups = Arc::clone(self.again.get_or_try_init(open).await?);
        Ok(Self { groups, ..self.clone() })
    }

    async fn read_once(
        &self,
        kind: BlobKind,
        id: &BlobId,
        digest: Option<Digest>,
    ) -> Result<Bytes, RepoError> {
        let mut last = RepoError::Missing { kind, id: *id };
        let mut tried = Vec::new();
        let fits = |l: &Located| digest.is_none_or(|d| d == l.record.digest);
        for copy in self.copies(kind, id).await?.into_iter().filter(fits) {
            match self.read_copy(&copy).await {
                Ok(bytes) => return Ok(bytes),
                Err(e) if e.is_damage() => last = e,
                // A store that cannot be reached says nothing about this blob.
                Err(e) => return Err(e),
            }
            tried.push(copy);
        }
        // A sound-looking copy was not: other groups have not been asked yet.
        if !tried.is_empty() {
            let truth = (tried[0].record.length, tried[0].record.digest);
            for name in self.groups.names().rev().filter(|n| *n != self.home) {
                for copy in self.groups.get(name).await?.find(kind, id).await? {
                    if (copy.record.length, copy.record.digest) != truth || tried.contains(&copy) {
                        continue;
                    }
                    match self.read_copy(&copy).await {
                        Ok(bytes) => return Ok(bytes),
                        Err(e) if e.is_damage() => {}
                        Err(e) => return Err(e),
                    }
                }
            }
        }
        Err(last)
    }

    /// One copy's bytes, checked.
    ///
    /// # Errors
    /// `Damaged`: the pack is gone or too short, the disk cannot read it there, or the blob has other bytes. Else the store
    /// cannot be reached.
    pub async fn read_copy(&self, copy: &Located) -> Result<Bytes, RepoError> {
        let name = names::pack(copy.group, copy.pack);
        let (start, length) = (u64::from(copy.record.offset), u64::from(copy.record.stored));
        let frame = match self.frame(copy, &name, start, length).await {
            Ok(frame) => frame,
            Err(RepoError::Store(e)) if is_gone(&e) => {
                let (kind, id) = (copy.record.kind, copy.record.id);
                return Err(RepoError::Damaged { kind, id, pack: name, what: e.message });
            }
            Err(e) => return Err(e),
        };
        // A plain store's frames do not depend on the pack's nonce.
        let open = move |repo: &Repository, copy: &Located| {
            pack::open_blob(repo.sealer(), [0; 16], &copy.record, &frame)
        };
        let plain = if length > SMALL {
            let (repo, copy) = (self.repo.clone(), *copy);
            tokio::task::spawn_blocking(move || open(&repo, &copy)).await?
        } else {
            open(&self.repo, copy)
        };
        plain.map(Bytes::from).map_err(|e| RepoError::Damaged {
            kind: copy.record.kind,
            id: copy.record.id,
            pack: name,
            what: e.to_string(),
        })
    }

    async fn frame(&self, copy: &Located, name: &str, start: u64, length: u64) -> Result<Bytes, RepoError> {
        let end = start + length;
        if length > SMALL {
            return Ok(self.repo.store().get_range(name, start..end).await?);
        }
        if let Some(bytes) = self.windows.lock().ok().and_then(|mut w| w.find(copy.pack, start, end)) {
            return Ok(bytes);
        }
        let state = self.groups.get(copy.group).await?.pack_size(&copy.pack);
        let until = (start + WINDOW).min(state).max(end);
        let bytes = match self.repo.store().get_range(name, start..until).await {
            // A bad place among the blobs behind it is none of this one's.
            Err(e) if is_gone(&e) && until > end => {
                return Ok(self.repo.store().get_range(name, start..end).await?);
            }
            bytes => bytes?,
        };
        #[expect(clippy::cast_possible_truncation, reason = "length is at most SMALL")]
        let frame = bytes.slice(..length as usize);
        if let Ok(mut windows) = self.windows.lock() {
            windows.keep(Window { pack: copy.pack, start, bytes });
        }
        Ok(frame)
    }

    /// The ids of the blocks of a content, in order.
    ///
    /// # Errors
    /// Its block list is missing or damaged.
    pub async fn blocks(&self, content: ContentId, size: u64) -> Result<Vec<BlobId>, RepoError> {
        match content.kind() {
            ContentKind::Blob(id) => Ok(vec![id]),
            ContentKind::List(id) => {
                let damaged = |what: &str| RepoError::Damaged {
                    kind: BlobKind::List,
                    id,
                    pack: "its pack".into(),
                    what: what.into(),
                };
                if size > MAX_CONTENT {
                    return Err(damaged("its content claims an impossible size"));
                }
                let bytes = self.read(BlobKind::List, &id).await?;
                parse_block_list(&bytes, size).ok_or_else(|| damaged("it does not fit its content's size"))
            }
        }
    }
}

impl Windows {
    fn find(&mut self, pack: PackId, start: u64, end: u64) -> Option<Bytes> {
        let inside = |w: &Window| w.pack == pack && w.start <= start && end <= w.start + w.bytes.len() as u64;
        let at = self.0.iter().position(inside)?;
        let window = self.0.remove(at)?;
        #[expect(clippy::cast_possible_truncation, reason = "both lie within the window")]
        let bytes = window.bytes.slice((start - window.start) as usize..(end - window.start) as usize);
        self.0.push_front(window);
        Some(bytes)
    }

    fn keep(&mut self, window: Window) {
        self.0.push_front(window);
        self.0.truncate(KEPT);
    }
}
