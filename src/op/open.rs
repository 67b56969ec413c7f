//! Opening a snapshot for reading: what there is to choose from, and one snapshot's entries and blobs. A run that
//! never finished is read through its checkpoints.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::format::records::{self, ManifestRecord, RunRecord, SourceRecord};
use crate::model::entry::{Entry, State};
use crate::model::name::RunName;
use crate::op::{OpError, checkpoints};
use crate::plan::select::{Candidate, Completeness};
use crate::repo::blobs::{BlobReader, Groups};
use crate::repo::manifest_reader::{ManifestReader, Span};
use crate::repo::repository::Snapshots;
use crate::repo::{RepoError, Repository};

/// What a store holds that can be read.
#[derive(Debug)]
pub struct Catalog {
    repo: Repository,
    /// Its snapshots.
    pub snapshots: Snapshots,
    /// Runs that have begun and not finished, by name.
    pub open: Vec<RunRecord>,
    /// Suspect snapshots that were accepted.
    pub accepted: BTreeSet<RunName>,
}

impl Catalog {
    /// Reads the small files of a store.
    ///
    /// # Errors
    /// The store cannot be read. Single records that cannot be read are left out (see [`Snapshots::unreadable`]).
    pub async fn read(repo: &Repository) -> Result<Self, OpError> {
        // The runs first: one that finishes in between then counts as finished.
        let runs = repo.runs().await?;
        let snapshots = repo.snapshots().await?;
        let done: BTreeSet<RunName> = snapshots.finished.iter().map(|s| s.name).collect();
        let open = runs.into_values().flatten().filter(|r| !done.contains(&r.name)).collect();
        Ok(Self { repo: repo.clone(), snapshots, open, accepted: repo.accepted().await? })
    }

    /// What a date may choose among. Runs that never finished stand after all snapshots.
    pub fn candidates(&self) -> Vec<Candidate> {
        let finished = self.snapshots.finished.iter().map(|s| Candidate {
            name: s.name,
            sequence: s.sequence,
            state: state(s.state),
            suspect: s.suspect.is_some() && !self.accepted.contains(&s.name),
        });
        let highest = self.snapshots.finished.last().map_or(0, |s| s.sequence);
        let open = (1..).zip(&self.open).map(|(n, run)| Candidate {
            name: run.name,
            sequence: highest.saturating_add(n),
            state: Completeness::Incomplete,
            suspect: false,
        });
        finished.chain(open).collect()
    }

    /// Opens a snapshot, or a run that never finished.
    ///
    /// # Errors
    /// There is none of that name, or the store cannot be read.
    pub async fn open(&self, name: RunName) -> Result<Opened, OpError> {
        let groups = Arc::new(Groups::new(&self.repo).await?);
        if let Some(s) = self.snapshots.finished.iter().find(|s| s.name == name) {
            return Ok(Opened {
                repo: self.repo.clone(),
                name,
                state: state(s.state),
                suspect: s.suspect.clone().filter(|_| !self.accepted.contains(&name)),
                source: s.source.clone(),
                blobs: BlobReader::new(&self.repo, groups, s.group, &s.needs),
                chains: vec![s.manifest.clone()],
            });
        }
        if let Some(run) = self.open.iter().find(|r| r.name == name) {
            let saved = checkpoints::saved(&self.repo, name).await?;
            return Ok(Opened {
                repo: self.repo.clone(),
                name,
                state: Completeness::Incomplete,
                suspect: None,
                source: run.source.clone(),
                // A run may share blobs with any group, and only its snapshot would have said with which.
                blobs: BlobReader::new(&self.repo, groups, run.group, &[]),
                chains: chains(saved.segments),
            });
        }
        let file = crate::repo::names::snapshot(name);
        let unreadable = self.snapshots.unreadable.iter().find(|(f, _)| *f == file);
        Err(OpError::Failed(match unreadable {
            Some((_, e)) => format!("the snapshot {name} cannot be read: {e}"),
            None => format!("there is no snapshot {name}"),
        }))
    }
}

fn state(state: records::Completeness) -> Completeness {
    match state {
        records::Completeness::Complete => Completeness::Complete,
        records::Completeness::Partial => Completeness::Partial,
    }
}

