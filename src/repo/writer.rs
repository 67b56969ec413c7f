//! The writer: holds a run, takes blobs, and commits the snapshot. Everything it names is durable before it is named.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::group::Group;
use super::index_build;
use super::index_file::IndexFile;
use super::merge::Merge;
use super::names;
use super::pack_queue::PackQueue;
use super::repository::random;
use super::run;
use super::{RepoError, Repository};
use crate::control::{Control, Point, off, point};
use crate::format::index::{Encoder, IndexRecord, PackEntry};
use crate::format::pack::{BlobKind, Builder, Prepared, Record, TARGET};
use crate::format::record;
use crate::format::records::{CheckpointRecord, RunRecord, SnapshotRecord};
use crate::model::content::Hashes;
use crate::model::id::{BlobId, IndexId};
use crate::store::StoreErrorKind;

/// What became of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is new, and takes this many bytes.
    New(usize),
    /// The group has it.
    Known,
}

/// Packs that were open when a checkpoint began.
#[derive(Debug)]
pub struct OpenPacks([Option<(u32, Builder)>; 2]);

/// Records that are kept in memory before they are written as an index file: about 40 MB.
const SPILL: usize = 250_000;

/// A run that writes.
#[derive(Debug)]
pub struct Writer {
    repo: Repository,
    run: RunRecord,
    group: Arc<Group>,
    queue: PackQueue,
    state: Mutex<State>,
    runtime: Handle,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    data: Option<(u32, Builder)>,
    metadata: Option<(u32, Builder)>,
    /// Blobs of this run that no index file names yet, with the number of their pack.
    pending: HashMap<(BlobKind, BlobId), (u32, Record)>,
    /// The packs of this run by number; those that are durable, and in no index file yet, are there.
    packs: HashMap<u32, PackEntry>,
    next: u32,
    index_bytes: u64,
    put_bytes: u64,
    checkpoint: u32,
}

impl Writer {
    /// A writer for a run that has begun, into `group`. Must be called within a runtime.
    pub fn new(repo: &Repository, run: RunRecord, group: Arc<Group>) -> Self {
        let queue = PackQueue::new(repo, run.group);
        Self {
            repo: repo.clone(),
            run,
            group,
            queue,
            state: Mutex::default(),
            runtime: Handle::current(),
            filled: Notify::new(),
        }
    }

    /// The run.
    pub fn run(&self) -> &RunRecord {
        &self.run
    }

