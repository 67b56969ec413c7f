//! Reads one object from the source, stores its blobs, and says what its entry is. Every byte is checked against the
//! listed hash; a mismatch is judged, never kept in silence.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use md5::{Digest as _, Md5};
use tokio::sync::Semaphore;

use crate::control::{Control, off};
use crate::format::pack::BlobKind;
use crate::format::records::Begun;
use crate::kodo::etag::PartsHasher;
use crate::model::content::{BLOCK, MAX_CONTENT, block_list, block_range, blocks, content_id, hash};
use crate::model::entry::{Entry, State};
use crate::model::id::{BlobId, ContentId};
use crate::model::key::Key;
use crate::model::listed::{Listed, ListedHash};
use crate::op::OpError;
use crate::repo::RepoError;
use crate::repo::blobs::BlobReader;
use crate::repo::writer::Writer;
use crate::source::{ErrorKind, ReadError, Route, Source, SourceError, Verdict};

/// How often an object that keeps changing is tried.
const TRIES: u32 = 3;
/// Blocks of one object that are on their way at a time.
const BLOCKS_AT_ONCE: usize = 4;
/// Object bytes in memory at a time, in KiB, over all downloads.
pub(super) const MEMORY_KIB: usize = 32 << 10;

/// What all downloads of a run share.
pub(super) struct Fetcher {
    /// The source.
    pub source: Arc<dyn Source>,
    /// The run.
    pub writer: Arc<Writer>,
    /// Reads back blocks that an earlier run stored.
    pub reader: BlobReader,
    /// Bounds the bytes in flight, in KiB.
    pub memory: Arc<Semaphore>,
    /// Large objects on their way, for checkpoints.
    pub begun: Mutex<HashMap<Key, Progress>>,
}

/// How far the download of a large object has come.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// What it is; `blocks` are all from the first on without a gap.
    pub object: Begun,
    /// How many of the blocks the last checkpoint has.
    pub saved: usize,
}

/// What a download came to.
#[derive(Debug)]
pub(super) struct Fetched {
    /// The entry.
    pub entry: Entry,
    /// Bytes that came from the source.
    pub downloaded: u64,
    /// Why it failed, if it did.
    pub failure: Option<ErrorKind>,
    /// The SHA-1 that a block of it shares with other bytes in the store.
    pub collision: Option<BlobId>,
}

/// An entry with everything the listing says and no content.
pub(in crate::op) fn bare_entry(listed: &Listed) -> Entry {
    let mut entry = Entry::new(listed.key.clone(), listed.kind);
    entry.size = listed.size;
    entry.put_time = listed.put_time;
    entry.target.clone_from(&listed.target);
    entry.attributes.clone_from(&listed.attributes);
    entry.fingerprint = listed.hash.as_ref().map(ListedHash::text);
    entry
}

/// The entry of an object whose content is known.
pub(in crate::op) fn entry_with(listed: &Listed, content: ContentId) -> Entry {
    let mut entry = bare_entry(listed);
    entry.fingerprint = entry.fingerprint.filter(|f| *f != content.to_string());
    entry.content = Some(content);
    entry.unverified =
        matches!(&listed.hash, Some(ListedHash::Parts(_)) if listed.attributes.parts.is_empty());
    entry
}

/// The entry of an object that could not be read.
pub(super) fn unread_entry(listed: &Listed, state: State, reason: String) -> Entry {
    let mut entry = bare_entry(listed);
    entry.state = state;
    entry.reason = Some(reason);
    entry
}

/// Why one attempt did not give the content.
enum Miss {
    Read(ReadError),
    /// The bytes do not have the listed hash; the etag that they have.
    Mismatch(ContentId),
    Collision(BlobId, String),
    Stop(OpError),
}

/// Which two hashes differ, in parentheses, where both are known.
fn differing(listed: &Listed, miss: &Miss) -> String {
    match (&listed.hash, miss) {
        (Some(ListedHash::Etag(wanted)), Miss::Mismatch(had)) => {
            format!(" (listed as {wanted}, read as {had})")
        }
        _ => String::new(),
    }
}

