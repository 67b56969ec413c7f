//! Index files: where blobs lie, in pages that are read by position. See `docs/format.md`, section 4.

use super::pack::Record;
use super::seal::{FrameKind, Place, Sealer, edges};
use super::{FormatError, VERSION, take, u16_at, u32_at, u64_at};
use crate::model::id::{BlobId, IndexId, PackId};

/// The header's length.
pub const HEADER: usize = 32;
/// The footer's length.
pub const FOOTER: usize = 64;
/// A record's length.
pub const RECORD: usize = 72;
/// Records a page.
pub const PER_PAGE: usize = 56;

const MAGIC: &[u8; 8] = b"QBAKINDX";
const END: &[u8; 8] = b"QBAKIEND";
const PACK: usize = 44;
const MAX_RECORDS: u64 = 1 << 32;
const MAX_PACKS: usize = 1 << 22;
const MAX_REPLACED: usize = 1 << 16;

/// A pack as an index names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackEntry {
    /// The pack.
    pub id: PackId,
    /// Its file's size; a file of another size is not that pack.
    pub size: u64,
    /// Whether it holds metadata.
    pub metadata: bool,
}

/// A record of an index: where a blob lies, and in which of the file's packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexRecord {
    /// The pack's table record.
    pub record: Record,
    /// The pack's number in the file's list.
    pub pack: u32,
}

impl IndexRecord {
    /// What records are sorted by.
    pub fn order(&self) -> (BlobId, super::pack::BlobKind, u32) {
        (self.record.id, self.record.kind, self.pack)
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.record.put_name(out);
        out.extend_from_slice(&self.pack.to_le_bytes());
        self.record.put_place(out);
    }

    fn read(bytes: &[u8], at: usize) -> Result<Self, FormatError> {
        Ok(Self { record: Record::read(bytes, at, at + 28)?, pack: u32_at(bytes, at + 24)? })
    }
}

/// Writes an index file piece by piece, so that merging millions of records needs no memory for them.
pub struct Encoder<W> {
    sealer: Sealer,
    nonce: [u8; 16],
    out: W,
    hasher: blake3::Hasher,
    header: Vec<u8>,
    offset: u64,
    page: Vec<u8>,
    directory: Vec<u8>,
    records: u64,
}

