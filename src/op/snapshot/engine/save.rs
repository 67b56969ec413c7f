//! How far a run has come, made durable beside the work, and at its end.

use std::sync::Arc;

use super::super::fetch::Progress;
use super::Engine;
use crate::format::records::{Begun, CheckpointRecord};
use crate::model::entry::{Entry, State};
use crate::op::OpError;
use crate::repo::manifest_writer::save_entries;

impl Engine {
    /// Ends early: keeps what is finished.
    pub(super) async fn stop(&mut self) -> Result<(), OpError> {
        self.stopping = true;
        self.jobs.abort_all();
        while let Some(outcome) = self.jobs.join_next().await {
            if let Ok(Ok(outcome)) = outcome {
                self.settle(outcome)?;
            }
        }
        self.flow().await?;
        self.saved().await?;
        self.checkpoint().await?;
        self.saved().await
    }

    /// Saves how far the run has come. What is to be saved is gathered before the packs are closed: everything it names
    /// lies in them. Making it durable goes on beside the work.
    pub(super) async fn checkpoint(&mut self) -> Result<(), OpError> {
        // Where nothing was stored, the parent knows as much as a checkpoint would.
        let stored = self.parts.writer.put_bytes();
        if stored == self.saved {
            return Ok(());
        }
        let begun = self.begun();
        let segments = self.manifest.take_closed();
        let mut waiting: Vec<_> = self.manifest.save_open().await?.into_iter().collect();
        let mut entries: Vec<&Entry> = self.order.waiting().filter(|e| e.state == State::Ok).collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        waiting.extend(save_entries(&self.parts.writer, &entries).await?);
        let record = CheckpointRecord { segments, waiting, begun };
        let writer = Arc::clone(&self.parts.writer);
        self.saved = writer.put_bytes();
        let open = writer.close_open()?;
        self.saving.spawn(async move { writer.checkpoint(open, &record).await });
        Ok(())
    }

    /// Waits for a checkpoint that is being written.
    pub(super) async fn saved(&mut self) -> Result<(), OpError> {
        while let Some(saved) = self.saving.join_next().await {
            saved??;
        }
        Ok(())
    }

    pub(super) fn begun(&self) -> Vec<Begun> {
        let Ok(mut all) = self.parts.fetcher.begun.lock() else { return Vec::new() };
        let fresh = |p: &mut Progress| {
            let from = p.saved;
            p.saved = p.object.blocks.len();
            let blocks = p.object.blocks.get(from..).unwrap_or_default().to_vec();
            (!blocks.is_empty()).then(|| Begun { from: from as u64, blocks, ..p.object.clone() })
        };
        all.values_mut().filter_map(fresh).collect()
    }
}
