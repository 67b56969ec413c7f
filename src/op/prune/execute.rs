//! Does what was decided. What needs no room comes first where room is short; what does not fit is left for a later prune.

use std::collections::BTreeSet;

use super::survey::listed;
use super::{Context, GroupPlan, Planned, Report, seconds};
use crate::model::event::Event;
use crate::model::id::{IndexId, PackId};
use crate::model::name::RunName;
use crate::op::OpError;
use crate::plan::prune::Fate;
use crate::repo::liveness::Liveness;
use crate::repo::maintainer::{Copies, Maintainer, is_full};
use crate::repo::{names, run};

/// Room that copying leaves free: for index files, and for whoever else writes to the disk.
const MARGIN: u64 = 16 << 20;

impl Planned {
    /// Does it, unless it was a dry run.
    ///
    /// # Errors
    /// The store changed meanwhile or failed, or it was told to stop. What was to be kept is whole, and a later prune
    /// finishes the job.
    pub async fn execute(self, ctx: &Context) -> Result<Report, OpError> {
        let Self { mut report, began, lease, options, groups, live, mut plans, .. } = self;
        let Some(lease) = lease else { return Ok(report) };
        // The second look: a run that did not heed the lease may have finished while this was decided, and a listing
        // that was cut short would show it now.
        let now = ctx.repo.snapshots().await?;
        if listed(&now) != self.listed || !now.unreadable.is_empty() {
            return Err(OpError::Failed(
                "the snapshots of the store changed while it was decided what to prune; nothing was deleted, run it again".into(),
            ));
        }
        let mut work = Work {
            ctx,
            maintainer: Maintainer::new(&ctx.repo, groups, options.spool, lease),
            mentioned: self.mentioned,
            pending: report.pending_bytes,
        };
        work.maintainer.remove_snapshots(&self.remove).await?;
        for name in &self.leftovers {
            run::forget(&ctx.repo, *name).await?;
        }
        for (name, why) in &self.fence {
            work.put_aside(*name, why).await?;
        }
        work.groups(&mut plans, &live).await?;
        if !self.stay.is_empty() {
            work.maintainer.forget_notes(&self.stay).await?;
        }
        let space = work.maintainer.space;
        report.freed_bytes = space.deleted.saturating_sub(space.written);
        report.moved_bytes = space.moved;
        report.pending_bytes = work.pending;
        report.seconds = seconds(began, ctx.clock.now());
        Ok(report)
    }
}

struct Work<'a> {
    ctx: &'a Context,
    maintainer: Maintainer,
    mentioned: BTreeSet<IndexId>,
    pending: u64,
}