impl<W: std::io::Write> Encoder<W> {
    /// Begins a file; `nonce` is random.
    ///
    /// # Errors
    /// `out` fails.
    pub fn new(sealer: Sealer, nonce: [u8; 16], out: W) -> std::io::Result<Self> {
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&[0; 6]);
        header.extend_from_slice(&nonce);
        let mut encoder = Self {
            sealer,
            nonce,
            out,
            hasher: blake3::Hasher::new(),
            header: header.clone(),
            offset: 0,
            page: Vec::with_capacity(PER_PAGE * RECORD),
            directory: Vec::new(),
            records: 0,
        };
        encoder.write(&header)?;
        Ok(encoder)
    }

    /// Appends a record; they come in the order of [`IndexRecord::order`].
    ///
    /// # Errors
    /// `out` fails.
    pub fn push(&mut self, record: &IndexRecord) -> std::io::Result<()> {
        if self.page.is_empty() {
            self.directory.extend_from_slice(&record.record.id.0[..8]);
        }
        record.put(&mut self.page);
        self.records += 1;
        if self.page.len() == PER_PAGE * RECORD { self.close_page() } else { Ok(()) }
    }

    /// Ends the file; returns its name and the writer.
    ///
    /// # Errors
    /// `out` fails.
    pub fn finish(mut self, packs: &[PackEntry], replaces: &[IndexId]) -> std::io::Result<(IndexId, W)> {
        if !self.page.is_empty() {
            self.close_page()?;
        }
        let directory = std::mem::take(&mut self.directory);
        self.frame(FrameKind::IndexDirectory, &directory)?;
        let mut list = Vec::with_capacity(packs.len() * PACK + replaces.len() * 32);
        for pack in packs {
            list.extend_from_slice(&pack.id.0);
            list.extend_from_slice(&pack.size.to_le_bytes());
            list.extend_from_slice(&u32::from(pack.metadata).to_le_bytes());
        }
        for id in replaces {
            list.extend_from_slice(&id.0);
        }
        self.frame(FrameKind::IndexPacks, &list)?;
        let mut footer = Vec::with_capacity(FOOTER);
        footer.extend_from_slice(END);
        footer.extend_from_slice(&VERSION.to_le_bytes());
        footer.extend_from_slice(&[0; 2]);
        footer.extend_from_slice(&u32::try_from(packs.len()).unwrap_or(u32::MAX).to_le_bytes());
        footer.extend_from_slice(&self.records.to_le_bytes());
        footer.extend_from_slice(&u32::try_from(replaces.len()).unwrap_or(u32::MAX).to_le_bytes());
        footer.extend_from_slice(&[0; 4]);
        let check = edges(&self.header, &footer);
        footer.extend_from_slice(&check);
        self.write(&footer)?;
        self.out.flush()?;
        Ok((IndexId(*self.hasher.finalize().as_bytes()), self.out))
    }

    fn close_page(&mut self) -> std::io::Result<()> {
        let page = std::mem::take(&mut self.page);
        self.frame(FrameKind::IndexPage, &page)?;
        self.page = page;
        self.page.clear();
        Ok(())
    }

    fn frame(&mut self, kind: FrameKind, plain: &[u8]) -> std::io::Result<()> {
        let mut out = Vec::with_capacity(plain.len() + 64);
        self.sealer.seal(Place { kind, nonce: self.nonce, offset: self.offset }, plain, &mut out);
        self.write(&out)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

/// What an index file's header and footer say; every position follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    nonce: [u8; 16],
    /// How many records.
    pub records: u64,
    packs: usize,
    replaced: usize,
    page_overhead: u64,
    frame_overhead: u64,
}

impl Outline {
    /// Reads the header (the first [`HEADER`] bytes) and the footer (the last [`FOOTER`]), given the file's size.
    ///
    /// # Errors
    /// They are damaged, or of a newer version.
    pub fn parse(sealer: &Sealer, header: &[u8], footer: &[u8], size: u64) -> Result<Self, FormatError> {
        if header.len() != HEADER || footer.len() != FOOTER {
            return Err(FormatError::damaged("it is too short for an index file"));
        }
        if &take::<8>(header, 0)? != MAGIC || &take::<8>(footer, 0)? != END {
            return Err(FormatError::damaged("it does not begin and end as an index file does"));
        }
        let version = u16_at(header, 8)?;
        // As in a pack: one flipped bit is no newer format.
        if version != u16_at(footer, 8)? {
            return Err(FormatError::damaged("its two ends name different versions"));
        }
        if version > VERSION {
            return Err(FormatError::Newer { found: version.into() });
        }
        if edges(header, &footer[..32]) != footer[32..] {
            return Err(FormatError::damaged("its header or footer does not match its check sum"));
        }
        let outline = Self {
            nonce: take(header, 16)?,
            packs: u32_at(footer, 12)? as usize,
            records: u64_at(footer, 16)?,
            replaced: u32_at(footer, 24)? as usize,
            page_overhead: sealer.overhead(FrameKind::IndexPage) as u64,
            frame_overhead: sealer.overhead(FrameKind::IndexPacks) as u64,
        };
        if outline.records > MAX_RECORDS
            || outline.packs > MAX_PACKS
            || outline.replaced > MAX_REPLACED
            || outline.packs_range().end + FOOTER as u64 != size
        {
            return Err(FormatError::damaged("its footer contradicts its size"));
        }
        Ok(outline)
    }

    /// How many pages.
    pub fn pages(&self) -> u64 {
        self.records.div_ceil(PER_PAGE as u64)
    }

    /// Where page `n` lies in the file.
    pub fn page_range(&self, n: u64) -> std::ops::Range<u64> {
        let full = (PER_PAGE * RECORD) as u64 + self.page_overhead;
        let start = HEADER as u64 + n * full;
        let records = (self.records - (n * PER_PAGE as u64).min(self.records)).min(PER_PAGE as u64);
        start..start + records * RECORD as u64 + self.page_overhead
    }

