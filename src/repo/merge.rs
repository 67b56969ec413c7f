//! The records of a group in one sorted stream, read a stretch at a time from its index files and its loose packs. Memory does
//! not grow with their number: what merges, counts and marks millions of blobs goes through here.

use std::sync::Arc;

use super::RepoError;
use super::group::Group;
use super::index_file::IndexFile;
use crate::format::index::PER_PAGE;
use crate::format::pack::{BlobKind, Record};
use crate::model::id::{BlobId, PackId};

/// Where a record stands in a group: in which file (`None`: among the blobs of loose packs), as which of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// The index file's place in the group's list.
    pub file: Option<usize>,
    /// The record's number.
    pub number: u64,
}

/// A record with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where it stands.
    pub spot: Spot,
    /// Its pack.
    pub pack: PackId,
    /// What it says.
    pub record: Record,
}

impl Found {
    fn name(&self) -> (BlobId, BlobKind) {
        (self.record.id, self.record.kind)
    }
}

/// Pages read at a time of each file: about 300 KB.
const STRETCH: u64 = 64;

#[derive(Debug)]
enum Source {
    File { place: usize, file: Arc<IndexFile>, page: u64, ready: std::vec::IntoIter<Found> },
    Memory(std::vec::IntoIter<Found>),
}

impl Source {
    async fn take_next(&mut self) -> Result<Option<Found>, RepoError> {
        match self {
            Self::Memory(items) => Ok(items.next()),
            Self::File { place, file, page, ready } => loop {
                if let Some(found) = ready.next() {
                    return Ok(Some(found));
                }
                if *page >= file.pages() {
                    return Ok(None);
                }
                let records = file.stretch(*page, STRETCH).await?;
                let first = *page * PER_PAGE as u64;
                let found = (first..).zip(records).filter_map(|(number, r)| {
                    let pack = file.packs.get(r.pack as usize)?.id;
                    Some(Found { spot: Spot { file: Some(*place), number }, pack, record: r.record })
                });
                *ready = found.collect::<Vec<_>>().into_iter();
                *page += STRETCH;
            },
        }
    }
}

/// The sorted stream.
#[derive(Debug)]
pub struct Merge {
    sources: Vec<(Option<Found>, Source)>,
    begun: bool,
}

impl Merge {
    /// Everything a group's index files and loose packs say.
    pub fn of(group: &Group) -> Self {
        let files = group.files();
        let mut merge = Self::files(&files);
        let loose = (0..).zip(group.loose()).map(|(number, (pack, record))| Found {
            spot: Spot { file: None, number },
            pack: *pack,
            record: *record,
        });
        merge.add(loose.collect());
        merge
    }

    /// What these files say.
    pub fn files(files: &[Arc<IndexFile>]) -> Self {
        let source = |(place, file): (usize, &Arc<IndexFile>)| {
            let ready = Vec::new().into_iter();
            (None, Source::File { place, file: Arc::clone(file), page: 0, ready })
        };
        Self { sources: files.iter().enumerate().map(source).collect(), begun: false }
    }

    /// Adds records that are in memory, sorted by id and kind.
    pub fn add(&mut self, sorted: Vec<Found>) {
        self.sources.push((None, Source::Memory(sorted.into_iter())));
    }

    /// All records of the next blob, in no order; none after the last blob.
    ///
    /// # Errors
    /// An index file cannot be read.
    pub async fn next_blob(&mut self, out: &mut Vec<Found>) -> Result<bool, RepoError> {
        out.clear();
        if !self.begun {
            self.begun = true;
            for (head, source) in &mut self.sources {
                *head = source.take_next().await?;
            }
        }
        let Some(least) = self.sources.iter().filter_map(|(h, _)| h.as_ref().map(Found::name)).min() else {
            return Ok(false);
        };
        for (head, source) in &mut self.sources {
            while let Some(found) = head.filter(|h| h.name() == least) {
                out.push(found);
                *head = source.take_next().await?;
            }
        }
        Ok(true)
    }
}
