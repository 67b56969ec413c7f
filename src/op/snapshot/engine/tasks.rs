//! Objects on their way: a task is settled at once, given to a worker, or waits for another of the same content.

use std::sync::Arc;

use super::super::fetch::{Fetched, unread_entry};
use super::super::input::{Known, Task, done, expected_entry, named_content};
use super::{ALIKE, BATCH_BYTES, BATCH_OBJECTS, COLLISIONS, Engine, Outcome, Waiter};
use crate::model::content::BLOCK;
use crate::model::entry::{Entry, State};
use crate::model::event::Event;
use crate::model::id::{BlobId, ContentId, ContentKind};
use crate::model::listed::Listed;
use crate::op::OpError;

impl Engine {
    /// Takes a task up: settles it at once, or gives it to a worker.
    pub(super) async fn begin(&mut self, task: Task, known: Known) -> Result<(), OpError> {
        let number = self.next;
        self.next += 1;
        match task {
            Task::Ready(entry) => self.finish(number, *entry, &known),
            Task::Expect(listed, content, begun) => {
                let small = matches!(content.kind(), ContentKind::Blob(_));
                if small && self.parts.contents.present(content, listed.size).await? {
                    return self.finish_expected(number, &listed, content, &known);
                }
                if let Some(waiters) = self.coming.get_mut(&content) {
                    waiters.push(Waiter { number, listed, known });
                    self.waiters += 1;
                    return Ok(());
                }
                self.coming.insert(content, Vec::new());
                let contents = self.parts.contents.clone();
                self.jobs.spawn(async move {
                    let size = listed.size;
                    if contents.present(content, size).await? || contents.copy(content, size).await? {
                        return Ok(Outcome::Here(number, known, listed, content));
                    }
                    // Of a content whose list is there, only the blocks that are not are read from the source.
                    let begun = if begun.is_empty() { contents.blocks(content, size).await } else { begun };
                    Ok(Outcome::Absent(number, known, listed, content, begun))
                });
                Ok(())
            }
            Task::Fetch(listed, begun) => {
                self.start(number, listed, begun, known);
                Ok(())
            }
        }
    }

    /// Begins to read an object, unless its content is on its way already.
    pub(super) fn start(&mut self, number: u64, listed: Box<Listed>, begun: Vec<BlobId>, known: Known) {
        if self.local && listed.size <= BLOCK as u64 / 4 {
            self.batch_bytes += listed.size;
            self.batch.push((number, known, *listed));
            if self.batch.len() >= BATCH_OBJECTS || self.batch_bytes >= BATCH_BYTES {
                self.send_batch();
            }
            return;
        }
        // A listed etag says that two objects have one content: it is read once, the second waits for the first.
        let content = named_content(&listed, self.parts.options.trust_etag);
        if let Some(content) = content {
            if let Some(waiters) = self.coming.get_mut(&content) {
                waiters.push(Waiter { number, listed, known });
                self.waiters += 1;
                return;
            }
            self.coming.insert(content, Vec::new());
        }
        self.fetch(number, *listed, begun, known, content);
    }

    pub(super) fn fetch(
        &mut self,
        number: u64,
        listed: Listed,
        begun: Vec<BlobId>,
        known: Known,
        content: Option<ContentId>,
    ) {
        if self.stopping {
            return;
        }
        let fetcher = Arc::clone(&self.parts.fetcher);
        self.jobs.spawn(async move {
            let fetched = fetcher.fetch(listed, begun).await?;
            Ok(Outcome::Fetched(number, known, content, Box::new(fetched)))
        });
    }