impl Work<'_> {
    async fn put_aside(&self, name: RunName, why: &str) -> Result<(), OpError> {
        match run::fence(&self.ctx.repo, name, why, self.ctx.clock.now()).await {
            // No room for a tombstone. It fences off a run that only sleeps; we hold the lease that such a run would hold.
            Err(e) if is_full(&e) => Ok(run::forget(&self.ctx.repo, name).await?),
            other => Ok(other?),
        }
    }

    fn stop(&self) -> Result<(), OpError> {
        if self.ctx.cancel.is_set() { Err(OpError::Interrupted) } else { Ok(()) }
    }

    fn say(&self, text: String) {
        self.ctx.observer.event(Event::Warning(text));
    }

    async fn groups(&mut self, plans: &mut [GroupPlan], live: &Liveness) -> Result<(), OpError> {
        let mut copies = Copies::default();
        if plans.iter().any(|p| p.with(|f| matches!(f, Fate::Rewrite(_))).next().is_some()) {
            copies = self.copy_what_fits(plans, live).await?;
        }
        for plan in plans {
            self.stop()?;
            self.settle(plan, &mut copies).await?;
        }
        Ok(())
    }

    /// Copies; where there is no room, after making some; where there still is none, not.
    async fn copy_what_fits(&mut self, plans: &mut [GroupPlan], live: &Liveness) -> Result<Copies, OpError> {
        if self.fits(plans)
            && let Some(copies) = self.copy(plans, live).await?
        {
            return Ok(copies);
        }
        self.make_room(plans).await?;
        if self.fits(plans)
            && let Some(copies) = self.copy(plans, live).await?
        {
            return Ok(copies);
        }
        self.postpone(plans);
        Ok(Copies::default())
    }

    /// Whether there is room for what is to be copied, as far as can be known.
    fn fits(&self, plans: &[GroupPlan]) -> bool {
        let rewritten = plans.iter().flat_map(|p| p.with(|f| matches!(f, Fate::Rewrite(_))));
        let need: u64 = rewritten.map(|(_, p)| p.needed).sum();
        self.ctx.repo.store().free_bytes().is_none_or(|free| free > need.saturating_add(MARGIN))
    }

    /// Leaves the packs that were to be rewritten for a later prune.
    fn postpone(&mut self, plans: &mut [GroupPlan]) {
        let mut bytes = 0;
        for pack in plans.iter_mut().flat_map(|p| p.packs.values_mut()) {
            if let Fate::Rewrite(reason) = pack.fate {
                pack.fate = Fate::Keep(reason);
                bytes += pack.size.saturating_sub(pack.needed);
            }
        }
        self.pending += bytes;
        self.say(format!(
            "there is no room to rewrite packs of which little is needed: they stay, and with them {bytes} bytes that a later prune can free; everything else is done"
        ));
    }

    /// Copies what is needed of the packs that are to be rewritten. A pack that cannot be read in full stays. `None`: the
    /// disk filled up, and is as full as it was before.
    async fn copy(&mut self, plans: &mut [GroupPlan], live: &Liveness) -> Result<Option<Copies>, OpError> {
        let bytes =
            plans.iter().flat_map(|p| p.with(|f| matches!(f, Fate::Rewrite(_)))).map(|(_, p)| p.live_bytes);
        let bytes = Some(bytes.sum());
        self.ctx.observer.event(Event::Phase { name: "moving blobs", objects: None, bytes });
        let mut failed = None;
        'all: for plan in plans.iter_mut() {
            let Some(group) = &plan.group else { continue };
            for (id, pack) in &mut plan.packs {
                let Fate::Rewrite(reason) = pack.fate else { continue };
                if self.ctx.cancel.is_set() {
                    return Err(OpError::Interrupted);
                }
                match self.maintainer.copy(live, group, plan.alive, *id, pack.live).await {
                    Ok(Some(())) => {
                        self.ctx
                            .observer
                            .event(Event::Advance { objects: pack.live, bytes: pack.live_bytes });
                    }
                    Ok(None) => {
                        pack.fate = Fate::Keep(reason);
                        self.pending += pack.size.saturating_sub(pack.needed);
                        let name = names::pack(plan.name, *id);
                        self.ctx.observer.event(Event::Warning(format!(
                            "{name} cannot be read in full, so it stays; run qbak verify --data, then qbak snapshot"
                        )));
                    }
                    Err(e) => {
                        failed = Some(e);
                        break 'all;
                    }
                }
            }
        }
        let done = match failed {
            None => self.maintainer.finish_copies().await,
            Some(e) => Err(e),
        };
        match done {
            Ok(copies) => Ok(Some(copies)),
            Err(e) => {
                self.maintainer.abandon_copies().await;
                if is_full(&e) { Ok(None) } else { Err(e.into()) }
            }
        }
    }

    /// Deletes what can go without writing anything first.
    async fn make_room(&mut self, plans: &mut [GroupPlan]) -> Result<(), OpError> {
        for plan in plans {
            self.stop()?;
            if plan.whole() && plan.with(|f| matches!(f, Fate::Rewrite(_))).next().is_none() {
                self.maintainer.drop_group(plan.name).await?;
            } else if let Some(group) = &plan.group {
                let dead = plan.with(|f| matches!(f, Fate::Delete(_))).map(|(id, _)| *id).collect();
                self.maintainer.delete_packs(group, &dead).await?;
            }
        }
        Ok(())
    }

    /// Deletes what is to go of a group; what is needed of it has been copied.
    async fn settle(&mut self, plan: &GroupPlan, copies: &mut Copies) -> Result<(), OpError> {
        if plan.whole() {
            return Ok(self.maintainer.drop_group(plan.name).await?);
        }
        let Some(group) = &plan.group else { return Ok(()) };
        let doomed: BTreeSet<PackId> =
            plan.with(|f| !matches!(f, Fate::Keep(_))).map(|(id, _)| *id).collect();
        Ok(self.maintainer.settle(group, &doomed, copies, !plan.open, &self.mentioned).await?)
    }
}
