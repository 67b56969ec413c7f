//! Writes a manifest: entries in key order become segments, references become pages, a few references are the top.

use std::sync::Arc;

use bytes::Bytes;

use super::RepoError;
use super::writer::Writer;
use crate::format::manifest::{Closed, MAX_HEIGHT, MAX_TOP, MAX_TOP_BYTES, Piece, Reference, lines};
use crate::format::pack::BlobKind;
use crate::format::records::ManifestRecord;
use crate::format::{FormatError, entry};
use crate::model::content;
use crate::model::entry::Entry;
use crate::model::key::Key;

/// A manifest in the making.
#[derive(Debug)]
pub struct ManifestWriter {
    writer: Arc<Writer>,
    segment: Piece,
    /// Level by level: the open page, and whether a page of this level was closed already.
    pages: Vec<(Piece, bool)>,
    closed: Vec<Reference>,
    last: Option<Key>,
    line: Vec<u8>,
}

impl ManifestWriter {
    /// An empty manifest.
    pub fn new(writer: Arc<Writer>) -> Self {
        Self {
            writer,
            segment: Piece::default(),
            pages: Vec::new(),
            closed: Vec::new(),
            last: None,
            line: Vec::new(),
        }
    }

    /// Appends an entry; keys come in strictly ascending order.
    ///
    /// # Errors
    /// They do not, the entry is too long, or the store failed.
    pub async fn push(&mut self, entry: &Entry) -> Result<(), RepoError> {
        if self.last.as_ref().is_some_and(|last| *last >= entry.key) {
            let what = format!("entries are out of order at {}", entry.key);
            return Err(RepoError::Manifest { snapshot: self.writer.run().name, what });
        }
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        let name = || format!("the entry of {}", entry.key);
        entry::encode(entry, &mut line).map_err(|e| RepoError::file(name(), e))?;
        if self.segment.would_overflow(&line) {
            self.close_segment().await?;
        }
        let size = if entry.content.is_some() { entry.size } else { 0 };
        if self.segment.push(&line, &entry.key, &entry.key, 1, size) {
            self.close_segment().await?;
        }
        self.last = Some(entry.key.clone());
        self.line = line;
        Ok(())
    }

    /// References to the segments closed since the last call.
    pub fn take_closed(&mut self) -> Vec<Reference> {
        std::mem::take(&mut self.closed)
    }

    /// Stores the entries of the open segment as they are, without closing it.
    ///
    /// # Errors
    /// The store failed.
    pub async fn save_open(&self) -> Result<Option<Reference>, RepoError> {
        match self.segment.snapshot() {
            Some(piece) => Ok(Some(store(&self.writer, BlobKind::Segment, piece).await?)),
            None => Ok(None),
        }
    }

    async fn close_segment(&mut self) -> Result<(), RepoError> {
        let Some(piece) = self.segment.close() else { return Ok(()) };
        let reference = store(&self.writer, BlobKind::Segment, piece).await?;
        self.closed.push(reference.clone());
        self.refer(reference).await
    }

    /// Puts a reference on the lowest level of pages, and what that closes on the levels above.
    async fn refer(&mut self, reference: Reference) -> Result<(), RepoError> {
        let mut carried = reference;
        for level in 0.. {
            if level == self.pages.len() {
                self.pages.push((Piece::default(), false));
            }
            let mut line = Vec::new();
            carried.encode(&mut line).map_err(|e| RepoError::file("a reference", e))?;
            let (page, _) = &mut self.pages[level];
            let mut full = None;
            if page.would_overflow(&line) {
                full = page.close();
            }
            let ends = page.push(&line, &carried.first, &carried.last, carried.entries, carried.bytes);
            if ends && full.is_none() {
                full = page.close();
            }
            let Some(piece) = full else { return Ok(()) };
            self.pages[level].1 = true;
            carried = store(&self.writer, BlobKind::Page, piece).await?;
        }
        Ok(())
    }

    /// Closes everything; returns the top of the tree.
    ///
    /// # Errors
    /// The store failed.
    pub async fn finish(mut self) -> Result<ManifestRecord, RepoError> {
        self.close_segment().await?;
        for height in 0.. {
            let Some((page, closed)) = self.pages.get_mut(height as usize) else {
                return Ok(ManifestRecord { height: 0, refs: Vec::new() });
            };
            let refs: Vec<Reference> = if *closed || page.bytes().len() > MAX_TOP_BYTES {
                Vec::new()
            } else {
                lines(page.bytes())
                    .map(Reference::decode)
                    .collect::<Result<_, FormatError>>()
                    .map_err(|e| RepoError::file("a reference", e))?
            };
            if !refs.is_empty() && refs.len() <= MAX_TOP {
                return Ok(ManifestRecord { height, refs });
            }
            if height >= MAX_HEIGHT {
                break;
            }
            if let Some(piece) = page.close() {
                let reference = store(&self.writer, BlobKind::Page, piece).await?;
                let mut line = Vec::new();
                reference.encode(&mut line).map_err(|e| RepoError::file("a reference", e))?;
                if height as usize + 1 == self.pages.len() {
                    self.pages.push((Piece::default(), false));
                }
                let (above, _) = &mut self.pages[height as usize + 1];
                above.push(&line, &reference.first, &reference.last, reference.entries, reference.bytes);
            }
        }
        let what = "its tree is higher than any bucket needs".into();
        Err(RepoError::Manifest { snapshot: self.writer.run().name, what })
    }
}

/// Stores some entries as a segment outside the manifest's tree: what a checkpoint keeps.
///
/// # Errors
/// The store failed.
pub async fn save_entries(writer: &Arc<Writer>, entries: &[&Entry]) -> Result<Vec<Reference>, RepoError> {
    let (mut piece, mut refs) = (Piece::default(), Vec::new());
    for entry in entries {
        let mut line = Vec::new();
        entry::encode(entry, &mut line)
            .map_err(|e| RepoError::file(format!("the entry of {}", entry.key), e))?;
        let overflow = if piece.would_overflow(&line) { piece.close() } else { None };
        let full = piece.push(&line, &entry.key, &entry.key, 1, entry.size);
        for closed in overflow.into_iter().chain(if full { piece.close() } else { None }) {
            refs.push(store(writer, BlobKind::Segment, closed).await?);
        }
    }
    if let Some(rest) = piece.close() {
        refs.push(store(writer, BlobKind::Segment, rest).await?);
    }
    Ok(refs)
}

async fn store(writer: &Arc<Writer>, kind: BlobKind, piece: Closed) -> Result<Reference, RepoError> {
    let Closed { bytes, first, last, entries, size } = piece;
    let bytes = Bytes::from(bytes);
    let hashes = content::hash(&bytes);
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    writer.put(kind, hashes, bytes).await?;
    Ok(Reference { first, last, entries, bytes: size, id: hashes.id, digest: hashes.digest, length })
}
