//! `stats`: how large everything is, and what storing each block once and compressing it saves.

use crate::format::pack::{BlobKind, Record};
use crate::format::records::{RunKind, SnapshotRecord};
use crate::model::name::RunName;
use crate::op::{Cancel, OpError};
use crate::repo::blobs::Groups;
use crate::repo::{Repository, names};

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotStats {
    /// Its name.
    pub name: RunName,
    /// Its group.
    pub group: RunName,
    /// How its run worked.
    pub kind: RunKind,
    /// Its objects.
    pub objects: u64,
    /// The sum of their sizes.
    pub bytes: u64,
    /// What its run added to the store.
    pub stored_bytes: u64,
    /// What its run downloaded.
    pub downloaded_bytes: u64,
}

/// Sizes of a group, or of the whole store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Snapshots.
    pub snapshots: u64,
    /// What they hold, each counted whole: the disk that plain copies would take.
    pub logical_bytes: u64,
    /// Blobs of content.
    pub data_blobs: u64,
    /// Their bytes before compression, each counted once.
    pub unique_bytes: u64,
    /// The same after compression.
    pub packed_bytes: u64,
    /// Blobs of metadata.
    pub metadata_blobs: u64,
    /// Packs.
    pub packs: u64,
    /// The bytes of their files.
    pub pack_bytes: u64,
    /// The bytes of index files.
    pub index_bytes: u64,
}

impl Sizes {
    /// How often each byte of content is used: what storing it once saves.
    pub fn dedup_ratio(&self) -> f64 {
        ratio(self.logical_bytes, self.unique_bytes)
    }

    /// How much smaller compression makes content.
    pub fn compression_ratio(&self) -> f64 {
        ratio(self.unique_bytes, self.packed_bytes)
    }

    /// Bytes on disk.
    pub fn stored_bytes(&self) -> u64 {
        self.pack_bytes + self.index_bytes
    }

    fn add(&mut self, other: &Self) {
        self.snapshots += other.snapshots;
        self.logical_bytes += other.logical_bytes;
        self.data_blobs += other.data_blobs;
        self.unique_bytes += other.unique_bytes;
        self.packed_bytes += other.packed_bytes;
        self.metadata_blobs += other.metadata_blobs;
        self.packs += other.packs;
        self.pack_bytes += other.pack_bytes;
        self.index_bytes += other.index_bytes;
    }

    fn blob(&mut self, record: &Record) {
        if record.kind == BlobKind::Data {
            self.data_blobs += 1;
            self.unique_bytes += u64::from(record.length);
            self.packed_bytes += u64::from(record.stored);
        } else {
            self.metadata_blobs += 1;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 1.0 } else { a as f64 / b as f64 }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Snapshots by sequence.
    pub snapshots: Vec<SnapshotStats>,
    /// Groups, the oldest first.
    pub groups: Vec<(RunName, Sizes)>,
    /// Their sum.
    pub total: Sizes,
    /// Packs that damage is recorded of.
    pub damaged_packs: u64,
    /// Bytes free where the store lies, if that can be known.
    pub free_bytes: Option<u64>,
}

/// Measures a store. Reads index files, no packs.
///
/// # Errors
/// The store cannot be read, or it was told to stop.
pub async fn stats(repo: &Repository, cancel: &Cancel) -> Result<Stats, OpError> {
    let snapshots = repo.snapshots().await?.finished;
    let groups = Groups::new(repo).await?;
    let mut stats = Stats {
        snapshots: snapshots.iter().map(snapshot).collect(),
        damaged_packs: groups.damage().len() as u64,
        free_bytes: repo.store().free_bytes(),
        ..Stats::default()
    };
    for name in groups.names() {
        let mut sizes = Sizes::default();
        for s in snapshots.iter().filter(|s| s.group == name) {
            sizes.snapshots += 1;
            sizes.logical_bytes = sizes.logical_bytes.saturating_add(s.counts.bytes);
        }
        for file in repo.store().list_all(&format!("{}/index", names::group(name))).await? {
            sizes.index_bytes += file.size;
        }
        let group = groups.get(name).await?;
        for state in group.packs().values().filter(|s| s.size > 0) {
            sizes.packs += 1;
            sizes.pack_bytes += state.size;
        }
        group.loose().iter().for_each(|(_, record)| sizes.blob(record));
        for file in group.files() {
            for n in 0..file.pages() {
                if cancel.is_set() {
                    return Err(OpError::Interrupted);
                }
                match file.read_page(n).await {
                    Ok(page) => page.iter().for_each(|r| sizes.blob(&r.record)),
                    // Verify tells of it; the sizes are a little too small then.
                    Err(e) if e.is_damage() => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        stats.total.add(&sizes);
        stats.groups.push((name, sizes));
    }
    Ok(stats)
}

fn snapshot(s: &SnapshotRecord) -> SnapshotStats {
    SnapshotStats {
        name: s.name,
        group: s.group,
        kind: s.kind,
        objects: s.counts.objects,
        bytes: s.counts.bytes,
        stored_bytes: s.transfer.stored_bytes,
        downloaded_bytes: s.transfer.downloaded_bytes,
    }
}
