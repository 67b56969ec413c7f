//! Does what was decided, by the protocol of `docs/protocol.md`. Where room is short, what can go without copying goes in a
//! first round, and what must be copied in a second.

use std::collections::{BTreeMap, BTreeSet};

use super::copy::{self, Copied};
use super::report::InTheWay;
use super::survey::{Ask, survey};
use super::sweep::{self, Standing};
use super::{Context, GroupPlan, Planned, Report, seconds};
use crate::control::{Control, Point, off, point};
use crate::format::records::MarkedGroup;
use crate::model::event::Event;
use crate::model::name::RunName;
use crate::op::OpError;
use crate::plan::prune::Fate;
use crate::repo::chain::{Chain, Claimed, Pruner};
use crate::repo::maintainer::{Copies, Maintainer, Space, is_full};
use crate::repo::{RepoError, names, run};
use crate::store::lease::Holder;

impl Planned {
    /// Does it, unless it was a dry run.
    ///
    /// # Errors
    /// Another prune was faster, the store failed, or it was told to stop. What was to be kept is whole, and a later prune
    /// finishes the job.
    pub async fn execute(mut self, ctx: &Context) -> Result<Report, OpError> {
        if self.options.dry_run {
            return Ok(self.report);
        }
        let (began, options) = (self.began, self.options.clone());
        let _lease = self.lease.take();
        // Every step from here on may have to write a little.
        ctx.repo.release_reserve_if_tight().await?;
        self.put_aside(ctx).await?;
        let mut report = std::mem::take(&mut self.report);
        let first = Box::pin(self.round(ctx)).await?;
        let mut done = first;
        if done.postponed > 0 && done.space.deleted > done.space.written {
            // There is room now that was not there before.
            let chain = Chain::read(&ctx.repo).await?;
            let again = Box::pin(survey(ctx, options, Ask::KeepAll, chain, began, &chrono::Utc)).await?;
            let second = Box::pin(again.round(ctx)).await?;
            done.space.add(second.space);
            done.postponed = second.postponed;
            done.pending += second.pending;
            done.in_the_way.extend(second.in_the_way);
        }
        if done.postponed > 0 {
            ctx.observer.event(Event::Warning(format!(
                "there is no room to rewrite packs of which little is needed: they stay, and with them {} bytes that a later prune can free; everything else is done",
                done.postponed
            )));
        }
        report.freed_bytes = done.space.deleted.saturating_sub(done.space.written);
        report.moved_bytes = done.space.moved;
        report.pending_bytes += done.pending + done.postponed;
        if report.in_the_way.is_empty() {
            report.in_the_way = done.in_the_way;
        }
        // The prune is done, whatever comes of it.
        let _ = ctx.repo.refill_reserve().await;
        report.seconds = seconds(began, ctx.clock.now());
        Ok(report)
    }

    /// Records of runs that have finished go, and those of runs that never will.
    async fn put_aside(&self, ctx: &Context) -> Result<(), OpError> {
        for name in &self.leftovers {
            run::forget(&ctx.repo, *name).await?;
        }
        for (name, why) in &self.fence {
            with_room(ctx, || run::fence(&ctx.repo, *name, why, ctx.clock.now())).await?;
        }
        Ok(())
    }

