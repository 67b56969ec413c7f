//! Manifests: where segments and pages are cut, and the references that lead to them. See `docs/format.md`, section 5.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::FormatError;
use super::entry::{join, split};
use crate::model::id::{BlobId, Digest};
use crate::model::key::Key;

/// A piece holds at least this many lines before its keys may end it.
pub const MIN_LINES: usize = 256;
/// A piece never holds more lines.
pub const MAX_LINES: usize = 4096;
/// A piece never grows past this many bytes, but for a single longer line.
pub const MAX_BYTES: usize = 1 << 20;
/// One key in this many ends a piece.
pub const ONE_IN: u64 = 1024;
/// So many references may stand in a snapshot file.
pub const MAX_TOP: usize = 64;
/// So many bytes of references may stand in a snapshot file.
pub const MAX_TOP_BYTES: usize = 32 << 10;
/// No tree is higher; 64 × 256^6 references are more than any bucket has.
pub const MAX_HEIGHT: u32 = 8;

/// A reference to a segment or page: enough to skip it, find it and check it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Line", into = "Line")]
pub struct Reference {
    /// The first key under it.
    pub first: Key,
    /// The last key under it.
    pub last: Key,
    /// How many entries under it.
    pub entries: u64,
    /// The sum of their sizes.
    pub bytes: u64,
    /// The blob's id.
    pub id: BlobId,
    /// The blob's BLAKE3.
    pub digest: Digest,
    /// The blob's length.
    pub length: u32,
}

#[derive(Clone, Serialize, Deserialize)]
struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_b64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_b64: Option<String>,
    entries: u64,
    bytes: u64,
    id: BlobId,
    blake3: Digest,
    length: u32,
}

impl From<Reference> for Line {
    fn from(r: Reference) -> Self {
        let (first, first_b64) = split(r.first.bytes());
        let (last, last_b64) = split(r.last.bytes());
        Self {
            first: first.map(str::to_owned),
            first_b64,
            last: last.map(str::to_owned),
            last_b64,
            entries: r.entries,
            bytes: r.bytes,
            id: r.id,
            blake3: r.digest,
            length: r.length,
        }
    }
}

impl TryFrom<Line> for Reference {
    type Error = FormatError;

    fn try_from(l: Line) -> Result<Self, FormatError> {
        let missing = || FormatError::damaged("a reference has no first or last key");
        let first = Key::new(join(l.first.map(Cow::Owned), l.first_b64)?.ok_or_else(missing)?);
        let last = Key::new(join(l.last.map(Cow::Owned), l.last_b64)?.ok_or_else(missing)?);
        if first > last || first.bytes().len() > Key::MAX || last.bytes().len() > Key::MAX || l.entries == 0 {
            return Err(FormatError::damaged("a reference's keys or counts cannot be"));
        }
        if l.length as usize > super::pack::BlobKind::Segment.max_length() {
            return Err(FormatError::damaged("a reference leads to a blob that is too long"));
        }
        Ok(Self {
            first,
            last,
            entries: l.entries,
            bytes: l.bytes,
            id: l.id,
            digest: l.blake3,
            length: l.length,
        })
    }
}

impl Reference {
    /// Appends its line, newline included.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        serde_json::to_writer(&mut *out, self)
            .map_err(|e| FormatError::damaged(format!("a reference cannot be written: {e}")))?;
        out.push(b'\n');
        Ok(())
    }

    /// Reads its line.
    ///
    /// # Errors
    /// It is no such line.
    pub fn decode(line: &[u8]) -> Result<Self, FormatError> {
        serde_json::from_slice(line)
            .map_err(|e| FormatError::damaged(format!("a reference's line is not one: {e}")))
    }
}

/// A piece under construction: lines, until a key or the size says that it ends.
#[derive(Debug, Default)]
pub struct Piece {
    bytes: Vec<u8>,
    lines: usize,
    first: Option<Key>,
    last: Option<Key>,
    entries: u64,
    size: u64,
}

/// A closed piece: its bytes and what a reference to it will say.
#[derive(Debug)]
pub struct Closed {
    /// The lines.
    pub bytes: Vec<u8>,
    /// The first key under it.
    pub first: Key,
    /// The last key under it.
    pub last: Key,
    /// How many entries under it.
    pub entries: u64,
    /// The sum of their sizes.
    pub size: u64,
}

impl Piece {
    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Whether this line must begin a new piece.
    pub fn would_overflow(&self, line: &[u8]) -> bool {
        self.lines > 0 && self.bytes.len() + line.len() > MAX_BYTES
    }

    /// Appends a line; true: the piece ends here. `first`, `last`, `entries` and `size` are what stands under the line;
    /// the cut follows from `first` alone, so equal stretches are cut alike.
    pub fn push(&mut self, line: &[u8], first: &Key, last: &Key, entries: u64, size: u64) -> bool {
        self.bytes.extend_from_slice(line);
        self.lines += 1;
        self.first.get_or_insert_with(|| first.clone());
        self.last = Some(last.clone());
        // References of a store that somebody else has written may claim any number.
        self.entries = self.entries.saturating_add(entries);
        self.size = self.size.saturating_add(size);
        self.lines >= MAX_LINES || (self.lines >= MIN_LINES && ends_piece(first))
    }

    /// Its bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Closes it, unless nothing is in it.
    pub fn close(&mut self) -> Option<Closed> {
        let piece = std::mem::take(self);
        Some(Closed {
            bytes: piece.bytes,
            first: piece.first?,
            last: piece.last?,
            entries: piece.entries,
            size: piece.size,
        })
    }

    /// As [`Piece::close`], but the piece goes on.
    pub fn snapshot(&self) -> Option<Closed> {
        Some(Closed {
            bytes: self.bytes.clone(),
            first: self.first.clone()?,
            last: self.last.clone()?,
            entries: self.entries,
            size: self.size,
        })
    }
}

fn ends_piece(key: &Key) -> bool {
    let hash = blake3::hash(key.bytes());
    let mut first = [0u8; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(first).is_multiple_of(ONE_IN)
}

/// The lines of a segment or page.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(keys: &[Key]) -> Vec<Vec<u8>> {
        let (mut piece, mut out) = (Piece::default(), Vec::new());
        for key in keys {
            let line = [key.bytes(), b"\n"].concat();
            if piece.push(&line, key, key, 1, 0) {
                out.push(piece.close().unwrap().bytes);
            }
        }
        out.extend(piece.close().map(|c| c.bytes));
        out
    }

    #[test]
    fn a_change_in_one_place_changes_few_pieces() {
        let keys: Vec<Key> = (0..50_000).map(|i| Key::from(format!("folder/{i:06}"))).collect();
        let before = cut(&keys);
        assert!(before.len() > 20 && before.len() < 100, "{}", before.len());
        let mut changed = keys.clone();
        changed.remove(25_000);
        let after = cut(&changed);
        let same = after.iter().filter(|p| before.contains(p)).count();
        assert!(same + 4 >= after.len(), "{same} of {}", after.len());
    }

    proptest! {
        #[test]
        fn references_round_trip(a in prop::collection::vec(any::<u8>(), 0..20), b in prop::collection::vec(any::<u8>(), 0..20)) {
            let (first, last) = if a < b { (a, b) } else { (b, a) };
            let r = Reference { first: Key::new(first), last: Key::new(last), entries: 3, bytes: 9, id: BlobId([1; 20]), digest: Digest([2; 32]), length: 7 };
            let mut line = Vec::new();
            r.encode(&mut line).unwrap();
            prop_assert_eq!(Reference::decode(&line[..line.len() - 1]).unwrap(), r);
        }
    }
}