    /// Where the directory's frame lies.
    pub fn directory_range(&self) -> std::ops::Range<u64> {
        let start = HEADER as u64 + self.records * RECORD as u64 + self.pages() * self.page_overhead;
        start..start + self.pages() * 8 + self.frame_overhead
    }

    /// Where the frame of packs and replaced files lies.
    pub fn packs_range(&self) -> std::ops::Range<u64> {
        let start = self.directory_range().end;
        start..start + (self.packs * PACK + self.replaced * 32) as u64 + self.frame_overhead
    }

    /// The records of page `n`, from its frame.
    ///
    /// # Errors
    /// It is damaged.
    pub fn page(&self, sealer: &Sealer, n: u64, frame: &[u8]) -> Result<Vec<IndexRecord>, FormatError> {
        let place = Place { kind: FrameKind::IndexPage, nonce: self.nonce, offset: self.page_range(n).start };
        let bytes = sealer.open(place, frame)?;
        if !bytes.len().is_multiple_of(RECORD) {
            return Err(FormatError::damaged("a page has a broken record"));
        }
        let records: Vec<IndexRecord> = (0..bytes.len() / RECORD)
            .map(|i| IndexRecord::read(bytes, i * RECORD))
            .collect::<Result<_, _>>()?;
        if records.iter().any(|r| r.pack as usize >= self.packs) {
            return Err(FormatError::damaged("a record names a pack that is not listed"));
        }
        if !records.is_sorted_by_key(IndexRecord::order) {
            return Err(FormatError::damaged("its records are out of order"));
        }
        Ok(records)
    }

