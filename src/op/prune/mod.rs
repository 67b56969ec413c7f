//! `prune`: removes snapshots and frees what only they needed. First everything is read and decided; whatever cannot be read ends it before
//! anything is deleted. Then it is done by the protocol of `docs/protocol.md`, in an order that can be stopped anywhere.

mod copy;
mod execute;
mod report;
mod survey;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::TimeZone;

use survey::Ask;

pub use report::{GroupReport, InTheWay, Options, Report};

use crate::model::clock::Clock;
use crate::model::event::{Event, Observer};
use crate::model::id::{IndexId, PackId};
use crate::model::name::RunName;
use crate::model::time::Timestamp;
use crate::op::{Cancel, OpError};
use crate::plan::prune::Fate;
use crate::repo::Repository;
use crate::repo::blobs::Groups;
use crate::repo::chain::Chain;
use crate::repo::group::Group;
use crate::repo::liveness::Liveness;
use crate::store::StoreErrorKind;
use crate::store::lease::{self, Holder, Lease, LeaseError};

/// Everything a prune works with.
pub struct Context {
    /// The store.
    pub repo: Repository,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Is told what happens.
    pub observer: Arc<dyn Observer>,
    /// Says stop.
    pub cancel: Cancel,
}

/// What is to become of a pack.
#[derive(Debug, Clone)]
struct PackPlan {
    fate: Fate,
    /// Its file's size.
    size: u64,
    /// How many blobs of it are needed, their bytes as stored, and the size of a pack of just these.
    live: u64,
    live_bytes: u64,
    needed: u64,
}

/// What is to become of a group.
#[derive(Debug)]
struct GroupPlan {
    name: RunName,
    /// `None`: nothing needs any of it; all files go, unread.
    group: Option<Arc<Group>>,
    /// It has a kept snapshot, or a run that may go on.
    alive: bool,
    /// A run that was cut off may go on in it.
    open: bool,
    packs: BTreeMap<PackId, PackPlan>,
    /// Its index files, when nothing needs any of it.
    indexes: Vec<IndexId>,
    /// Bytes of files that go with it when it goes whole: index files.
    others: u64,
}

impl GroupPlan {
    fn with(&self, wanted: impl Fn(&Fate) -> bool) -> impl Iterator<Item = (&PackId, &PackPlan)> {
        self.packs.iter().filter(move |(_, p)| wanted(&p.fate))
    }

    fn whole(&self) -> bool {
        !self.alive && self.with(|f| matches!(f, Fate::Keep(_))).next().is_none()
    }
}

/// A prune that has been decided and not begun. While it lives, no other prune begins.
pub struct Planned {
    report: Report,
    began: Timestamp,
    lease: Option<Lease>,
    options: Options,
    groups: Arc<Groups>,
    live: Liveness,
    plans: Vec<GroupPlan>,
    /// The names under `snapshots/` when it was decided.
    listed: BTreeSet<RunName>,
    /// Runs at work.
    in_the_way: Vec<InTheWay>,
    /// The chain before anything else was read.
    chain: Chain,
    remove: Vec<RunName>,
    stay: BTreeSet<RunName>,
    /// Runs whose records are leftovers; runs to be fenced off, and why.
    leftovers: Vec<RunName>,
    fence: Vec<(RunName, String)>,
}