    /// The group it writes into.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// Bytes of packs and index files written so far.
    pub fn stored_bytes(&self) -> u64 {
        self.queue.stored() + self.state.lock().map_or(0, |s| s.index_bytes)
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>, RepoError> {
        self.state.lock().map_err(|_| RepoError::System("a worker stopped while it held the writer".into()))
    }

    /// The length and BLAKE3 of a blob that the group has, or that this run has written.
    ///
    /// # Errors
    /// An index page cannot be read.
    pub async fn present(&self, kind: BlobKind, id: &BlobId) -> Result<Option<Record>, RepoError> {
        if let Some((_, record)) = self.lock()?.pending.get(&(kind, *id)) {
            return Ok(Some(*record));
        }
        Ok(self.group.sound(kind, id).await?.map(|l| l.record))
    }

    /// Whether this run itself has written the blob (and so everything it leads to).
    pub fn is_new(&self, kind: BlobKind, id: &BlobId) -> bool {
        self.state.lock().is_ok_and(|s| s.pending.contains_key(&(kind, *id)))
    }

    /// Stores a blob unless the group has it. Compresses and may wait for the store: only for worker threads.
    ///
    /// # Errors
    /// The blob collides with another of its SHA-1, or the store failed.
    pub fn put_blocking(&self, kind: BlobKind, hashes: Hashes, plain: &[u8]) -> Result<Put, RepoError> {
        let known = |record: &Record| {
            if record.digest == hashes.digest && record.length as usize == plain.len() {
                Ok(Put::Known)
            } else {
                Err(RepoError::Collision { id: hashes.id })
            }
        };
        if let Some(record) = self.runtime.block_on(self.present(kind, &hashes.id))? {
            return known(&record);
        }
        let prepared = Prepared::new(kind, hashes, plain);
        let full = {
            let mut state = self.lock()?;
            // Another worker may have been faster.
            if let Some((_, record)) = state.pending.get(&(kind, hashes.id)) {
                return known(record);
            }
            state.put_bytes += prepared.stored() as u64 + 1;
            let State { data, metadata, pending, next, .. } = &mut *state;
            let slot = if kind.is_metadata() { metadata } else { data };
            let (number, builder) = match slot {
                Some(open) => open,
                None => {
                    *next += 1;
                    let builder = Builder::new(self.repo.sealer().clone(), random()?, kind.is_metadata());
                    slot.insert((*next, builder))
                }
            };
            let record = builder.add(&prepared);
            pending.insert((kind, hashes.id), (*number, record));
            if builder.len() >= TARGET {
                self.filled.notify_one();
            }
            if builder.is_full() { slot.take() } else { None }
        };
        if let Some((number, builder)) = full {
            self.queue.submit_blocking(number, builder)?;
        }
        Ok(Put::New(prepared.stored()))
    }

    /// [`Writer::put_blocking`] from async code.
    ///
    /// # Errors
    /// As there.
    pub async fn put(
        self: &Arc<Self>,
        kind: BlobKind,
        hashes: Hashes,
        plain: Bytes,
    ) -> Result<Put, RepoError> {
        let writer = Arc::clone(self);
        tokio::task::spawn_blocking(move || writer.put_blocking(kind, hashes, &plain)).await?
    }

    /// How large the open pack of data is: at [`crate::format::pack::TARGET`] it is time for a checkpoint.
    pub fn open_bytes(&self) -> usize {
        self.state.lock().map_or(0, |s| s.data.as_ref().map_or(0, |(_, b)| b.len()))
    }

    /// Waits until a pack is worth closing. May return for a pack that has been closed since.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Bytes of packs so far, those not written yet included: changes whenever a blob was stored.
    pub fn put_bytes(&self) -> u64 {
        self.state.lock().map_or(0, |s| s.put_bytes)
    }

    /// Closes the open packs; every blob put so far is in them or in earlier ones.
    ///
    /// # Errors
    /// A worker died.
    pub fn close_open(&self) -> Result<OpenPacks, RepoError> {
        let mut state = self.lock()?;
        Ok(OpenPacks([state.data.take(), state.metadata.take()]))
    }

    /// Waits until the packs that were open, and all before them, are durable.
    ///
    /// # Errors
    /// A pack could not be written.
    async fn settle(&self, open: OpenPacks) -> Result<(), RepoError> {
        for (number, builder) in open.0.into_iter().flatten() {
            self.queue.submit(number, builder).await?;
        }
        let done = self.queue.drain().await?;
        self.lock()?.packs.extend(done);
        Ok(())
    }

    /// Makes everything put before [`Writer::close_open`] durable, and then says how far the run has come.
    ///
    /// # Errors
    /// The run was fenced off, or the store failed.
    pub async fn checkpoint(&self, open: OpenPacks, record: &CheckpointRecord) -> Result<(), RepoError> {
        self.settle(open).await?;
        // Whoever was fenced while it slept can stop now: there will be no snapshot.
        if self.repo.store().size(&names::snapshot(self.run.name)).await?.is_some() {
            return Err(RepoError::Fenced(self.run.name));
        }
        if self.lock()?.pending.len() >= SPILL {
            self.write_index().await?;
        }
        let number = {
            let mut state = self.lock()?;
            state.checkpoint += 1;
            state.checkpoint
        };
        self.repo.create(&names::checkpoint(self.run.name, number), record).await?;
        point(Point::CheckpointWritten);
        Ok(())
    }

    /// Names all durable packs of this run in an index file, together with packs of the group that no index names yet
    /// (of runs that were cut off).
    async fn write_index(&self) -> Result<(), RepoError> {
        // Records whose pack is not durable yet stay where they are.
        let (pending, mut packs) = {
            let mut state = self.lock()?;
            let packs = std::mem::take(&mut state.packs);
            let pending: Vec<(u32, Record)> =
                state.pending.values().filter(|(n, _)| packs.contains_key(n)).copied().collect();
            (pending, packs)
        };
        let mut numbers: Vec<u32> = packs.keys().copied().collect();
        numbers.sort_unstable();
        let mut entries: Vec<PackEntry> = numbers.iter().filter_map(|n| packs.remove(n)).collect();
        let position: HashMap<u32, u32> = (0u32..).zip(&numbers).map(|(i, n)| (*n, i)).collect();
        let mut records: Vec<IndexRecord> = pending
            .iter()
            .filter_map(|(number, record)| {
                Some(IndexRecord { record: *record, pack: *position.get(number)? })
            })
            .collect();
        let known = entries.len();
        self.adopt_loose(&mut entries, &mut records);
        // The run that wrote them may have been killed before their folder was flushed.
        let loose = entries.iter().skip(known).map(|p| names::pack(self.run.group, p.id));
        self.repo.store().flush(loose.collect()).await?;
        if entries.is_empty() {
            return Ok(());
        }
        let size = self.write_file(records, entries, Vec::new()).await?;
        let mut state = self.lock()?;
        // Only now that they can be found in the file.
        for (_, record) in pending {
            state.pending.remove(&(record.kind, record.id));
        }
        state.index_bytes += size;
        Ok(())
    }

    /// Writes an index file and adds it to the group; returns its size.
    async fn write_file(
        &self,
        mut records: Vec<IndexRecord>,
        entries: Vec<PackEntry>,
        replaces: Vec<IndexId>,
    ) -> Result<u64, RepoError> {
        let repo = self.repo.clone();
        let (nonce, sealer) = (random()?, repo.sealer().clone());
        let (id, bytes) = tokio::task::spawn_blocking(move || {
            records.sort_unstable_by_key(IndexRecord::order);
            let mut encoder = Encoder::new(sealer, nonce, Vec::new())?;
            records.iter().try_for_each(|r| encoder.push(r))?;
            encoder.finish(&entries, &replaces)
        })
        .await?
        .map_err(|e: std::io::Error| RepoError::Spool(e.to_string()))?;
        let size = bytes.len() as u64;
        repo.store().create(&names::index(self.run.group, id), bytes).await?;
        point(Point::IndexWritten);
        let file = IndexFile::open(&repo, self.run.group, id, size).await?;
        self.group.add_file(Arc::new(file));
        Ok(size)
    }

    /// Index files that cannot be read are put aside. Their packs are named elsewhere by now, and what only they knew of is
    /// stored again; but that is sure only behind a commit. Before it the next run must still see that something is
    /// wrong, and look every blob up.
    async fn retire_unreadable(&self) -> Result<(), RepoError> {
        let left = self.group.unreadable.iter().map(|(id, _)| *id).filter(|id| !self.group.is_replaced(id));
        let left: Vec<IndexId> = left.collect();
        if !left.is_empty() {
            self.write_file(Vec::new(), Vec::new(), left).await?;
        }
        Ok(())
    }

    fn adopt_loose(&self, entries: &mut Vec<PackEntry>, records: &mut Vec<IndexRecord>) {
        let states = self.group.packs();
        let mut position = HashMap::new();
        for (pack, record) in self.group.loose() {
            let Some(state) = states.get(pack).filter(|s| !s.indexed && s.lost.is_none()) else { continue };
            let number = *position.entry(*pack).or_insert_with(|| {
                entries.push(PackEntry { id: *pack, size: state.size, metadata: state.metadata });
                u32::try_from(entries.len() - 1).unwrap_or(u32::MAX)
            });
            records.push(IndexRecord { record: *record, pack: number });
        }
    }

    /// The last steps before a commit: everything durable and named by index files; returns the group's.
    ///
    /// # Errors
    /// The store failed.
    pub async fn seal(&self) -> Result<Vec<IndexId>, RepoError> {
        if !off(Control::NoOrder) {
            self.settle(self.close_open()?).await?;
            self.write_index().await?;
            self.join_indexes().await?;
        }
        point(Point::RunSealed);
        // A prune may have replaced some since they were opened, and those of a group that was to go whole go with it: all
        // that they name is condemned.
        let folder = format!("{}/index", names::group(self.run.group));
        let there: HashSet<String> =
            self.repo.store().list_all(&folder).await?.into_iter().map(|f| f.name).collect();
        let files = self.group.files();
        let stays = |f: &&Arc<IndexFile>| {
            there.contains(f.name())
                && (f.packs.is_empty() || f.packs.iter().any(|p| !self.group.is_lost(&p.id)))
        };
        Ok(files.iter().filter(stays).map(|f| f.id).collect())
    }

    /// Joins index files when there are many: every look-up asks each of them. The old ones stay until a prune; readers
    /// ignore them.
    async fn join_indexes(&self) -> Result<(), RepoError> {
        let files = index_build::worth_joining(&self.group.files());
        if files.is_empty() {
            return Ok(());
        }
        let mut packs: Vec<PackEntry> = files.iter().flat_map(|f| f.packs.iter().copied()).collect();
        packs.sort_unstable();
        packs.dedup();
        // A file whose packs other files name otherwise is left for a prune to sort out.
        if packs.windows(2).any(|w| w[0].id == w[1].id) {
            return Ok(());
        }
        let mut replaces: Vec<IndexId> = files.iter().map(|f| f.id).collect();
        replaces.extend(files.iter().flat_map(|f| f.replaces.iter().copied()));
        replaces.sort_unstable();
        replaces.dedup();
        if replaces.len() > index_build::MOST_REPLACED {
            return Ok(());
        }
        let expected = files.iter().map(|f| f.records()).sum();
        let plan = index_build::Plan { packs, replaces };
        let group = self.run.group;
        let joined =
            index_build::write(&self.repo, group, Merge::files(&files), expected, &plan, None).await?;
        self.group.join_files(joined);
        Ok(())
    }

    /// Creates the snapshot file, reads it back, and forgets the run's record and checkpoints. [`Writer::seal`] comes first.
    ///
    /// # Errors
    /// The run was fenced off, or the store failed; then there is no snapshot, and what was stored serves the next run.
    pub async fn commit(&self, snapshot: &SnapshotRecord) -> Result<(), RepoError> {
        let name = names::snapshot(self.run.name);
        let bytes = Bytes::from(record::encode(snapshot).map_err(|e| RepoError::file(&name, e))?);
        let created = match off(Control::NoFence) {
            true => self.repo.store().replace(&name, bytes.clone()).await,
            false => self.repo.store().create(&name, bytes.clone()).await,
        };
        point(Point::SnapshotCreated);
        if off(Control::NoOrder) {
            self.settle(self.close_open()?).await?;
            self.write_index().await?;
        }
        // A folder does not lose replies: where it failed, the file may be there and yet not outlive a power cut. That a
        // second flush succeeds would prove nothing.
        if let Err(e) = &created
            && self.repo.store().root().is_some()
            && e.kind != StoreErrorKind::AlreadyExists
        {
            return Err(e.clone().into());
        }
        // A reply can be lost, and a refusal be the answer to a retry of our own: what stands there decides.
        let stands = match (self.repo.store().get(&name, record::MAX_RECORD as u64).await, created) {
            (Ok(stands), Err(e)) if stands != bytes && e.kind != StoreErrorKind::AlreadyExists => {
                return Err(e.into());
            }
            (Ok(stands), _) => stands,
            (Err(_), Err(e)) => return Err(e.into()),
            (Err(e), Ok(())) => return Err(e.into()),
        };
        if stands != bytes {
            return Err(RepoError::Fenced(self.run.name));
        }
        // What follows is tidiness; if it fails, the next run or prune does it.
        let _ = self.retire_unreadable().await;
        // The snapshot is there whatever happens now: a record that stays only shows as a leftover.
        let _ = run::forget(&self.repo, self.run.name).await;
        Ok(())
    }
}