impl From<ReadError> for Miss {
    fn from(e: ReadError) -> Self {
        Self::Read(e)
    }
}

impl From<RepoError> for Miss {
    fn from(e: RepoError) -> Self {
        match e {
            RepoError::Collision { id } => Self::Collision(id, e.to_string()),
            e => Self::Stop(e.into()),
        }
    }
}

impl Fetcher {
    /// Reads an object. `known` are its first blocks that an earlier run stored.
    ///
    /// # Errors
    /// Only what ends the run: the store failed. A failed object is an entry that says so.
    pub(super) async fn fetch(&self, listed: Listed, known: Vec<BlobId>) -> Result<Fetched, OpError> {
        let result = self.attempts(listed, known).await;
        if let Ok(fetched) = &result
            && let Ok(mut begun) = self.begun.lock()
        {
            begun.remove(&fetched.entry.key);
        }
        result
    }

    async fn attempts(&self, mut listed: Listed, mut known: Vec<BlobId>) -> Result<Fetched, OpError> {
        let mut downloaded = 0;
        let mut route = Route::Usual;
        let mut changes = 0;
        let mut read_twice = false;
        let unread = |listed: &Listed, downloaded, state, reason, failure| {
            Ok(Fetched { entry: unread_entry(listed, state, reason), downloaded, failure, collision: None })
        };
        loop {
            if listed.size > MAX_CONTENT {
                let reason = format!("it has {} bytes; at most {MAX_CONTENT} can be kept", listed.size);
                return unread(&listed, downloaded, State::Failed, reason, Some(ErrorKind::Other));
            }
            let resumed = !known.is_empty();
            let miss = match self.attempt(&listed, &known, route, &mut downloaded).await {
                Ok(content) => {
                    return Ok(Fetched {
                        entry: entry_with(&listed, content),
                        downloaded,
                        failure: None,
                        collision: None,
                    });
                }
                Err(miss) => miss,
            };
            known.clear();
            match miss {
                Miss::Stop(e) => return Err(e),
                Miss::Collision(id, reason) => {
                    let entry = unread_entry(&listed, State::Failed, reason);
                    return Ok(Fetched { entry, downloaded, failure: None, collision: Some(id) });
                }
                Miss::Read(ReadError::Failed(SourceError { kind, message })) => {
                    return unread(&listed, downloaded, State::Failed, message, Some(kind));
                }
                Miss::Read(ReadError::Unavailable(reason)) => {
                    return unread(&listed, downloaded, State::Unavailable, reason, None);
                }
                // What an earlier run stored may have belonged to another version.
                Miss::Mismatch(_) if resumed => {}
                miss @ (Miss::Mismatch(_) | Miss::Read(ReadError::Changed | ReadError::Vanished)) => {
                    let verdict = match self.source.judge(&listed, route).await {
                        Ok(verdict) => verdict,
                        Err(e) => return unread(&listed, downloaded, State::Failed, e.message, Some(e.kind)),
                    };
                    match verdict {
                        Verdict::Changed(new) => {
                            changes += 1;
                            listed = *new;
                            if let Some(reason) = listed.unavailable.clone() {
                                return unread(&listed, downloaded, State::Unavailable, reason, None);
                            }
                            if changes >= TRIES {
                                let reason = format!("it changed {TRIES} times while it was read");
                                return unread(
                                    &listed,
                                    downloaded,
                                    State::Failed,
                                    reason,
                                    Some(ErrorKind::Other),
                                );
                            }
                        }
                        Verdict::Gone => {
                            let reason = "it was deleted after it was listed".into();
                            return unread(&listed, downloaded, State::Vanished, reason, None);
                        }
                        Verdict::TryOrigin if route == Route::Usual => route = Route::Origin,
                        Verdict::TryOrigin => {
                            let reason = format!(
                                "its bytes do not have the listed hash, from the source host either{}",
                                differing(&listed, &miss)
                            );
                            return unread(
                                &listed,
                                downloaded,
                                State::Failed,
                                reason,
                                Some(ErrorKind::Protocol),
                            );
                        }
                        // A byte that fell over on the way is right the next time.
                        Verdict::Altered(_) if !read_twice => read_twice = true,
                        Verdict::Altered(reason) => {
                            let reason = format!("{reason}{}", differing(&listed, &miss));
                            return unread(
                                &listed,
                                downloaded,
                                State::Failed,
                                reason,
                                Some(ErrorKind::Protocol),
                            );
                        }
                    }
                }
            }
        }
    }