impl Planned {
    /// What would be done.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

/// Reads and decides. Days and weeks are those of `zone`.
///
/// # Errors
/// The way it was asked is at fault, the store is in use, or something that must be known cannot be read. Nothing is deleted.
pub async fn plan<Z: TimeZone>(ctx: &Context, options: Options, zone: &Z) -> Result<Planned, OpError> {
    let began = ctx.clock.now();
    let holder =
        Holder { what: "prune".into(), host: options.host.clone(), pid: options.pid, since: began.rfc3339() };
    let lease = if options.dry_run { None } else { Some(take(ctx, &holder).await?) };
    if !options.dry_run {
        ctx.repo.clean_cut_off(began).await?;
    }
    let mut planned = settled_survey(ctx, &options, Ask::Wish, began, zone).await?;
    planned.lease = lease;
    for why in &planned.report.refused {
        ctx.observer.event(Event::Warning(why.clone()));
    }
    if planned.report.held_back > 0 {
        ctx.observer.event(Event::Warning(format!(
            "{} snapshots are held back: the newest is suspect, and what the rules would remove may be the last good state; look at it with qbak diff, then qbak accept it or make a healthy snapshot",
            planned.report.held_back
        )));
    }
    if planned.report.damaged_blobs > 0 {
        ctx.observer.event(Event::Warning(format!(
            "{} needed blobs are known to be damaged; their packs stay; run qbak heal, which brings back what other groups or the source still have",
            planned.report.damaged_blobs
        )));
    }
    Ok(planned)
}

/// Takes the lease; on a disk that has not even room for its file, with what was put by for that.
async fn take(ctx: &Context, holder: &Holder) -> Result<Lease, OpError> {
    match lease::take(ctx.repo.store(), lease::For::Prune, holder) {
        Err(LeaseError::Store(e)) if e.kind == StoreErrorKind::Full && ctx.repo.release_reserve().await? => {
            Ok(lease::take(ctx.repo.store(), lease::For::Prune, holder)?)
        }
        other => Ok(other?),
    }
}

/// Decides, and unless it is a dry run does it.
///
/// # Errors
/// As [`plan`], or the store failed on the way: what was to be kept is whole, and a later prune finishes the job.
pub async fn prune<Z: TimeZone>(ctx: &Context, options: Options, zone: &Z) -> Result<Report, OpError> {
    plan(ctx, options, zone).await?.execute(ctx).await
}

/// So often the survey begins anew because another prune changed the store under it.
const TRIES: u32 = 5;

/// Reads and decides. What looks like damage to somebody whom a prune overtook is none: then everything is read again.
async fn settled_survey<Z: TimeZone>(
    ctx: &Context,
    options: &Options,
    ask: Ask,
    began: Timestamp,
    zone: &Z,
) -> Result<Planned, OpError> {
    let mut tries = 1;
    loop {
        let chain = ready(ctx, options).await?;
        let last = chain.last;
        match survey::survey(ctx, options.clone(), ask.clone(), chain, began, zone).await {
            Err(OpError::Damage(_) | OpError::Repo(_))
                if tries < TRIES && Chain::read(&ctx.repo).await?.last != last =>
            {
                tries += 1;
            }
            other => return other,
        }
    }
}

/// Deletes damaged packs of which nothing is needed, and nothing else: what a healing leaves behind. Returns how many.
///
/// # Errors
/// As [`prune`].
pub async fn retire(ctx: &Context, options: Options) -> Result<u64, OpError> {
    let began = ctx.clock.now();
    let holder =
        Holder { what: "heal".into(), host: options.host.clone(), pid: options.pid, since: began.rfc3339() };
    let _lease = lease::take(ctx.repo.store(), lease::For::Prune, &holder)?;
    let planned = settled_survey(ctx, &options, Ask::Retire, began, &chrono::Utc).await?;
    let goes = |p| GroupPlan::with(p, |f| !matches!(f, Fate::Keep(_))).map(|(id, _)| *id);
    let packs: Vec<PackId> = planned.plans.iter().flat_map(goes).collect();
    if packs.is_empty() {
        return Ok(0);
    }
    planned.round(ctx).await?;
    let left = Groups::new(&ctx.repo).await?;
    let mut retired = 0;
    for id in packs {
        let mut there = false;
        for name in left.names() {
            there |= left.get(name).await?.packs().contains_key(&id);
        }
        retired += u64::from(!there);
    }
    Ok(retired)
}

/// Finishes what an earlier prune left, and then reads the chain: whatever is read after it is newer.
async fn ready(ctx: &Context, options: &Options) -> Result<Chain, OpError> {
    let chain = Chain::read(&ctx.repo).await?;
    let Some(open) = &chain.open else { return Ok(chain) };
    if options.dry_run {
        ctx.observer.event(Event::Note(format!("prune {} was cut off and is finished first", open.number)));
        return Ok(chain);
    }
    ctx.repo.release_reserve_if_tight().await?;
    sweep::finish(ctx, &options.host, &options.spool, open).await?;
    Ok(Chain::read(&ctx.repo).await?)
}

#[expect(clippy::cast_precision_loss, reason = "a duration for people")]
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    (to.nanos() - from.nanos()).max(0) as f64 / 1e9
}
