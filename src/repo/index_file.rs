//! One index file, open: small ones whole in memory, large ones read page by page as they are asked for.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Range, RangeInclusive};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::names;
use super::{RepoError, Repository};
use crate::format::FormatError;
use crate::format::index::{FOOTER, HEADER, IndexRecord, Outline, PER_PAGE, PackEntry, pages_for};
use crate::format::pack::BlobKind;
use crate::model::id::{BlobId, IndexId};
use crate::model::name::RunName;

/// Files up to this size are kept whole: one read, and every look-up is free of I/O.
const WHOLE: u64 = 16 << 20;
/// Pages that are read together, and kept; neighbours are asked for next when keys come in the packs' order.
const CACHED_PAGES: usize = 4096;

/// An index file whose footer, directory and packs have been read and checked.
#[derive(Debug)]
pub struct IndexFile {
    repo: Repository,
    name: String,
    /// Its id.
    pub id: IndexId,
    outline: Outline,
    directory: Vec<u64>,
    /// The packs it names.
    pub packs: Vec<PackEntry>,
    /// The index files it replaces.
    pub replaces: Vec<IndexId>,
    whole: Option<Bytes>,
    cache: Mutex<PageCache>,
}

#[derive(Debug, Default)]
struct PageCache {
    pages: HashMap<u64, (u64, Arc<Vec<IndexRecord>>)>,
    used: BTreeMap<u64, u64>,
    clock: u64,
}

impl PageCache {
    fn get(&mut self, page: u64) -> Option<Arc<Vec<IndexRecord>>> {
        let (stamp, records) = self.pages.get_mut(&page)?;
        self.used.remove(stamp);
        self.clock += 1;
        *stamp = self.clock;
        self.used.insert(self.clock, page);
        Some(Arc::clone(records))
    }

    fn put(&mut self, page: u64, records: Arc<Vec<IndexRecord>>) {
        self.clock += 1;
        self.used.insert(self.clock, page);
        if let Some((old, _)) = self.pages.insert(page, (self.clock, records)) {
            self.used.remove(&old);
        }
        while self.pages.len() > CACHED_PAGES
            && let Some((_, oldest)) = self.used.pop_first()
        {
            self.pages.remove(&oldest);
        }
    }
}

