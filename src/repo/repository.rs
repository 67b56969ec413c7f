//! The repository: opens a store, reads and writes its records, knows its snapshots, runs and groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::RepoError;
use super::names::{self, Meaning};
use crate::format::FormatError;
use crate::format::record::{self, Record};
use crate::format::records::{
    AcceptRecord, DamageRecord, PinRecord, RunRecord, SnapshotRecord, StoreRecord, TombstoneRecord,
    VerifiedRecord,
};
use crate::format::seal::Sealer;
use crate::model::id::{PackId, StoreId};
use crate::model::name::RunName;
use crate::model::time::Timestamp;
use crate::store::{Store, StoreErrorKind, reserve};

/// An open store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    store: Store,
    record: Arc<StoreRecord>,
    sealer: Sealer,
}

/// The snapshots of a store, and what stood in their place.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Finished snapshots, by sequence, then name.
    pub finished: Vec<SnapshotRecord>,
    /// Names that can never be committed.
    pub tombstones: BTreeSet<RunName>,
    /// Files that could not be read, and why.
    pub unreadable: Vec<(String, RepoError)>,
}

/// Random bytes from the operating system.
///
/// # Errors
/// It has none.
pub fn random<const N: usize>() -> Result<[u8; N], RepoError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| RepoError::System(format!("the operating system gave no random bytes: {e}")))?;
    Ok(bytes)
}

impl Repository {
    /// Makes a store.
    ///
    /// # Errors
    /// There is one already, or the store cannot be written.
    pub async fn init(store: Store, now: Timestamp, program: &str) -> Result<Self, RepoError> {
        let record = StoreRecord {
            id: StoreId(random()?),
            created: now,
            program: program.into(),
            encryption: "none".into(),
            timezone: None,
        };
        let bytes = record::encode(&record).map_err(|e| RepoError::file(names::STORE, e))?;
        match store.create(names::STORE, bytes).await {
            Ok(()) => {}
            Err(e) if e.kind == StoreErrorKind::AlreadyExists => {
                return Err(RepoError::StoreExists(store.url().into()));
            }
            Err(e) => return Err(e.into()),
        }
        let repo = Self { store, record: Arc::new(record), sealer: Sealer::Plain };
        repo.note(names::STORE_COPY, repo.record()).await?;
        Ok(repo)
    }

    /// Opens a store. Where its record is lost, the copy of it serves; verify says so, and heal writes it anew.
    ///
    /// # Errors
    /// There is none, it is of a newer format, or it cannot be read.
    pub async fn open(store: Store) -> Result<Self, RepoError> {
        let record = match Self::record_at(&store, names::STORE).await {
            Ok(record) => record,
            Err(e @ RepoError::Store(_)) if !e.is_damage() => return Err(e),
            Err(e) => match (Self::record_at(&store, names::STORE_COPY).await, e) {
                (Ok(record), _) => record,
                (Err(_), RepoError::Store(e)) if e.kind == StoreErrorKind::NotFound => {
                    return Err(RepoError::NoStore(store.url().into()));
                }
                (Err(_), e) => return Err(e),
            },
        };
        if record.encryption != "none" {
            let what = format!("it is encrypted ({}), which this qbak cannot read", record.encryption);
            return Err(RepoError::file(names::STORE, FormatError::Damaged(what)));
        }
        Ok(Self { store, record: Arc::new(record), sealer: Sealer::Plain })
    }

    async fn record_at(store: &Store, name: &str) -> Result<StoreRecord, RepoError> {
        let bytes = store.get(name, StoreRecord::MAX as u64).await?;
        record::decode(&bytes).map_err(|e| RepoError::file(name, e))
    }

    /// The store beneath.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What the store is.
    pub fn record(&self) -> &StoreRecord {
        &self.record
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Makes what is missing of the store's reserve, where there is room for it; says whether it is whole.
    ///
    /// # Errors
    /// The store cannot be read or written; a full disk is no error.
    pub async fn refill_reserve(&self) -> Result<bool, RepoError> {
        Ok(reserve::refill(&self.store, random()?).await?)
    }

    /// Gives up the store's reserve, for what makes room. True: there was one, so what failed because the disk is full is
    /// worth another try. To be followed by [`Repository::refill_reserve`] when all is done.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn release_reserve(&self) -> Result<bool, RepoError> {
        Ok(reserve::release(&self.store).await?)
    }