/// Sorts segments, which may overlap where a run listed twice, into as few rows as possible without overlaps.
fn chains(segments: Vec<crate::format::manifest::Reference>) -> Vec<ManifestRecord> {
    let mut rows: Vec<ManifestRecord> = Vec::new();
    for segment in segments {
        let fits = |row: &&mut ManifestRecord| row.refs.last().is_none_or(|last| last.last < segment.first);
        match rows.iter_mut().find(fits) {
            Some(row) => row.refs.push(segment),
            None => rows.push(ManifestRecord { height: 0, refs: vec![segment] }),
        }
    }
    rows
}

/// A snapshot that is open for reading.
#[derive(Debug, Clone)]
pub struct Opened {
    repo: Repository,
    /// Its name.
    pub name: RunName,
    /// How whole it is.
    pub state: Completeness,
    /// Why it is suspect, if it is and nobody has accepted it.
    pub suspect: Option<String>,
    /// What was backed up.
    pub source: SourceRecord,
    /// Reads its blobs.
    pub blobs: BlobReader,
    chains: Vec<ManifestRecord>,
}

impl Opened {
    /// The error that stands for damage which somebody met in reading it, if a prune has removed it meanwhile: then nothing is
    /// damaged. `None`: it is there still, or that cannot be told.
    pub async fn removed(&self) -> Option<OpError> {
        let file = match self.state {
            Completeness::Incomplete => crate::repo::names::run(self.name),
            _ => crate::repo::names::snapshot(self.name),
        };
        match self.repo.store().size(&file).await {
            Ok(None) => Some(OpError::Failed(format!(
                "snapshot {} was removed while it was read, by a prune; qbak list shows what there is now",
                self.name
            ))),
            _ => None,
        }
    }

    /// The entries of a span, in the order of their keys.
    pub fn entries(&self, span: &Span) -> Entries {
        let open = |m: &ManifestRecord| ManifestReader::new(self.blobs.clone(), self.name, m, span.clone());
        Entries { rows: self.chains.iter().map(|m| (open(m), None)).collect() }
    }

    /// The manifests that its entries stand in: one, but for a run that never finished.
    pub fn manifests(&self) -> &[ManifestRecord] {
        &self.chains
    }

    /// How many entries it has, and the sum of their sizes.
    pub fn totals(&self) -> (u64, u64) {
        let refs = self.chains.iter().flat_map(|m| &m.refs);
        refs.fold((0, 0), |(n, b), r| (r.entries.saturating_add(n), r.bytes.saturating_add(b)))
    }

    /// Whether it is of a folder rather than of a bucket.
    pub fn is_of_folder(&self) -> bool {
        self.source.url.starts_with('/')
    }
}

/// Entries in the order of their keys.
#[derive(Debug)]
pub struct Entries {
    rows: Vec<(ManifestReader, Option<Entry>)>,
}

impl Entries {
    /// The next entry; `None` after the last.
    ///
    /// # Errors
    /// As [`ManifestReader::next`]; after damage it can go on.
    pub async fn next(&mut self) -> Result<Option<Entry>, RepoError> {
        if let [(only, _)] = self.rows.as_mut_slice() {
            return only.next().await;
        }
        for (reader, head) in &mut self.rows {
            if head.is_none() {
                *head = reader.next().await?;
            }
        }
        let heads = self.rows.iter().filter_map(|(_, head)| head.as_ref());
        let Some(key) = heads.map(|e| &e.key).min().cloned() else { return Ok(None) };
        let mut found: Option<Entry> = None;
        for (_, head) in &mut self.rows {
            if let Some(entry) = head.take_if(|e| e.key == key)
                && found.as_ref().is_none_or(|f| f.state != State::Ok)
            {
                found = Some(entry);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::Reference;
    use crate::model::content::hash;

    fn reference(first: &str, last: &str) -> Reference {
        let h = hash(b"");
        let (first, last) = (first.into(), last.into());
        Reference { first, last, entries: 1, bytes: 0, id: h.id, digest: h.digest, length: 1 }
    }

    #[test]
    fn overlapping_segments_stand_in_rows_of_their_own() {
        let rows =
            chains(vec![reference("a", "c"), reference("b", "d"), reference("d", "e"), reference("e", "f")]);
        let shape: Vec<Vec<&str>> =
            rows.iter().map(|m| m.refs.iter().filter_map(|r| r.first.text()).collect()).collect();
        assert_eq!(shape, [vec!["a", "d"], vec!["b", "e"]]);
        assert!(chains(Vec::new()).is_empty());
    }
}
