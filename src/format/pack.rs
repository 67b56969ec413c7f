//! Packs: many blobs in one file, with a table behind them. See `docs/format.md`, section 4.

use super::compress::{Codec, compress, decompress};
use super::seal::{FrameKind, Place, Sealer, edges};
use super::{FormatError, VERSION, take, u16_at, u32_at, u64_at};
use crate::control::{Control, off};
use crate::model::content::{BLOCK, Hashes, MAX_BLOCK_LIST};
use crate::model::id::{BlobId, Digest, PackId};

/// The header's length, and the first blob's offset.
pub const HEADER: usize = 32;
/// The footer's length.
pub const FOOTER: usize = 64;
/// A table record's length.
pub const RECORD: usize = 68;
/// No pack is larger.
pub const MAX_PACK: u64 = 256 << 20;
/// No pack holds more blobs.
pub const MAX_BLOBS: usize = 65_536;
/// A pack is worth closing when it is this large,
pub const TARGET: usize = 32 << 20;
/// and is closed at the latest when it is this large.
pub const LIMIT: usize = 48 << 20;

const MAGIC: &[u8; 8] = b"QBAKPACK";
const END: &[u8; 8] = b"QBAKPEND";

/// What a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BlobKind {
    /// Content, or one 4 MiB block of it.
    Data = 0,
    /// A block list.
    List = 1,
    /// Entries of a manifest.
    Segment = 2,
    /// References to segments or pages.
    Page = 3,
}

impl BlobKind {
    /// From its number in a table.
    pub fn from_number(n: u8) -> Option<Self> {
        [Self::Data, Self::List, Self::Segment, Self::Page].into_iter().find(|k| *k as u8 == n)
    }

    /// The longest blob of the kind.
    pub const fn max_length(self) -> usize {
        match self {
            Self::Data => BLOCK,
            Self::List => MAX_BLOCK_LIST,
            // One entry or reference may go past the megabyte: keys, metadata and link targets are bounded themselves.
            Self::Segment | Self::Page => 2 << 20,
        }
    }

    /// Whether it lives in packs of metadata.
    pub const fn is_metadata(self) -> bool {
        !matches!(self, Self::Data)
    }
}

impl std::fmt::Display for BlobKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Data => "data",
            Self::List => "list",
            Self::Segment => "segment",
            Self::Page => "page",
        })
    }
}

/// One blob's line in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// SHA-1 of its bytes.
    pub id: BlobId,
    /// What it is.
    pub kind: BlobKind,
    /// How it is stored.
    pub codec: Codec,
    /// Where its frame begins in the pack.
    pub offset: u32,
    /// The frame's length.
    pub stored: u32,
    /// The blob's length.
    pub length: u32,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
}

impl Record {
    /// Its two hashes.
    pub fn hashes(&self) -> Hashes {
        Hashes { id: self.id, digest: self.digest }
    }

    pub(crate) fn put_name(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&[self.kind as u8, self.codec as u8, 0, 0]);
    }

    pub(crate) fn put_place(&self, out: &mut Vec<u8>) {
        for n in [self.offset, self.stored, self.length] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&self.digest.0);
    }

    /// Reads a record whose name stands at `name` and whose place at `place`, and checks everything that can be
    /// checked without the pack.
    pub(crate) fn read(bytes: &[u8], name: usize, place: usize) -> Result<Self, FormatError> {
        let [kind, codec, zero, zero2] = take::<4>(bytes, name + 20)?;
        let bad = |what| FormatError::damaged(format!("a record has an unknown {what}"));
        let record = Self {
            id: BlobId(take(bytes, name)?),
            kind: BlobKind::from_number(kind).ok_or_else(|| bad("kind"))?,
            codec: Codec::from_number(codec).ok_or_else(|| bad("codec"))?,
            offset: u32_at(bytes, place)?,
            stored: u32_at(bytes, place + 4)?,
            length: u32_at(bytes, place + 8)?,
            digest: Digest(take(bytes, place + 12)?),
        };
        if zero != 0 || zero2 != 0 {
            return Err(bad("flag"));
        }
        if record.length as usize > record.kind.max_length() {
            return Err(FormatError::damaged(format!(
                "a {} blob claims {} bytes",
                record.kind, record.length
            )));
        }
        // Nothing is stored longer than it is, but for a frame's overhead.
        if u64::from(record.stored) > u64::from(record.length) + 64
            || u64::from(record.offset) + u64::from(record.stored) > MAX_PACK
            || (record.offset as usize) < HEADER
        {
            return Err(FormatError::damaged("a record points outside any pack"));
        }
        Ok(record)
    }
}

