//! The one that copies and deletes, for a prune that knows it may (`docs/protocol.md`; the steps here are its steps 3, 6 and 10).
//!
//! - Live blobs of packs that are to go are copied into new packs, durable before the prune claims anything. A pack that no
//!   index names is read by its own table, so the copies count from that moment on, for everybody: they are never deleted
//!   here, whatever becomes of the prune.
//! - A new index file of the group names the kept and the new packs, not the doomed ones, and replaces all older ones.
//!   A reader that opens the group now is never led to a doomed pack; should this fail, the old files still hold.
//! - Doomed packs. Every live blob of theirs has its copy, and the new index leads to it.
//! - The old index files, which readers have ignored since; then records of damage of packs that are gone.
//!
//! Where blobs lie in two packs, the next prune leaves the mark on the better one, after reading it.
//! A reader that opened the group before may be led to a pack that is gone; it then looks at the store once more
//! (see `BlobReader`). On a full disk the packs go before the new index: the old one then names packs that
//! are missing, which every reader takes for lost, and nobody needs them; the new one follows when there is room.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use super::blobs::{BlobReader, Groups};
use super::group::{Group, Located};
use super::index_build::{self, MANY_FILES, MOST_REPLACED, Plan};
use super::index_file::IndexFile;
use super::liveness::Liveness;
use super::merge::{Found, Merge, Spot};
use super::mover::{Moved, Mover};
use super::names::{self, Meaning};
use super::{RepoError, Repository};
use crate::format::index::PackEntry;
use crate::format::records::MarkedGroup;
use crate::model::content;
use crate::model::id::{IndexId, PackId};
use crate::model::name::RunName;
use crate::store::StoreErrorKind;

/// Bytes deleted, written and copied so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes of files that are gone.
    pub deleted: u64,
    /// Bytes of files written.
    pub written: u64,
    /// Bytes of blobs copied, as they were stored.
    pub moved: u64,
}

impl Space {
    /// Adds what was done in another round.
    pub fn add(&mut self, more: Self) {
        self.deleted += more.deleted;
        self.written += more.written;
        self.moved += more.moved;
    }
}

/// Copies and deletes.
#[derive(Debug)]
pub struct Maintainer {
    repo: Repository,
    groups: Arc<Groups>,
    spool: PathBuf,
    movers: BTreeMap<RunName, Mover>,
    /// What it has done so far.
    pub space: Space,
}

/// Whether an error says that the disk is full.
pub fn is_full(e: &RepoError) -> bool {
    matches!(e, RepoError::Store(e) if e.kind == StoreErrorKind::Full)
}

impl Maintainer {
    /// A maintainer that sees the store as `groups` does, and puts temporary files into `spool`.
    pub fn new(repo: &Repository, groups: Arc<Groups>, spool: PathBuf) -> Self {
        let (movers, space) = (BTreeMap::new(), Space::default());
        Self { repo: repo.clone(), groups, spool, movers, space }
    }

    /// Deletes files whose sizes are known.
    async fn delete(&mut self, files: Vec<(String, u64)>) -> Result<(), RepoError> {
        if files.is_empty() {
            return Ok(());
        }
        let bytes: u64 = files.iter().map(|(_, size)| size).sum();
        let names: Vec<String> = files.into_iter().map(|(name, _)| name).collect();
        self.repo.store().delete(&names).await?;
        self.space.deleted += bytes;
        Ok(())
    }

    /// Deletes the files of these snapshots, if they are there still.
    ///
    /// # Errors
    /// The store failed; some may be gone.
    pub async fn remove_snapshots(&mut self, snapshots: &[RunName]) -> Result<(), RepoError> {
        let mut files = Vec::new();
        for name in snapshots {
            let name = names::snapshot(*name);
            files.extend(self.repo.store().size(&name).await?.map(|size| (name, size)));
        }
        self.delete(files).await
    }

    /// Copies what is needed of a doomed pack into the groups that need it: the pack's own, if it is `alive`. `None`: a
    /// blob cannot be read, so the pack must stay. Nothing is sure to be durable before [`Maintainer::finish_copies`].
    ///
    /// # Errors
    /// The store failed or is full.
    pub async fn copy(
        &mut self,
        live: &Liveness,
        holder: &Group,
        alive: bool,
        pack: PackId,
        expected: u64,
    ) -> Result<Option<()>, RepoError> {
        let mut records = match holder.table(pack, holder.pack_size(&pack)).await {
            Ok((_, records)) => records,
            Err(e) if e.is_damage() => return Ok(None),
            Err(e) => return Err(e),
        };
        records.sort_unstable_by_key(|r| r.offset);
        let reader = BlobReader::new(&self.repo, Arc::clone(&self.groups), holder.name, &[]);
        let mut copied = 0;
        for record in records {
            let mut homes = live.needed_by(holder, pack, record.kind, &record.id).await?;
            if homes.is_empty() {
                continue;
            }
            if alive && homes.contains(&holder.name) {
                homes = vec![holder.name];
            }
            let copy = Located { group: holder.name, pack, record, sound: true };
            let bytes = match reader.read_copy(&copy).await {
                Ok(bytes) => bytes,
                Err(e) if e.is_damage() => return Ok(None),
                Err(e) => return Err(e),
            };
            let (bytes, hashes) = tokio::task::spawn_blocking(move || {
                let hashes = content::hash(&bytes);
                (bytes, hashes)
            })
            .await?;
            if hashes != record.hashes() {
                return Ok(None);
            }
            for home in homes {
                let mover = self.movers.entry(home).or_insert_with(|| Mover::new(&self.repo, home));
                mover.put(record.kind, hashes, bytes.clone()).await?;
                self.space.moved += u64::from(record.stored);
            }
            copied += 1;
        }
        // The index says more of the pack than its own table does: leave it alone.
        Ok((copied == expected).then_some(()))
    }

