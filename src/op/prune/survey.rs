//! What there is, what is needed, and what follows from it. Only reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::TimeZone;

use super::{Context, GroupPlan, GroupReport, InTheWay, Options, PackPlan, Planned, Report, seconds};
use crate::control::{Control, off};
use crate::format::records::{RunKind, RunRecord, SnapshotRecord};
use crate::model::event::Event;
use crate::model::name::RunName;
use crate::model::time::Timestamp;
use crate::op::{OpError, checkpoints};
use crate::plan::prune::{Fate, Pack, Why, fates};
use crate::plan::retention::{self, Decision, Outcome, Snapshot};
use crate::repo::blobs::Groups;
use crate::repo::chain::Chain;
use crate::repo::group::Group;
use crate::repo::liveness::{Liveness, Trouble};
use crate::repo::names::{self, Meaning};
use crate::repo::repository::Snapshots;
use crate::repo::run;

/// The runs that have left their record.
#[derive(Default)]
struct Runs {
    /// May go on: what they stored stays.
    open: Vec<RunRecord>,
    /// Have finished, or were fenced off.
    leftovers: Vec<RunName>,
    /// Are to be fenced off, and why.
    fence: Vec<(RunName, String)>,
    /// The groups of those dropped by wish.
    dropped: Vec<(RunKind, RunName)>,
    /// Are at work.
    at_work: Vec<InTheWay>,
    decisions: Vec<Decision>,
}

/// What is to go.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// Snapshots by the rules, and what only they need.
    Wish,
    /// No snapshot; only what nothing needs.
    KeepAll,
    /// No snapshot; only damaged packs that nothing needs.
    Retire,
}

pub(super) async fn survey<Z: TimeZone>(
    ctx: &Context,
    options: Options,
    ask: Ask,
    chain: Chain,
    began: Timestamp,
    zone: &Z,
) -> Result<Planned, OpError> {
    let snapshots = ctx.repo.snapshots().await?;
    if let Some((file, e)) = snapshots.unreadable.first()
        && !off(Control::NoFailClosed)
    {
        return Err(OpError::Damage(format!(
            "{file} cannot be read ({e}), so it is not known what that snapshot needs; nothing was deleted. If it can go, delete that one file and prune again"
        )));
    }
    let listed = listed(&snapshots);
    let runs = runs(ctx, &snapshots, &options).await?;
    let (accepted, pins) = (ctx.repo.accepted().await?, ctx.repo.pins().await?);
    let of: Vec<Snapshot> = snapshots.finished.iter().map(|s| Snapshot::of(s, &accepted, &pins)).collect();
    let outcome = match ask {
        Ask::Wish => retention::decide(&of, &options.wish, began, zone)
            .map_err(|unclear| OpError::Usage(unclear.to_string()))?,
        Ask::KeepAll | Ask::Retire => keep_all(&of),
    };
    let stay: BTreeSet<RunName> = outcome.decisions.iter().filter(|d| d.keep).map(|d| d.snapshot).collect();
    let kept: Vec<&SnapshotRecord> = snapshots.finished.iter().filter(|s| stay.contains(&s.name)).collect();
    let groups = Arc::new(Groups::new(&ctx.repo).await?);
    let mut live = Liveness::new(&ctx.repo, Arc::clone(&groups));
    let alive: BTreeSet<RunName> =
        kept.iter().map(|s| s.group).chain(runs.open.iter().map(|r| r.group)).collect();
    readable(&groups, &alive).await?;
    mark(ctx, &kept, &mut live).await?;
    let frozen = mark_runs(ctx, &runs.open, &mut live).await?;
    let mut plans = Vec::new();
    for name in groups.names().collect::<Vec<_>>() {
        let open = runs.open.iter().any(|r| r.group == name);
        let alive = alive.contains(&name);
        // Without a single snapshot an empty listing could not be told from a broken one: then nothing goes but what
        // was asked for.
        let asked = runs.dropped.iter().any(|(kind, group)| *kind == RunKind::Full && *group == name);
        if alive || asked || !kept.is_empty() {
            let plan =
                Box::pin(group_plan(ctx, &groups, &mut live, name, alive, open, frozen.contains(&name)));
            plans.push(plan.await?);
        }
    }
    if let Ask::Retire = ask {
        plans.iter_mut().for_each(|plan| only_hurt(plan, &groups, live.damaged == 0));
    }
    if !runs.at_work.is_empty() {
        plans.iter_mut().for_each(at_work);
    }
    let remove = outcome.decisions.iter().filter(|d| !d.keep).map(|d| d.snapshot).collect();
    let mut report = report(outcome, runs.decisions, &plans);
    report.in_the_way.clone_from(&runs.at_work);
    report.damaged_blobs = live.damaged;
    report.dry_run = options.dry_run;
    report.seconds = seconds(began, ctx.clock.now());
    Ok(Planned {
        report,
        began,
        lease: None,
        options,
        groups,
        live,
        plans,
        listed,
        in_the_way: runs.at_work,
        chain,
        remove,
        stay,
        leftovers: runs.leftovers,
        fence: runs.fence,
    })
}

