//! Content, 4 MiB at a time: the hasher that finds blob ids, digests and the content id in one pass.
//!
//! The algorithm is Kodo's etag (its "v1"): SHA-1 of the content when it is at most 4 MiB, else the SHA-1 of the
//! 4 MiB blocks' SHA-1s in a row. Source: the official SDKs; `docs/kodo.md` has the test vectors.

use sha1::{Digest as _, Sha1};

use super::id::{BlobId, ContentId, Digest};

/// The size of a block: 4 MiB. Every blob of content but a content's last has exactly this size.
pub const BLOCK: usize = 4 << 20;

/// The largest content that can be kept: its block list must fit into [`MAX_BLOCK_LIST`].
pub const MAX_CONTENT: u64 = (MAX_BLOCK_LIST / BlobId::LENGTH) as u64 * BLOCK as u64;

/// The largest block list, 64 MiB: contents to about 13 TiB.
pub const MAX_BLOCK_LIST: usize = 64 << 20;

/// How many blocks a content of `size` bytes has; an empty content has one empty block.
pub const fn blocks(size: u64) -> u64 {
    if size == 0 { 1 } else { size.div_ceil(BLOCK as u64) }
}

/// The byte range of block `n` of a content of `size` bytes.
pub const fn block_range(n: u64, size: u64) -> std::ops::Range<u64> {
    let start = n * BLOCK as u64;
    let end = start + BLOCK as u64;
    start..if end < size { end } else { size }
}

/// The two hashes of one blob's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashes {
    /// SHA-1: the blob's name.
    pub id: BlobId,
    /// BLAKE3: what every read is checked against.
    pub digest: Digest,
}

/// Hashes a blob's bytes both ways in one pass over the cache lines: 16 KiB at a time, so that the second hash
/// finds the bytes where the first left them.
pub fn hash(bytes: &[u8]) -> Hashes {
    let (mut sha, mut blake) = (Sha1::new(), blake3::Hasher::new());
    for piece in bytes.chunks(64 << 10) {
        sha.update(piece);
        blake.update(piece);
    }
    Hashes { id: BlobId(sha.finalize().into()), digest: Digest(*blake.finalize().as_bytes()) }
}

/// The SHA-1 alone.
pub fn sha1(bytes: &[u8]) -> BlobId {
    BlobId(Sha1::digest(bytes).into())
}

/// The content id of a content whose blocks have these ids, in order; none stands for the empty content.
pub fn content_id(blocks: &[BlobId]) -> ContentId {
    match blocks {
        [] => ContentId::small(sha1(b"")),
        [one] => ContentId::small(*one),
        many => ContentId::large(sha1(&block_list(many))),
    }
}

/// The bytes of a block list: the ids in a row.
pub fn block_list(blocks: &[BlobId]) -> Vec<u8> {
    blocks.iter().flat_map(|b| b.0).collect()
}

/// The ids that a block list's bytes hold, if they are one for a content of `size` bytes.
pub fn parse_block_list(bytes: &[u8], size: u64) -> Option<Vec<BlobId>> {
    let (ids, rest) = bytes.as_chunks::<{ BlobId::LENGTH }>();
    if !rest.is_empty() || ids.len() as u64 != blocks(size) || ids.len() < 2 {
        return None;
    }
    Some(ids.iter().map(|b| BlobId(*b)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// kodo-api's table: byte i = i mod 251.
    #[test]
    fn published_vectors() {
        let m = 1usize << 20;
        for (size, etag) in [
            (0, "Fto5o-5ea0sNMlW_75VgGJCv2AcJ"),
            (1, "FlupPJ2wz_k_UrUh10IOQ_btonhP"),
            (m, "FsL8TLIPEwGmsN0hHBnmmhOSXb5A"),
            (4 * m - 1, "Fn9tkLHM2wFqBpgIZJ4NMMYVKZLl"),
            (4 * m, "Fgd8eREZ4FXnoK5eUHCJo_kRSDb1"),
            (4 * m + 1, "lgV4TNEnA2AXSRVyDqVW4bohMKad"),
            (8 * m, "lhZWuy7H6BDwRPEg8SCwWrzJuMmX"),
            (8 * m + 1, "lpRzEFZm74e2PCP5AZHpXD7HEH-Z"),
            (10 * m + 7, "lstfskeYVVVtRQ2itANuz8O4aUqn"),
        ] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let ids: Vec<BlobId> = bytes.chunks(BLOCK).map(|b| hash(b).id).collect();
            assert_eq!(content_id(&ids).to_string(), etag, "size {size}");
        }
    }

    #[test]
    fn block_lists_round_trip() {
        let ids = [sha1(b"a"), sha1(b"b")];
        assert_eq!(parse_block_list(&block_list(&ids), BLOCK as u64 + 1).unwrap(), ids);
        assert!(parse_block_list(&block_list(&ids), BLOCK as u64).is_none());
        assert!(parse_block_list(&block_list(&ids)[..39], BLOCK as u64 + 1).is_none());
        assert_eq!(block_range(1, BLOCK as u64 + 1), BLOCK as u64..BLOCK as u64 + 1);
    }
}
