//! `list`: the snapshots by group, oldest first, and the runs that have not finished.

use std::collections::BTreeMap;

use crate::format::records::{Counts, RunKind, SnapshotRecord};
use crate::model::name::RunName;
use crate::model::time::Timestamp;
use crate::op::{OpError, checkpoints};
use crate::plan::select::Completeness;
use crate::repo::{Repository, names};
use crate::store::lease::{self, Holder};

/// A snapshot or an INCOMPLETE run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: RunName,
    /// Complete, partial, or a run that has not finished.
    pub state: Completeness,
    /// How its run worked.
    pub kind: RunKind,
    /// Its group.
    pub group: RunName,
    /// Its place in the order of runs; a run that has not finished has none.
    pub sequence: Option<u64>,
    /// Why it looks wrong, if it does and nobody has accepted it.
    pub suspect: Option<String>,
    /// It looked wrong, and was accepted.
    pub accepted: bool,
    /// It is never pruned.
    pub pinned: bool,
    /// Labels.
    pub tags: Vec<String>,
    /// What it holds; of a run, what its checkpoints hold so far.
    pub counts: Counts,
    /// What it is of.
    pub source: String,
    /// When its run began.
    pub started: Timestamp,
    /// When it was finished.
    pub finished: Option<Timestamp>,
    /// A run: who works on it now.
    pub running: Option<Holder>,
}

/// What a store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// Group by group, the oldest first; in each by sequence, then the runs that have not finished.
    pub rows: Vec<Row>,
    /// Files that could not be read, and why.
    pub unreadable: Vec<(String, String)>,
}

impl List {
    /// The rows of each group, in order.
    pub fn groups(&self) -> impl Iterator<Item = &[Row]> {
        self.rows.chunk_by(|a, b| a.group == b.group)
    }
}

/// Lists a store.
///
/// # Errors
/// The store cannot be read. Single files that cannot be are in the list.
pub async fn list(repo: &Repository) -> Result<List, OpError> {
    let snapshots = repo.snapshots().await?;
    let (accepted, pins) = (repo.accepted().await?, repo.pins().await?);
    let mut unreadable: Vec<(String, String)> =
        snapshots.unreadable.iter().map(|(name, e)| (name.clone(), e.to_string())).collect();
    let mut rows: Vec<Row> = Vec::new();
    for s in &snapshots.finished {
        let mut row = row(s);
        row.accepted = row.suspect.is_some() && accepted.contains(&s.name);
        row.suspect = row.suspect.filter(|_| !row.accepted);
        row.pinned = pins.contains(&s.name);
        rows.push(row);
    }
    let holder = lease::holder(repo.store(), lease::For::Run);
    for (name, run) in repo.runs().await? {
        // One that was fenced may still serve the next run; one that has finished only left its record.
        if snapshots.finished.iter().any(|s| s.name == name) {
            continue;
        }
        let run = match run {
            Ok(run) => run,
            Err(e) => {
                unreadable.push((names::run(name), e.to_string()));
                continue;
            }
        };
        let here = |h: &Holder| h.pid == run.pid && h.host == run.host;
        rows.push(Row {
            name,
            state: Completeness::Incomplete,
            kind: run.kind,
            group: run.group,
            sequence: None,
            suspect: None,
            accepted: false,
            pinned: pins.contains(&name),
            tags: Vec::new(),
            counts: so_far(repo, name).await?,
            source: run.source.url,
            started: run.started,
            finished: None,
            running: holder.clone().filter(here),
        });
    }
    // A group is as old as its first snapshot; one that has none yet comes last.
    let mut ages: BTreeMap<RunName, u64> = BTreeMap::new();
    for row in &rows {
        let sequence = row.sequence.unwrap_or(u64::MAX);
        ages.entry(row.group).and_modify(|age| *age = sequence.min(*age)).or_insert(sequence);
    }
    rows.sort_by_key(|r| (ages.get(&r.group).copied(), r.group, r.sequence.unwrap_or(u64::MAX), r.name));
    Ok(List { rows, unreadable })
}

fn row(s: &SnapshotRecord) -> Row {
    Row {
        name: s.name,
        state: match s.state {
            crate::format::records::Completeness::Complete => Completeness::Complete,
            crate::format::records::Completeness::Partial => Completeness::Partial,
        },
        kind: s.kind,
        group: s.group,
        sequence: Some(s.sequence),
        suspect: s.suspect.clone(),
        accepted: false,
        pinned: false,
        tags: s.tags.clone(),
        counts: s.counts,
        source: s.source.url.clone(),
        started: s.started,
        finished: Some(s.finished),
        running: None,
    }
}

/// What the checkpoints of a run hold: objects and bytes.
async fn so_far(repo: &Repository, run: RunName) -> Result<Counts, OpError> {
    let saved = checkpoints::saved(repo, run).await?;
    let (objects, bytes) = saved
        .segments
        .iter()
        .fold((0u64, 0u64), |(n, b), r| (n.saturating_add(r.entries), b.saturating_add(r.bytes)));
    Ok(Counts { objects, bytes, ..Counts::default() })
}