fn keep_all(snapshots: &[Snapshot]) -> Outcome {
    let keep =
        |s: &Snapshot| Decision { snapshot: s.name, keep: true, reasons: vec!["nothing is removed".into()] };
    Outcome { decisions: snapshots.iter().map(keep).collect(), ..Outcome::default() }
}

/// Only damaged packs without anything that is needed go. `whole`: every needed blob has a sound copy, so that a pack of which
/// nobody knows what it held can go too.
fn only_hurt(plan: &mut GroupPlan, groups: &Groups, whole: bool) {
    let states = plan.group.as_ref().map(|g| g.packs()).unwrap_or_default();
    for (id, pack) in &mut plan.packs {
        let lost = states.get(id).is_some_and(|s| s.lost.is_some());
        let hurt = plan.alive && (lost || groups.damage().contains_key(id));
        pack.fate = match pack.fate {
            Fate::Delete(why) if hurt => Fate::Delete(why),
            Fate::Keep(Why::Unreadable) if hurt && whole => Fate::Delete(Why::Dead),
            Fate::Keep(why) | Fate::Delete(why) | Fate::Rewrite(why) => Fate::Keep(why),
        };
    }
}

/// While a run is at work nothing goes: it may rely on anything.
fn at_work(plan: &mut GroupPlan) {
    for pack in plan.packs.values_mut() {
        if !matches!(pack.fate, Fate::Keep(_)) {
            pack.fate = Fate::Keep(Why::AtWork);
        }
    }
}

/// All names that a listing of snapshots shows.
fn listed(snapshots: &Snapshots) -> BTreeSet<RunName> {
    snapshots.finished.iter().map(|s| s.name).chain(snapshots.tombstones.iter().copied()).collect()
}

async fn runs(ctx: &Context, snapshots: &Snapshots, options: &Options) -> Result<Runs, OpError> {
    let mut runs = Runs::default();
    let drop = options.wish.drop_incomplete;
    for (name, record) in ctx.repo.runs().await? {
        if snapshots.finished.iter().any(|s| s.name == name) {
            runs.leftovers.push(name);
            continue;
        }
        if let Ok(record) = &record
            && !snapshots.tombstones.contains(&name)
            && run::at_work(&ctx.repo, record, &options.host, ctx.clock.now()).await?
        {
            runs.at_work.push(InTheWay::of(record));
            runs.open.push(record.clone());
            let reasons = vec!["it is at work".to_owned()];
            runs.decisions.push(Decision { snapshot: name, keep: true, reasons });
            continue;
        }
        let later = snapshots
            .finished
            .iter()
            .find(|s| s.name > name && record.as_ref().map_or(true, |r| r.source == s.source));
        let decision = match (later, &record) {
            (Some(later), _) => {
                let why = format!("run {} has finished since", later.name);
                runs.fence.push((name, why.clone()));
                (false, why)
            }
            (None, record) if drop => {
                runs.fence.push((name, "prune --drop-incomplete dropped it".into()));
                runs.dropped.extend(record.as_ref().ok().map(|r| (r.kind, r.group)));
                (false, "--drop-incomplete".to_owned())
            }
            (None, Ok(record)) => {
                runs.open.push(record.clone());
                (true, "unfinished: the next run goes on from it".to_owned())
            }
            (None, Err(e)) if e.is_damage() => {
                return Err(OpError::Damage(format!(
                    "the record of the unfinished run {name} cannot be read ({e}), so it is not known what it needs; nothing was deleted. The next snapshot puts it aside, or drop it with qbak prune --drop-incomplete"
                )));
            }
            (None, Err(e)) => return Err(e.clone().into()),
        };
        runs.decisions.push(Decision { snapshot: name, keep: decision.0, reasons: vec![decision.1] });
    }
    Ok(runs)
}

