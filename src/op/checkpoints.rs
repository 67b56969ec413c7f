//! What the checkpoints of a run that was cut off add up to: for the run that continues it, and for whoever reads it.

use std::collections::HashMap;

use crate::format::manifest::Reference;
use crate::format::records::{Begun, CheckpointRecord};
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::op::OpError;
use crate::repo::{Repository, names};

/// What the checkpoints of a run add up to.
#[derive(Debug, Default, Clone)]
pub(in crate::op) struct Saved {
    /// Segments with finished entries, in key order.
    pub segments: Vec<Reference>,
    /// Large objects that were begun: key → what is known of them.
    pub begun: HashMap<Key, Begun>,
}

impl Saved {
    /// Adds a later checkpoint; what waits replaces what waited at the one before.
    fn add(&mut self, record: CheckpointRecord, waiting: &mut Vec<Reference>) {
        self.segments.extend(record.segments);
        *waiting = record.waiting;
        for b in record.begun {
            match self.begun.get_mut(&b.key) {
                Some(known)
                    if known.fingerprint == b.fingerprint
                        && known.size == b.size
                        && known.put_time == b.put_time
                        && known.blocks.len() as u64 == b.from =>
                {
                    known.blocks.extend(b.blocks);
                }
                _ if b.from == 0 => drop(self.begun.insert(b.key.clone(), b)),
                _ => drop(self.begun.remove(&b.key)),
            }
        }
    }
}

/// Reads the checkpoints of a run that was cut off. One that cannot be read ends them: what came later is not known.
///
/// # Errors
/// The store cannot be reached.
pub(in crate::op) async fn saved(repo: &Repository, run: RunName) -> Result<Saved, OpError> {
    let (mut saved, mut waiting) = (Saved::default(), Vec::new());
    for (expected, number) in (1..).zip(repo.checkpoints(run).await?) {
        if number != expected {
            break;
        }
        match repo.read::<CheckpointRecord>(&names::checkpoint(run, number)).await {
            Ok(record) => saved.add(record, &mut waiting),
            Err(e) if e.is_damage() => break,
            Err(e) => return Err(e.into()),
        }
    }
    saved.segments.append(&mut waiting);
    // A checkpoint's waiting entries may lie behind segments of a later pass.
    saved.segments.sort_by(|a, b| a.first.cmp(&b.first));
    Ok(saved)
}
