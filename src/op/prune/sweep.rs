//! What a prune does once it has its number, or for another that has one and did not finish: steps 6 to 11 of
//! `docs/protocol.md`. Every step can be done twice, and by two at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Context;
use super::report::InTheWay;
use crate::control::{Control, Point, off, point};
use crate::format::records::{MarkedGroup, RunRecord, SnapshotRecord};
use crate::model::event::Event;
use crate::model::id::PackId;
use crate::model::name::RunName;
use crate::op::OpError;
use crate::repo::blobs::Groups;
use crate::repo::chain::{Decision, OpenPrune};
use crate::repo::liveness::Liveness;
use crate::repo::maintainer::{Copies, Maintainer};
use crate::repo::names::{self, Meaning};
use crate::repo::repository::Snapshots;
use crate::repo::{RepoError, run};

/// What became of an open prune.
#[derive(Debug)]
pub(super) struct Settled {
    /// What may go now.
    pub(super) doomed: Vec<MarkedGroup>,
    /// Why nothing may, or not all of it.
    pub(super) reason: Option<String>,
    /// Runs at work: because of them nothing may.
    pub(super) in_the_way: Vec<InTheWay>,
}

/// Runs that have a record and no snapshot or tombstone: at work, or cut off as far as can be told.
pub(super) async fn unfinished(ctx: &Context, host: &str) -> Result<(Vec<RunRecord>, Vec<RunName>), OpError> {
    let (mut at_work, mut cut_off) = (Vec::new(), Vec::new());
    for (name, record) in ctx.repo.runs().await? {
        if ctx.repo.store().size(&names::snapshot(name)).await?.is_some() {
            continue;
        }
        match record {
            Ok(record) if run::at_work(&ctx.repo, &record, host, ctx.clock.now()).await? => {
                at_work.push(record)
            }
            Err(e) if !e.is_damage() => return Err(e.into()),
            _ => cut_off.push(name),
        }
    }
    Ok((at_work, cut_off))
}

/// Steps 6 to 9: the snapshots go, runs are fenced, and what becomes of the packs is decided. `planned`: the snapshots that
/// are known not to need them; none where that was somebody else's plan.
///
/// # Errors
/// The store failed; the prune is open still.
pub(super) async fn decide(
    ctx: &Context,
    host: &str,
    maintainer: &mut Maintainer,
    open: &OpenPrune,
    planned: &BTreeSet<RunName>,
) -> Result<Settled, OpError> {
    if !off(Control::NoSnapshotFilesFirst) {
        maintainer.remove_snapshots(open.snapshots()).await?;
        let going: BTreeSet<String> = open.snapshots().iter().map(|name| names::snapshot(*name)).collect();
        if !going.is_empty() {
            still_there(ctx, names::SNAPSHOTS, &going).await?;
        }
    }
    let mut in_the_way = Vec::new();
    let decision = match &open.decision {
        Decision::Open => undecided(ctx, host, open, planned, &mut in_the_way).await?,
        decided => decided.clone(),
    };
    let reason = match &decision {
        Decision::Made(d) => Some(d.reason.clone()).filter(|r| !r.is_empty()),
        _ => Some("what was decided cannot be read any more".into()),
    };
    Ok(Settled { doomed: open.doomed(&decision), reason, in_the_way })
}

async fn undecided(
    ctx: &Context,
    host: &str,
    open: &OpenPrune,
    planned: &BTreeSet<RunName>,
    in_the_way: &mut Vec<InTheWay>,
) -> Result<Decision, OpError> {
    let Some(mark) = &open.mark else {
        return Ok(open.decide_to_keep(&ctx.repo, "which packs were to go cannot be read").await?);
    };
    if mark.groups.iter().all(|g| g.packs.is_empty()) {
        return Ok(open.decide(&ctx.repo, Vec::new(), false, "").await?);
    }
    let (at_work, cut_off) = unfinished(ctx, host).await?;
    if let Some(first) = at_work.first() {
        let reason = format!("run {} is at work", first.name);
        in_the_way.extend(at_work.iter().map(InTheWay::of));
        return Ok(open.decide_to_keep(&ctx.repo, &reason).await?);
    }
    for name in cut_off {
        let why = format!("prune {} took it for a run that was cut off", open.number);
        run::bar(&ctx.repo, name, &why, ctx.clock.now()).await?;
    }
    let now = ctx.repo.snapshots().await?;
    if let Some((file, e)) = now.unreadable.first()
        && !off(Control::NoFailClosed)
    {
        return Ok(open.decide_to_keep(&ctx.repo, &format!("{file} cannot be read: {e}")).await?);
    }
    let looked = match off(Control::NoSecondLook) {
        true => Ok(Vec::new()),
        false => second_look(ctx, &mark.groups, &now, planned).await,
    };
    point(Point::PruneLooked);
    match looked {
        Ok(keep) if keep.is_empty() => Ok(open.decide(&ctx.repo, keep, false, "").await?),
        Ok(keep) => {
            let reason = format!("{} packs are needed after all", keep.len());
            Ok(open.decide(&ctx.repo, keep, false, &reason).await?)
        }
        Err(Look::Damage(why)) => Ok(open.decide_to_keep(&ctx.repo, &why).await?),
        Err(Look::Failed(e)) => Err(e.into()),
    }
}

/// Why the second look came to nothing.
enum Look {
    Damage(String),
    Failed(RepoError),
}

impl From<RepoError> for Look {
    fn from(e: RepoError) -> Self {
        if e.is_damage() { Self::Damage(e.to_string()) } else { Self::Failed(e) }
    }
}