    /// Makes all copies durable. Returns them by group.
    ///
    /// # Errors
    /// The store failed or is full. What was copied so far stays.
    pub async fn finish_copies(&mut self) -> Result<Copies, RepoError> {
        let mut copies = Copies::default();
        while let Some((home, mut mover)) = self.movers.pop_first() {
            let moved = match mover.finish().await {
                Ok(moved) => moved,
                Err(e) => {
                    self.count(&mover.abandon().await);
                    return Err(e);
                }
            };
            self.count(&moved);
            copies.0.insert(home, moved);
        }
        Ok(copies)
    }

    fn count(&mut self, moved: &Moved) {
        self.space.written += moved.packs.iter().map(|p| p.size).sum::<u64>();
    }

    /// Gives up copying. What was written stays: a run may rely on it already. It holds second copies, and the next look
    /// at the group finds out which of two may go.
    pub async fn abandon_copies(&mut self) {
        while let Some((_, mover)) = self.movers.pop_first() {
            let moved = mover.abandon().await;
            self.count(&moved);
        }
    }

    /// Brings a group that stays to its new state: a new index, then the doomed packs go, then the old index files.
    /// `adopt`: loose packs are named too. `mentioned`: index files that kept snapshots name.
    ///
    /// # Errors
    /// The store failed. On a full disk whatever needs no writing is done before that is said.
    pub async fn settle(
        &mut self,
        group: &Group,
        doomed: &BTreeSet<PackId>,
        copies: &mut Copies,
        adopt: bool,
        mentioned: &BTreeSet<IndexId>,
    ) -> Result<(), RepoError> {
        let moved = copies.0.remove(&group.name).unwrap_or_default();
        // Packs to which copies were added stay loose until an index names them; either way they are found.
        let before = self.index_files(group).await?;
        let new = match self.new_index(group, doomed, &moved, adopt, mentioned, &before).await {
            Err(e) if is_full(&e) && moved.packs.is_empty() => {
                self.delete_packs(group, doomed).await?;
                match self.new_index(group, doomed, &moved, adopt, mentioned, &before).await {
                    Err(e) if is_full(&e) => None,
                    other => other?,
                }
            }
            other => other?,
        };
        self.delete_packs(group, doomed).await?;
        // What an earlier prune or run replaced goes too.
        let old = |id: &IndexId| match &new {
            Some(new) => *id != new.id && new.replaces.contains(id),
            None => group.replaced.contains(id),
        };
        let old = before.into_iter().filter(|(id, _)| old(id));
        self.delete(old.map(|(id, size)| (names::index(group.name, id), size)).collect()).await?;
        self.forget_damage(doomed).await?;
        self.repo.store().tidy(&names::group(group.name)).await;
        Ok(())
    }

    /// The index files there are, with their sizes.
    async fn index_files(&self, group: &Group) -> Result<HashMap<IndexId, u64>, RepoError> {
        let files = self.repo.store().list_all(&format!("{}/index", names::group(group.name))).await?;
        let ours = files.into_iter().filter_map(|f| match names::meaning(&f.name) {
            Meaning::Index(name, id) if name == group.name => Some((id, f.size)),
            _ => None,
        });
        Ok(ours.collect())
    }