impl IndexFile {
    /// Opens a file of `size` bytes.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub async fn open(repo: &Repository, group: RunName, id: IndexId, size: u64) -> Result<Self, RepoError> {
        let name = names::index(group, id);
        let bad = |e: FormatError| RepoError::file(&name, e);
        if size < (HEADER + FOOTER) as u64 {
            return Err(bad(FormatError::Damaged("it is too short for an index file".into())));
        }
        let whole = if size <= WHOLE { Some(repo.store().get_range(&name, 0..size).await?) } else { None };
        // Its pages would notice too, but only when one is asked for, and then it is late to do without the file.
        if whole.as_ref().is_some_and(|bytes| *blake3::hash(bytes).as_bytes() != id.0) {
            return Err(bad(FormatError::Damaged("its bytes do not match its name".into())));
        }
        let read = async |range: Range<u64>| -> Result<Bytes, RepoError> {
            match &whole {
                Some(bytes) => Ok(slice(bytes, &range)),
                None => Ok(repo.store().get_range(&name, range).await?),
            }
        };
        let header = read(0..HEADER as u64).await?;
        let footer = read(size - FOOTER as u64..size).await?;
        let outline = Outline::parse(repo.sealer(), &header, &footer, size).map_err(bad)?;
        let (packs, replaces) =
            outline.packs(repo.sealer(), &read(outline.packs_range()).await?).map_err(bad)?;
        let directory =
            outline.directory(repo.sealer(), &read(outline.directory_range()).await?).map_err(bad)?;
        let cache = Mutex::default();
        Ok(Self { repo: repo.clone(), name, id, outline, directory, packs, replaces, whole, cache })
    }

    /// How many records it has.
    pub fn records(&self) -> u64 {
        self.outline.records
    }

    /// How many pages it has.
    pub fn pages(&self) -> u64 {
        self.outline.pages()
    }

    /// Its file's name in the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The records of one page.
    ///
    /// # Errors
    /// The page cannot be read, or is damaged.
    pub async fn page(&self, n: u64) -> Result<Arc<Vec<IndexRecord>>, RepoError> {
        if let Some(page) = self.cache.lock().ok().and_then(|mut c| c.get(n)) {
            return Ok(page);
        }
        let records = Arc::new(self.read_page(n).await?);
        if let Ok(mut cache) = self.cache.lock() {
            cache.put(n, Arc::clone(&records));
        }
        Ok(records)
    }

    /// As [`IndexFile::page`], for whoever reads them all: neither from the pages that are kept, nor kept.
    ///
    /// # Errors
    /// The page cannot be read, or is damaged.
    pub async fn read_page(&self, n: u64) -> Result<Vec<IndexRecord>, RepoError> {
        let range = self.outline.page_range(n);
        let frame = match &self.whole {
            Some(bytes) => slice(bytes, &range),
            None => self.repo.store().get_range(&self.name, range).await?,
        };
        self.outline.page(self.repo.sealer(), n, &frame).map_err(|e| RepoError::file(&self.name, e))
    }

    /// Of each page that cannot be read, the least and the greatest prefix of an id that it may hold. Reads every page.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn damaged_spans(&self) -> Result<Vec<RangeInclusive<u64>>, RepoError> {
        let mut spans = Vec::new();
        for (n, first) in (0..self.pages()).zip(&self.directory) {
            match self.read_page(n).await {
                Ok(_) => {}
                Err(e) if e.is_damage() => {
                    let next = usize::try_from(n + 1).ok().and_then(|n| self.directory.get(n));
                    spans.push(*first..=next.copied().unwrap_or(u64::MAX));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(spans)
    }

    /// The records of one blob; more than one when it is stored more than once.
    ///
    /// # Errors
    /// A page cannot be read, or is damaged.
    pub async fn find(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<IndexRecord>, RepoError> {
        Ok(self.find_numbered(kind, id).await?.into_iter().map(|(_, r)| r).collect())
    }

    /// As [`IndexFile::find`], each record with its number in the file.
    ///
    /// # Errors
    /// As there.
    pub async fn find_numbered(
        &self,
        kind: BlobKind,
        id: &BlobId,
    ) -> Result<Vec<(u64, IndexRecord)>, RepoError> {
        let mut found = Vec::new();
        for n in pages_for(&self.directory, id) {
            let page = self.page(n as u64).await?;
            let start = page.partition_point(|r| (r.record.id, r.record.kind) < (*id, kind));
            let same = |(_, r): &(u64, &IndexRecord)| r.record.id == *id && r.record.kind == kind;
            let first = n as u64 * PER_PAGE as u64 + start as u64;
            found.extend((first..).zip(page.iter().skip(start)).take_while(same).map(|(n, r)| (n, *r)));
        }
        Ok(found)
    }

    /// The records of up to `count` pages from page `first` on, read in one go and not kept.
    ///
    /// # Errors
    /// A page cannot be read, or is damaged.
    pub async fn stretch(&self, first: u64, count: u64) -> Result<Vec<IndexRecord>, RepoError> {
        let end = first.saturating_add(count).min(self.pages());
        let Some(last) = end.checked_sub(1).filter(|last| *last >= first) else { return Ok(Vec::new()) };
        let start = self.outline.page_range(first).start;
        let range = start..self.outline.page_range(last).end;
        let bytes = match &self.whole {
            Some(bytes) => slice(bytes, &range),
            None => self.repo.store().get_range(&self.name, range).await?,
        };
        let mut records = Vec::new();
        for n in first..end {
            let page = self.outline.page_range(n);
            let frame = slice(&bytes, &(page.start - start..page.end - start));
            records.extend(
                self.outline
                    .page(self.repo.sealer(), n, &frame)
                    .map_err(|e| RepoError::file(&self.name, e))?,
            );
        }
        Ok(records)
    }
}

/// A checked slice; out of range gives an empty one, which no parser takes.
fn slice(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
    match (start, end) {
        (Ok(start), Ok(end)) if start <= end && end <= bytes.len() => bytes.slice(start..end),
        _ => Bytes::new(),
    }
}