    /// As [`Repository::release_reserve`], but only if hardly anything is free.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn release_reserve_if_tight(&self) -> Result<bool, RepoError> {
        Ok(reserve::release_if_tight(&self.store).await?)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub async fn read<R: Record>(&self, name: &str) -> Result<R, RepoError> {
        let bytes = self.store.get(name, R::MAX as u64).await?;
        record::decode(&bytes).map_err(|e| RepoError::file(name, e))
    }

    /// Creates a record; never replaces one.
    ///
    /// # Errors
    /// One of that name exists, or the write failed.
    pub async fn create<R: Record>(&self, name: &str, value: &R) -> Result<Bytes, RepoError> {
        let bytes = Bytes::from(record::encode(value).map_err(|e| RepoError::file(name, e))?);
        self.store.create(name, bytes.clone()).await?;
        Ok(bytes)
    }

    /// Writes a record that may replace one: damage, acceptance, pin, proof.
    ///
    /// # Errors
    /// The write failed.
    pub async fn note<R: Record>(&self, name: &str, value: &R) -> Result<(), RepoError> {
        let bytes = record::encode(value).map_err(|e| RepoError::file(name, e))?;
        Ok(self.store.replace(name, bytes).await?)
    }

    /// All snapshots and tombstones.
    ///
    /// # Errors
    /// The store could not be listed. A single file that cannot be read is in `unreadable`.
    pub async fn snapshots(&self) -> Result<Snapshots, RepoError> {
        let mut found = Snapshots::default();
        let mut files = self.store.list_all(names::SNAPSHOTS).await?;
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for file in files {
            let Meaning::Snapshot(name) = names::meaning(&file.name) else { continue };
            match self.snapshot_or_tombstone(name, &file.name).await {
                Ok(Some(snapshot)) => found.finished.push(snapshot),
                Ok(None) => drop(found.tombstones.insert(name)),
                // Deleted between listing and reading: it is not a snapshot any more.
                Err(RepoError::Store(e)) if e.kind == StoreErrorKind::NotFound => {}
                Err(e) => found.unreadable.push((file.name, e)),
            }
        }
        found.finished.sort_by_key(|s| (s.sequence, s.name));
        Ok(found)
    }

    async fn snapshot_or_tombstone(
        &self,
        name: RunName,
        file: &str,
    ) -> Result<Option<SnapshotRecord>, RepoError> {
        let bytes = self.store.get(file, SnapshotRecord::MAX as u64).await?;
        let bad = |e| RepoError::file(file, e);
        if record::kind(&bytes).map_err(bad)? == TombstoneRecord::KIND {
            record::decode::<TombstoneRecord>(&bytes).map_err(bad)?;
            return Ok(None);
        }
        let snapshot: SnapshotRecord = record::decode(&bytes).map_err(bad)?;
        if snapshot.name != name {
            return Err(bad(FormatError::Damaged(format!(
                "it is the snapshot {} under another name",
                snapshot.name
            ))));
        }
        Ok(Some(snapshot))
    }

    /// The runs that have begun and left their record, by name. A record that cannot be read stands as an error.
    ///
    /// # Errors
    /// The store could not be listed.
    pub async fn runs(&self) -> Result<BTreeMap<RunName, Result<RunRecord, RepoError>>, RepoError> {
        let mut runs = BTreeMap::new();
        for file in self.store.list_all(names::RUNS).await? {
            if let Meaning::Run(name) = names::meaning(&file.name) {
                match self.read::<RunRecord>(&file.name).await {
                    Err(RepoError::Store(e)) if e.kind == StoreErrorKind::NotFound => {}
                    result => drop(runs.insert(name, result)),
                }
            }
        }
        Ok(runs)
    }

