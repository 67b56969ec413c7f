//! The loop of a run: takes tasks, keeps downloads going, brings finished entries into order, and saves how far it has come.

mod save;
mod tasks;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::content::Contents;
use super::fetch::{Fetched, Fetcher};
use super::input::{Input, Known, Task, Tasks};
use super::options::Options;
use super::order::Order;
use super::tally::Tally;
use crate::control::{Control, off};
use crate::format::pack::TARGET;
use crate::model::event::{Event, Observer};
use crate::model::id::{BlobId, ContentId};
use crate::model::key::Key;
use crate::model::listed::Listed;
use crate::op::{Cancel, OpError};
use crate::plan::suspect::too_many_failed;
use crate::repo::RepoError;
use crate::repo::manifest_writer::ManifestWriter;
use crate::repo::writer::Writer;
use crate::source::ErrorKind;

/// A checkpoint is taken when the open pack is full, or after this long.
const CHECKPOINT_TIME: Duration = Duration::from_secs(30);
/// Small objects of a local source that one worker reads in a row: so many,
const BATCH_OBJECTS: usize = 128;
/// and so many bytes.
const BATCH_BYTES: u64 = 4 << 20;
/// Entries that may be listed but not yet in the manifest before the listing has to wait.
const MOST_WAITING: u64 = 1 << 20;
/// Objects that may wait for another of the same content, in memory: about 60 MB.
const MOST_WAITERS: usize = 64 << 10;
/// So many first downloads that fail alike stop the run.
const ALIKE: usize = 20;
/// Collisions that are remembered, to name both keys.
const COLLISIONS: usize = 1000;
/// Pages of tasks that the join runs ahead.
const AHEAD: usize = 2;

/// How a pass over the listing ended.
pub(super) enum End {
    /// Everything listed is in the manifest.
    Finished(Box<ManifestWriter>),
    /// The listing is out of order: begin again.
    OutOfOrder,
}

/// What a worker brings back: for each object its number and what is known of it.
enum Outcome {
    /// Read, or found not to be readable. The content is the one others wait for.
    Fetched(u64, Known, Option<ContentId>, Box<Fetched>),
    /// Expected and here, or copied.
    Here(u64, Known, Box<Listed>, ContentId),
    /// Expected, and not here: it must be read.
    Absent(u64, Known, Box<Listed>, ContentId, Vec<BlobId>),
    /// Several small ones of a local source; `None` for one that needs the careful way.
    Batch(Vec<(u64, Known, Listed, Option<Fetched>)>),
}

/// An object that waits for another of the same content.
struct Waiter {
    number: u64,
    listed: Box<Listed>,
    known: Known,
}

/// What a pass is made of.
pub(super) struct Parts {
    /// The run.
    pub writer: Arc<Writer>,
    /// Reads objects.
    pub fetcher: Arc<Fetcher>,
    /// Knows what the store holds.
    pub contents: Contents,
    /// Is told.
    pub observer: Arc<dyn Observer>,
    /// Says stop.
    pub cancel: Cancel,
    /// What is asked for.
    pub options: Arc<Options>,
    /// Counts.
    pub tally: Arc<Mutex<Tally>>,
    /// The baseline is another snapshot than the parent.
    pub separate: bool,
    /// Metadata of all objects was read again.
    pub all_details: bool,
}

/// One pass over the listing.
pub(super) struct Engine {
    parts: Parts,
    input: mpsc::Receiver<Result<Tasks, OpError>>,
    joiner: JoinHandle<()>,
    jobs: JoinSet<Result<Outcome, OpError>>,
    saving: JoinSet<Result<(), RepoError>>,
    at_once: usize,
    local: bool,
    todo: VecDeque<(Task, Known)>,
    /// Small objects of a local source that wait for a batch to fill.
    batch: Vec<(u64, Known, Listed)>,
    batch_bytes: u64,
    listed: bool,
    stopping: bool,
    next: u64,
    flowed: u64,
    saved: u64,
    total: (u64, u64),
    order: Order,
    /// Contents on their way, and who waits for each.
    coming: HashMap<ContentId, Vec<Waiter>>,
    waiters: usize,
    manifest: ManifestWriter,
    in_baseline: BTreeSet<u64>,
    first: Vec<Option<ErrorKind>>,
    failed: u64,
    moved: Moved,
}

/// What a pass moved, and what it met.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Objects of which bytes were downloaded.
    pub objects: u64,
    /// Bytes downloaded.
    pub bytes: u64,
    /// Objects that share a block's SHA-1 with other bytes.
    pub collisions: Vec<(Key, BlobId)>,
}

impl Engine {
    /// A pass that is ready to run.
    pub(super) fn new(mut input: Input, parts: Parts) -> Self {
        let local = parts.fetcher.source.blocking().is_some();
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let (sender, receiver) = mpsc::channel(AHEAD);
        // A task of its own: the join is not to be cut off in the middle, and decodes while others download.
        let joiner = tokio::spawn(async move {
            loop {
                let tasks = input.next().await;
                let last = !matches!(tasks, Ok(Tasks::Some(_)));
                if sender.send(tasks).await.is_err() || last {
                    return;
                }
            }
        });
        Self {
            input: receiver,
            joiner,
            jobs: JoinSet::new(),
            saving: JoinSet::new(),
            at_once: if local { cores + 1 } else { parts.options.concurrency.max(1) },
            local,
            todo: VecDeque::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            listed: false,
            stopping: false,
            next: 0,
            flowed: 0,
            saved: 0,
            total: (0, 0),
            order: Order::new(&parts.options.spool),
            coming: HashMap::new(),
            waiters: 0,
            manifest: ManifestWriter::new(Arc::clone(&parts.writer)),
            in_baseline: BTreeSet::new(),
            first: Vec::new(),
            failed: 0,
            moved: Moved::default(),
            parts,
        }
    }

