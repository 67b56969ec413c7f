//! Goes through the snapshot in the order of its keys and hands the work out, a bounded part of it at a time.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::ledger::Cause;
use super::write::{Job, kib};
use super::{Site, meta_of};
use crate::model::content::BLOCK;
use crate::model::entry::{Entry, Kind};
use crate::model::glob::Filter;
use crate::op::OpError;
use crate::plan::restore::{Deed, Reach, Step, deed};
use crate::repo::RepoError;
use crate::repo::manifest_reader::Span;
use crate::target::folder::{FolderStack, Outcome};
use crate::target::keymap::KeyMap;

/// Small files that one worker is given at a time, by number and by bytes.
const BATCH_JOBS: usize = 128;
const BATCH_BYTES: u64 = 2 << 20;
/// How many workers there are: enough to keep a disk busy and to hide a distant store's answers.
const WORKERS: usize = 8;

/// Is given an entry and the one that follows it.
type Each<'a> = dyn FnMut(Entry, Option<&Entry>) -> Result<(), OpError> + 'a;

/// Goes through a stretch of keys; `f` is given each entry and the one that follows it, where that is known. What is
/// lost of the manifest goes to `lost`.
pub(super) fn each(
    site: &Site,
    reach: &Reach,
    lost: &mut dyn FnMut(RepoError),
    f: &mut Each<'_>,
) -> Result<(), OpError> {
    let mut entries = site.opened.entries(&Span::prefix(reach.prefix.clone()));
    let mut next = || loop {
        match site.runtime.block_on(entries.next()) {
            Ok(entry) => return Ok(entry),
            Err(e) if e.is_damage() => lost(e),
            Err(e) => return Err(OpError::from(e)),
        }
    };
    let mut head = next()?;
    while let Some(entry) = head {
        if site.cancel.is_set() {
            return Err(OpError::Interrupted);
        }
        if reach.exact {
            return if entry.key == reach.prefix { f(entry, None) } else { Ok(()) };
        }
        head = next()?;
        f(entry, head.as_ref())?;
    }
    Ok(())
}

/// Restores everything that the filter takes. Returns when all of it is done, or nothing more can be.
pub(super) fn all(
    site: &Arc<Site>,
    filter: &Filter,
    reaches: &[Reach],
    map: &KeyMap<'_>,
) -> Result<(), OpError> {
    let mut pass = Pass {
        stack: site.writable().map(FolderStack::new),
        workers: Workers { set: JoinSet::new(), runtime: site.runtime.clone() },
        batch: Vec::new(),
        bytes: 0,
        site,
        map,
    };
    let mut walked = Ok(());
    for reach in reaches {
        let mut lost = |e: RepoError| site.ledger.lost_piece(e.to_string());
        walked = each(site, reach, &mut lost, &mut |entry, next| {
            match site.ledger.is_stopped() {
                // The reason is kept in the ledger.
                true => Err(OpError::Interrupted),
                false if filter.takes(&entry.key) => pass.entry(entry, next),
                false => Ok(()),
            }
        });
        if walked.is_err() {
            break;
        }
    }
    if let Err(e) = walked.and_then(|()| pass.flush()) {
        site.ledger.stop(e);
    }
    pass.workers.finish()?;
    // Every ticket has been dropped: folders get their modes and times.
    for e in pass.stack.map(FolderStack::finish).unwrap_or_default() {
        site.ledger.target_failed(e.message);
    }
    match site.keys.problem() {
        Some(e) => Err(e.into()),
        None => Ok(()),
    }
}

struct Pass<'a> {
    site: &'a Arc<Site>,
    map: &'a KeyMap<'a>,
    stack: Option<FolderStack>,
    workers: Workers,
    batch: Vec<Job>,
    bytes: u64,
}

impl Pass<'_> {
    fn entry(&mut self, entry: Entry, next: Option<&Entry>) -> Result<(), OpError> {
        let site = self.site;
        let what = deed(&entry);
        let size = if what == Deed::File { entry.size } else { 0 };
        site.ledger.asked(size);
        if let Deed::Nothing(reason) = what {
            site.ledger.failed(&entry.key, Cause::Absent, reason);
            return Ok(());
        }
        let place = match self.map.place(entry.key.bytes(), entry.kind, next.map(|n| n.key.bytes())) {
            Ok(place) => place,
            Err(e) => {
                site.ledger.failed(&entry.key, Cause::Target, e.0);
                return Ok(());
            }
        };
        if entry.kind == Kind::Folder {
            self.folder(&entry, &place.path);
            return Ok(());
        }
        let ticket = self.stack.as_mut().map(|stack| stack.ticket(&place.path));
        let job = Job { entry, path: place.path, recorded: place.recorded, _ticket: ticket };
        if size > BLOCK as u64 {
            // What comes before it in the manifest lies before it in the packs too.
            self.flush()?;
            let site = Arc::clone(site);
            return self.workers.give(move || site.batch(vec![job]));
        }
        self.bytes += size;
        self.batch.push(job);
        if self.batch.len() >= BATCH_JOBS || self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn folder(&mut self, entry: &Entry, path: &[u8]) {
        let site = self.site;
        let step = match &mut self.stack {
            Some(stack) => stack.folder(path, &meta_of(entry)).map(|outcome| match outcome {
                Outcome::Written => Step::Write,
                Outcome::Unchanged => Step::Unchanged,
            }),
            None => site.foresee_folder(path),
        };
        match step {
            Ok(step) => site.ledger.done(&entry.key, Some(path), 0, step),
            Err(e) => site.target_failed(&entry.key, e),
        }
    }

    fn flush(&mut self) -> Result<(), OpError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let (jobs, bytes) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.bytes));
        let memory = Arc::clone(&self.site.memory).acquire_many_owned(kib(bytes));
        let permit = self.site.runtime.block_on(memory).map_err(|_| closed())?;
        let site = Arc::clone(self.site);
        self.workers.give(move || {
            site.batch(jobs);
            drop(permit);
        })
    }
}

pub(super) fn closed() -> OpError {
    OpError::Failed("the restore's memory budget was closed under it".into())
}

/// A bounded number of worker threads.
struct Workers {
    set: JoinSet<()>,
    runtime: Handle,
}

impl Workers {
    fn give(&mut self, work: impl FnOnce() + Send + 'static) -> Result<(), OpError> {
        while self.set.len() >= WORKERS {
            self.runtime.block_on(self.set.join_next()).transpose()?;
        }
        self.set.spawn_blocking_on(work, &self.runtime);
        Ok(())
    }

    fn finish(mut self) -> Result<(), OpError> {
        let mut result = Ok(());
        while let Some(done) = self.runtime.block_on(self.set.join_next()) {
            result = result.and(done.map_err(OpError::from));
        }
        result
    }
}
