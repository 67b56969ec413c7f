//! `accept`: a suspect snapshot is right after all.

use crate::model::clock::Clock;
use crate::model::name::RunName;
use crate::op::OpError;
use crate::repo::Repository;

/// What accepting came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is accepted now.
    Now {
        /// Why it was suspect.
        reason: String,
        /// Other snapshots that are still suspect, by sequence.
        others: Vec<RunName>,
    },
    /// It had been accepted before.
    Before,
    /// It was never suspect: there is nothing to accept.
    NotSuspect,
}

/// Accepts a snapshot.
///
/// # Errors
/// There is no such snapshot, or the store cannot be written.
pub async fn accept(repo: &Repository, name: RunName, clock: &dyn Clock) -> Result<Accepted, OpError> {
    let snapshots = repo.snapshots().await?;
    let Some(snapshot) = snapshots.finished.iter().find(|s| s.name == name) else {
        return Err(OpError::Failed(format!("snapshot {name} is not there or cannot be read")));
    };
    let Some(reason) = snapshot.suspect.clone() else { return Ok(Accepted::NotSuspect) };
    let accepted = repo.accepted().await?;
    if accepted.contains(&name) {
        return Ok(Accepted::Before);
    }
    repo.accept(name, clock.now()).await?;
    let left = |s: &&crate::format::records::SnapshotRecord| {
        s.suspect.is_some() && s.name != name && !accepted.contains(&s.name)
    };
    let others = snapshots.finished.iter().filter(left).map(|s| s.name).collect();
    Ok(Accepted::Now { reason, others })
}