    /// One attempt: all blocks, then the hash.
    async fn attempt(
        &self,
        listed: &Listed,
        known: &[BlobId],
        route: Route,
        downloaded: &mut u64,
    ) -> Result<ContentId, Miss> {
        let total = blocks(listed.size);
        let large = listed.size > BLOCK as u64;
        if large {
            self.begin(listed);
        }
        let mut check = Check::new(listed);
        let mut ids: Vec<BlobId> = Vec::new();
        let mut coming = FuturesOrdered::new();
        let mut next = 0;
        loop {
            while next < total && coming.len() < BLOCKS_AT_ONCE {
                let id = usize::try_from(next).ok().and_then(|n| known.get(n)).copied();
                coming.push_back(self.block(listed, next, id, route, check.needs_bytes()));
                next += 1;
            }
            let Some(block) = coming.next().await else { break };
            let block = block?;
            *downloaded += block.downloaded;
            ids.push(block.id);
            if let Some(bytes) = block.bytes {
                check = tokio::task::spawn_blocking(move || {
                    check.update(&bytes);
                    check
                })
                .await
                .map_err(|e| Miss::Stop(e.into()))?;
            }
            if large
                && let Ok(mut begun) = self.begun.lock()
                && let Some(p) = begun.get_mut(&listed.key)
            {
                p.object.blocks.push(block.id);
            }
        }
        let content = content_id(&ids);
        if !check.accepts(listed, content) {
            return Err(Miss::Mismatch(content));
        }
        if ids.len() > 1 {
            let list = Bytes::from(block_list(&ids));
            self.writer.put(BlobKind::List, hash(&list), list).await?;
        }
        Ok(content)
    }

    fn begin(&self, listed: &Listed) {
        let object = Begun {
            key: listed.key.clone(),
            size: listed.size,
            fingerprint: listed.hash.as_ref().map(ListedHash::text),
            put_time: listed.put_time,
            from: 0,
            blocks: Vec::new(),
        };
        if let Ok(mut begun) = self.begun.lock() {
            begun.insert(listed.key.clone(), Progress { object, saved: 0 });
        }
    }

    async fn block(
        &self,
        listed: &Listed,
        n: u64,
        known: Option<BlobId>,
        route: Route,
        keep: bool,
    ) -> Result<Block, Miss> {
        let range = block_range(n, listed.size);
        let length = range.end - range.start;
        let kib = u32::try_from(length / 1024 + 1).unwrap_or(u32::MAX);
        let permit = self
            .memory
            .acquire_many(kib)
            .await
            .map_err(|_| Miss::Stop(OpError::Failed("the run is ending".into())))?;
        if let Some(id) = known
            && self.writer.present(BlobKind::Data, &id).await?.is_some_and(|r| u64::from(r.length) == length)
        {
            if !keep {
                return Ok(Block { id, downloaded: 0, bytes: None });
            }
            if let Ok(bytes) = self.reader.read(BlobKind::Data, &id).await {
                return Ok(Block { id, downloaded: 0, bytes: Some(bytes) });
            }
        }
        let bytes = if self.source.blocking().is_some() {
            None
        } else {
            Some(self.source.read(listed, range.clone(), route).await?)
        };
        let (source, writer, object) = (Arc::clone(&self.source), Arc::clone(&self.writer), listed.clone());
        let block = tokio::task::spawn_blocking(move || {
            let bytes = match (bytes, source.blocking()) {
                (Some(bytes), _) => bytes,
                (None, Some(local)) => local.read_blocking(&object, range)?,
                (None, None) => return Err(Miss::Read(ReadError::Changed)),
            };
            if bytes.len() as u64 != length {
                return Err(Miss::Read(ReadError::Changed));
            }
            let hashes = hash(&bytes);
            writer.put_blocking(BlobKind::Data, hashes, &bytes)?;
            Ok(Block { id: hashes.id, downloaded: length, bytes: keep.then_some(bytes) })
        })
        .await
        .map_err(|e| Miss::Stop(e.into()))??;
        drop(permit);
        Ok(block)
    }

