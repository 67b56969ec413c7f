//! A run's record: how a run gets its name, and how one that was cut off is put aside.

use std::collections::BTreeSet;

use super::names;
use super::repository::random;
use super::{RepoError, Repository};
use crate::format::records::{RunKind, RunRecord, SourceRecord, TombstoneRecord};
use crate::model::name::RunName;
use crate::model::time::Timestamp;
use crate::store::{StoreErrorKind, lease};

/// What a run is to be, before it has a name.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Full or incremental.
    pub kind: RunKind,
    /// The group to write into; `None` opens one, named after the run.
    pub group: Option<RunName>,
    /// Every byte is to come from the source.
    pub redownload: bool,
    /// What it backs up.
    pub source: SourceRecord,
    /// On which machine.
    pub host: String,
    /// As which process.
    pub pid: u32,
}

/// A run of another machine that has not written for so long is taken to be cut off: a day.
const SILENT_NANOS: i64 = 86_400 * 1_000_000_000;

/// How many names are tried: one a second, so a minute of other runs' names.
const TRIES: u32 = 60;

/// Begins a run: creates its record under the first free name at or after `now`. Names in `used` are not free: a prune
/// removed their snapshots, and one that slept may do so again.
///
/// # Errors
/// The record cannot be written, or no name is free.
pub async fn begin(
    repo: &Repository,
    intent: Intent,
    used: &BTreeSet<RunName>,
    now: Timestamp,
) -> Result<RunRecord, RepoError> {
    let mut name = RunName::at(now);
    for _ in 0..TRIES {
        if used.contains(&name) {
            name = name.next();
            continue;
        }
        let record = RunRecord {
            name,
            kind: intent.kind,
            group: intent.group.unwrap_or(name),
            redownload: intent.redownload,
            source: intent.source.clone(),
            started: now,
            host: intent.host.clone(),
            pid: intent.pid,
            nonce: hex::encode(random::<16>()?),
        };
        match repo.create(&names::run(name), &record).await {
            // The record first, then the look: whoever prunes in between sees the record.
            Ok(_) if repo.store().size(&names::snapshot(name)).await?.is_none() => return Ok(record),
            Ok(_) => repo.store().delete(&[names::run(name)]).await?,
            Err(RepoError::Store(e)) if e.kind == StoreErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        name = name.next();
    }
    Err(RepoError::System(format!("no name is free for a run near {}", RunName::at(now))))
}

/// Deletes a run's record and checkpoints: it has finished, or has been fenced.
///
/// # Errors
/// The store failed. The record goes last: until then the run shows as INCOMPLETE.
pub async fn forget(repo: &Repository, run: RunName) -> Result<(), RepoError> {
    let checkpoints: Vec<String> =
        repo.checkpoints(run).await?.into_iter().map(|n| names::checkpoint(run, n)).collect();
    if !checkpoints.is_empty() {
        repo.store().delete(&checkpoints).await?;
    }
    Ok(repo.store().delete(&[names::run(run)]).await?)
}

/// Keeps a run that looks cut off from committing, should it only sleep: a tombstone under its snapshot's name. Its record and
/// checkpoints stay, for the next run to go on from. If a snapshot stands there, it has committed, and nothing is changed.
///
/// # Errors
/// The store failed, and nothing stands there.
pub async fn bar(repo: &Repository, run: RunName, reason: &str, now: Timestamp) -> Result<(), RepoError> {
    let tombstone = TombstoneRecord { reason: reason.into(), when: now };
    match repo.create(&names::snapshot(run), &tombstone).await {
        Ok(_) => Ok(()),
        Err(RepoError::Store(e)) if e.kind == StoreErrorKind::AlreadyExists => Ok(()),
        // A reply can be lost: what stands there decides, and anything but nothing will do.
        Err(e) => match repo.store().size(&names::snapshot(run)).await? {
            Some(_) => Ok(()),
            None => Err(e),
        },
    }
}

/// Whether a tombstone stands where the run's snapshot would. As far as that can be told.
pub async fn is_barred(repo: &Repository, run: RunName) -> bool {
    repo.read::<TombstoneRecord>(&names::snapshot(run)).await.is_ok()
}

/// Whether a run that has not finished is to be taken for one that is at work: it holds the lease, or it was begun on
/// another machine and one of its files is younger than a day. A guess: a wrong one costs time, never data.
///
/// # Errors
/// The store cannot be read.
pub async fn at_work(
    repo: &Repository,
    run: &RunRecord,
    host: &str,
    now: Timestamp,
) -> Result<bool, RepoError> {
    if let Some(holder) = lease::holder(repo.store(), lease::For::Run)
        && holder.host == run.host
        && holder.pid == run.pid
    {
        return Ok(true);
    }
    if run.host == host {
        return Ok(false);
    }
    let mut files = vec![names::run(run.name)];
    let last = repo.checkpoints(run.name).await?.into_iter().max();
    files.extend(last.map(|n| names::checkpoint(run.name, n)));
    for file in files {
        if let Some(time) = repo.store().modified(&file).await?
            && now.nanos().saturating_sub(time.nanos()) < SILENT_NANOS
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts a run that was cut off aside for good: a tombstone under its snapshot's name keeps it from committing should it
/// only have slept, then its record goes. A run that did commit just loses its record.
///
/// # Errors
/// The store failed.
pub async fn fence(repo: &Repository, run: RunName, reason: &str, now: Timestamp) -> Result<(), RepoError> {
    bar(repo, run, reason, now).await?;
    forget(repo, run).await
}
