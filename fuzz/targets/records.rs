//! Records, and the names of a store's files.

use std::fmt::Debug;

use qbak::format::record::{self, Record};
use qbak::format::records::{
    AcceptRecord, CheckpointRecord, ClaimRecord, DamageRecord, DecisionRecord, MarkRecord, PinRecord,
    RunRecord, SnapshotRecord, StoreRecord, TombstoneRecord, VerifiedRecord,
};
use qbak::model::id::Digest;
use qbak::model::key::Key;
use qbak::repo::names::{self, Meaning};

/// Takes the bytes as a record of a kind, and then what stands behind their first line with a header that fits: as
/// somebody can write it who writes to the store.
fn as_kind<R: Record + PartialEq + Debug>(data: &[u8], check: impl Fn(&R)) -> bool {
    let body = match data.iter().position(|b| *b == b'\n') {
        Some(end) if data.starts_with(b"{\"qbak\"") => &data[end + 1..],
        _ => data,
    };
    let digest = Digest::of(body);
    let mut forged =
        format!("{{\"qbak\":\"{}\",\"version\":0,\"blake3\":\"{digest}\"}}\n", R::KIND).into_bytes();
    forged.extend_from_slice(body);
    let mut taken = false;
    for bytes in [data, &forged] {
        let value = match record::decode::<R>(bytes) {
            Ok(value) => value,
            Err(e) => {
                assert!(e.to_string().len() < 2000, "a sentence, not the record");
                continue;
            }
        };
        taken = true;
        check(&value);
        // What is text for us may be longer than what it was read from, so a long one may not fit any more.
        if let Ok(again) = record::encode(&value) {
            assert!(again.len() <= R::MAX);
            assert_eq!(record::decode::<R>(&again).unwrap(), value);
            assert_eq!(record::encode(&record::decode::<R>(&again).unwrap()).unwrap(), again, "one spelling");
        } else {
            assert!(bytes.len() > R::MAX / 8, "a small record can be written again");
        }
    }
    taken
}

/// The small records, every kind.
pub fn record(data: &[u8]) -> bool {
    let _ = record::kind(data);
    let taken = [
        as_kind::<StoreRecord>(data, |_| {}),
        as_kind::<RunRecord>(data, |run| assert!(run.source.scope.bytes().len() <= Key::MAX)),
        as_kind::<TombstoneRecord>(data, |_| {}),
        as_kind::<DamageRecord>(data, |_| {}),
        as_kind::<AcceptRecord>(data, |_| {}),
        as_kind::<PinRecord>(data, |_| {}),
        as_kind::<VerifiedRecord>(data, |_| {}),
    ];
    taken.contains(&true)
}

/// The file of a snapshot.
pub fn snapshot(data: &[u8]) -> bool {
    as_kind::<SnapshotRecord>(data, |s| {
        assert_eq!(names::meaning(&names::snapshot(s.name)), Meaning::Snapshot(s.name));
        assert!(s.source.scope.bytes().len() <= Key::MAX);
        for r in &s.manifest.refs {
            assert!(r.first <= r.last && r.last.bytes().len() <= Key::MAX && r.entries > 0);
        }
    })
}

/// A checkpoint.
pub fn checkpoint(data: &[u8]) -> bool {
    as_kind::<CheckpointRecord>(data, |c| {
        assert!(c.segments.iter().chain(&c.waiting).all(|r| r.first <= r.last && r.entries > 0));
        assert!(c.begun.iter().all(|b| b.key.bytes().len() <= Key::MAX));
    })
}

/// What a prune writes down: its claim, its mark, its decision.
pub fn prune_record(data: &[u8]) -> bool {
    let taken = [
        as_kind::<ClaimRecord>(data, |c| {
            assert_eq!(names::meaning(&names::mark(c.number, c.nonce)) == Meaning::Foreign, c.number == 0);
        }),
        as_kind::<MarkRecord>(data, |_| {}),
        as_kind::<DecisionRecord>(data, |_| {}),
    ];
    taken.contains(&true)
}

/// A file's name within a store: what it means leads back to the name, so that no two names mean one file.
pub fn store_name(data: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(data) else { return false };
    let back = match names::meaning(name) {
        Meaning::Foreign => return false,
        Meaning::Snapshot(n) => names::snapshot(n),
        Meaning::Run(n) => names::run(n),
        Meaning::Checkpoint(n, number) => names::checkpoint(n, number),
        Meaning::Pack(group, id) => names::pack(group, id),
        Meaning::Index(group, id) => names::index(group, id),
        Meaning::Claim(number) => names::claim(number),
        Meaning::Mark(number, nonce) => names::mark(number, nonce),
        Meaning::Decision(number) => names::decision(number),
        // Names that only say that a file is one of ours.
        _ => name.to_owned(),
    };
    assert_eq!(back, name);
    true
}
