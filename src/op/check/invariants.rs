//! What must hold at every moment, whatever was cut off or runs beside: what tests end with. Each invariant has a number and a place:
//!
//! | | what holds | who looks |
//! |---|---|---|
//! | I1 | every finished snapshot leads to blobs that are there | `manifests::check` |
//! | I2 | every index entry points into a pack that is there, at a blob of it | `groups::pages`, `groups::tables` |
//! | I3 | a file under `snapshots/` is one snapshot, or one tombstone, of that name | `files::snapshots` |
//! | I5 | every stored blob reads back as the bytes it is named for | [`contents`] |
//! | I10 | a snapshot's counts and state are those of its entries | `manifests::check` |
//! | I11 | nothing lies about that nobody needs (once a run and two prunes have passed) | [`leftovers`] |
//! | I12 | the index says what the packs' own tables say, so it can be made again from them | `groups::tables` |
//!
//! The others are about what happens and not about what is: I4 (nothing is written twice), I7 (who cannot read does not delete), I8
//! (packs go behind a decision) and I13 (the last snapshot stays) are watched by the store that the tests use; I6 (exit 0 means durable) by the order
//! of system calls, and I9 (nobody relies on what is about to go) is I1, looked at after each step.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::files::reason;
use super::{Finding, Options, check};
use crate::model::event::{Observer, Silent};
use crate::model::name::RunName;
use crate::op::{Cancel, OpError};
use crate::repo::blobs::{BlobReader, Groups};
use crate::repo::group::{Group, Located};
use crate::repo::liveness::Liveness;
use crate::repo::names::{self, Meaning};
use crate::repo::repository::Snapshots;
use crate::repo::{RepoError, Repository};

/// Everything that must hold at any moment.
///
/// # Errors
/// The store cannot be read, or something does not hold: then what.
pub async fn invariants(repo: &Repository) -> Result<(), OpError> {
    let broken: Vec<String> = broken(repo).await?.iter().map(ToString::to_string).collect();
    if broken.is_empty() { Ok(()) } else { Err(OpError::Failed(broken.join("\n"))) }
}

/// What does not hold, without reading what objects contain.
///
/// # Errors
/// The store cannot be read.
pub async fn broken(repo: &Repository) -> Result<Vec<Finding>, OpError> {
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    let options = Options { tables: true, ..Options::default() };
    let outcome = check(repo, &options, &observer, &Cancel::never()).await?;
    Ok(outcome.damage().cloned().collect())
}

/// I5: reads every blob of every pack.
///
/// # Errors
/// The store cannot be reached. What is wrong is in the answer.
pub async fn contents(repo: &Repository) -> Result<Vec<Finding>, OpError> {
    let groups = Arc::new(Groups::new(repo).await?);
    let mut findings = Vec::new();
    for name in groups.names() {
        let group = groups.get(name).await?;
        let reader = BlobReader::new(repo, Arc::clone(&groups), name, &[]);
        for (pack, state) in group.packs() {
            if state.lost.is_some() {
                continue;
            }
            let mut wrong =
                |e: &RepoError| findings.push(Finding::damage(names::pack(name, pack), reason(e)).pack(pack));
            let records = match group.table(pack, state.size).await {
                Ok((_, records)) => records,
                Err(e) if e.is_damage() => {
                    wrong(&e);
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            for record in records {
                match reader.read_copy(&Located { group: name, pack, record, sound: true }).await {
                    Ok(_) => {}
                    Err(e) if e.is_damage() => wrong(&e),
                    Err(e) => return Err(e.into()),
                }
            }
        }
    }
    Ok(findings)
}

/// I11: what lies in the store that nobody needs. None of it harms, and all of it has its time: it is for a prune to remove.
///
/// # Errors
/// The store cannot be read, or is damaged: then nobody can say what is needed.
pub async fn leftovers(repo: &Repository) -> Result<Vec<Finding>, OpError> {
    let snapshots = repo.snapshots().await?;
    let mut findings = Vec::new();
    let waiting = runs(repo, &snapshots, &mut findings).await?;
    let groups = Arc::new(Groups::new(repo).await?);
    let mut live = Liveness::new(repo, Arc::clone(&groups));
    for snapshot in &snapshots.finished {
        live.snapshot(snapshot).await.map_err(|trouble| trouble.error)?;
    }
    let mut there = BTreeSet::new();
    for name in groups.names() {
        let group = groups.get(name).await?;
        replaced(repo, &group, &mut findings).await?;
        let stats = live.stats(&group).await?;
        for (pack, _) in group.packs() {
            there.insert(pack);
            // A run that was cut off may need it, until one has finished.
            if !waiting && stats.get(&pack).is_none_or(|s| s.live == 0) {
                findings
                    .push(Finding::notice(names::pack(name, pack), "no snapshot needs any of it").pack(pack));
            }
        }
    }
    for pack in repo.damage().await?.into_keys().filter(|p| !there.contains(p)) {
        findings.push(Finding::notice(names::damaged(pack), "the pack that it is about is gone").pack(pack));
    }
    Ok(findings)
}

/// Records and checkpoints of runs that are over. Whether others are there, which a later run may go on from.
async fn runs(
    repo: &Repository,
    snapshots: &Snapshots,
    findings: &mut Vec<Finding>,
) -> Result<bool, OpError> {
    let newest = snapshots.finished.iter().map(|s| s.name).max();
    let over = |run: &RunName| {
        newest.is_some_and(|n| *run <= n)
            || snapshots.tombstones.contains(run)
            || snapshots.finished.iter().any(|s| s.name == *run)
    };
    let (mut waiting, mut records, mut checkpoints) = (false, BTreeSet::new(), Vec::new());
    for file in repo.store().list_all(names::RUNS).await? {
        match names::meaning(&file.name) {
            Meaning::Run(run) => {
                records.insert(run);
                if over(&run) {
                    findings.push(Finding::notice(&file.name, "its run is over"));
                } else {
                    waiting = true;
                }
            }
            Meaning::Checkpoint(run, _) => checkpoints.push((run, file.name)),
            _ => {}
        }
    }
    for (run, file) in checkpoints {
        if !records.contains(&run) {
            findings.push(Finding::notice(&file, "its run has no record any more"));
        }
    }
    Ok(waiting)
}

/// Index files that a readable one replaces.
async fn replaced(repo: &Repository, group: &Group, findings: &mut Vec<Finding>) -> Result<(), OpError> {
    for file in repo.store().list_all(&format!("{}/index", names::group(group.name))).await? {
        if let Meaning::Index(_, id) = names::meaning(&file.name)
            && group.is_replaced(&id)
        {
            findings.push(Finding::notice(&file.name, "another index file replaces it"));
        }
    }
    Ok(())
}