/// A blob made ready for a pack: compressed where that pays. Made on worker threads, outside any lock.
#[derive(Debug)]
pub struct Prepared<'a> {
    kind: BlobKind,
    hashes: Hashes,
    plain: &'a [u8],
    packed: Option<Vec<u8>>,
}

impl<'a> Prepared<'a> {
    /// Compresses `plain`, whose hashes are `hashes`.
    pub fn new(kind: BlobKind, hashes: Hashes, plain: &'a [u8]) -> Self {
        Self { kind, hashes, plain, packed: compress(plain) }
    }

    /// How many bytes it will take in the pack.
    pub fn stored(&self) -> usize {
        self.packed.as_ref().map_or(self.plain.len(), Vec::len)
    }
}

/// A pack in the making.
#[derive(Debug)]
pub struct Builder {
    sealer: Sealer,
    nonce: [u8; 16],
    metadata: bool,
    bytes: Vec<u8>,
    records: Vec<Record>,
}

/// A finished pack: the file's bytes, its name, its table. [`Finished::check`] it before writing it.
#[derive(Debug)]
pub struct Finished {
    /// Its name.
    pub id: PackId,
    /// The file.
    pub bytes: Vec<u8>,
    /// Its table, sorted.
    pub records: Vec<Record>,
    /// Whether it holds metadata.
    pub metadata: bool,
}

impl Builder {
    /// A new pack; `nonce` is random.
    pub fn new(sealer: Sealer, nonce: [u8; 16], metadata: bool) -> Self {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&u16::from(metadata).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&nonce);
        Self { sealer, nonce, metadata, bytes, records: Vec::new() }
    }

    /// Nothing in it yet.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How large it is so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Too large to go on.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= LIMIT || self.records.len() >= MAX_BLOBS
    }

    /// Appends a blob; returns its record.
    pub fn add(&mut self, blob: &Prepared<'_>) -> Record {
        let offset = self.bytes.len();
        let place = Place { kind: FrameKind::Blob, nonce: self.nonce, offset: offset as u64 };
        let (codec, stored) = match &blob.packed {
            Some(packed) => (Codec::Zstd, packed.as_slice()),
            None => (Codec::Raw, blob.plain),
        };
        self.sealer.seal(place, stored, &mut self.bytes);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a pack is closed long before 4 GiB, a blob is at most 64 MiB"
        )]
        let record = Record {
            id: blob.hashes.id,
            kind: blob.kind,
            codec,
            offset: offset as u32,
            stored: (self.bytes.len() - offset) as u32,
            length: blob.plain.len() as u32,
            digest: blob.hashes.digest,
        };
        self.records.push(record);
        record
    }

    /// Closes the pack.
    pub fn finish(self) -> Finished {
        let Self { sealer, nonce, metadata, mut bytes, mut records } = self;
        records.sort_unstable_by_key(|r| (r.id, r.kind));
        let mut table = Vec::with_capacity(records.len() * RECORD);
        for record in &records {
            record.put_name(&mut table);
            record.put_place(&mut table);
        }
        let at = bytes.len() as u64;
        sealer.seal(Place { kind: FrameKind::PackTable, nonce, offset: at }, &table, &mut bytes);
        let mut footer = Vec::with_capacity(FOOTER);
        footer.extend_from_slice(END);
        footer.extend_from_slice(&VERSION.to_le_bytes());
        footer.extend_from_slice(&u16::from(metadata).to_le_bytes());
        footer.extend_from_slice(&u32::try_from(records.len()).unwrap_or(u32::MAX).to_le_bytes());
        footer.extend_from_slice(&at.to_le_bytes());
        footer.extend_from_slice(&(bytes.len() as u64 - at).to_le_bytes());
        let check = edges(&bytes[..HEADER], &footer);
        bytes.extend_from_slice(&footer);
        bytes.extend_from_slice(&check);
        let id = PackId(*blake3::hash(&bytes).as_bytes());
        Finished { id, bytes, records, metadata }
    }
}

