//! The one that heals: puts blobs that were found again into new packs of the group that lacks them, and names these in new index
//! files. It only adds; what is damaged goes by a prune.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bytes::Bytes;

use super::group::Group;
use super::index_build::{self, Plan};
use super::merge::{Found, Merge, Spot};
use super::mover::{Moved, Mover};
use super::{RepoError, Repository};
use crate::format::index::PackEntry;
use crate::format::pack::BlobKind;
use crate::model::content::Hashes;
use crate::model::id::{IndexId, PackId};
use crate::model::name::RunName;
use crate::store::lease::Lease;

/// Adds packs and index files to groups. There is one at a time: it holds the lease of a run.
#[derive(Debug)]
pub struct Healer {
    repo: Repository,
    spool: PathBuf,
    movers: BTreeMap<RunName, Mover>,
    /// Bytes of packs written so far.
    pub written: u64,
    _lease: Lease,
}

impl Healer {
    /// A healer that puts temporary files into `spool`.
    pub fn new(repo: &Repository, spool: PathBuf, lease: Lease) -> Self {
        Self { repo: repo.clone(), spool, movers: BTreeMap::new(), written: 0, _lease: lease }
    }

    /// Takes a blob whose bytes have been checked, for a group that lacks it.
    ///
    /// # Errors
    /// The store failed or is full.
    pub async fn put(
        &mut self,
        home: RunName,
        kind: BlobKind,
        hashes: Hashes,
        plain: Bytes,
    ) -> Result<(), RepoError> {
        let mover = self.movers.entry(home).or_insert_with(|| Mover::new(&self.repo, home));
        mover.put(kind, hashes, plain).await
    }

    /// Makes everything durable and names it in an index file of its group. Should that fail on the way, packs that are
    /// durable count all the same: they are read by their own tables.
    ///
    /// # Errors
    /// The store failed or is full.
    pub async fn finish(&mut self) -> Result<(), RepoError> {
        let mut failed = None;
        while let Some((home, mut mover)) = self.movers.pop_first() {
            let done = match (&failed, mover.finish().await) {
                (None, Ok(moved)) => self.name(home, moved).await,
                (_, Err(e)) => Err(e),
                (Some(_), Ok(_)) => Ok(()),
            };
            if let Err(e) = done {
                failed.get_or_insert(e);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn name(&mut self, home: RunName, moved: Moved) -> Result<(), RepoError> {
        self.written += moved.packs.iter().map(|p| p.size).sum::<u64>();
        if moved.records.is_empty() {
            return Ok(());
        }
        // Those that an index file names already are not named again.
        let named: Vec<PackId> = moved.files.iter().flat_map(|f| &f.packs).map(|p| p.id).collect();
        let packs = moved.packs.into_iter().filter(|p| !named.contains(&p.id)).collect();
        let plan = Plan { packs, replaces: Vec::new() };
        let expected = moved.records.len() as u64;
        let mut merge = Merge::files(&[]);
        merge.add(moved.records);
        index_build::write(&self.repo, home, merge, expected, &plan, Some(&self.spool)).await.map(drop)
    }

    /// Writes the index file that takes the place of damaged or missing ones: it names the packs that no readable index
    /// names, as their own tables have them. Only for a group of which nothing is missing: as long as something is, the
    /// next run must see that it cannot trust what it does not look up.
    ///
    /// # Errors
    /// The store failed or is full.
    pub async fn rebuild_index(
        &self,
        group: &Group,
        adopt: bool,
        instead: &[IndexId],
    ) -> Result<(), RepoError> {
        let states = group.packs();
        let loose = |id: &PackId| adopt && states.get(id).is_some_and(|s| !s.indexed && s.lost.is_none());
        let packs: HashMap<PackId, PackEntry> = states
            .iter()
            .filter(|(id, _)| loose(id))
            .map(|(id, s)| (*id, PackEntry { id: *id, size: s.size, metadata: s.metadata }))
            .collect();
        let records: Vec<Found> = (0..)
            .zip(group.loose())
            .filter(|(_, (pack, _))| packs.contains_key(pack))
            .map(|(number, (pack, record))| Found {
                spot: Spot { file: None, number },
                pack: *pack,
                record: *record,
            })
            .collect();
        let replaces = instead.iter().copied().take(index_build::MOST_REPLACED).collect();
        let plan = Plan { packs: packs.into_values().collect(), replaces };
        let expected = records.len() as u64;
        let mut merge = Merge::files(&[]);
        merge.add(records);
        let spool = Some(self.spool.as_path());
        index_build::write(&self.repo, group.name, merge, expected, &plan, spool).await.map(drop)
    }
}
