//! Packs, index files, and the decoder of compressed blobs.

use qbak::format::compress::{self, Codec};
use qbak::format::index;
use qbak::format::pack::{self, BlobKind};
use qbak::format::seal::{FrameKind, Place, Sealer};
use qbak::model::id::Digest;

/// A whole pack: as it is, and with its check sums made right, as somebody can who writes to the store.
pub fn pack(data: &[u8]) -> bool {
    let plain = read_pack(data);
    let forged = forged_pack(data).is_some_and(|bytes| read_pack(&bytes));
    plain || forged
}

fn read_pack(bytes: &[u8]) -> bool {
    let header = &bytes[..bytes.len().min(pack::HEADER)];
    let Ok(outline) = pack::Outline::parse(header, pack::tail(bytes), bytes.len() as u64) else {
        return false;
    };
    let range = outline.table_range();
    assert!(
        range.start <= range.end && range.end <= bytes.len() - pack::FOOTER,
        "{range:?} of {}",
        bytes.len()
    );
    let Ok(records) = outline.table(&Sealer::Plain, &bytes[range.clone()]) else { return false };
    assert_eq!(records.len(), outline.blobs);
    assert!(records.len() <= pack::MAX_BLOBS);
    let tiled: u64 = records.iter().map(|r| u64::from(r.stored)).sum();
    assert_eq!(tiled, (range.start - pack::HEADER) as u64, "the blobs lie one behind the other");
    for record in &records {
        assert!(record.length as usize <= record.kind.max_length());
        assert_eq!(record.kind.is_metadata(), outline.metadata);
        let frame = pack::frame(bytes, record).unwrap();
        if let Ok(blob) = outline.blob(&Sealer::Plain, record, frame) {
            assert_eq!(blob.len(), record.length as usize);
            assert_eq!(Digest::of(&blob), record.digest, "only checked bytes come out");
        }
    }
    true
}

/// The bytes with magic words, positions and check sums that fit; the number of blobs and the table stay.
fn forged_pack(data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = data.to_vec();
    let end = bytes.len().checked_sub(pack::FOOTER)?;
    let count = u32::from_le_bytes(bytes.get(end + 12..end + 16)?.try_into().ok()?) as usize;
    let length = count.checked_mul(pack::RECORD)?.checked_add(16)?;
    let at = end.checked_sub(length).filter(|at| *at >= pack::HEADER)?;
    bytes[..8].copy_from_slice(b"QBAKPACK");
    bytes[8..10].fill(0);
    bytes[end..end + 8].copy_from_slice(b"QBAKPEND");
    bytes[end + 16..end + 24].copy_from_slice(&(at as u64).to_le_bytes());
    bytes[end + 24..end + 32].copy_from_slice(&(length as u64).to_le_bytes());
    seal(&mut bytes, FrameKind::PackTable, at..end);
    check_edges(&mut bytes);
    Some(bytes)
}

/// Makes the check sum at the end of a frame right.
fn seal(bytes: &mut [u8], kind: FrameKind, range: std::ops::Range<usize>) {
    let Ok(nonce) = bytes[16..32].try_into() else { return };
    let mut out = Vec::new();
    let place = Place { kind, nonce, offset: range.start as u64 };
    Sealer::Plain.seal(place, &bytes[range.start..range.end - 16], &mut out);
    assert_eq!(Sealer::Plain.open(place, &out).unwrap(), &bytes[range.start..range.end - 16]);
    bytes[range].copy_from_slice(&out);
}

/// Makes the check sum over header and footer right.
fn check_edges(bytes: &mut [u8]) {
    let end = bytes.len() - 64;
    let sum = blake3::Hasher::new().update(&bytes[..32]).update(&bytes[end..end + 32]).finalize();
    bytes[end + 32..].copy_from_slice(sum.as_bytes());
}

