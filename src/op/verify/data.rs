//! The packs, read whole: what is proven, what is damaged, and what becomes of the records of damage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, stream};

use super::{Context, memory, unwritten};
use crate::control::{Control, off};
use crate::format::records::{DamageRecord, SnapshotRecord};
use crate::model::event::Event;
use crate::model::id::PackId;
use crate::model::name::RunName;
use crate::op::OpError;
use crate::op::check::{Finding, Severity};
use crate::plan::verify::{Choice, choose};
use crate::repo::blobs::Groups;
use crate::repo::names;
use crate::repo::pack_proof::{self, Fault};

/// Packs in memory at a time: one is decoded while the next is read.
const AT_ONCE: usize = 2;

/// What reading packs came to.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub packs: u64,
    pub blobs: u64,
    pub bytes: u64,
    /// Packs that something is wrong with.
    pub found: BTreeMap<PackId, DamageRecord>,
    /// Of these, what no record said before.
    pub fresh: BTreeMap<PackId, Fault>,
}

/// Reads the chosen packs. Records what is damaged, and that what was recorded as damaged is right after all.
pub(super) async fn read(ctx: &Context, choice: Choice, only: Option<RunName>) -> Result<Read, OpError> {
    let groups = Arc::new(Groups::new(&ctx.repo).await?);
    let wanted = match only {
        Some(name) => Some(packs_of(ctx, &groups, name).await?),
        None => None,
    };
    let mut sizes: BTreeMap<PackId, (RunName, u64)> = BTreeMap::new();
    let mut order: Vec<PackId> = Vec::new();
    for name in groups.names() {
        for (id, state) in groups.get(name).await?.packs() {
            // What is not there is the structure's business.
            if state.size > 0 && wanted.as_ref().is_none_or(|w| w.contains(&id)) {
                sizes.insert(id, (name, state.size));
                order.push(id);
            }
        }
    }
    let mut proven = ctx.repo.verified().await?;
    let chosen = choose(choice, &order, &proven);
    let bytes = chosen.iter().filter_map(|p| sizes.get(p)).map(|(_, size)| size).sum();
    ctx.observer.event(Event::Phase {
        name: "reading packs",
        objects: Some(chosen.len() as u64),
        bytes: Some(bytes),
    });
    let mut read = Read::default();
    let mut work = stream::iter(chosen)
        .map(|id| {
            let (repo, groups) = (ctx.repo.clone(), Arc::clone(&groups));
            let home = sizes.get(&id).map(|(group, _)| *group);
            tokio::spawn(async move {
                let Some(home) = home else { return Ok((id, None)) };
                let group = groups.get(home).await?;
                pack_proof::prove(&repo, &group, id).await.map(|proof| (id, Some((home, proof))))
            })
        })
        .buffered(AT_ONCE);
    let mut cancel = ctx.cancel.clone();
    let now = ctx.clock.now();
    let ended = loop {
        let next = tokio::select! {
            biased;
            () = cancel.wait() => break Err(OpError::Interrupted),
            next = work.next() => next,
        };
        let (id, found) = match next {
            None => break Ok(()),
            Some(Err(e)) => break Err(e.into()),
            Some(Ok(Err(e))) => break Err(e.into()),
            Some(Ok(Ok(found))) => found,
        };
        let Some((home, proof)) = found else { continue };
        read.packs += 1;
        read.blobs += proof.blobs;
        read.bytes += proof.bytes;
        ctx.observer.event(Event::Advance { objects: 1, bytes: proof.bytes });
        match proof.fault {
            None => {
                proven.insert(id, now);
                if groups.damage().contains_key(&id) {
                    let gone = ctx.repo.store().delete(&[names::damaged(id)]).await;
                    unwritten(ctx, "that a pack is right again", gone.map_err(Into::into));
                }
            }
            Some(fault) => {
                proven.remove(&id);
                note(ctx, &groups, home, id, fault, &mut read).await?;
            }
        }
    };
    drop(work);
    forget_gone(ctx, &groups).await?;
    // What was proven is worth keeping, even when there is no time for the rest.
    unwritten(ctx, "what was proven", memory::remember(ctx, &groups, proven).await);
    ended.map(|()| read)
}

