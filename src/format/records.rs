//! The records of a store, typed. Field by field as `docs/format.md`, section 2, lists them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::manifest::Reference;
use super::pack::BlobKind;
use super::record::{MAX_CHECKPOINT, Record};
use crate::model::id::{BlobId, IndexId, MarkNonce, PackId, StoreId};
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::model::time::Timestamp;

/// `qbak.json`: what this store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreRecord {
    /// Random, made by `init`.
    pub id: StoreId,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// By which program.
    pub program: String,
    /// `none`, until there is another.
    pub encryption: String,
    /// The time zone of the retention policy.
    #[serde(default)]
    pub timezone: Option<String>,
}

/// A full run writes everything afresh into a group of its own; an incremental adds to the newest group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// Opens a group.
    Full,
    /// Adds to a group.
    Incremental,
}

/// The source of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Its URL without secrets.
    pub url: String,
    /// Only keys that begin so.
    #[serde(with = "key_text", default = "empty_key")]
    pub scope: Key,
}

fn empty_key() -> Key {
    Key::new(Vec::new())
}

/// `runs/<name>.json`: a run that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its name, and its snapshot's.
    pub name: RunName,
    /// Full or incremental.
    pub kind: RunKind,
    /// Where its packs go.
    pub group: RunName,
    /// Every byte is taken from the source again.
    #[serde(default)]
    pub redownload: bool,
    /// What it backs up.
    pub source: SourceRecord,
    /// When it began.
    #[serde(with = "rfc3339")]
    pub started: Timestamp,
    /// On which machine.
    #[serde(default)]
    pub host: String,
    /// As which process there.
    #[serde(default)]
    pub pid: u32,
    /// Random: tells this record from any other of the same name.
    pub nonce: String,
}

/// An object of more than 4 MiB whose download is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The object.
    #[serde(with = "key_text")]
    pub key: Key,
    /// Its size.
    pub size: u64,
    /// Its hash as listed.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// When it was put.
    #[serde(default)]
    pub put_time: Option<Timestamp>,
    /// The number of the first block in `blocks`.
    pub from: u64,
    /// The ids of blocks that are stored.
    pub blocks: Vec<BlobId>,
}

/// `runs/<name>.<n>.json`: how far a run has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct CheckpointRecord {
    /// Segments closed since the checkpoint before.
    pub segments: Vec<Reference>,
    /// Every other finished entry; replaces the checkpoint before's.
    pub waiting: Vec<Reference>,
    /// Large objects on their way; adds to the checkpoint before's.
    pub begun: Vec<Begun>,
}

/// Whether everything that was listed is in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Completeness {
    /// It is.
    Complete,
    /// Some objects could not be read; they are listed with their state.
    Partial,
}

/// What a snapshot holds and how it differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Entries.
    pub objects: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// New keys (renamed ones apart).
    pub added: u64,
    /// Other content.
    pub changed: u64,
    /// Keys that went away (renamed ones apart).
    pub removed: u64,
    /// New keys with the content of one that went away.
    pub renamed: u64,
    /// Same content.
    pub unchanged: u64,
    /// Same content, other metadata.
    pub metadata_changed: u64,
    /// Could not be read.
    pub failed: u64,
    /// Known from the listing to be unreadable.
    pub unavailable: u64,
    /// Gone before they were read.
    pub vanished: u64,
}

/// What a run moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Transfer {
    /// Objects of which bytes were downloaded.
    pub downloaded_objects: u64,
    /// Bytes downloaded.
    pub downloaded_bytes: u64,
    /// Bytes of packs and index files written.
    pub stored_bytes: u64,
    /// Requests sent to the source.
    pub requests: u64,
}

/// The top of a manifest's tree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ManifestRecord {
    /// How many levels of pages lie between these references and the segments.
    pub height: u32,
    /// The references.
    pub refs: Vec<Reference>,
}

/// `snapshots/<name>.json`: a finished snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Its name: the run's start.
    pub name: RunName,
    /// One more than the highest seen when it was written.
    pub sequence: u64,
    /// How its run worked.
    pub kind: RunKind,
    /// The group that holds its blobs.
    pub group: RunName,
    /// Other groups that hold some.
    #[serde(default)]
    pub needs: Vec<RunName>,
    /// Whether all objects are in it.
    pub state: Completeness,
    /// Why it looks wrong, if it does.
    #[serde(default)]
    pub suspect: Option<String>,
    /// A suspect one: the snapshot it was compared with.
    #[serde(default)]
    pub baseline: Option<RunName>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What was backed up.
    pub source: SourceRecord,
    /// When the run began.
    #[serde(with = "rfc3339")]
    pub started: Timestamp,
    /// When it was finished.
    #[serde(with = "rfc3339")]
    pub finished: Timestamp,
    /// By which program.
    pub program: String,
    /// The snapshot it was compared with.
    #[serde(default)]
    pub parent: Option<RunName>,
    /// What it holds.
    pub counts: Counts,
    /// What its run moved.
    pub transfer: Transfer,
    /// An automatic full that would not fit was put off.
    #[serde(default)]
    pub full_postponed: bool,
    /// The group's index files at commit.
    #[serde(default)]
    pub indexes: Vec<IndexId>,
    /// Its objects.
    pub manifest: ManifestRecord,
}

/// `snapshots/<name>.json` of a run that may never commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneRecord {
    /// Why.
    pub reason: String,
    /// Since when.
    #[serde(with = "rfc3339")]
    pub when: Timestamp,
}