    /// One pass through the protocol.
    pub(super) async fn round(self, ctx: &Context) -> Result<Done, OpError> {
        let Self { options, groups, live, mut plans, remove, stay, chain, began, in_the_way, .. } = self;
        let mut maintainer = Maintainer::new(&ctx.repo, groups, options.spool.clone());
        chain.tidy(&ctx.repo).await?;
        point(Point::PrunePlanned);
        let copied = copy::copy(ctx, &mut maintainer, &mut plans, &live).await;
        let Copied { mut copies, postponed, unread } = match copied {
            // Another prune has taken the packs away under it, those that were read or those just written.
            Err(_) if Chain::read(&ctx.repo).await?.last != chain.last => return Err(lost(ctx).await?),
            other => other?,
        };
        let mut done = Done { postponed, pending: unread, ..Done::default() };
        let marked = marked(&plans);
        if !remove.is_empty() || !marked.is_empty() {
            let by = Pruner { host: options.host.clone(), pid: options.pid, when: began };
            let claim = || chain.claim(&ctx.repo, remove.clone(), marked.clone(), &by);
            let (open, written) = match with_room(ctx, claim).await? {
                Claimed::Ours(open, written) => (open, written),
                Claimed::Lost => return Err(lost(ctx).await?),
            };
            maintainer.space.written += written;
            point(Point::PruneClaimed);
            let settled = sweep::decide(ctx, &options.host, &mut maintainer, &open, &self.listed).await?;
            let decision = ctx.repo.store().size(&names::decision(open.number)).await?;
            maintainer.space.written += decision.unwrap_or(0);
            if let Some(reason) = &settled.reason {
                ctx.observer.event(Event::Warning(format!("not all that was to be freed is: {reason}")));
            }
            let gone: BTreeSet<_> = settled.doomed.iter().flat_map(|g| g.packs.iter().copied()).collect();
            let kept = plans.iter().flat_map(|p| p.with(|f| !matches!(f, Fate::Keep(_))));
            done.pending += kept.filter(|(id, _)| !gone.contains(id)).map(|(_, p)| p.size).sum::<u64>();
            done.in_the_way = settled.in_the_way;
            if off(Control::NoMarkLast) {
                open.close(&ctx.repo).await?;
            }
            point(Point::PruneDecided);
            if done.in_the_way.is_empty() {
                let deleted = delete(ctx, &mut maintainer, &settled.doomed, &plans, &mut copies).await;
                match deleted {
                    // Another prune found this one asleep, finished it, and went on from there.
                    Err(OpError::Repo(_)) if is_closed(ctx, open.number).await? => {}
                    other => other?,
                }
            }
            if off(Control::NoSnapshotFilesFirst) {
                maintainer.remove_snapshots(&remove).await?;
            }
            point(Point::PruneDeleted);
            maintainer.space.deleted += open.close(&ctx.repo).await?;
        } else if in_the_way.is_empty() {
            // A run at work reads index files: joining them can wait too.
            delete(ctx, &mut maintainer, &[], &plans, &mut copies).await?;
        }
        if !stay.is_empty() {
            maintainer.forget_notes(&stay).await?;
        }
        done.space = maintainer.space;
        Ok(done)
    }
}

/// What a round came to.
#[derive(Debug, Default)]
pub(super) struct Done {
    space: Space,
    /// Bytes that stay for want of room, and for other reasons.
    postponed: u64,
    pending: u64,
    in_the_way: Vec<InTheWay>,
}

/// Tries again with the room that was put by for this, if the disk is full.
async fn with_room<T, F>(ctx: &Context, mut work: impl FnMut() -> F) -> Result<T, OpError>
where
    F: Future<Output = Result<T, RepoError>>,
{
    match work().await {
        Err(e) if is_full(&e) && ctx.repo.release_reserve().await? => Ok(work().await?),
        other => Ok(other?),
    }
}

/// Whether the prune of this number has been finished by somebody.
async fn is_closed(ctx: &Context, number: u32) -> Result<bool, OpError> {
    let chain = Chain::read(&ctx.repo).await?;
    Ok(chain.last > number || chain.open.is_none())
}

/// Another prune has the number that this one wanted.
async fn lost(ctx: &Context) -> Result<OpError, OpError> {
    let by = Chain::read(&ctx.repo).await?.open.and_then(|open| open.claim);
    Ok(OpError::InUse(by.map(|claim| Holder {
        what: "prune".into(),
        host: claim.host,
        pid: claim.pid,
        since: claim.when.rfc3339(),
    })))
}

/// The packs that are to go, by group.
fn marked(plans: &[GroupPlan]) -> Vec<MarkedGroup> {
    let mut marked = Vec::new();
    for plan in plans {
        let packs: Vec<_> = plan.with(|f| !matches!(f, Fate::Keep(_))).map(|(id, _)| *id).collect();
        let indexes = if plan.whole() { plan.indexes.clone() } else { Vec::new() };
        if !packs.is_empty() || !indexes.is_empty() {
            marked.push(MarkedGroup { group: plan.name, packs, indexes });
        }
    }
    marked
}

async fn delete(
    ctx: &Context,
    maintainer: &mut Maintainer,
    doomed: &[MarkedGroup],
    plans: &[GroupPlan],
    copies: &mut Copies,
) -> Result<(), OpError> {
    let standing: BTreeMap<RunName, Standing> = plans
        .iter()
        .filter(|p| !p.whole())
        .filter_map(|p| {
            let group = p.group.as_ref().map(std::sync::Arc::clone)?;
            Some((p.name, Standing { group, open: p.open }))
        })
        .collect();
    sweep::delete(ctx, maintainer, doomed, &standing, copies).await
}
