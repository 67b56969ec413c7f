//! What a run stands on: what the store holds when it begins, and what follows from that. It creates its record first.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::Context;
use super::options::Options;
use crate::control::{Control, Point, off, point};
use crate::format::records::{RunRecord, SnapshotRecord, SourceRecord};
use crate::model::event::Event;
use crate::model::name::RunName;
use crate::model::time::Timestamp;
use crate::op::OpError;
use crate::plan::group::{Choice, Situation, Wish, choose};
use crate::repo::blobs::Groups;
use crate::repo::chain::Chain;
use crate::repo::repository::Snapshots;
use crate::repo::run::{self, Intent};

/// What the store knows when a run begins.
pub(super) struct Ground {
    /// A prune has removed a snapshot of the name that this run took.
    name_is_used: bool,
    pub(super) snapshots: Snapshots,
    /// Runs of this source that were cut off, by name.
    pub(super) open: Vec<RunRecord>,
    /// Runs whose record cannot be read.
    pub(super) broken: Vec<RunName>,
    pub(super) groups: Arc<Groups>,
    pub(super) choice: Choice,
    pub(super) baseline: Option<SnapshotRecord>,
}

impl Ground {
    pub(super) fn warn(&self, ctx: &Context) {
        for (name, error) in &self.snapshots.unreadable {
            ctx.observer.event(Event::Warning(format!("{name} cannot be read: {error}")));
        }
    }

    pub(super) fn parent(&self) -> Option<&SnapshotRecord> {
        self.snapshots.finished.last()
    }

    /// One more than any there is. A snapshot that cannot be read just now took one too, and may be read again tomorrow: it
    /// must not turn out to be the latest then.
    pub(super) fn next_sequence(&self) -> u64 {
        let unread = self.snapshots.unreadable.len() as u64;
        self.parent().map_or(0, |p| p.sequence).saturating_add(unread).saturating_add(1)
    }

    pub(super) fn is_separate(&self) -> bool {
        self.baseline.as_ref().map(|b| b.name) != self.parent().map(|p| p.name)
    }
}

/// So often a run begins anew because the store changed while it began.
const TRIES: u32 = 20;

/// Creates the run's record, and only then reads what the run will build on: a prune that does not see the record is one
/// whose traces the run sees (docs/protocol.md).
pub(super) async fn begin(
    ctx: &Context,
    options: &Options,
    source: &SourceRecord,
    began: Timestamp,
) -> Result<(Ground, RunRecord), OpError> {
    let mut used = BTreeSet::new();
    for n in 0..TRIES {
        let before = survey(ctx, options, source, None).await?;
        let intent = Intent {
            kind: before.choice.kind,
            group: before.choice.group,
            redownload: options.redownload,
            source: source.clone(),
            host: options.host.clone(),
            pid: options.pid,
        };
        if n == 0 {
            // A source that cannot be reached at all leaves no trace; a store that cannot be written was noticed by the
            // lease.
            ctx.source.check().await?;
        }
        point(Point::RunSurveyed);
        let record = run::begin(&ctx.repo, intent, &used, began).await?;
        point(Point::RunRecorded);
        if off(Control::NoRecordFirst) {
            return Ok((before, record));
        }
        match survey(ctx, options, source, Some(record.name)).await {
            Ok(ground)
                if !ground.name_is_used
                    && ground.choice.kind == record.kind
                    && ground.choice.group.unwrap_or(record.name) == record.group =>
            {
                return Ok((ground, record));
            }
            other => {
                run::forget(&ctx.repo, record.name).await?;
                if other?.name_is_used {
                    used.insert(record.name);
                }
            }
        }
    }
    Err(OpError::Failed("other runs or prunes change the store all the time; try again later".into()))
}

/// Reads what the store knows and decides what the run will be: first what a prune may be about to delete, then the
/// snapshots, then the groups. `own`: the run itself, if it has begun.
pub(super) async fn survey(
    ctx: &Context,
    options: &Options,
    source: &SourceRecord,
    own: Option<RunName>,
) -> Result<Ground, OpError> {
    let chain = Chain::read(&ctx.repo).await?;
    let condemned = chain.condemned(&ctx.repo).await?;
    let snapshots = ctx.repo.snapshots().await?;
    if let Some(latest) = snapshots.finished.last()
        && latest.source != *source
        && !options.new_source
    {
        return Err(OpError::Usage(format!(
            "this store holds snapshots of {}, and the source is {}; a store holds one source: use another store, or --new-source if the bucket has moved",
            describe(&latest.source),
            describe(source)
        )));
    }
    let (mut open, mut broken) = (Vec::new(), Vec::new());
    for (name, record) in ctx.repo.runs().await? {
        if Some(name) == own || snapshots.finished.iter().any(|s| s.name == name) {
            continue;
        }
        match record {
            Ok(record) if record.source == *source => open.push(record),
            Ok(_) => {}
            Err(_) => broken.push(name),
        }
    }
    let name_is_used = match own {
        Some(own) => chain.has_removed(&ctx.repo, own).await?,
        None => false,
    };
    let groups = Arc::new(Groups::heeding(&ctx.repo, condemned).await?);
    let accepted = ctx.repo.accepted().await?;
    let space = match (snapshots.finished.last(), ctx.repo.store().free_bytes()) {
        (Some(latest), Some(free)) => {
            let group = groups.get(latest.group).await?;
            let packs: u64 = group.packs().values().map(|p| p.size).sum();
            Some((packs.min(latest.counts.bytes.saturating_add(64 << 20)), free))
        }
        _ => None,
    };
    let wish = Wish {
        kind: options.kind,
        redownload: options.redownload,
        full_every: options.full_every,
        share: options.share,
    };
    let choice = choose(wish, &Situation { finished: &snapshots.finished, open: &open, space });
    let sane = |s: &&SnapshotRecord| s.suspect.is_none() || accepted.contains(&s.name);
    let baseline = snapshots.finished.iter().rev().find(sane).cloned();
    Ok(Ground { name_is_used, snapshots, open, broken, groups, choice, baseline })
}

fn describe(source: &SourceRecord) -> String {
    if source.scope.bytes().is_empty() || source.url.contains(source.scope.lossy().as_ref()) {
        source.url.clone()
    } else {
        format!("{} ({}…)", source.url, source.scope)
    }
}

/// Whether "unchanged" means "present": the parent's blobs lie in this run's group (or, with `share`, in groups that it
/// needs), and nothing is missing or damaged there.
pub(super) async fn is_sound(
    options: &Options,
    ground: &Ground,
    record: &RunRecord,
    needs: &Arc<Mutex<BTreeSet<RunName>>>,
) -> Result<bool, OpError> {
    let Some(parent) = ground.parent() else { return Ok(false) };
    if !ground.groups.is_calm() {
        return Ok(false);
    }
    if parent.group != record.group || record.redownload || (!options.share && !parent.needs.is_empty()) {
        return Ok(false);
    }
    if !ground.groups.get(parent.group).await?.is_sound(&parent.indexes) {
        return Ok(false);
    }
    for name in &parent.needs {
        if !ground.groups.get(*name).await?.is_sound(&[]) {
            return Ok(false);
        }
    }
    if let Ok(mut needs) = needs.lock() {
        needs.extend(parent.needs.iter().copied());
    }
    Ok(true)
}