impl Finished {
    /// Reads every blob back from the finished bytes: memory can be bad, and compressors have been wrong.
    ///
    /// # Errors
    /// A blob does not decode to what was put in.
    pub fn check(&self, sealer: &Sealer) -> Result<(), FormatError> {
        let outline = Outline::parse(&self.bytes[..HEADER], tail(&self.bytes), self.bytes.len() as u64)?;
        let table = outline.table(sealer, self.bytes.get(outline.table_range()).unwrap_or_default())?;
        if table != self.records {
            return Err(FormatError::damaged("its table does not read back as it was written"));
        }
        for record in &table {
            outline.blob(sealer, record, frame(&self.bytes, record)?)?;
        }
        Ok(())
    }
}

/// The last [`FOOTER`] bytes of a file, or all of a shorter one.
pub fn tail(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len().saturating_sub(FOOTER)..]
}

/// A record's frame within the whole pack's bytes.
///
/// # Errors
/// The bytes are too few.
pub fn frame<'a>(pack: &'a [u8], record: &Record) -> Result<&'a [u8], FormatError> {
    let start = record.offset as usize;
    pack.get(start..start + record.stored as usize)
        .ok_or_else(|| FormatError::damaged("a blob lies past its end"))
}

/// What a pack's header and footer say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    nonce: [u8; 16],
    /// Whether it holds metadata.
    pub metadata: bool,
    /// How many blobs it holds.
    pub blobs: usize,
    table_at: u64,
    table_length: u64,
}

impl Outline {
    /// Reads a pack's header (its first [`HEADER`] bytes) and footer (its last [`FOOTER`]), given the file's size.
    ///
    /// # Errors
    /// They are damaged, or of a newer version.
    pub fn parse(header: &[u8], footer: &[u8], size: u64) -> Result<Self, FormatError> {
        if header.len() != HEADER
            || footer.len() != FOOTER
            || size < (HEADER + FOOTER) as u64
            || size > MAX_PACK
        {
            return Err(FormatError::damaged("it is no pack: its size is impossible"));
        }
        if &take::<8>(header, 0)? != MAGIC || &take::<8>(footer, 0)? != END {
            return Err(FormatError::damaged("it does not begin and end as a pack does"));
        }
        let version = u16_at(header, 8)?;
        // One flipped bit must not be taken for a newer format, which ends whatever meets it: a newer one says so twice.
        if version != u16_at(footer, 8)? {
            return Err(FormatError::damaged("its two ends name different versions"));
        }
        if version > VERSION && !off(Control::NoVersionCheck) {
            return Err(FormatError::Newer { found: version.into() });
        }
        if edges(header, &footer[..32]) != footer[32..] {
            return Err(FormatError::damaged("its header or footer does not match its check sum"));
        }
        let outline = Self {
            nonce: take(header, 16)?,
            metadata: u16_at(header, 10)? & 1 == 1,
            blobs: u32_at(footer, 12)? as usize,
            table_at: u64_at(footer, 16)?,
            table_length: u64_at(footer, 24)?,
        };
        let end = outline.table_at.checked_add(outline.table_length);
        let least = (outline.blobs * RECORD) as u64;
        if outline.blobs > MAX_BLOBS
            || end != Some(size - FOOTER as u64)
            || outline.table_at < HEADER as u64
            || outline.table_length < least
            || outline.table_length > least + 1024
        {
            return Err(FormatError::damaged("its footer contradicts its size"));
        }
        Ok(outline)
    }

    /// Where the table's frame lies in the file.
    #[expect(clippy::cast_possible_truncation, reason = "parse() has bounded both by MAX_PACK")]
    pub fn table_range(&self) -> std::ops::Range<usize> {
        self.table_at as usize..(self.table_at + self.table_length) as usize
    }

