//! Packs made by somebody who knows how: every check sum is right, and what they say cannot be.

use super::tests::sample;
use super::*;

#[test]
fn counts_and_places_that_cannot_be_are_refused_before_memory_is_taken() {
    let pack = sample();
    let size = pack.bytes.len() as u64;
    let header = &pack.bytes[..HEADER];
    let parse = |at: usize, value: &[u8]| {
        let mut footer = tail(&pack.bytes).to_vec();
        footer[at..at + value.len()].copy_from_slice(value);
        // Made by somebody who knows how: its check sum is right.
        let sum = edges(header, &footer[..32]);
        footer[32..].copy_from_slice(&sum);
        Outline::parse(header, &footer, size)
    };
    assert!(parse(12, &3u32.to_le_bytes()).is_ok());
    for blobs in [4, 100_000, 1_000_000_000, u32::MAX] {
        assert!(parse(12, &blobs.to_le_bytes()).is_err(), "{blobs} blobs");
    }
    for place in [0, 31, size, 1 << 63, u64::MAX] {
        assert!(parse(16, &place.to_le_bytes()).is_err(), "a table at {place}");
        assert!(parse(24, &place.to_le_bytes()).is_err(), "a table of {place} bytes");
    }
    for size in [0, 95, MAX_PACK + 1, u64::MAX] {
        assert!(Outline::parse(header, tail(&pack.bytes), size).is_err());
    }
}

/// Tables whose frames are right and whose records are not: places that overlap, lie outside, or leave a gap.
#[test]
fn records_that_overlap_or_lead_elsewhere_are_refused() {
    let pack = sample();
    let outline = Outline::parse(&pack.bytes[..HEADER], tail(&pack.bytes), pack.bytes.len() as u64).unwrap();
    let frame = &pack.bytes[outline.table_range()];
    let plain = &frame[..3 * RECORD];
    let read = |record: usize, at: usize, value: u32| {
        let mut table = plain.to_vec();
        table[record * RECORD + at..][..4].copy_from_slice(&value.to_le_bytes());
        let place = Place { kind: FrameKind::PackTable, nonce: outline.nonce, offset: outline.table_at };
        let mut frame = Vec::new();
        Sealer::Plain.seal(place, &table, &mut frame);
        outline.table(&Sealer::Plain, &frame)
    };
    for (record, good) in pack.records.iter().enumerate() {
        assert_eq!(read(record, 24, good.offset).unwrap(), pack.records);
        for offset in [0, 31, good.offset + 1, good.offset.wrapping_sub(1), 1 << 31, u32::MAX] {
            assert!(read(record, 24, offset).is_err(), "at {offset}");
        }
        for stored in [good.stored + 1, 1 << 31, u32::MAX] {
            assert!(read(record, 28, stored).is_err(), "{stored} stored");
        }
        for length in [(4 << 20) + 1, 1 << 31, u32::MAX] {
            assert!(read(record, 32, length).is_err(), "{length} bytes");
        }
    }
}
