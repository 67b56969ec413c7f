//! Is a content here already, or can it be copied from another group, rather than read from the source?

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::format::pack::BlobKind;
use crate::model::content::{BLOCK, block_range, blocks, hash, parse_block_list};
use crate::model::id::{BlobId, ContentId, ContentKind};
use crate::model::name::RunName;
use crate::op::OpError;
use crate::repo::blobs::BlobReader;
use crate::repo::group::Group;
use crate::repo::writer::Writer;

/// Answers what the run's group, and other groups, hold.
#[derive(Debug, Clone)]
pub(super) struct Contents {
    /// The run's group.
    pub group: Arc<Group>,
    /// The run, unless it is a dry one.
    pub writer: Option<Arc<Writer>>,
    /// Reads from the run's group first, then from others.
    pub reader: BlobReader,
    /// A run may rely on blobs of other groups.
    pub share: bool,
    /// The groups that this run has relied on.
    pub needs: Arc<Mutex<BTreeSet<RunName>>>,
}

impl Contents {
    /// The length of a blob of the run's group, if it is there and sound.
    async fn here(&self, kind: BlobKind, id: &BlobId) -> Result<Option<u32>, OpError> {
        Ok(match &self.writer {
            Some(writer) => writer.present(kind, id).await?.map(|r| r.length),
            None => self.group.sound(kind, id).await?.map(|l| l.record.length),
        })
    }

    /// Whether a blob of this length is there: in the run's group, or with `share` in any other.
    async fn has(&self, kind: BlobKind, id: &BlobId, length: Option<u64>) -> Result<bool, OpError> {
        let fits = |found: u32| length.is_none_or(|l| l == u64::from(found));
        if let Some(found) = self.here(kind, id).await? {
            return Ok(fits(found));
        }
        if !self.share {
            return Ok(false);
        }
        let copy = self.reader.copies(kind, id).await?.into_iter().find(|l| l.sound && fits(l.record.length));
        if let Some(copy) = copy {
            if copy.group != self.group.name
                && let Ok(mut needs) = self.needs.lock()
            {
                needs.insert(copy.group);
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether every byte of a content of this size is there and undamaged, as far as is known.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub(super) async fn present(&self, content: ContentId, size: u64) -> Result<bool, OpError> {
        if !content.fits(size) {
            return Ok(false);
        }
        match content.kind() {
            ContentKind::Blob(id) => self.has(BlobKind::Data, &id, Some(size)).await,
            ContentKind::List(id) => {
                // The list of this very run is stored after its blocks.
                if self.writer.as_ref().is_some_and(|w| w.is_new(BlobKind::List, &id)) {
                    return Ok(true);
                }
                if !self.has(BlobKind::List, &id, Some(blocks(size) * BlobId::LENGTH as u64)).await? {
                    return Ok(false);
                }
                let Ok(bytes) = self.reader.read(BlobKind::List, &id).await else { return Ok(false) };
                let Some(ids) = parse_block_list(&bytes, size) else { return Ok(false) };
                for (n, block) in (0..).zip(&ids) {
                    let range = block_range(n, size);
                    if !self.has(BlobKind::Data, block, Some(range.end - range.start)).await? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Copies a content into the run's group from wherever the store still has it, every byte checked on the way.
    /// `false`: it does not, or not undamaged; the source must be asked.
    ///
    /// # Errors
    /// The store cannot be reached or written.
    pub(super) async fn copy(&self, content: ContentId, size: u64) -> Result<bool, OpError> {
        let Some(writer) = &self.writer else { return self.elsewhere(content, size).await };
        let ids = match content.kind() {
            ContentKind::Blob(id) => vec![id],
            ContentKind::List(id) => {
                let Ok(bytes) = self.reader.read(BlobKind::List, &id).await else { return Ok(false) };
                match parse_block_list(&bytes, size) {
                    Some(ids) if crate::model::content::sha1(&bytes) == id => ids,
                    _ => return Ok(false),
                }
            }
        };
        for (n, id) in (0..).zip(&ids) {
            let range = block_range(n, size);
            let length = range.end - range.start;
            if self.here(BlobKind::Data, id).await?.is_some_and(|l| u64::from(l) == length) {
                continue;
            }
            let Ok(bytes) = self.reader.read(BlobKind::Data, id).await else { return Ok(false) };
            let (writer, id) = (Arc::clone(writer), *id);
            let copied = tokio::task::spawn_blocking(move || {
                let hashes = hash(&bytes);
                if hashes.id != id || bytes.len() as u64 != length || bytes.len() > BLOCK {
                    return Ok(false);
                }
                writer.put_blocking(BlobKind::Data, hashes, &bytes).map(|_| true)
            })
            .await??;
            if !copied {
                return Ok(false);
            }
        }
        if let ContentKind::List(_) = content.kind() {
            let list = crate::model::content::block_list(&ids);
            let writer = Arc::clone(writer);
            tokio::task::spawn_blocking(move || writer.put_blocking(BlobKind::List, hash(&list), &list))
                .await??;
        }
        Ok(true)
    }

    /// The ids of a large content's blocks, if the store has its list.
    pub(super) async fn blocks(&self, content: ContentId, size: u64) -> Vec<BlobId> {
        match content.kind() {
            ContentKind::List(_) => self.reader.blocks(content, size).await.unwrap_or_default(),
            ContentKind::Blob(_) => Vec::new(),
        }
    }

    /// What a dry run says instead of copying: whether another group seems to have it.
    async fn elsewhere(&self, content: ContentId, size: u64) -> Result<bool, OpError> {
        let (kind, id) = match content.kind() {
            ContentKind::Blob(id) => (BlobKind::Data, id),
            ContentKind::List(id) => (BlobKind::List, id),
        };
        let length = match kind {
            BlobKind::Data => size,
            _ => blocks(size) * BlobId::LENGTH as u64,
        };
        let copies = self.reader.copies(kind, &id).await?;
        Ok(copies.iter().any(|l| l.sound && u64::from(l.record.length) == length))
    }
}