    /// Writes the index of what stays; none when the old files say nothing else.
    async fn new_index(
        &mut self,
        group: &Group,
        doomed: &BTreeSet<PackId>,
        moved: &Moved,
        adopt: bool,
        mentioned: &BTreeSet<IndexId>,
        present: &HashMap<IndexId, u64>,
    ) -> Result<Option<Arc<IndexFile>>, RepoError> {
        let mut files = group.files();
        let states = group.packs();
        let stays = |id: &PackId| !doomed.contains(id);
        let loose = |id: &PackId| {
            adopt && stays(id) && states.get(id).is_some_and(|s| !s.indexed && s.lost.is_none())
        };
        let adopted: BTreeMap<PackId, PackEntry> = states
            .iter()
            .filter(|(id, _)| loose(id))
            .map(|(id, s)| (*id, PackEntry { id: *id, size: s.size, metadata: s.metadata }))
            .collect();
        let changed = files.iter().flat_map(|f| &f.packs).any(|p| !stays(&p.id));
        if !changed && moved.packs.is_empty() && adopted.is_empty() && files.len() <= MANY_FILES {
            return Ok(None);
        }
        files.extend(moved.files.iter().cloned());
        let mut packs: BTreeMap<PackId, PackEntry> =
            files.iter().flat_map(|f| &f.packs).filter(|p| stays(&p.id)).map(|p| (p.id, *p)).collect();
        let records = (0..).zip(group.loose()).filter(|(_, (pack, _))| adopted.contains_key(pack));
        let records = records.map(|(number, (pack, record))| Found {
            spot: Spot { file: None, number },
            pack: *pack,
            record: *record,
        });
        packs.extend(adopted.iter().map(|(id, p)| (*id, *p)));
        packs.extend(moved.packs.iter().map(|p| (p.id, *p)));
        let mut merge = Merge::files(&files);
        merge.add(records.collect());
        merge.add(moved.records.clone());
        // A file that is replaced is still to be known to whoever names it, or as long as it lies about.
        let mut replaces: BTreeSet<IndexId> = files.iter().map(|f| f.id).collect();
        let earlier = group.replaced.iter().chain(files.iter().flat_map(|f| &f.replaces));
        replaces.extend(earlier.filter(|id| mentioned.contains(id) || present.contains_key(id)));
        let plan = Plan {
            packs: packs.into_values().collect(),
            replaces: replaces.into_iter().take(MOST_REPLACED).collect(),
        };
        let expected = files.iter().map(|f| f.records()).sum::<u64>()
            + (group.loose().len() + moved.records.len()) as u64;
        let spool = Some(self.spool.as_path());
        let file = index_build::write(&self.repo, group.name, merge, expected, &plan, spool).await?;
        let size = self.repo.store().size(file.name()).await?.unwrap_or(0);
        self.space.written += size;
        Ok(Some(file))
    }

    async fn delete_packs(&mut self, group: &Group, doomed: &BTreeSet<PackId>) -> Result<(), RepoError> {
        let mut files = Vec::new();
        for id in doomed {
            let size = group.pack_size(id);
            let name = names::pack(group.name, *id);
            // Another that finishes the same prune may have been faster.
            if size > 0 && self.repo.store().size(&name).await?.is_some() {
                files.push((name, size));
            }
        }
        self.delete(files).await
    }

    async fn forget_damage<'a>(
        &mut self,
        packs: impl IntoIterator<Item = &'a PackId>,
    ) -> Result<(), RepoError> {
        let known = self.groups.damage();
        let names: Vec<String> =
            packs.into_iter().filter(|id| known.contains_key(*id)).map(|id| names::damaged(*id)).collect();
        if names.is_empty() { Ok(()) } else { Ok(self.repo.store().delete(&names).await?) }
    }

    /// Deletes what was marked of a group that goes whole: index files first, so that no reader takes a half-deleted group
    /// for damage. Needs no room. What came since, and what is not ours, is left.
    ///
    /// # Errors
    /// The store failed.
    pub async fn drop_group(&mut self, marked: &MarkedGroup) -> Result<(), RepoError> {
        let indexes = marked.indexes.iter().map(|id| names::index(marked.group, *id));
        let packs = marked.packs.iter().map(|id| names::pack(marked.group, *id));
        for names in [indexes.collect::<Vec<_>>(), packs.collect()] {
            let mut files = Vec::new();
            for name in names {
                files.extend(self.repo.store().size(&name).await?.map(|size| (name, size)));
            }
            self.delete(files).await?;
        }
        self.forget_damage(&marked.packs).await?;
        self.repo.store().tidy(&names::group(marked.group)).await;
        Ok(())
    }

    /// Deletes pins and acceptances of snapshots that are not there any more.
    ///
    /// # Errors
    /// The store failed.
    pub async fn forget_notes(&mut self, stay: &BTreeSet<RunName>) -> Result<(), RepoError> {
        let accepted = self.repo.accepted().await?.into_iter().map(|n| (n, names::accepted(n)));
        let pins = self.repo.pins().await?.into_iter().map(|n| (n, names::pin(n)));
        let stale: Vec<String> =
            accepted.chain(pins).filter(|(n, _)| !stay.contains(n)).map(|(_, file)| file).collect();
        if stale.is_empty() { Ok(()) } else { Ok(self.repo.store().delete(&stale).await?) }
    }
}

/// Copies that are durable and that no index of their group names yet.
#[derive(Debug, Default)]
pub struct Copies(BTreeMap<RunName, Moved>);

impl Copies {
    /// The groups that have some.
    pub fn groups(&self) -> BTreeSet<RunName> {
        self.0.keys().copied().collect()
    }
}