    /// Reads the table from its frame.
    ///
    /// # Errors
    /// It is damaged, or its records do not tile the pack.
    pub fn table(&self, sealer: &Sealer, frame: &[u8]) -> Result<Vec<Record>, FormatError> {
        let place = Place { kind: FrameKind::PackTable, nonce: self.nonce, offset: self.table_at };
        let bytes = sealer.open(place, frame)?;
        if bytes.len() != self.blobs * RECORD {
            return Err(FormatError::damaged("its table has not as many records as its footer says"));
        }
        let records: Vec<Record> = (0..self.blobs)
            .map(|i| Record::read(bytes, i * RECORD, i * RECORD + 24))
            .collect::<Result<_, _>>()?;
        if !records.is_sorted_by(|a, b| (a.id, a.kind) < (b.id, b.kind)) {
            return Err(FormatError::damaged("its table is out of order, or names a blob twice"));
        }
        let mut spans: Vec<(u32, u32)> = records.iter().map(|r| (r.offset, r.stored)).collect();
        spans.sort_unstable();
        let mut at = HEADER as u64;
        for (offset, stored) in spans {
            if u64::from(offset) != at {
                return Err(FormatError::damaged("its blobs do not lie one behind the other"));
            }
            at += u64::from(stored);
        }
        if at != self.table_at || records.iter().any(|r| r.kind.is_metadata() != self.metadata) {
            return Err(FormatError::damaged("its table contradicts its footer"));
        }
        Ok(records)
    }

    /// A blob's bytes, checked.
    ///
    /// # Errors
    /// They are not what the record says.
    pub fn blob(&self, sealer: &Sealer, record: &Record, frame: &[u8]) -> Result<Vec<u8>, FormatError> {
        open_blob(sealer, self.nonce, record, frame)
    }
}

/// A blob's bytes from its frame, checked by BLAKE3. `nonce` is the pack's (a plain store does not need it).
///
/// # Errors
/// They are not what the record says.
pub fn open_blob(
    sealer: &Sealer,
    nonce: [u8; 16],
    record: &Record,
    frame: &[u8],
) -> Result<Vec<u8>, FormatError> {
    let place = Place { kind: FrameKind::Blob, nonce, offset: record.offset.into() };
    let plain = decompress(record.codec, sealer.open(place, frame)?, record.length as usize)?;
    if Digest::of(&plain) == record.digest || off(Control::NoBlake3Check) {
        Ok(plain)
    } else {
        Err(FormatError::damaged(format!(
            "{} blob {} has other bytes than were stored",
            record.kind, record.id
        )))
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::content::hash;

    pub(super) fn sample() -> Finished {
        let mut builder = Builder::new(Sealer::Plain, [3; 16], false);
        for text in [&b""[..], b"one", &[5u8; 9000]] {
            builder.add(&Prepared::new(BlobKind::Data, hash(text), text));
        }
        builder.finish()
    }

    #[test]
    fn round_trip() {
        let pack = sample();
        pack.check(&Sealer::Plain).unwrap();
        assert_eq!(pack.records.len(), 3);
        let long = pack.records.iter().find(|r| r.length == 9000).unwrap();
        assert!(long.codec == Codec::Zstd && long.stored < 100);
        assert_eq!(pack.id, sample().id, "the same blobs and nonce make the same file");
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let pack = sample();
        let blobs = HEADER..pack.bytes.len() - FOOTER - 3 * RECORD - 16;
        for i in 0..pack.bytes.len() {
            let mut bytes = pack.bytes.clone();
            bytes[i] ^= 0x10;
            assert_ne!(PackId(*blake3::hash(&bytes).as_bytes()), pack.id);
            let bad = Finished { id: pack.id, bytes, records: pack.records.clone(), metadata: false };
            // zstd's header has a bit that decoders ignore: such a flip leaves the blob's bytes right, and `check`,
            // which compares them by BLAKE3, may say so. Only the file's name shows it.
            assert!(bad.check(&Sealer::Plain).is_err() || blobs.contains(&i), "flip at {i}");
        }
        for n in 0..pack.bytes.len() {
            assert!(
                Outline::parse(&pack.bytes[..n.min(HEADER)], tail(&pack.bytes[..n]), n as u64).is_err(),
                "cut at {n}"
            );
        }
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let mut bytes = sample().bytes;
        let parse =
            |bytes: &[u8]| Outline::parse(&bytes[..HEADER], tail(bytes), bytes.len() as u64).unwrap_err();
        bytes[8] = 9;
        assert!(matches!(parse(&bytes), FormatError::Damaged(_)), "one end alone says nothing");
        let end = bytes.len() - FOOTER + 8;
        bytes[end] = 9;
        assert_eq!(parse(&bytes), FormatError::Newer { found: 9 });
    }
}