/// The index files of the groups that stay must all be readable.
async fn readable(groups: &Groups, alive: &BTreeSet<RunName>) -> Result<(), OpError> {
    for name in alive {
        if let Some((id, e)) = groups.get(*name).await?.unreadable.first() {
            let file = names::index(*name, *id);
            return Err(OpError::Damage(format!(
                "{file} cannot be read ({e}); nothing was deleted. qbak heal makes an index file again from the packs; then prune again"
            )));
        }
    }
    Ok(())
}

async fn mark(ctx: &Context, kept: &[&SnapshotRecord], live: &mut Liveness) -> Result<(), OpError> {
    ctx.observer.event(Event::Phase {
        name: "reading snapshots",
        objects: Some(kept.len() as u64),
        bytes: None,
    });
    for s in kept {
        if ctx.cancel.is_set() {
            return Err(OpError::Interrupted);
        }
        live.snapshot(s).await.map_err(refuse)?;
        ctx.observer.event(Event::Advance { objects: 1, bytes: 0 });
    }
    Ok(())
}

fn refuse(trouble: Trouble) -> OpError {
    let Trouble { snapshot, key, error } = trouble;
    if !error.is_damage() {
        return error.into();
    }
    let what = key.map_or_else(|| "its list of objects".to_owned(), |key| format!("its object {key}"));
    OpError::Damage(format!(
        "snapshot {snapshot} is damaged, {what}: {error}. Nothing was deleted: what is to go may hold the only copy left. Run qbak heal, which brings back what other groups or the source still have; what they no longer have is lost, and then qbak prune --remove {snapshot} lets that snapshot go"
    ))
}

/// Marks what the checkpoints of unfinished runs need. Where they cannot be read, nothing of the run's group goes: that
/// costs room until the next run has finished, and no download.
async fn mark_runs(
    ctx: &Context,
    open: &[RunRecord],
    live: &mut Liveness,
) -> Result<BTreeSet<RunName>, OpError> {
    let mut frozen = BTreeSet::new();
    for run in open {
        let saved = checkpoints::saved(&ctx.repo, run.name).await?;
        let begun = saved.begun.into_values().map(|b| (b.key, b.size, b.blocks));
        match live.run(run.name, run.group, &saved.segments, begun).await {
            Ok(()) => {}
            Err(trouble) if trouble.error.is_damage() => drop(frozen.insert(run.group)),
            Err(trouble) => return Err(trouble.error.into()),
        }
    }
    Ok(frozen)
}

