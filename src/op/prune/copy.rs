//! Step 3 of a prune: copying what is needed of packs that are to go. What does not fit is left for a later round.

use std::sync::Arc;

use super::{Context, GroupPlan};
use crate::model::event::Event;
use crate::op::OpError;
use crate::plan::prune::{Fate, Why};
use crate::repo::liveness::Liveness;
use crate::repo::maintainer::{Copies, Maintainer, is_full};
use crate::repo::names;

/// Room that copying leaves free: for index files, and for whoever else writes to the disk.
const MARGIN: u64 = 16 << 20;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// The copies; durable.
    pub(super) copies: Copies,
    /// Bytes that packs take which stay for want of room; 0: all fitted.
    pub(super) postponed: u64,
    /// Bytes that packs take which stay because they cannot be read in full.
    pub(super) unread: u64,
}

/// Whether there is room for what is to be copied, as far as can be known.
fn fits(ctx: &Context, plans: &[GroupPlan]) -> bool {
    let rewritten = plans.iter().flat_map(|p| p.with(|f| matches!(f, Fate::Rewrite(_))));
    let need: u64 = rewritten.map(|(_, p)| p.needed).sum();
    ctx.repo.store().free_bytes().is_none_or(|free| free > need.saturating_add(MARGIN))
}

/// Leaves the packs that are to be rewritten for later; returns how many bytes that would have freed.
pub(super) fn postpone(plans: &mut [GroupPlan], because: Option<Why>) -> u64 {
    let mut bytes = 0;
    for pack in plans.iter_mut().flat_map(|p| p.packs.values_mut()) {
        if let Fate::Rewrite(reason) = pack.fate {
            pack.fate = Fate::Keep(because.unwrap_or(reason));
            bytes += pack.size.saturating_sub(pack.needed);
        }
    }
    bytes
}

/// Copies what is needed of the packs that are to be rewritten. A pack that cannot be read in full stays.
///
/// # Errors
/// The store failed, or it was told to stop.
pub(super) async fn copy(
    ctx: &Context,
    maintainer: &mut Maintainer,
    plans: &mut [GroupPlan],
    live: &Liveness,
) -> Result<Copied, OpError> {
    let rewritten = || plans.iter().flat_map(|p| p.with(|f| matches!(f, Fate::Rewrite(_))));
    if rewritten().next().is_none() {
        return Ok(Copied::default());
    }
    if !fits(ctx, plans) {
        return Ok(Copied { postponed: postpone(plans, None), ..Copied::default() });
    }
    let bytes = Some(rewritten().map(|(_, p)| p.live_bytes).sum());
    ctx.observer.event(Event::Phase { name: "moving blobs", objects: None, bytes });
    let mut unread = 0;
    let done = match each(ctx, maintainer, plans, live, &mut unread).await {
        Ok(()) => maintainer.finish_copies().await.map_err(OpError::from),
        Err(e) => Err(e),
    };
    match done {
        Ok(copies) => Ok(Copied { copies, postponed: 0, unread }),
        Err(e) => {
            maintainer.abandon_copies().await;
            match e {
                OpError::Repo(e) if is_full(&e) => {
                    Ok(Copied { copies: Copies::default(), postponed: postpone(plans, None), unread })
                }
                e => Err(e),
            }
        }
    }
}

async fn each(
    ctx: &Context,
    maintainer: &mut Maintainer,
    plans: &mut [GroupPlan],
    live: &Liveness,
    unread: &mut u64,
) -> Result<(), OpError> {
    for plan in plans.iter_mut() {
        let Some(group) = plan.group.as_ref().map(Arc::clone) else { continue };
        for (id, pack) in &mut plan.packs {
            let Fate::Rewrite(reason) = pack.fate else { continue };
            if ctx.cancel.is_set() {
                return Err(OpError::Interrupted);
            }
            if maintainer.copy(live, &group, plan.alive, *id, pack.live).await?.is_some() {
                ctx.observer.event(Event::Advance { objects: pack.live, bytes: pack.live_bytes });
                continue;
            }
            pack.fate = Fate::Keep(reason);
            *unread += pack.size.saturating_sub(pack.needed);
            let name = names::pack(plan.name, *id);
            ctx.observer.event(Event::Warning(format!(
                "{name} cannot be read in full, so it stays; run qbak verify --data, then qbak heal"
            )));
        }
    }
    Ok(())
}