    /// Reads a small object of a local source on the calling worker thread. `None`: it needs the careful way, because it
    /// changed or collided.
    ///
    /// # Errors
    /// The store failed.
    pub(super) fn fetch_small_blocking(&self, listed: &Listed) -> Result<Option<Fetched>, OpError> {
        let Some(local) = self.source.blocking() else { return Ok(None) };
        let bytes = match local.read_blocking(listed, 0..listed.size) {
            Ok(bytes) if bytes.len() as u64 == listed.size => bytes,
            Ok(_) | Err(ReadError::Changed | ReadError::Vanished) => return Ok(None),
            Err(ReadError::Unavailable(reason)) => {
                let entry = unread_entry(listed, State::Unavailable, reason);
                return Ok(Some(Fetched { entry, downloaded: 0, failure: None, collision: None }));
            }
            Err(ReadError::Failed(e)) => {
                let entry = unread_entry(listed, State::Failed, e.message);
                return Ok(Some(Fetched { entry, downloaded: 0, failure: Some(e.kind), collision: None }));
            }
        };
        let hashes = hash(&bytes);
        match self.writer.put_blocking(BlobKind::Data, hashes, &bytes) {
            Ok(_) => {}
            Err(RepoError::Collision { .. }) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
        let entry = entry_with(listed, ContentId::small(hashes.id));
        Ok(Some(Fetched { entry, downloaded: listed.size, failure: None, collision: None }))
    }
}

struct Block {
    id: BlobId,
    downloaded: u64,
    bytes: Option<Bytes>,
}

/// What the listed hash asks for beside the block hashes.
enum Check {
    /// Nothing, or only the content id.
    Id,
    /// The hash of its parts.
    Parts(Box<PartsHasher>),
    /// MD5.
    Md5(Box<Md5>),
}

impl Check {
    fn new(listed: &Listed) -> Self {
        match &listed.hash {
            Some(ListedHash::Parts(_)) => {
                let runs = &listed.attributes.parts;
                let sum =
                    runs.iter().try_fold(0u64, |n, (size, times)| n.checked_add(size.checked_mul(*times)?));
                let count = runs.iter().fold(0u64, |n, (_, times)| n.saturating_add(*times));
                // Ten thousand parts are the most an upload has; other sums are not this object's.
                if sum == Some(listed.size) && count > 0 && count <= 10_000 {
                    return Self::Parts(Box::new(PartsHasher::new(runs)));
                }
                Self::Id
            }
            Some(ListedHash::Md5(..)) => Self::Md5(Box::default()),
            _ => Self::Id,
        }
    }

    fn needs_bytes(&self) -> bool {
        !matches!(self, Self::Id)
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Id => {}
            Self::Parts(hasher) => hasher.update(bytes),
            Self::Md5(hasher) => hasher.update(bytes),
        }
    }

    fn accepts(self, listed: &Listed, content: ContentId) -> bool {
        if off(Control::NoEtagCheck) {
            return true;
        }
        match (self, &listed.hash) {
            (Self::Id, Some(ListedHash::Etag(id))) => *id == content,
            (Self::Parts(hasher), Some(ListedHash::Parts(text))) => {
                hasher.finish().is_some_and(|etag| etag.passes(text, &content))
            }
            (Self::Md5(hasher), Some(ListedHash::Md5(sum, _))) => hasher.finalize().as_slice() == sum,
            _ => true,
        }
    }
}
