//! Where a damaged or missing blob may come from: which copies of the store may serve, in which order, and which objects of the
//! live source are worth reading. Decides; reads nothing.

use crate::format::pack::BlobKind;
use crate::model::content::{block_range, blocks};
use crate::model::entry::Kind;
use crate::model::id::{BlobId, ContentId, Digest};
use crate::model::key::Key;
use crate::model::listed::{Listed, ListedHash};

/// Where a content stands that a blob is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The key that had it.
    pub key: Key,
    /// The content.
    pub content: ContentId,
    /// Its size.
    pub size: u64,
    /// Which of its blocks the blob is; 0 for a block list.
    pub number: u64,
}

/// What is known of a copy in the store before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// It lies in a group that the snapshot reads from.
    pub home: bool,
    /// Nothing is known against it.
    pub sound: bool,
    /// The blob's length.
    pub length: u64,
    /// Its BLAKE3.
    pub digest: Digest,
}

/// What the BLAKE3 of a blob must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// This.
    Known(Digest),
    /// No record is left that says it; then its SHA-1, which the manifest names, is all there is.
    Unknown,
    /// Two records contradict each other: which is right cannot be told.
    Contradicted,
}

/// What a blob's BLAKE3 must be. A manifest's own word comes first, then its group's, then what all others agree on.
pub fn truth(length: u64, said: Option<Digest>, copies: &[Copy]) -> Truth {
    if let Some(digest) = said {
        return Truth::Known(digest);
    }
    for home in [true, false] {
        let mut digests = copies.iter().filter(|c| c.home == home && c.length == length).map(|c| c.digest);
        if let Some(first) = digests.next() {
            return if digests.all(|d| d == first) { Truth::Known(first) } else { Truth::Contradicted };
        }
    }
    Truth::Unknown
}

/// The copies that may serve, as places in `copies`, the likeliest first: those that nothing is known against, then what is
/// left in hurt packs, which may still be whole.
pub fn order(length: u64, truth: Truth, copies: &[Copy]) -> Vec<usize> {
    let Truth::Known(digest) = truth else { return Vec::new() };
    let mut order: Vec<usize> = (0..copies.len())
        .filter(|n| copies.get(*n).is_some_and(|c| c.length == length && c.digest == digest))
        .collect();
    order.sort_by_key(|n| copies.get(*n).map(|c| (!c.sound, !c.home)));
    order
}

/// How likely a live object is to have the bytes, the likeliest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// Its listed hash says so, whatever its key is by now.
    SameHash,
    /// The key and the size are the same, and its hash does not say.
    SameObject,
    /// The key is the same and the content is not: of a large object one block may be.
    SameKey,
    /// Only the size is the same, and its hash does not say: it may have been renamed.
    SameSize,
}

/// Whether a live object may give a blob of this kind and length, used so.
pub fn fit(kind: BlobKind, length: u64, used: &Use, listed: &Listed) -> Option<Fit> {
    if listed.kind != Kind::Object || listed.unavailable.is_some() || listed.failed.is_some() {
        return None;
    }
    let large = blocks(used.size) > 1;
    // A block list tells of all blocks, so only the very content will do.
    let block = kind == BlobKind::Data
        && large
        && used.number < blocks(listed.size)
        && length_of_block(used.number, listed.size) == length;
    let same_key = listed.key == used.key;
    match &listed.hash {
        Some(ListedHash::Etag(id)) if *id == used.content => Some(Fit::SameHash),
        Some(ListedHash::Etag(_)) => (same_key && block).then_some(Fit::SameKey),
        _ if listed.size == used.size => Some(if same_key { Fit::SameObject } else { Fit::SameSize }),
        _ => (same_key && block).then_some(Fit::SameKey),
    }
}

/// How long a block is.
pub fn length_of_block(n: u64, size: u64) -> u64 {
    let range = block_range(n, size);
    range.end.saturating_sub(range.start)
}

