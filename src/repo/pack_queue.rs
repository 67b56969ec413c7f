//! Full packs on their way to the store: closed, read back, written, two at a time, so that memory stays bounded and
//! hashing goes on while the disk is flushed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::names;
use super::{RepoError, Repository};
use crate::control::{Control, Point, off, point, spoil};
use crate::format::index::PackEntry;
use crate::format::pack::Builder;
use crate::model::name::RunName;

/// Packs outside the builders at any time: each is up to 36 MiB of memory.
const IN_FLIGHT: u32 = 2;

/// Writes packs.
#[derive(Debug)]
pub(super) struct PackQueue {
    repo: Repository,
    group: RunName,
    slots: Arc<Semaphore>,
    outcome: Arc<Mutex<Outcome>>,
    stored: Arc<AtomicU64>,
    runtime: Handle,
}

#[derive(Debug, Default)]
struct Outcome {
    done: Vec<(u32, PackEntry)>,
    failed: Option<RepoError>,
}

impl PackQueue {
    /// Must be called within a runtime.
    pub(super) fn new(repo: &Repository, group: RunName) -> Self {
        Self {
            repo: repo.clone(),
            group,
            slots: Arc::new(Semaphore::new(IN_FLIGHT as usize)),
            outcome: Arc::default(),
            stored: Arc::default(),
            runtime: Handle::current(),
        }
    }

    /// Takes a full pack; waits on the calling worker thread while too many are on their way.
    pub(super) fn submit_blocking(&self, number: u32, builder: Builder) -> Result<(), RepoError> {
        self.runtime.block_on(self.submit(number, builder))
    }

    /// Takes a full pack; waits while too many are on their way.
    pub(super) async fn submit(&self, number: u32, builder: Builder) -> Result<(), RepoError> {
        self.check()?;
        let permit = Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .map_err(|_| RepoError::System("the pack queue is closed".into()))?;
        let (repo, group) = (self.repo.clone(), self.group);
        let (outcome, stored) = (Arc::clone(&self.outcome), Arc::clone(&self.stored));
        self.runtime.spawn(async move {
            let result = write(&repo, group, builder).await;
            if let Ok(mut outcome) = outcome.lock() {
                match result {
                    Ok(entry) => {
                        stored.fetch_add(entry.size, Ordering::Relaxed);
                        outcome.done.push((number, entry));
                    }
                    Err(e) => drop(outcome.failed.get_or_insert(e)),
                }
            }
            drop(permit);
        });
        Ok(())
    }

    /// Waits until all packs are durable; returns those finished since the last call.
    pub(super) async fn drain(&self) -> Result<Vec<(u32, PackEntry)>, RepoError> {
        let all = self.slots.acquire_many(IN_FLIGHT).await;
        drop(all.map_err(|_| RepoError::System("the pack queue is closed".into()))?);
        self.check()?;
        Ok(self.take_done())
    }

    /// Waits until nothing is on its way, whatever became of it.
    pub(super) async fn settle(&self) {
        drop(self.slots.acquire_many(IN_FLIGHT).await);
    }

    /// The packs that became durable since the last call, though others may have failed.
    pub(super) fn take_done(&self) -> Vec<(u32, PackEntry)> {
        self.outcome.lock().map(|mut o| std::mem::take(&mut o.done)).unwrap_or_default()
    }

    /// The first failure, if there was one: then nothing more is worth doing.
    pub(super) fn check(&self) -> Result<(), RepoError> {
        match self.outcome.lock() {
            Ok(outcome) => outcome.failed.clone().map_or(Ok(()), Err),
            Err(_) => Err(RepoError::System("a pack writer stopped".into())),
        }
    }

    /// Bytes written so far.
    pub(super) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }
}

async fn write(repo: &Repository, group: RunName, builder: Builder) -> Result<PackEntry, RepoError> {
    let sealer = repo.sealer().clone();
    let pack = tokio::task::spawn_blocking(move || {
        let mut pack = builder.finish();
        spoil(Point::PackClosed, &mut pack.bytes);
        point(Point::PackClosed);
        if off(Control::NoPackProof) {
            return Ok(pack);
        }
        // The memory the blobs went through may be bad; a pack that does not read back is not written.
        pack.check(&sealer).map(|()| pack)
    })
    .await?
    .map_err(|e| {
        RepoError::System(format!(
            "a pack that was just made does not read back ({e}), so it was not written; this machine's memory is not to be trusted: test it, then run this again"
        ))
    })?;
    let name = names::pack(group, pack.id);
    let entry = PackEntry { id: pack.id, size: pack.bytes.len() as u64, metadata: pack.metadata };
    repo.store().create(&name, Bytes::from(pack.bytes)).await?;
    point(Point::PackWritten);
    if off(Control::NoSizeCheck) {
        return Ok(entry);
    }
    // Some network folders acknowledge what they do not keep: believe the listing, not the answer.
    match repo.store().size(&name).await? {
        Some(size) if size == entry.size => Ok(entry),
        found => Err(RepoError::System(format!(
            "{name}: the store acknowledged {} bytes and now shows {}; it cannot be trusted with a backup",
            entry.size,
            found.map_or("nothing".to_owned(), |n| format!("{n} bytes"))
        ))),
    }
}