    pub(super) fn send_batch(&mut self) {
        if self.batch.is_empty() || self.stopping {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let fetcher = Arc::clone(&self.parts.fetcher);
        self.jobs.spawn_blocking(move || {
            let results: Vec<_> = batch.iter().map(|(_, _, l)| fetcher.fetch_small_blocking(l)).collect();
            let pair =
                |((n, k, l), f): ((u64, Known, Listed), Result<Option<Fetched>, OpError>)| Ok((n, k, l, f?));
            Ok(Outcome::Batch(batch.into_iter().zip(results).map(pair).collect::<Result<_, OpError>>()?))
        });
    }

    /// Takes a worker's result.
    pub(super) fn settle(&mut self, outcome: Outcome) -> Result<(), OpError> {
        match outcome {
            Outcome::Batch(batch) => {
                for (number, known, listed, fetched) in batch {
                    match fetched {
                        Some(fetched) => self.fetched(number, &known, fetched)?,
                        None => self.fetch(number, listed, Vec::new(), known, None),
                    }
                }
                Ok(())
            }
            Outcome::Fetched(number, known, content, fetched) => {
                let got = fetched.entry.content;
                self.fetched(number, &known, *fetched)?;
                content.map_or(Ok(()), |content| self.wake(content, got == Some(content)))
            }
            Outcome::Here(number, known, listed, content) => {
                self.finish_expected(number, &listed, content, &known)?;
                self.wake(content, true)
            }
            Outcome::Absent(number, known, listed, content, begun) => {
                if let Some(reason) = listed.unavailable.clone() {
                    self.finish(number, unread_entry(&listed, State::Unavailable, reason), &known)?;
                    return self.wake(content, false);
                }
                let named = named_content(&listed, self.parts.options.trust_etag);
                if named == Some(content) {
                    // Whoever waits goes on waiting: it is now on its way from the source.
                    self.fetch(number, *listed, begun, known, named);
                    return Ok(());
                }
                self.wake(content, false)?;
                self.start(number, listed, begun, known);
                Ok(())
            }
        }
    }

    pub(super) fn fetched(&mut self, number: u64, known: &Known, fetched: Fetched) -> Result<(), OpError> {
        if fetched.downloaded > 0 || fetched.entry.state == State::Ok {
            self.moved.objects += 1;
            self.moved.bytes += fetched.downloaded;
        }
        if self.first.len() < ALIKE {
            self.first.push(fetched.failure);
        }
        if let Some(id) = fetched.collision
            && self.moved.collisions.len() < COLLISIONS
        {
            self.moved.collisions.push((fetched.entry.key.clone(), id));
        }
        self.finish(number, fetched.entry, known)?;
        self.check_failures(false)
    }

    /// The content came, or did not: those who waited for it are finished, or the next of them tries.
    pub(super) fn wake(&mut self, content: ContentId, came: bool) -> Result<(), OpError> {
        for waiter in self.coming.remove(&content).unwrap_or_default() {
            self.waiters -= 1;
            let Waiter { number, listed, known } = waiter;
            if came {
                self.finish_expected(number, &listed, content, &known)?;
            } else if let Some(reason) = listed.unavailable.clone() {
                self.finish(number, unread_entry(&listed, State::Unavailable, reason), &known)?;
            } else {
                self.start(number, listed, Vec::new(), known);
            }
        }
        Ok(())
    }

    pub(super) fn finish_expected(
        &mut self,
        number: u64,
        listed: &Listed,
        content: ContentId,
        known: &Known,
    ) -> Result<(), OpError> {
        let entry = expected_entry(listed, content, known, self.parts.all_details);
        self.finish(number, entry, known)
    }

    pub(super) fn finish(&mut self, number: u64, entry: Entry, known: &Known) -> Result<(), OpError> {
        if matches!(entry.state, State::Failed | State::Vanished) {
            self.failed += u64::from(entry.state == State::Failed);
            let reason = entry.reason.clone().unwrap_or_default();
            self.parts.observer.event(Event::Failed { key: entry.key.clone(), reason });
        }
        self.parts.observer.event(Event::Advance { objects: 1, bytes: entry.size });
        if self.parts.separate && known.baseline.is_some() {
            self.in_baseline.insert(number);
        }
        self.order.put(number, done(entry, known, self.parts.separate))
    }
}