/// A whole index file, likewise.
pub fn index(data: &[u8]) -> bool {
    let plain = read_index(data);
    let forged = forged_index(data).is_some_and(|bytes| read_index(&bytes));
    plain || forged
}

fn index_outline(bytes: &[u8]) -> Option<index::Outline> {
    let header = &bytes[..bytes.len().min(index::HEADER)];
    let footer = &bytes[bytes.len().saturating_sub(index::FOOTER)..];
    index::Outline::parse(&Sealer::Plain, header, footer, bytes.len() as u64).ok()
}

fn slice(bytes: &[u8], range: std::ops::Range<u64>) -> std::ops::Range<usize> {
    let range = range.start as usize..range.end as usize;
    assert!(range.start <= range.end && range.end <= bytes.len(), "{range:?} of {}", bytes.len());
    range
}

fn read_index(bytes: &[u8]) -> bool {
    let Some(outline) = index_outline(bytes) else { return false };
    let sealer = &Sealer::Plain;
    let Ok((packs, _)) = outline.packs(sealer, &bytes[slice(bytes, outline.packs_range())]) else {
        return false;
    };
    let Ok(directory) = outline.directory(sealer, &bytes[slice(bytes, outline.directory_range())]) else {
        return false;
    };
    assert_eq!(directory.len() as u64, outline.pages());
    let pages: Vec<_> = (0..outline.pages())
        .map(|n| outline.page(sealer, n, &bytes[slice(bytes, outline.page_range(n))]).unwrap_or_default())
        .collect();
    let all: Vec<_> = pages.iter().flatten().collect();
    assert!(all.iter().all(|r| (r.pack as usize) < packs.len()));
    let firsts: Vec<u64> =
        pages.iter().filter_map(|p| p.first()).map(|r| index::prefix(&r.record.id)).collect();
    // Where the directory tells the truth and all is in order, every record is found through it.
    if firsts == directory && all.is_sorted_by_key(|r| r.order()) {
        assert_eq!(all.len() as u64, outline.records);
        for (n, page) in pages.iter().enumerate() {
            assert!(page.iter().all(|r| index::pages_for(&directory, &r.record.id).contains(&n)));
        }
    }
    true
}

fn forged_index(data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = data.to_vec();
    let end = bytes.len().checked_sub(index::FOOTER).filter(|end| *end >= index::HEADER)?;
    bytes[..8].copy_from_slice(b"QBAKINDX");
    bytes[8..10].fill(0);
    bytes[end..end + 8].copy_from_slice(b"QBAKIEND");
    check_edges(&mut bytes);
    let outline = index_outline(&bytes)?;
    let pages = (0..outline.pages()).map(|n| (FrameKind::IndexPage, outline.page_range(n)));
    let rest = [
        (FrameKind::IndexDirectory, outline.directory_range()),
        (FrameKind::IndexPacks, outline.packs_range()),
    ];
    let frames: Vec<_> = pages.chain(rest).map(|(kind, range)| (kind, slice(&bytes, range))).collect();
    for (kind, range) in frames {
        seal(&mut bytes, kind, range);
    }
    Some(bytes)
}

/// Four bytes of length, and a frame that is said to hold so much.
pub fn decompress(data: &[u8]) -> bool {
    let Some((length, frame)) = data.split_first_chunk::<4>() else { return false };
    // What a table may claim, and nothing above: whoever calls the decoder has bounded the length.
    let length = u32::from_le_bytes(*length) as usize % (BlobKind::Data.max_length() + 1);
    let mut taken = false;
    for codec in [Codec::Raw, Codec::Zstd] {
        if let Ok(plain) = compress::decompress(codec, frame, length) {
            assert_eq!(plain.len(), length, "never more and never less than was declared");
            taken |= codec == Codec::Zstd;
        }
    }
    if let Some(packed) = compress::compress(frame) {
        assert!(packed.len() < frame.len());
        assert_eq!(compress::decompress(Codec::Zstd, &packed, frame.len()).unwrap(), frame);
    }
    taken
}
