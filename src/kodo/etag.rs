//! The hash of an object that was uploaded in parts off the 4 MiB grid (prefix byte 0x9e, "v2").
//!
//! Each part is hashed as if it were a content of its own, and the twenty bytes that follow the prefix byte of each
//! are hashed in a row. Parts of exactly 4 MiB with a last one of at most 4 MiB give the plain etag (v1) instead,
//! which is in [`model::content`](crate::model::content). Where only the last part is longer than 4 MiB the known
//! implementations disagree on which of the two it is; see [`Rule`].

use sha1::{Digest as _, Sha1};

use super::encode::b64u;
use crate::model::content::{BLOCK, content_id, sha1};
use crate::model::id::{BlobId, ContentId};

/// The prefix byte of a hash made of parts.
const PARTS: u8 = 0x9e;
const GRID: u64 = BLOCK as u64;

/// How the parts of an object lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All but the last are exactly 4 MiB, and the last is not longer: the hash is the plain etag.
    Grid,
    /// As [`Layout::Grid`], but the last (or only) part is longer: readings differ.
    LongLast,
    /// Any other: the hash is made of the parts.
    Other,
}

/// Which hash an object of [`Layout::LongLast`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rule {
    /// That of its parts.
    #[default]
    Strict,
    /// The plain etag.
    Plain,
}

/// The layout of these parts, run-length: (size, how many).
pub fn layout(parts: &[(u64, u64)]) -> Layout {
    let mut runs = parts.iter().copied().filter(|r| r.1 > 0).collect::<Vec<_>>();
    let Some((last, count)) = runs.pop() else { return Layout::Grid };
    if runs.iter().any(|r| r.0 != GRID) || (count > 1 && last != GRID) {
        Layout::Other
    } else if last > GRID {
        Layout::LongLast
    } else {
        Layout::Grid
    }
}

/// The twenty bytes that the parts of a content hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartsEtag([u8; 20]);

impl PartsEtag {
    /// The hash with its prefix byte in base64: 28 characters, the first of them `n`.
    pub fn text(&self) -> String {
        let mut bytes = [PARTS; 21];
        bytes[1..].copy_from_slice(&self.0);
        b64u(bytes)
    }

    /// Whether a listed hash is right for a content with this plain etag and these parts, in either reading of the
    /// rule: the first byte of the listed hash says which one the server follows.
    pub fn passes(&self, listed: &str, plain: &ContentId) -> bool {
        listed == self.text() || listed == plain.to_string()
    }

    /// The hash that a server gives to a content with this plain etag and these parts.
    pub fn by_rule(&self, layout: Layout, rule: Rule, plain: &ContentId) -> String {
        match (layout, rule) {
            (Layout::Grid, _) | (Layout::LongLast, Rule::Plain) => plain.to_string(),
            (Layout::LongLast, Rule::Strict) | (Layout::Other, _) => self.text(),
        }
    }
}

/// Hashes a content by its parts as its bytes come in, in pieces of any size and in constant memory.
#[derive(Debug, Clone)]
pub struct PartsHasher {
    /// The parts not begun yet, the next one last.
    rest: Vec<(u64, u64)>,
    /// Over the payloads of the parts.
    all: Sha1,
    /// The part that is being read: bytes it still lacks, none between parts.
    left: Option<u64>,
    /// Its first block's hash, once that is complete, and over all its blocks' hashes.
    first: Option<BlobId>,
    blocks: Sha1,
    /// The block that is being read, and how many bytes it has.
    block: Sha1,
    filled: u64,
    overrun: bool,
}

impl PartsHasher {
    /// A hasher for parts of these sizes, run-length: (size, how many).
    pub fn new(parts: &[(u64, u64)]) -> Self {
        let mut hasher = Self {
            rest: parts.iter().rev().copied().collect(),
            all: Sha1::new(),
            left: None,
            first: None,
            blocks: Sha1::new(),
            block: Sha1::new(),
            filled: 0,
            overrun: false,
        };
        hasher.next_part();
        hasher
    }

    /// Begins the next part. A part without bytes is complete at once; but a run of endlessly many of them is not
    /// walked through: no server keeps empty parts, so an object that claims them does not fit.
    fn next_part(&mut self) {
        self.left = None;
        while let Some((size, count)) = self.rest.last_mut() {
            if *count == 0 {
                self.rest.pop();
                continue;
            }
            if *size == 0 && *count > 10_000 {
                self.overrun = true;
                return;
            }
            *count -= 1;
            if *size > 0 {
                self.left = Some(*size);
                return;
            }
            self.all.update(sha1(b"").0);
        }
    }

    /// How many bytes the present block can still take; `None`: the parts are full.
    fn room(&self) -> Option<u64> {
        self.left.map(|left| left.min(GRID - self.filled))
    }

    /// More bytes of the content.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.overrun {
            let Some(room) = self.room() else {
                self.overrun = true;
                return;
            };
            let take = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            self.block.update(&bytes[..take]);
            self.took(take as u64);
            bytes = &bytes[take..];
        }
    }

    /// The same for bytes whose SHA-1 is known already. Where they are exactly a block of a part, they are not
    /// hashed again: parts of a multiple of 4 MiB cost nothing that way.
    pub fn update_block(&mut self, bytes: &[u8], id: BlobId) {
        if self.filled == 0 && !bytes.is_empty() && self.room() == Some(bytes.len() as u64) {
            self.filled = bytes.len() as u64;
            self.left = self.left.map(|left| left - bytes.len() as u64);
            self.end_block(id);
        } else {
            self.update(bytes);
        }
    }

    fn took(&mut self, count: u64) {
        self.filled += count;
        self.left = self.left.map(|left| left - count);
        if self.filled == GRID || self.left == Some(0) {
            let id = BlobId(self.block.finalize_reset().into());
            self.end_block(id);
        }
    }

    fn end_block(&mut self, id: BlobId) {
        self.filled = 0;
        self.blocks.update(id.0);
        let many = self.first.is_some();
        let first = *self.first.get_or_insert(id);
        if self.left == Some(0) {
            // One block stands for itself, several for the hash of their hashes.
            let of_many = self.blocks.finalize_reset();
            if many {
                self.all.update(of_many)
            } else {
                self.all.update(first.0)
            }
            self.first = None;
            self.next_part();
        }
    }

    /// The hash; `None`: the bytes were not as many as the parts.
    pub fn finish(self) -> Option<PartsEtag> {
        let whole = self.left.is_none() && !self.overrun;
        whole.then(|| PartsEtag(self.all.finalize().into()))
    }
}

/// The plain etag of bytes in hand.
pub fn etag(bytes: &[u8]) -> ContentId {
    content_id(&bytes.chunks(BLOCK).map(sha1).collect::<Vec<_>>())
}

/// The hash of bytes in hand that were uploaded in parts of these sizes; `None`: they do not add up.
pub fn etag_with_parts(bytes: &[u8], parts: &[(u64, u64)], rule: Rule) -> Option<String> {
    let mut hasher = PartsHasher::new(parts);
    hasher.update(bytes);
    Some(hasher.finish()?.by_rule(layout(parts), rule, &etag(bytes)))
}

#[cfg(test)]
#[path = "etag_tests.rs"]
mod tests;
