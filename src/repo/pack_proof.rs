//! Proves one pack: reads the whole file once and checks its name, its structure, and every blob in it.

use std::sync::Arc;

use bytes::Bytes;

use super::error::is_gone;
use super::group::Group;
use super::names;
use super::{RepoError, Repository};
use crate::control::{Control, off};
use crate::format::FormatError;
use crate::format::pack::{self, BlobKind, FOOTER, HEADER, MAX_PACK, Outline, Record};
use crate::format::seal::Sealer;
use crate::model::id::{BlobId, PackId};
use crate::store::StoreErrorKind;

/// What reading a pack came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackProof {
    /// Blobs that were decoded and checked.
    pub blobs: u64,
    /// Bytes of the file that were read.
    pub bytes: u64,
    /// What is wrong with it, if anything.
    pub fault: Option<Fault>,
}

/// What is wrong with a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// In words.
    pub what: String,
    /// Its own structure is hurt: nothing in it is to be relied on.
    pub whole: bool,
    /// The blobs that are not what was stored, by id and kind.
    pub blobs: Vec<(BlobKind, BlobId)>,
}

/// Reads a pack of `group` and checks everything in it. Holds the file in memory, at most [`MAX_PACK`] bytes.
///
/// # Errors
/// The store cannot be reached, or the pack is of a newer format. Damage is no error.
pub async fn prove(repo: &Repository, group: &Group, id: PackId) -> Result<PackProof, RepoError> {
    let name = names::pack(group.name, id);
    let bytes = match repo.store().get(&name, MAX_PACK).await {
        Ok(bytes) => bytes,
        // What a disk cannot read is lost, and so may be only a part of it; what a service does not answer may be there tomorrow.
        Err(e) if e.kind == StoreErrorKind::Damaged => return in_pieces(repo, group, id, e.message).await,
        Err(e) if is_gone(&e) => {
            let fault = Fault { what: e.message, whole: true, blobs: Vec::new() };
            return Ok(PackProof { blobs: 0, bytes: 0, fault: Some(fault) });
        }
        Err(e) => return Err(e.into()),
    };
    let size = bytes.len() as u64;
    let sealer = repo.sealer();
    let named = {
        let bytes = bytes.clone();
        tokio::task::spawn_blocking(move || *blake3::hash(&bytes).as_bytes() == id.0)
    };
    let table = read_table(sealer, &bytes);
    let mut bad = match &table {
        Ok(records) => damaged(sealer, &bytes, records).await?,
        Err(_) => Vec::new(),
    };
    let count = table.as_ref().map_or(0, Vec::len);
    let named = named.await? || off(Control::NoNameCheck);
    if named && bad.is_empty() && table.is_ok() {
        return Ok(PackProof { blobs: count as u64, bytes: size, fault: None });
    }
    // The file is hurt: what should be in it is what the index says.
    let said = group.records_of(id).await?;
    let (mut what, mut whole, mut checked) = match &table {
        Err(e) => (e.to_string(), true, 0),
        Ok(records) if !said.is_empty() && said != *records => {
            ("its table is not what the index says: it is another pack's file".to_owned(), true, 0)
        }
        Ok(_) if bad.is_empty() => {
            ("its bytes do not match its name, though every blob in it can be read".to_owned(), true, count)
        }
        Ok(_) => {
            (format!("{} of its {count} blobs have other bytes than were stored", bad.len()), false, count)
        }
    };
    if checked == 0 && !said.is_empty() {
        bad = damaged(sealer, &bytes, &said).await?;
        checked = said.len();
        if !bad.is_empty() {
            what = format!("{what}; {} of its {checked} blobs cannot be read", bad.len());
        }
        whole = true;
    }
    bad.sort_unstable();
    Ok(PackProof { blobs: checked as u64, bytes: size, fault: Some(Fault { what, whole, blobs: bad }) })
}

/// Proves a pack that cannot be read in one go, blob by blob: a bad place on a disk costs what lies on it.
async fn in_pieces(
    repo: &Repository,
    group: &Group,
    id: PackId,
    why: String,
) -> Result<PackProof, RepoError> {
    let name = names::pack(group.name, id);
    let records = group.records_of(id).await?;
    let (mut bad, mut bytes) = (Vec::new(), 0);
    for record in &records {
        let start = u64::from(record.offset);
        let frame = match repo.store().get_range(&name, start..start + u64::from(record.stored)).await {
            Ok(frame) => frame,
            Err(e) if is_gone(&e) => {
                bad.push((record.kind, record.id));
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        bytes += frame.len() as u64;
        let (sealer, record) = (repo.sealer().clone(), *record);
        let plain = tokio::task::spawn_blocking(move || pack::open_blob(&sealer, [0; 16], &record, &frame));
        if plain.await?.is_err() {
            bad.push((record.kind, record.id));
        }
    }
    let table = match group.table(id, group.pack_size(&id)).await {
        Err(e) if !e.is_damage() => return Err(e),
        table => table.is_ok(),
    };
    let what = format!("{why}; {} of its {} blobs cannot be read", bad.len(), records.len());
    let whole = !table || bad.is_empty();
    Ok(PackProof { blobs: records.len() as u64, bytes, fault: Some(Fault { what, whole, blobs: bad }) })
}

fn read_table(sealer: &Sealer, bytes: &[u8]) -> Result<Vec<Record>, FormatError> {
    let header = bytes.get(..HEADER).unwrap_or_default();
    let footer = bytes.len().checked_sub(FOOTER).and_then(|at| bytes.get(at..)).unwrap_or_default();
    let outline = Outline::parse(header, footer, bytes.len() as u64)?;
    outline.table(sealer, bytes.get(outline.table_range()).unwrap_or_default())
}

/// The blobs that do not decode to what was stored; on all cores, front to back.
async fn damaged(
    sealer: &Sealer,
    bytes: &Bytes,
    records: &[Record],
) -> Result<Vec<(BlobKind, BlobId)>, RepoError> {
    let mut order = records.to_vec();
    order.sort_unstable_by_key(|r| r.offset);
    let order: Arc<[Record]> = order.into();
    let workers = std::thread::available_parallelism().map_or(2, usize::from).min(16);
    // By bytes, not by number: one part in `workers` for each.
    let total: u64 = order.iter().map(|r| u64::from(r.length) + 1).sum();
    let share = total / workers as u64 + 1;
    let mut jobs = Vec::with_capacity(workers);
    let (mut from, mut held) = (0, 0);
    for (n, record) in order.iter().enumerate() {
        held += u64::from(record.length) + 1;
        if held >= share || n + 1 == order.len() {
            let (range, order) = (from..n + 1, Arc::clone(&order));
            let (sealer, bytes) = (sealer.clone(), bytes.clone());
            jobs.push(tokio::task::spawn_blocking(move || {
                let wrong = |r: &&Record| {
                    // A plain store's frames do not depend on the pack's nonce.
                    let plain =
                        pack::frame(&bytes, r).and_then(|frame| pack::open_blob(&sealer, [0; 16], r, frame));
                    plain.is_err()
                };
                let part = order.get(range).unwrap_or_default();
                part.iter().filter(wrong).map(|r| (r.kind, r.id)).collect::<Vec<_>>()
            }));
            (from, held) = (n + 1, 0);
        }
    }
    let mut bad = Vec::new();
    for job in jobs {
        bad.extend(job.await?);
    }
    Ok(bad)
}
