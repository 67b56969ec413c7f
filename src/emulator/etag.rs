//! The hash an object gets: over the 4 MiB grid, or over the parts it was uploaded in.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use sha1::{Digest as _, Sha1};

use super::config::EtagReading;
use crate::model::content::{BLOCK, content_id};
use crate::model::id::BlobId;

/// SHA-1 of each 4 MiB block of bytes that come piece by piece.
#[derive(Default)]
pub(super) struct Blocks {
    done: Vec<BlobId>,
    open: Sha1,
    filled: usize,
}

impl Blocks {
    /// Takes the next bytes.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == BLOCK {
                self.done.push(BlobId(std::mem::take(&mut self.open).finalize().into()));
                self.filled = 0;
            }
            let n = bytes.len().min(BLOCK - self.filled);
            self.open.update(&bytes[..n]);
            self.filled += n;
            bytes = &bytes[n..];
        }
    }

    /// The ids; an empty content has one empty block.
    pub(super) fn finish(mut self) -> Vec<BlobId> {
        self.done.push(BlobId(self.open.finalize().into()));
        self.done
    }
}

/// The etag over the 4 MiB grid.
pub(super) fn plain(blocks: &[BlobId]) -> String {
    content_id(blocks).to_string()
}

/// The etag of an object that was put together from parts, each given as its size and its blocks' ids.
///
/// Parts on the 4 MiB grid give the plain etag. Where only the last one leaves it by being too big, implementations
/// disagree, so `reading` chooses.
pub(super) fn of_parts(parts: &[(u64, Vec<BlobId>)], reading: EtagReading) -> String {
    let grid = BLOCK as u64;
    let (before, last) = match parts.split_last() {
        None => return plain(&[]),
        Some((last, before)) => (before, last),
    };
    let on_grid = before.iter().all(|(size, _)| *size == grid);
    if on_grid && (last.0 <= grid || reading == EtagReading::LastPartMayBeLarge) {
        let all: Vec<BlobId> = parts.iter().flat_map(|(_, blocks)| blocks.iter().copied()).collect();
        return plain(&all);
    }
    let mut sha = Sha1::new();
    for (_, blocks) in parts {
        let etag = URL_SAFE.decode(plain(blocks)).unwrap_or_default();
        sha.update(etag.get(1..).unwrap_or_default());
    }
    let mut out = vec![0x9e];
    out.extend_from_slice(&sha.finalize());
    URL_SAFE.encode(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: usize = 1 << 20;

    fn etag(sizes: &[usize], reading: EtagReading) -> String {
        let mut at = 0;
        let parts: Vec<(u64, Vec<BlobId>)> = sizes
            .iter()
            .map(|size| {
                let bytes: Vec<u8> = (at..at + size).map(|i| (i % 251) as u8).collect();
                at += size;
                let mut blocks = Blocks::default();
                blocks.update(&bytes);
                (*size as u64, blocks.finish())
            })
            .collect();
        of_parts(&parts, reading)
    }

    #[test]
    fn published_vectors_of_both_readings() {
        for (sizes, strict, other) in [
            (vec![M], "FsL8TLIPEwGmsN0hHBnmmhOSXb5A", "FsL8TLIPEwGmsN0hHBnmmhOSXb5A"),
            (vec![M, M], "nuWFLt2tvBrRmcgAeh2MWmeXZd9v", "nuWFLt2tvBrRmcgAeh2MWmeXZd9v"),
            (vec![4 * M, 4 * M, 2 * M + 7], "lstfskeYVVVtRQ2itANuz8O4aUqn", "lstfskeYVVVtRQ2itANuz8O4aUqn"),
            (vec![5 * M, 5 * M + 7], "nhHnsUwLnuctv9nI6j1RdbXZf7tN", "nhHnsUwLnuctv9nI6j1RdbXZf7tN"),
            (vec![8 * M, 1], "no8U1IZUrc86R9CAnvSPqUVcZ1vO", "no8U1IZUrc86R9CAnvSPqUVcZ1vO"),
            (vec![10 * M + 7], "nkUuRFNZVvL3L_QgmeDA8bTRf_A1", "lstfskeYVVVtRQ2itANuz8O4aUqn"),
            (vec![4 * M, 5 * M], "njJtMapJqRarIbyG1Jx27AX7K9I8", "lv4Ew6JqZ47UmtoHTb4ntxxH-h5H"),
        ] {
            assert_eq!(etag(&sizes, EtagReading::Strict), strict, "{sizes:?}");
            assert_eq!(etag(&sizes, EtagReading::LastPartMayBeLarge), other, "{sizes:?}");
        }
    }
}
