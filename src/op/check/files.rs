//! The records of a store, and what lies in it that is none of ours.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;

use super::finding::{Finding, Findings};
use crate::format::records::{
    AcceptRecord, CheckpointRecord, ClaimRecord, DamageRecord, DecisionRecord, MarkRecord, PinRecord,
    SnapshotRecord, StoreRecord, VerifiedRecord,
};
use crate::model::name::RunName;
use crate::op::OpError;
use crate::repo::names::{self, Meaning};
use crate::repo::{RepoError, Repository};

/// What must stand still for a check to mean something: snapshots and index files.
pub(super) async fn state(repo: &Repository) -> Result<BTreeSet<String>, OpError> {
    let mut state: BTreeSet<String> =
        repo.store().list_all(names::SNAPSHOTS).await?.into_iter().map(|f| f.name).collect();
    for group in repo.group_names().await? {
        let folder = format!("{}/index", names::group(group));
        state.extend(repo.store().list_all(&folder).await?.into_iter().map(|f| f.name));
    }
    Ok(state)
}

/// Reads every record but the snapshots, and names what is foreign.
pub(super) async fn check(repo: &Repository, findings: &mut Findings) -> Result<(), OpError> {
    match repo.read::<StoreRecord>(names::STORE).await {
        Ok(record) if record.id == repo.record().id => {}
        Ok(_) => findings.push(Finding::damage(names::STORE, "it is another store's")),
        Err(e) => judge::<StoreRecord>(findings, names::STORE, Err(e))?,
    }
    match repo.read::<StoreRecord>(names::STORE_COPY).await {
        Ok(copy) if copy == *repo.record() => {}
        Ok(_) => findings.push(Finding::damage(names::STORE_COPY, "it is not the same as qbak.json")),
        // A store need not have one: older stores have none.
        Err(e) => judge::<StoreRecord>(findings, names::STORE_COPY, Err(e))?,
    }
    let mut files = repo.store().list("");
    while let Some(file) = files.try_next().await? {
        let name = file.name.as_str();
        match names::meaning(name) {
            Meaning::Foreign => {
                let what = "it is no file of qbak's: it is never read and never deleted";
                findings.push(Finding::notice(name, what));
            }
            Meaning::Checkpoint(..) => judge(findings, name, repo.read::<CheckpointRecord>(name).await)?,
            Meaning::Note => {
                let folder = name.split('/').next().unwrap_or_default();
                match folder {
                    names::DAMAGED => judge(findings, name, repo.read::<DamageRecord>(name).await)?,
                    names::ACCEPTED => judge(findings, name, repo.read::<AcceptRecord>(name).await)?,
                    names::PINS => judge(findings, name, repo.read::<PinRecord>(name).await)?,
                    _ => judge(findings, name, repo.read::<VerifiedRecord>(name).await)?,
                }
            }
            Meaning::Claim(_) => judge(findings, name, repo.read::<ClaimRecord>(name).await)?,
            Meaning::Mark(..) => judge(findings, name, repo.read::<MarkRecord>(name).await)?,
            Meaning::Decision(_) => judge(findings, name, repo.read::<DecisionRecord>(name).await)?,
            Meaning::Furniture
            | Meaning::Snapshot(_)
            | Meaning::Run(_)
            | Meaning::Pack(..)
            | Meaning::Index(..) => {}
        }
    }
    for (name, run) in repo.runs().await? {
        judge(findings, &names::run(name), run)?;
    }
    Ok(())
}

/// A record that cannot be read is damage; one that has gone since it was listed is not; a store that cannot be reached
/// ends the check.
fn judge<T>(findings: &mut Findings, name: &str, read: Result<T, RepoError>) -> Result<(), OpError> {
    match read {
        Ok(_) => Ok(()),
        Err(RepoError::Store(e))
            if e.kind == crate::store::StoreErrorKind::NotFound && name != names::STORE =>
        {
            Ok(())
        }
        // The store is open, so its own record cannot really be of a newer format either.
        Err(e) if e.is_damage() || matches!(e, RepoError::File { .. }) => {
            findings.push(Finding::damage(name, reason(&e)));
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

/// What is wrong, without the file's name, which the finding says itself.
pub(super) fn reason(e: &RepoError) -> String {
    match e {
        RepoError::File { error, .. } => error.to_string(),
        RepoError::Store(e) => e.message.clone(),
        e => e.to_string(),
    }
}

/// The finished snapshots; what is wrong with their files.
pub(super) async fn snapshots(
    repo: &Repository,
    findings: &mut Findings,
) -> Result<Vec<SnapshotRecord>, OpError> {
    let snapshots = repo.snapshots().await?;
    for (file, error) in snapshots.unreadable {
        let name = match names::meaning(&file) {
            Meaning::Snapshot(name) => Some(name),
            _ => None,
        };
        if !error.is_damage() {
            return Err(error.into());
        }
        let mut finding =
            Finding::damage(&file, format!("{}; this snapshot cannot be restored", reason(&error)));
        finding.snapshots.extend(name);
        findings.push(finding);
    }
    let mut sequences: BTreeMap<u64, RunName> = BTreeMap::new();
    for snapshot in &snapshots.finished {
        let file = names::snapshot(snapshot.name);
        if let Some(other) = sequences.insert(snapshot.sequence, snapshot.name) {
            let what = format!("it has the sequence number {} of snapshot {other} too", snapshot.sequence);
            findings.push(Finding::notice(&file, what).snapshot(snapshot.name));
        }
        if snapshot.sequence == 0 {
            findings.push(Finding::damage(&file, "its sequence number cannot be 0").snapshot(snapshot.name));
        }
    }
    Ok(snapshots.finished)
}