/// The packs under the mark that a snapshot of `now`, but for those `planned`, has a blob in and nowhere else.
async fn second_look(
    ctx: &Context,
    marked: &[MarkedGroup],
    now: &Snapshots,
    planned: &BTreeSet<RunName>,
) -> Result<Vec<PackId>, Look> {
    let new: Vec<&SnapshotRecord> = now.finished.iter().filter(|s| !planned.contains(&s.name)).collect();
    if new.is_empty() || marked.iter().all(|g| g.packs.is_empty()) {
        return Ok(Vec::new());
    }
    // Of several copies one is settled on, after reading it: if that lies under the mark, its pack stays.
    let groups = Arc::new(Groups::new(&ctx.repo).await?);
    let mut live = Liveness::new(&ctx.repo, Arc::clone(&groups));
    for snapshot in new {
        live.snapshot(snapshot).await.map_err(|t| match t.error.is_damage() {
            true => Look::Damage(format!("snapshot {} cannot be read in full: {}", t.snapshot, t.error)),
            false => Look::Failed(t.error),
        })?;
    }
    let mut keep = Vec::new();
    for marked in marked {
        let group = groups.get(marked.group).await?;
        let stats = live.stats(&group).await?;
        keep.extend(marked.packs.iter().filter(|p| stats.get(*p).is_some_and(|s| s.live > 0)));
    }
    Ok(keep)
}

/// What is known of a group that stays.
pub(super) struct Standing {
    /// The group as it was when the prune was planned.
    pub(super) group: Arc<crate::repo::group::Group>,
    /// A run that was cut off may go on in it: what no index names is left so.
    pub(super) open: bool,
}

/// Step 10: deletes what is to go. `standing`: the groups that stay, as far as they are known; others are opened.
///
/// # Errors
/// The store failed or it was told to stop; the prune is open still, and whoever comes next goes on with it.
pub(super) async fn delete(
    ctx: &Context,
    maintainer: &mut Maintainer,
    doomed: &[MarkedGroup],
    standing: &BTreeMap<RunName, Standing>,
    copies: &mut Copies,
) -> Result<(), OpError> {
    let kept = ctx.repo.snapshots().await?;
    let mentioned = kept.finished.iter().flat_map(|s| s.indexes.iter().copied()).collect();
    let mut left: BTreeMap<RunName, &MarkedGroup> = doomed.iter().map(|g| (g.group, g)).collect();
    let fresh = Groups::new(&ctx.repo).await?;
    let all: BTreeSet<RunName> = standing.keys().chain(left.keys()).copied().collect();
    for name in all {
        if ctx.cancel.is_set() {
            return Err(OpError::Interrupted);
        }
        let marked = left.remove(&name);
        if let Some(whole) = marked.filter(|m| !m.indexes.is_empty())
            && is_alone(ctx, whole).await?
        {
            maintainer.drop_group(whole).await?;
            continue;
        }
        let packs: BTreeSet<PackId> = marked.iter().flat_map(|m| m.packs.iter().copied()).collect();
        match standing.get(&name) {
            Some(s) => maintainer.settle(&s.group, &packs, copies, !s.open, &mentioned).await?,
            None => {
                let group = fresh.get(name).await?;
                maintainer.settle(&group, &packs, copies, false, &mentioned).await?;
            }
        }
    }
    for group in doomed.iter().filter(|g| !g.packs.is_empty()) {
        let going: BTreeSet<String> = group.packs.iter().map(|id| names::pack(group.group, *id)).collect();
        still_there(ctx, &names::group(group.group), &going).await?;
    }
    Ok(())
}

/// What was deleted must be gone before anything relies on it: a store that does it later shows it until then, and whoever
/// lists it now may build on it. The mark stays, and the next prune looks again.
async fn still_there(ctx: &Context, folder: &str, going: &BTreeSet<String>) -> Result<(), OpError> {
    let files = ctx.repo.store().list_all(folder).await?;
    match files.iter().find(|f| going.contains(&f.name)) {
        None => Ok(()),
        Some(file) => Err(OpError::Failed(format!(
            "the store acknowledged that {} was deleted and still shows it; until it has gone nothing more is done, and the next prune finishes this one",
            file.name
        ))),
    }
}

/// Whether a group holds no pack but those that go. A run that heeded the mark may have begun to add to it since.
async fn is_alone(ctx: &Context, marked: &MarkedGroup) -> Result<bool, OpError> {
    let going: BTreeSet<PackId> = marked.packs.iter().copied().collect();
    let files = ctx.repo.store().list_all(&names::group(marked.group)).await?;
    let mut packs = files.iter().filter_map(|f| match names::meaning(&f.name) {
        Meaning::Pack(_, id) => Some(id),
        _ => None,
    });
    Ok(packs.all(|id| going.contains(&id)))
}

/// Finishes a prune that was cut off.
///
/// # Errors
/// The store failed; it is open still.
pub(super) async fn finish(
    ctx: &Context,
    host: &str,
    spool: &std::path::Path,
    open: &OpenPrune,
) -> Result<(), OpError> {
    ctx.observer.event(Event::Note(format!("finishes prune {}, which was cut off", open.number)));
    let groups = Arc::new(Groups::new(&ctx.repo).await?);
    let mut maintainer = Maintainer::new(&ctx.repo, groups, spool.to_owned());
    let settled = decide(ctx, host, &mut maintainer, open, &BTreeSet::new()).await?;
    if let Some(reason) = &settled.reason {
        ctx.observer.event(Event::Note(format!("of prune {}: {reason}", open.number)));
    }
    delete(ctx, &mut maintainer, &settled.doomed, &BTreeMap::new(), &mut Copies::default()).await?;
    point(Point::PruneDeleted);
    open.close(&ctx.repo).await?;
    Ok(())
}
