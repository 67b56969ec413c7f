//! One worker's part: compare what is there, read blobs, write files. A file that cannot be had whole is not written.

use futures::{StreamExt, TryStreamExt, stream};

use super::ledger::Cause;
use super::walk::closed;
use super::{Site, meta_of};
use crate::format::pack::BlobKind;
use crate::model::content::block_range;
use crate::model::entry::{Entry, Kind};
use crate::model::id::{BlobId, ContentId, ContentKind};
use crate::model::key::Key;
use crate::op::OpError;
use crate::plan::restore::Step;
use crate::repo::RepoError;
use crate::target::folder::{Existing, FolderTarget, Meta, Outcome, Ticket};
use crate::target::{TargetError, TargetErrorKind};

/// Bytes in flight, in KiB: frames and what they decode to.
pub(super) const MEMORY_KIB: u32 = 64 << 10;
/// Blocks of one large object that are read at a time.
const BLOCKS: usize = 4;

/// How much memory so many bytes of content take while they are read.
pub(super) fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes / 512 + 1).unwrap_or(MEMORY_KIB).min(MEMORY_KIB)
}

/// A file or link to be restored.
pub(super) struct Job {
    pub(super) entry: Entry,
    pub(super) path: Vec<u8>,
    pub(super) recorded: bool,
    /// Its folder gets its mode and time after this is dropped.
    pub(super) _ticket: Option<Ticket>,
}

/// Why a job came to nothing.
enum Trouble {
    Damaged(String),
    Target(TargetError),
    Fatal(OpError),
}

impl From<TargetError> for Trouble {
    fn from(e: TargetError) -> Self {
        Self::Target(e)
    }
}

impl From<RepoError> for Trouble {
    fn from(e: RepoError) -> Self {
        if e.is_damage() { Self::Damaged(e.to_string()) } else { Self::Fatal(e.into()) }
    }
}

impl Site {
    /// Does some jobs, one after another.
    pub(super) fn batch(&self, jobs: Vec<Job>) {
        for job in jobs {
            if self.cancel.is_set() {
                self.ledger.stop(OpError::Interrupted);
            }
            if self.ledger.is_stopped() {
                return;
            }
            let key = &job.entry.key;
            match self.one(&job) {
                Ok(step) => {
                    self.ledger.done(key, Some(&job.path), job.entry.size, step);
                    if job.recorded {
                        self.record(&job);
                    }
                }
                Err(Trouble::Damaged(why)) => self.ledger.failed(key, Cause::Damaged, why),
                Err(Trouble::Target(e)) => self.target_failed(key, e),
                Err(Trouble::Fatal(e)) => self.ledger.stop(e),
            }
        }
    }

    /// Something could not be written: one failure among others, unless every other file would fail alike.
    pub(super) fn target_failed(&self, key: &Key, e: TargetError) {
        if e.kind == TargetErrorKind::Full {
            let text = format!("{e}; what was restored so far is whole, and --overwrite goes on from there");
            self.ledger.stop(OpError::Failed(text));
        } else {
            self.ledger.failed(key, Cause::Target, e.message);
        }
    }

    fn record(&self, job: &Job) {
        let mut side = self.side.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let recorded = side.as_mut().map(|side| side.record(&job.path, job.entry.key.bytes()));
        if let Some(Err(e)) = recorded {
            self.ledger.stop(RepoError::Spool(e.to_string()).into());
        }
    }

    fn one(&self, job: &Job) -> Result<Step, Trouble> {
        let (entry, meta) = (&job.entry, meta_of(&job.entry));
        match (entry.kind, &entry.target, entry.content) {
            (Kind::Link, Some(to), _) => match self.writable() {
                Some(target) => Ok(match target.link(&job.path, to, &meta)? {
                    Outcome::Written => Step::Write,
                    Outcome::Unchanged => Step::Unchanged,
                }),
                None => Ok(self.foresee_link(&job.path, to)?),
            },
            (_, _, Some(content)) => self.file(job, content, &meta),
            _ => Err(Trouble::Damaged("the snapshot does not say what it is".into())),
        }
    }

    fn file(&self, job: &Job, content: ContentId, meta: &Meta) -> Result<Step, Trouble> {
        let size = job.entry.size;
        let there = match &self.target {
            Some(target) if self.overwrite => target.compare(&job.path, size, &content, meta)?,
            _ => Existing::Nothing,
        };
        let step = match there {
            Existing::Same { meta: true } => return Ok(Step::Unchanged),
            Existing::Same { meta: false } => Step::Metadata,
            Existing::Nothing => Step::Write,
            Existing::Differs | Existing::NoFile => Step::Replace,
        };
        let Some(target) = self.writable() else { return Ok(step) };
        match content.kind() {
            _ if step == Step::Metadata => target.set_meta(&job.path, meta)?,
            ContentKind::Blob(id) => {
                let bytes = self.runtime.block_on(self.opened.blobs.read(BlobKind::Data, &id))?;
                if bytes.len() as u64 != size {
                    return Err(wrong_length(id));
                }
                target.write(&job.path, &bytes, meta)?;
            }
            ContentKind::List(_) => self.runtime.block_on(self.large(job, content, meta, target))?,
        }
        Ok(step)
    }

    /// A file of many blocks. Reads run beside each other; this thread writes each as it comes.
    async fn large(
        &self,
        job: &Job,
        content: ContentId,
        meta: &Meta,
        target: &FolderTarget,
    ) -> Result<(), Trouble> {
        let size = job.entry.size;
        let ids = self.opened.blobs.blocks(content, size).await?;
        let whole = target.begin(&job.path, size, meta)?;
        let file = &whole;
        let block = |(n, id): (u64, BlobId)| async move {
            if self.cancel.is_set() {
                return Err(Trouble::Fatal(OpError::Interrupted));
            }
            let range = block_range(n, size);
            let permits = kib(range.end - range.start);
            let _permit = self.memory.acquire_many(permits).await.map_err(|_| Trouble::Fatal(closed()))?;
            let bytes = self.opened.blobs.read(BlobKind::Data, &id).await?;
            if bytes.len() as u64 != range.end - range.start {
                return Err(wrong_length(id));
            }
            file.write_at(range.start, &bytes).map_err(Trouble::from)
        };
        let blocks = (0..).zip(ids);
        let mut done = stream::iter(blocks).map(block).buffer_unordered(BLOCKS);
        while done.try_next().await?.is_some() {}
        drop(done);
        Ok(whole.finish()?)
    }
}

fn wrong_length(id: BlobId) -> Trouble {
    Trouble::Damaged(format!("data blob {id} has not the length that the snapshot says"))
}
