//! Copies blobs into new packs of a group: checked when they are read, checked again in the finished pack, durable and named by nothing
//! yet when they are handed over.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::index_build::{self, Plan};
use super::index_file::IndexFile;
use super::merge::{Found, Merge, Spot};
use super::pack_queue::PackQueue;
use super::repository::random;
use super::{RepoError, Repository};
use crate::format::index::PackEntry;
use crate::format::pack::{BlobKind, Builder, Prepared, Record, TARGET};
use crate::model::content::Hashes;
use crate::model::id::BlobId;
use crate::model::name::RunName;

/// Records in memory before they are written as an index file of their own: about 40 MB.
const SPILL: usize = 250_000;

/// What was copied.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// The new packs.
    pub(super) packs: Vec<PackEntry>,
    /// Their blobs, sorted by id and kind, but for those that `files` name.
    pub(super) records: Vec<Found>,
    /// Index files that name some of the packs.
    pub(super) files: Vec<Arc<IndexFile>>,
}

/// A pack in the making.
#[derive(Debug)]
struct Open {
    number: u32,
    builder: Builder,
    holds: HashSet<(BlobKind, BlobId)>,
}

/// Copies blobs into one group.
#[derive(Debug)]
pub(super) struct Mover {
    repo: Repository,
    group: RunName,
    queue: PackQueue,
    open: [Option<Open>; 2],
    next: u32,
    records: Vec<(u32, Record)>,
    done: HashMap<u32, PackEntry>,
    files: Vec<Arc<IndexFile>>,
}

impl Mover {
    pub(super) fn new(repo: &Repository, group: RunName) -> Self {
        Self {
            repo: repo.clone(),
            group,
            queue: PackQueue::new(repo, group),
            open: [None, None],
            next: 0,
            records: Vec::new(),
            done: HashMap::new(),
            files: Vec::new(),
        }
    }

    /// Takes a blob whose bytes have been checked.
    pub(super) async fn put(
        &mut self,
        kind: BlobKind,
        hashes: Hashes,
        plain: Bytes,
    ) -> Result<(), RepoError> {
        let slot = usize::from(kind.is_metadata());
        let mut open = match self.open[slot].take() {
            Some(open) => open,
            None => {
                self.next += 1;
                let builder = Builder::new(self.repo.sealer().clone(), random()?, kind.is_metadata());
                Open { number: self.next, builder, holds: HashSet::new() }
            }
        };
        if !open.holds.insert((kind, hashes.id)) {
            self.open[slot] = Some(open);
            return Ok(());
        }
        let (open, record) = tokio::task::spawn_blocking(move || {
            let record = open.builder.add(&Prepared::new(kind, hashes, &plain));
            (open, record)
        })
        .await?;
        self.records.push((open.number, record));
        if open.builder.is_full() || open.builder.len() >= TARGET {
            self.queue.submit(open.number, open.builder).await?;
        } else {
            self.open[slot] = Some(open);
        }
        if self.records.len() >= SPILL { self.spill().await } else { Ok(()) }
    }

    /// Names the packs that are done in an index file, so that memory does not grow with what is moved.
    async fn spill(&mut self) -> Result<(), RepoError> {
        let done: HashMap<u32, PackEntry> = self.queue.drain().await?.into_iter().collect();
        let all = std::mem::take(&mut self.records);
        let (named, waiting): (Vec<_>, Vec<_>) = all.into_iter().partition(|(n, _)| done.contains_key(n));
        self.records = waiting;
        if done.is_empty() {
            return Ok(());
        }
        let plan = Plan { packs: done.values().copied().collect(), replaces: Vec::new() };
        let expected = named.len() as u64;
        let mut merge = Merge::files(&[]);
        merge.add(found(named, &done));
        self.files.push(index_build::write(&self.repo, self.group, merge, expected, &plan, None).await?);
        self.done.extend(done);
        Ok(())
    }

    /// Makes everything durable.
    pub(super) async fn finish(&mut self) -> Result<Moved, RepoError> {
        for open in std::mem::take(&mut self.open).into_iter().flatten() {
            self.queue.submit(open.number, open.builder).await?;
        }
        let done: HashMap<u32, PackEntry> = self.queue.drain().await?.into_iter().collect();
        let records = found(std::mem::take(&mut self.records), &done);
        self.done.extend(done);
        let packs = std::mem::take(&mut self.done).into_values().collect();
        Ok(Moved { packs, records, files: std::mem::take(&mut self.files) })
    }

    /// What is durable by now, when the copying was given up: nothing leads to it but its own index files.
    pub(super) async fn abandon(mut self) -> Moved {
        self.queue.settle().await;
        self.done.extend(self.queue.take_done());
        Moved { packs: self.done.into_values().collect(), records: Vec::new(), files: self.files }
    }
}

fn found(records: Vec<(u32, Record)>, packs: &HashMap<u32, PackEntry>) -> Vec<Found> {
    let mut found: Vec<Found> = (0..)
        .zip(&records)
        .filter_map(|(number, (pack, record))| {
            let spot = Spot { file: None, number };
            Some(Found { spot, pack: packs.get(pack)?.id, record: *record })
        })
        .collect();
    found.sort_unstable_by_key(|f| (f.record.id, f.record.kind, f.pack));
    found
}