    /// Runs to the end of the listing. Also returns what was moved.
    ///
    /// # Errors
    /// The run cannot go on: the listing or the store failed, too much fails, or it was told to stop. What was stored is
    /// saved by a checkpoint where that is possible.
    pub(super) async fn run(mut self) -> (Result<End, OpError>, Moved) {
        let result = self.work().await;
        self.joiner.abort();
        let end = match result {
            Ok(true) => self.saved().await.map(|()| None),
            Ok(false) => self.stop().await.map(|()| Some(End::OutOfOrder)),
            Err(e) => {
                // The store may be what failed: then the checkpoint fails too, and the first error is the one to tell.
                let _ = self.stop().await;
                Err(e)
            }
        };
        let moved = std::mem::take(&mut self.moved);
        (end.map(|end| end.unwrap_or_else(|| End::Finished(Box::new(self.manifest)))), moved)
    }

    /// True: finished. False: the listing is out of order.
    async fn work(&mut self) -> Result<bool, OpError> {
        let mut clock = tokio::time::interval(CHECKPOINT_TIME);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        clock.tick().await;
        let mut cancel = self.parts.cancel.clone();
        let writer = Arc::clone(&self.parts.writer);
        loop {
            if cancel.is_set() {
                return Err(OpError::Interrupted);
            }
            while self.jobs.len() < self.at_once
                && let Some((task, known)) = self.todo.pop_front()
            {
                self.begin(task, known).await?;
            }
            if self.todo.is_empty() && self.jobs.len() < self.at_once {
                self.send_batch();
            }
            self.flow().await?;
            if self.parts.writer.open_bytes() >= TARGET && self.saving.is_empty() {
                self.checkpoint().await?;
            }
            if self.todo.is_empty() && self.listed && self.batch.is_empty() && self.jobs.is_empty() {
                self.flow().await?;
                self.check_failures(true)?;
                return Ok(true);
            }
            let bearable = self.next - self.flowed < MOST_WAITING && self.waiters < MOST_WAITERS;
            let room = self.todo.is_empty() && !self.listed && bearable;
            tokio::select! {
                biased;
                () = cancel.wait() => return Err(OpError::Interrupted),
                Some(outcome) = self.jobs.join_next(), if !self.jobs.is_empty() => self.settle(outcome??)?,
                Some(saved) = self.saving.join_next(), if !self.saving.is_empty() => saved??,
                // A single large object fills packs without finishing anything.
                () = writer.filled(), if self.saving.is_empty() => {}
                _ = clock.tick(), if self.saving.is_empty() => self.checkpoint().await?,
                tasks = self.input.recv(), if room => match tasks {
                    Some(tasks) => match tasks? {
                        Tasks::Some(tasks) => self.receive(tasks),
                        Tasks::OutOfOrder => return Ok(false),
                        Tasks::End => self.listed = true,
                    },
                    None => return Err(OpError::Failed("the listing stopped before its end".into())),
                },
            }
        }
    }

    fn receive(&mut self, tasks: VecDeque<(Task, Known)>) {
        let size = |task: &Task| match task {
            Task::Ready(entry) => entry.size,
            Task::Expect(listed, ..) | Task::Fetch(listed, _) => listed.size,
        };
        // A listing may claim sizes whose sum no number holds.
        let bytes = tasks.iter().fold(0u64, |n, (t, _)| n.saturating_add(size(t)));
        self.total.0 += tasks.len() as u64;
        self.total.1 = self.total.1.saturating_add(bytes);
        self.parts.observer.event(Event::Total { objects: self.total.0, bytes: self.total.1 });
        self.todo = tasks;
    }

    fn tally(&self) -> Result<MutexGuard<'_, Tally>, OpError> {
        self.parts.tally.lock().map_err(|_| OpError::Failed("a worker stopped while it counted".into()))
    }

    /// Brings what is in order into the manifest.
    async fn flow(&mut self) -> Result<(), OpError> {
        while let Some(done) = self.order.take()? {
            let in_baseline = self.in_baseline.remove(&self.flowed);
            self.flowed += 1;
            self.tally()?.entry(&done, in_baseline)?;
            self.manifest.push(&done.entry).await?;
        }
        Ok(())
    }

    /// Stops a run that is worth nothing: an expired domain must not become the latest snapshot.
    fn check_failures(&self, end: bool) -> Result<(), OpError> {
        if self.stopping || off(Control::NoGuard) {
            return Ok(());
        }
        if let Some(Some(first)) = self.first.first()
            && self.first.len() >= ALIKE
            && self.first.iter().all(|f| *f == Some(*first))
        {
            return Err(OpError::Failed(format!(
                "the first {ALIKE} downloads all failed alike, so the run was stopped; look at the reasons above, mend the cause and run it again"
            )));
        }
        if (end || self.listed) && too_many_failed(&self.parts.options.guard, self.failed, self.next) {
            let (failed, all) = (self.failed, self.next);
            return Err(OpError::Failed(format!(
                "{failed} of {all} objects could not be read, more than guard.max_failed allows, so the run was stopped; look at the reasons above, mend the cause and run it again"
            )));
        }
        Ok(())
    }
}