/// `damaged/<pack>.json`: what verify found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageRecord {
    /// The pack.
    pub pack: PackId,
    /// Its group.
    pub group: RunName,
    /// When it was found.
    #[serde(with = "rfc3339")]
    pub found: Timestamp,
    /// The file's own structure is hurt: nothing in it is to be relied on.
    pub whole: bool,
    /// The blobs whose bytes are wrong.
    pub blobs: Vec<(BlobKindName, BlobId)>,
    /// In words.
    pub what: String,
}

/// A blob kind as a record names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names of BlobKind")]
pub enum BlobKindName {
    Data,
    List,
    Segment,
    Page,
}

impl From<BlobKind> for BlobKindName {
    fn from(kind: BlobKind) -> Self {
        match kind {
            BlobKind::Data => Self::Data,
            BlobKind::List => Self::List,
            BlobKind::Segment => Self::Segment,
            BlobKind::Page => Self::Page,
        }
    }
}

impl From<BlobKindName> for BlobKind {
    fn from(kind: BlobKindName) -> Self {
        match kind {
            BlobKindName::Data => Self::Data,
            BlobKindName::List => Self::List,
            BlobKindName::Segment => Self::Segment,
            BlobKindName::Page => Self::Page,
        }
    }
}

/// `accepted/<name>.json` and `pins/<name>.json`: said about a snapshot, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptRecord {
    /// The snapshot.
    pub snapshot: RunName,
    /// When.
    #[serde(with = "rfc3339")]
    pub when: Timestamp,
}

/// `pins/<name>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRecord {
    /// The snapshot.
    pub snapshot: RunName,
    /// When.
    #[serde(with = "rfc3339")]
    pub when: Timestamp,
}

/// `verified/<64 hex>.json`: packs that were read whole and found right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedRecord {
    /// When.
    #[serde(with = "rfc3339")]
    pub when: Timestamp,
    /// Which.
    pub packs: Vec<PackId>,
}

/// `marks/<n>.json`: a prune has this number, and removes these snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRecord {
    /// The number.
    pub number: u32,
    /// Random: which mark belongs to it.
    pub nonce: MarkNonce,
    /// The snapshots that go, whatever happens.
    pub snapshots: Vec<RunName>,
    /// The highest name that this or any earlier claim removes.
    #[serde(default)]
    pub highest: Option<RunName>,
    /// When.
    #[serde(with = "rfc3339")]
    pub when: Timestamp,
    /// On which machine.
    #[serde(default)]
    pub host: String,
    /// As which process there.
    #[serde(default)]
    pub pid: u32,
}

/// What is to go of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkedGroup {
    /// The group.
    pub group: RunName,
    /// Packs.
    pub packs: Vec<PackId>,
    /// Index files that go with them: those of a group that goes whole.
    #[serde(default)]
    pub indexes: Vec<IndexId>,
}

/// `marks/<n>.<nonce>.json`: the packs that a prune is about to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRecord {
    /// The number that it wants.
    pub number: u32,
    /// Random, as in the file's name.
    pub nonce: MarkNonce,
    /// The snapshots that its claim is to name: should that be spoilt, they are known from here.
    #[serde(default)]
    pub snapshots: Vec<RunName>,
    /// What is to go.
    pub groups: Vec<MarkedGroup>,
}

/// `marks/<n>.decision.json`: what becomes of the packs under a mark. The first decision counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// The prune's number.
    pub number: u32,
    /// These stay after all.
    #[serde(default)]
    pub keep: Vec<PackId>,
    /// All of them stay.
    #[serde(default)]
    pub keep_all: bool,
    /// Why any stay; empty if none does.
    #[serde(default)]
    pub reason: String,
    /// Random: tells it from any other of the same prune.
    pub nonce: MarkNonce,
}

macro_rules! records {
    ($($type:ty => $kind:literal $(, $max:expr)?;)*) => {
        $(impl Record for $type {
            const KIND: &'static str = $kind;
            $(const MAX: usize = $max;)?
        })*
    };
}

records! {
    StoreRecord => "store";
    RunRecord => "run";
    CheckpointRecord => "checkpoint", MAX_CHECKPOINT;
    SnapshotRecord => "snapshot";
    TombstoneRecord => "tombstone";
    DamageRecord => "damage", 16 << 20;
    AcceptRecord => "accept";
    PinRecord => "pin";
    VerifiedRecord => "verified", 64 << 20;
    ClaimRecord => "claim", 4 << 20;
    MarkRecord => "mark", 64 << 20;
    DecisionRecord => "decision", 64 << 20;
}

/// Times in records: RFC 3339 in UTC.
pub(crate) mod rfc3339 {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::time::Timestamp;

    pub(crate) fn serialize<S: Serializer>(t: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&t.rfc3339())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(d)?;
        let t = DateTime::parse_from_rfc3339(&text).map_err(serde::de::Error::custom)?;
        Ok(t.with_timezone(&Utc).into())
    }
}

/// A key in a record: text, or `{"b64": …}` where it is not UTF-8.
mod key_text {
    use super::{Engine, Key, STANDARD};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Text {
        Utf8(String),
        Other { b64: String },
    }

    pub(super) fn serialize<S: Serializer>(key: &Key, s: S) -> Result<S::Ok, S::Error> {
        match key.text() {
            Some(text) => Text::Utf8(text.to_owned()),
            None => Text::Other { b64: STANDARD.encode(key.bytes()) },
        }
        .serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Key, D::Error> {
        let bytes = match Text::deserialize(d)? {
            Text::Utf8(text) => text.into_bytes(),
            Text::Other { b64 } => STANDARD.decode(b64).map_err(serde::de::Error::custom)?,
        };
        if bytes.len() > Key::MAX {
            return Err(serde::de::Error::custom("a key is too long"));
        }
        Ok(Key::new(bytes))
    }
}