    /// The first eight bytes of each page's first id, from the directory's frame.
    ///
    /// # Errors
    /// It is damaged.
    pub fn directory(&self, sealer: &Sealer, frame: &[u8]) -> Result<Vec<u64>, FormatError> {
        let place = Place {
            kind: FrameKind::IndexDirectory,
            nonce: self.nonce,
            offset: self.directory_range().start,
        };
        let bytes = sealer.open(place, frame)?;
        let (firsts, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() || firsts.len() as u64 != self.pages() || !firsts.is_sorted() {
            return Err(FormatError::damaged("its directory does not fit its pages"));
        }
        Ok(firsts.iter().map(|b| u64::from_be_bytes(*b)).collect())
    }

    /// The packs and the replaced files, from their frame.
    ///
    /// # Errors
    /// It is damaged.
    pub fn packs(
        &self,
        sealer: &Sealer,
        frame: &[u8],
    ) -> Result<(Vec<PackEntry>, Vec<IndexId>), FormatError> {
        let place =
            Place { kind: FrameKind::IndexPacks, nonce: self.nonce, offset: self.packs_range().start };
        let bytes = sealer.open(place, frame)?;
        if bytes.len() != self.packs * PACK + self.replaced * 32 {
            return Err(FormatError::damaged("its list of packs has another length than its footer says"));
        }
        let packs = (0..self.packs)
            .map(|i| {
                let at = i * PACK;
                Ok(PackEntry {
                    id: PackId(take(bytes, at)?),
                    size: u64_at(bytes, at + 32)?,
                    metadata: u32_at(bytes, at + 40)? & 1 == 1,
                })
            })
            .collect::<Result<_, FormatError>>()?;
        let replaced = (0..self.replaced)
            .map(|i| take(bytes, self.packs * PACK + i * 32).map(IndexId))
            .collect::<Result<_, FormatError>>()?;
        Ok((packs, replaced))
    }
}

/// The eight bytes of an id that directories hold.
pub fn prefix(id: &BlobId) -> u64 {
    let mut first = [0u8; 8];
    first.copy_from_slice(&id.0[..8]);
    u64::from_be_bytes(first)
}

/// The pages that may hold records of `id`.
pub fn pages_for(directory: &[u64], id: &BlobId) -> std::ops::Range<usize> {
    let p = prefix(id);
    let after = directory.partition_point(|first| *first <= p);
    let before = directory.partition_point(|first| *first < p);
    before.saturating_sub(1)..after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::compress::Codec;
    use crate::format::pack::BlobKind;
    use crate::model::id::Digest;

    fn record(n: u32) -> IndexRecord {
        let mut id = [0u8; 20];
        id[..4].copy_from_slice(&(n * 7919).to_be_bytes());
        let record = Record {
            id: BlobId(id),
            kind: BlobKind::Data,
            codec: Codec::Raw,
            offset: 32 + n,
            stored: 5,
            length: 5,
            digest: Digest([n as u8; 32]),
        };
        IndexRecord { record, pack: 0 }
    }

    fn file(n: u32) -> Vec<u8> {
        let mut encoder = Encoder::new(Sealer::Plain, [1; 16], Vec::new()).unwrap();
        for i in 0..n {
            encoder.push(&record(i)).unwrap();
        }
        let packs = [PackEntry { id: PackId([9; 32]), size: 1000, metadata: false }];
        let (id, bytes) = encoder.finish(&packs, &[IndexId([4; 32])]).unwrap();
        assert_eq!(id.0, *blake3::hash(&bytes).as_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<IndexRecord>, FormatError> {
        let slice = |r: std::ops::Range<u64>| bytes.get(r.start as usize..r.end as usize).unwrap_or_default();
        let footer = &bytes[bytes.len().saturating_sub(FOOTER)..];
        let o =
            Outline::parse(&Sealer::Plain, &bytes[..HEADER.min(bytes.len())], footer, bytes.len() as u64)?;
        let (packs, replaced) = o.packs(&Sealer::Plain, slice(o.packs_range()))?;
        assert_eq!((packs.len(), replaced.len()), (1, 1));
        let directory = o.directory(&Sealer::Plain, slice(o.directory_range()))?;
        let mut all = Vec::new();
        for n in 0..o.pages() {
            all.extend(o.page(&Sealer::Plain, n, slice(o.page_range(n)))?);
        }
        for r in &all {
            let pages = pages_for(&directory, &r.record.id);
            assert!(pages.clone().any(|n| {
                o.page(&Sealer::Plain, n as u64, slice(o.page_range(n as u64))).unwrap().contains(r)
            }));
            assert!(pages.len() <= 2);
        }
        Ok(all)
    }

    #[test]
    fn round_trip() {
        for n in [0, 1, 55, 56, 57, 300] {
            assert_eq!(read(&file(n)).unwrap(), (0..n).map(record).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let bytes = file(60);
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 2;
            assert!(read(&bad).is_err(), "flip at {i}");
        }
        for n in 0..bytes.len() {
            assert!(read(&bytes[..n]).is_err(), "cut at {n}");
        }
    }

    #[test]
    fn counts_that_cannot_be_are_refused_before_memory_is_taken() {
        let bytes = file(60);
        let (header, footer) = (&bytes[..HEADER], &bytes[bytes.len() - FOOTER..]);
        let parse = |at: usize, value: &[u8]| {
            let mut footer = footer.to_vec();
            footer[at..at + value.len()].copy_from_slice(value);
            // Made by somebody who knows how: its check sum is right.
            let sum = edges(header, &footer[..32]);
            footer[32..].copy_from_slice(&sum);
            Outline::parse(&Sealer::Plain, header, &footer, bytes.len() as u64)
        };
        assert!(parse(16, &60u64.to_le_bytes()).is_ok());
        for records in [0, 59, 61, 1_000_000_000, 1 << 63, u64::MAX] {
            assert!(parse(16, &records.to_le_bytes()).is_err(), "{records} records");
        }
        for many in [0, 2, 1 << 20, 1_000_000_000, u32::MAX] {
            assert!(parse(12, &many.to_le_bytes()).is_err(), "{many} packs");
            assert!(parse(24, &many.to_le_bytes()).is_err(), "{many} replaced files");
        }
    }
}
