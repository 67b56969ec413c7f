//! `cat`: one object's bytes, each block checked before it is written.

use futures::{StreamExt, stream};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::keys::Keys;
use super::open::Opened;
use super::{Cancel, OpError};
use crate::format::pack::BlobKind;
use crate::model::content::block_range;
use crate::model::entry::Entry;
use crate::model::key::Key;
use crate::plan::near;
use crate::plan::restore::{Deed, deed};
use crate::repo::RepoError;
use crate::repo::manifest_reader::Span;

/// Blocks that are read ahead of the one that is being written.
const AHEAD: usize = 3;

/// Writes the bytes of `key` to `out`; says how many. Nothing is written of an object that cannot be begun, and never
/// a byte that was not checked; a damaged block ends the output before it.
///
/// # Errors
/// The snapshot has no such key, or no contents of it; its bytes are damaged; `out` takes no more.
pub async fn cat<W>(opened: &Opened, key: &Key, out: &mut W, cancel: &Cancel) -> Result<u64, OpError>
where
    W: AsyncWrite + Unpin + Send + ?Sized,
{
    match write(opened, key, out, cancel).await {
        Err(OpError::Repo(e)) if e.is_damage() => Err(opened.removed().await.unwrap_or(e.into())),
        other => other,
    }
}

async fn write<W>(opened: &Opened, key: &Key, out: &mut W, cancel: &Cancel) -> Result<u64, OpError>
where
    W: AsyncWrite + Unpin + Send + ?Sized,
{
    let entry = entry(opened, key).await?;
    match deed(&entry) {
        Deed::File => {}
        Deed::Folder => {
            return Err(OpError::Failed(format!("“{key}” is a folder; qbak ls lists what is in it")));
        }
        Deed::Link => {
            let to = Key::new(entry.target.unwrap_or_default());
            return Err(OpError::Failed(format!("“{key}” is a symbolic link to “{to}” and has no bytes")));
        }
        Deed::Nothing(reason) => return Err(OpError::Failed(format!("“{key}” cannot be written: {reason}"))),
    }
    let content = entry.content.ok_or_else(|| OpError::Failed(format!("“{key}” has no contents")))?;
    let blocks = opened.blobs.blocks(content, entry.size).await?;
    let read = |(n, id)| async move {
        let bytes = opened.blobs.read(BlobKind::Data, &id).await?;
        let range = block_range(n, entry.size);
        if bytes.len() as u64 == range.end - range.start {
            return Ok(bytes);
        }
        let what = format!("block {n} of “{key}” has not the length that the snapshot says");
        Err(RepoError::Manifest { snapshot: opened.name, what })
    };
    let mut blocks = stream::iter((0..).zip(blocks)).map(read).buffered(AHEAD);
    let failed = |e: std::io::Error| OpError::Output(e);
    while let Some(bytes) = blocks.next().await {
        if cancel.is_set() {
            return Err(OpError::Interrupted);
        }
        out.write_all(&bytes?).await.map_err(failed)?;
    }
    out.flush().await.map_err(failed)?;
    Ok(entry.size)
}

/// The entry of a key.
///
/// # Errors
/// There is none; the keys nearest to it are named.
pub async fn entry(opened: &Opened, key: &Key) -> Result<Entry, OpError> {
    let mut entries = opened.entries(&Span::prefix(key.clone()));
    match entries.next().await? {
        Some(entry) if entry.key == *key => Ok(entry),
        _ => Err(missing(opened, key).await?),
    }
}

/// Refuses a key that the snapshot does not have.
///
/// # Errors
/// It has not, or the store cannot be read. Whether a damaged part of its manifest has the key shows later.
pub async fn must_have(keys: &Keys, opened: &Opened, key: &Key) -> Result<(), OpError> {
    match keys.first_from(key.bytes()).await {
        Ok(Some(found)) if found == *key => Ok(()),
        Ok(_) => Err(missing(opened, key).await?),
        Err(e) if e.is_damage() => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// How many keys a suggestion looks at.
const LOOKED_AT: usize = 4_096;

async fn missing(opened: &Opened, key: &Key) -> Result<OpError, OpError> {
    let mut seen = Vec::new();
    // The keys of the same folder first, then of the ones above it.
    for prefix in near::folders(key) {
        let mut entries = opened.entries(&Span::prefix(prefix));
        while seen.len() < LOOKED_AT {
            match entries.next().await {
                Ok(Some(entry)) => seen.push(entry.key),
                Ok(None) => break,
                Err(e) if e.is_damage() => {}
                Err(e) => return Err(e.into()),
            }
        }
        if !seen.is_empty() {
            break;
        }
    }
    let near: Vec<String> = near::nearest(key, &seen).iter().map(|k| format!("“{k}”")).collect();
    let hint = match near.split_last() {
        None => String::new(),
        Some((last, [])) => format!("; is it {last}?"),
        Some((last, rest)) => format!("; is it {} or {last}?", rest.join(", ")),
    };
    Ok(OpError::Failed(format!("snapshot {} has no “{key}”{hint}", opened.name)))
}