    /// The numbers of a run's checkpoints, ascending.
    ///
    /// # Errors
    /// The store could not be listed.
    pub async fn checkpoints(&self, run: RunName) -> Result<Vec<u32>, RepoError> {
        let files = self.store.list_all(names::RUNS).await?;
        let mut numbers: Vec<u32> = files
            .iter()
            .filter_map(|f| match names::meaning(&f.name) {
                Meaning::Checkpoint(name, n) if name == run => Some(n),
                _ => None,
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The groups there are, oldest first.
    ///
    /// # Errors
    /// The store could not be listed.
    pub async fn group_names(&self) -> Result<Vec<RunName>, RepoError> {
        let mut groups: Vec<RunName> =
            self.store.folders(names::GROUPS).await?.iter().filter_map(|n| n.parse().ok()).collect();
        groups.sort_unstable();
        Ok(groups)
    }

    /// What verify has found damaged, by pack. A record that cannot be read counts as damage of its whole pack: that
    /// costs a second copy, never a lost one.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn damage(&self) -> Result<BTreeMap<PackId, DamageRecord>, RepoError> {
        let mut damage = BTreeMap::new();
        for file in self.store.list_all(names::DAMAGED).await? {
            let stem = file.name.rsplit('/').next().and_then(|f| f.strip_suffix(".json"));
            let Some(pack) = stem.and_then(|s| s.parse::<PackId>().ok()) else { continue };
            let record = match self.read::<DamageRecord>(&file.name).await {
                Ok(record) => record,
                Err(e) if e.is_damage() => DamageRecord {
                    pack,
                    group: RunName::at(Timestamp::from_seconds(0)),
                    found: self.record.created,
                    whole: true,
                    blobs: Vec::new(),
                    what: e.to_string(),
                },
                Err(e) => return Err(e),
            };
            damage.insert(pack, record);
        }
        Ok(damage)
    }

    /// The suspect snapshots that were accepted.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn accepted(&self) -> Result<BTreeSet<RunName>, RepoError> {
        let mut names = BTreeSet::new();
        for file in self.store.list_all(names::ACCEPTED).await? {
            if let Ok(record) = self.read::<AcceptRecord>(&file.name).await {
                names.insert(record.snapshot);
            }
        }
        Ok(names)
    }

    /// The pinned snapshots. A pin counts by its name alone: one that cannot be read still pins.
    ///
    /// # Errors
    /// The store could not be listed.
    pub async fn pins(&self) -> Result<BTreeSet<RunName>, RepoError> {
        let files = self.store.list_all(names::PINS).await?;
        let stems =
            files.iter().filter_map(|f| f.name.rsplit('/').next()?.strip_suffix(".json")?.parse().ok());
        Ok(stems.collect())
    }

    /// Records that a suspect snapshot is right after all.
    ///
    /// # Errors
    /// The write failed.
    pub async fn accept(&self, snapshot: RunName, when: Timestamp) -> Result<(), RepoError> {
        self.note(&names::accepted(snapshot), &AcceptRecord { snapshot, when }).await
    }

    /// Pins a snapshot.
    ///
    /// # Errors
    /// The write failed.
    pub async fn pin(&self, snapshot: RunName, when: Timestamp) -> Result<(), RepoError> {
        self.note(&names::pin(snapshot), &PinRecord { snapshot, when }).await
    }

    /// Deletes what writes that were cut off more than a day ago have left on a local disk. Nothing ever reads it.
    ///
    /// # Errors
    /// The store failed.
    pub async fn clean_cut_off(&self, now: Timestamp) -> Result<u64, RepoError> {
        const DAY: i64 = 24 * 60 * 60;
        let before = Timestamp::from_seconds(now.seconds().saturating_sub(DAY));
        let ours = |name: &str| names::meaning(name) != Meaning::Foreign;
        Ok(self.store.clean_cut_off(before, ours).await?)
    }

    /// The packs that were read whole and found right, and when each last was.
    ///
    /// # Errors
    /// The store could not be listed. A record that cannot be read proves nothing and is left out.
    pub async fn verified(&self) -> Result<BTreeMap<PackId, Timestamp>, RepoError> {
        let mut proven = BTreeMap::new();
        for file in self.store.list_all(names::VERIFIED).await? {
            if let Ok(record) = self.read::<VerifiedRecord>(&file.name).await {
                for pack in record.packs {
                    let when = proven.entry(pack).or_insert(record.when);
                    *when = (*when).max(record.when);
                }
            }
        }
        Ok(proven)
    }
}