async fn group_plan(
    ctx: &Context,
    groups: &Groups,
    live: &mut Liveness,
    name: RunName,
    alive: bool,
    open: bool,
    frozen: bool,
) -> Result<GroupPlan, OpError> {
    if !alive && live.needed.homes(name).is_empty() {
        return doomed_group(ctx, name).await;
    }
    let group = groups.get(name).await?;
    let stats = live.stats(&group).await?;
    let facts = |(id, state): (_, &crate::repo::group::PackState)| {
        let stat = stats.get(&id).copied().unwrap_or_default();
        Pack {
            id,
            size: state.size,
            metadata: state.metadata,
            live: stat.live,
            live_bytes: stat.live_bytes,
            damaged: stat.damaged,
            reserved: frozen || (open && !state.indexed),
            unreadable: state.lost.is_some() && !state.indexed,
        }
    };
    let packs: Vec<Pack> = group.packs().iter().map(|(id, state)| facts((*id, state))).collect();
    let plans = fates(alive, &packs).into_iter().zip(&packs).map(|((id, fate), p)| {
        let needed = if p.live == 0 { 0 } else { p.needed() };
        (id, PackPlan { fate, size: p.size, live: p.live, live_bytes: p.live_bytes, needed })
    });
    let packs: BTreeMap<_, _> = plans.collect();
    let others = if alive { 0 } else { index_bytes(&group) };
    let mut indexes: Vec<_> = group.files().iter().map(|f| f.id).collect();
    indexes.extend(group.replaced.iter().copied());
    indexes.extend(group.unreadable.iter().map(|(id, _)| *id));
    Ok(GroupPlan { name, group: Some(group), alive, open, packs, indexes, others })
}

fn index_bytes(group: &Group) -> u64 {
    group.files().iter().map(|f| f.records() * crate::format::index::RECORD as u64).sum()
}

/// A group that nothing needs: its files are only listed.
async fn doomed_group(ctx: &Context, name: RunName) -> Result<GroupPlan, OpError> {
    let (mut packs, mut indexes, mut others) = (BTreeMap::new(), Vec::new(), 0);
    for file in ctx.repo.store().list_all(&names::group(name)).await? {
        match names::meaning(&file.name) {
            Meaning::Pack(group, id) if group == name => {
                let fate = Fate::Delete(Why::GroupGone);
                let plan = PackPlan { fate, size: file.size, live: 0, live_bytes: 0, needed: 0 };
                packs.insert(id, plan);
            }
            Meaning::Index(group, id) if group == name => {
                indexes.push(id);
                others += file.size;
            }
            _ => {}
        }
    }
    Ok(GroupPlan { name, group: None, alive: false, open: false, packs, indexes, others })
}

fn report(outcome: Outcome, runs: Vec<Decision>, plans: &[GroupPlan]) -> Report {
    let kept = outcome.decisions.iter().filter(|d| d.keep).count();
    let mut report = Report {
        kept: kept as u64,
        removed: (outcome.decisions.len() - kept) as u64,
        decisions: outcome.decisions,
        runs,
        held_back: outcome.held_back,
        refused: outcome.refused,
        ..Report::default()
    };
    for plan in plans {
        let mut line = GroupReport {
            group: plan.name,
            whole: plan.whole(),
            kept: 0,
            deleted: 0,
            rewritten: 0,
            why: Vec::new(),
        };
        for (id, pack) in &plan.packs {
            let why = match pack.fate {
                Fate::Keep(why) => {
                    line.kept += 1;
                    if matches!(why, Why::Reserved | Why::AtWork) {
                        report.pending_bytes += pack.size.saturating_sub(pack.needed);
                    }
                    why
                }
                Fate::Delete(why) => {
                    line.deleted += 1;
                    report.freed_bytes += pack.size;
                    why
                }
                Fate::Rewrite(why) => {
                    line.rewritten += 1;
                    report.freed_bytes += pack.size.saturating_sub(pack.needed);
                    report.moved_bytes += pack.live_bytes;
                    why
                }
            };
            if !matches!(pack.fate, Fate::Keep(Why::Live(_))) {
                line.why.push((names::pack(plan.name, *id), why.to_string()));
            }
        }
        if line.whole {
            report.freed_bytes += plan.others;
        }
        if line.whole || line.deleted + line.rewritten > 0 {
            report.groups.push(line);
        }
    }
    report
}