/// The length that a block list has.
pub fn length_of_list(size: u64) -> u64 {
    blocks(size).saturating_mul(BlobId::LENGTH as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::content::{BLOCK, hash};

    const TWO: u64 = BLOCK as u64 + 7;

    fn digest(n: u8) -> Digest {
        Digest([n; 32])
    }

    fn copy(home: bool, sound: bool, n: u8) -> Copy {
        Copy { home, sound, length: 5, digest: digest(n) }
    }

    #[test]
    fn the_nearest_word_counts() {
        for (said, copies, want) in [
            (None, vec![], Truth::Unknown),
            (Some(digest(9)), vec![copy(true, true, 1)], Truth::Known(digest(9))),
            (None, vec![copy(false, true, 2), copy(true, false, 1)], Truth::Known(digest(1))),
            (None, vec![copy(false, true, 2), copy(false, true, 2)], Truth::Known(digest(2))),
            (None, vec![copy(false, true, 2), copy(false, true, 3)], Truth::Contradicted),
            (None, vec![copy(true, true, 2), copy(true, true, 3)], Truth::Contradicted),
            (None, vec![Copy { length: 6, ..copy(true, true, 2) }], Truth::Unknown),
        ] {
            assert_eq!(truth(5, said, &copies), want, "{copies:?}");
        }
    }

    #[test]
    fn sound_copies_come_first_and_others_of_the_name_never() {
        let copies = [
            copy(true, false, 1),
            copy(false, false, 1),
            copy(false, true, 1),
            copy(false, true, 2),
            Copy { length: 6, ..copy(true, true, 1) },
        ];
        assert_eq!(order(5, Truth::Known(digest(1)), &copies), [2, 0, 1]);
        assert!(order(5, Truth::Unknown, &copies).is_empty());
        assert!(order(5, Truth::Contradicted, &copies).is_empty());
    }

    #[test]
    fn which_objects_are_worth_reading() {
        let small = ContentId::small(hash(b"x").id);
        let large = ContentId::large(hash(b"y").id);
        let other = ContentId::large(hash(b"z").id);
        let used = |content, size, number| Use { key: "k".into(), content, size, number };
        let listed = |key: &str, size, hash| {
            let mut l = Listed::new(key.into(), Kind::Object);
            (l.size, l.hash) = (size, hash);
            l
        };
        let etag = |id| Some(ListedHash::Etag(id));
        let opaque = || Some(ListedHash::Opaque("o".into()));
        let (data, list) = (BlobKind::Data, BlobKind::List);
        let block = BLOCK as u64;
        for (kind, length, used, listed, want) in [
            (data, 1, used(small, 1, 0), listed("renamed", 1, etag(small)), Some(Fit::SameHash)),
            (data, 1, used(small, 1, 0), listed("k", 1, etag(other)), None),
            (data, 1, used(small, 1, 0), listed("k", 1, opaque()), Some(Fit::SameObject)),
            (data, 1, used(small, 1, 0), listed("k", 2, opaque()), None),
            (data, 1, used(small, 1, 0), listed("renamed", 1, None), Some(Fit::SameSize)),
            (data, 1, used(small, 1, 0), listed("renamed", 2, None), None),
            (data, block, used(large, TWO, 0), listed("k", TWO, etag(other)), Some(Fit::SameKey)),
            (data, 7, used(large, TWO, 1), listed("k", TWO + 1, etag(other)), None),
            (data, 7, used(large, TWO, 1), listed("k", 3, opaque()), None),
            (data, block, used(large, TWO, 0), listed("else", TWO + 1, etag(other)), None),
            (list, 40, used(large, TWO, 0), listed("k", TWO, etag(other)), None),
            (list, 40, used(large, TWO, 0), listed("else", TWO, etag(large)), Some(Fit::SameHash)),
            (list, 40, used(large, TWO, 0), listed("k", TWO, opaque()), Some(Fit::SameObject)),
        ] {
            assert_eq!(fit(kind, length, &used, &listed), want, "{listed:?}");
            let away = Listed { unavailable: Some("archived".into()), ..listed.clone() };
            assert_eq!(fit(kind, length, &used, &away), None);
            let folder = Listed { kind: Kind::Folder, ..listed };
            assert_eq!(fit(kind, length, &used, &folder), None);
        }
        assert_eq!((length_of_block(1, TWO), length_of_list(TWO)), (7, 40));
    }
}