/// Records of damage in packs that are gone, and that no index names, say nothing any more.
async fn forget_gone(ctx: &Context, groups: &Groups) -> Result<(), OpError> {
    let mut gone: BTreeSet<PackId> = groups.damage().keys().copied().collect();
    for name in groups.names() {
        let packs = groups.get(name).await?.packs();
        gone.retain(|id| !packs.contains_key(id));
    }
    if !gone.is_empty() {
        let files: Vec<String> = gone.into_iter().map(names::damaged).collect();
        let deleted = ctx.repo.store().delete(&files).await;
        unwritten(ctx, "that damaged packs are gone", deleted.map_err(Into::into));
    }
    Ok(())
}

/// Records the damage of one pack, unless a prune took the pack away under our eyes.
async fn note(
    ctx: &Context,
    groups: &Groups,
    home: RunName,
    id: PackId,
    fault: Fault,
    read: &mut Read,
) -> Result<(), OpError> {
    let file = names::pack(home, id);
    if ctx.repo.store().size(&file).await?.is_none() {
        return Ok(());
    }
    ctx.observer.event(Event::Note(format!("{file}: {}", fault.what)));
    let record = DamageRecord {
        pack: id,
        group: home,
        found: ctx.clock.now(),
        whole: fault.whole,
        blobs: fault.blobs.iter().map(|(kind, blob)| ((*kind).into(), *blob)).collect(),
        what: fault.what.clone(),
    };
    let before = groups.damage().get(&id);
    let known = |d: &&DamageRecord| {
        d.group == home
            && (d.whole || !fault.whole)
            && (d.whole || record.blobs.iter().all(|b| d.blobs.contains(b)))
    };
    if before.filter(known).is_none() && !off(Control::NoDamageRecord) {
        unwritten(ctx, "damage", ctx.repo.note(&names::damaged(id), &record).await);
        read.fresh.insert(id, fault);
    }
    read.found.insert(id, record);
    Ok(())
}

/// The packs that hold a snapshot's blobs.
async fn packs_of(ctx: &Context, groups: &Arc<Groups>, name: RunName) -> Result<BTreeSet<PackId>, OpError> {
    let snapshots = ctx.repo.snapshots().await?;
    let found: Option<SnapshotRecord> = snapshots.finished.into_iter().find(|s| s.name == name);
    let Some(snapshot) = found else {
        return Err(OpError::Failed(format!("snapshot {name} is not there or cannot be read")));
    };
    super::holding::packs_of(ctx, groups, &snapshot).await
}

/// New damage that harms no snapshot is said too, once: the disk is not what it was.
pub(super) async fn add_unneeded(
    ctx: &Context,
    read: &Read,
    findings: &mut Vec<Finding>,
) -> Result<(), OpError> {
    if read.fresh.is_empty() {
        return Ok(());
    }
    let groups = Groups::knowing(&ctx.repo, read.found.clone()).await?;
    for (id, fault) in &read.fresh {
        let Some(group) = read.found.get(id).map(|r| r.group) else { continue };
        findings.retain(|f| f.severity == Severity::Damage || f.pack != Some(*id));
        let told =
            |blob| findings.iter().any(|f| f.pack == Some(*id) && (f.blob.is_none() || blob == f.blob));
        let file = names::pack(group, *id);
        let mut more = Vec::new();
        if fault.whole && !told(None) {
            let what = format!("{}; no snapshot needs a blob that is only there", fault.what);
            more.push(Finding::damage(&file, what).pack(*id));
        }
        for (kind, blob) in fault.blobs.iter().filter(|_| !fault.whole) {
            if told(Some((*kind, *blob))) {
                continue;
            }
            let copy = groups.get(group).await?.sound(*kind, blob).await?;
            let rest = match copy {
                Some(copy) => format!("there is an undamaged copy in {}", names::pack(group, copy.pack)),
                None => "no snapshot needs it".into(),
            };
            let what = format!("{kind} blob {blob}: other bytes than were stored; {rest}");
            let mut finding = Finding::damage(&file, what).pack(*id);
            finding.blob = Some((*kind, *blob));
            more.push(finding);
        }
        findings.append(&mut more);
    }
    Ok(())
}
