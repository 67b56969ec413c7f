//! Segments and pages of a manifest.

use qbak::format::entry;
use qbak::format::manifest::{Piece, Reference, lines};
use qbak::model::id::{BlobId, Digest};
use qbak::model::key::Key;
use qbak::model::name::RunName;
use qbak::model::time::Timestamp;
use qbak::repo::manifest_reader;

/// A segment: every line by itself, and the whole against a reference that fits it.
pub fn manifest(data: &[u8]) -> bool {
    let mut entries = Vec::new();
    let mut whole = true;
    for line in lines(data) {
        let read = match entry::decode(line) {
            Ok(read) => read,
            Err(e) => {
                assert!(e.to_string().len() < 2000, "a sentence, not the line");
                whole = false;
                continue;
            }
        };
        assert!(read.key.bytes().len() <= Key::MAX);
        assert!(read.content.is_none_or(|id| id.fits(read.size)));
        let mut out = Vec::new();
        // A line near the bound may be longer in our spelling.
        match entry::encode(&read, &mut out) {
            Ok(()) => {
                assert_eq!(out.pop(), Some(b'\n'));
                assert!(out.len() < entry::MAX_LINE && !out.contains(&b'\n'));
                let again = entry::decode(&out).unwrap();
                assert_eq!(again, read);
                let mut twice = Vec::new();
                entry::encode(&again, &mut twice).unwrap();
                assert_eq!(twice[..twice.len() - 1], out, "an entry has one spelling");
            }
            Err(_) => assert!(line.len() > entry::MAX_LINE / 8, "a short line can be written again"),
        }
        entries.push(read);
    }
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return false };
    let fits = Reference { entries: entries.len() as u64, ..reference(data, &first.key, &last.key) };
    let read = manifest_reader::segment(name(), &fits, data);
    if let Ok(read) = &read {
        assert!(whole && *read == entries);
        assert!(read.is_sorted_by(|a, b| a.key < b.key), "no key twice, none out of order");
    }
    let wrong = Reference { entries: fits.entries + 1, ..fits };
    assert!(manifest_reader::segment(name(), &wrong, data).is_err());
    read.is_ok()
}

/// A page of references.
pub fn page(data: &[u8]) -> bool {
    let mut refs = Vec::new();
    let mut piece = Piece::default();
    for line in lines(data) {
        let Ok(read) = Reference::decode(line) else { continue };
        assert!(read.first <= read.last && read.entries > 0);
        let mut out = Vec::new();
        read.encode(&mut out).unwrap();
        assert_eq!(Reference::decode(&out).unwrap(), read);
        piece.push(&out, &read.first, &read.last, read.entries, read.bytes);
        refs.push(read);
    }
    let (Some(first), Some(last)) = (refs.first(), refs.last()) else { return false };
    let closed = piece.close().unwrap();
    assert_eq!((&closed.first, &closed.last), (&first.first, &last.last));
    let entries = refs.iter().fold(0u64, |n, r| n.saturating_add(r.entries));
    let fits = Reference { entries, ..reference(data, &first.first, &last.last) };
    match manifest_reader::page(name(), &fits, data) {
        Ok(read) => {
            assert!(read == refs && read.is_sorted_by(|a, b| a.last < b.first));
            true
        }
        Err(_) => false,
    }
}

fn reference(data: &[u8], first: &Key, last: &Key) -> Reference {
    Reference {
        first: first.clone(),
        last: last.clone(),
        entries: 1,
        bytes: 0,
        id: BlobId([7; 20]),
        digest: Digest::of(data),
        length: u32::try_from(data.len()).unwrap_or(u32::MAX),
    }
}

fn name() -> RunName {
    RunName::at(Timestamp::from_seconds(1_800_000_000))
}
