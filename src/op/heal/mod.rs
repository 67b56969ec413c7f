//! `heal`: brings damaged and missing blobs back: what is still whole in a hurt pack, another group's copy, the live source. Finds damage as
//! `verify` does without reading contents, goes by what is recorded, and ends by looking once more.

mod fetch;
mod indexes;
mod records;
mod report;
mod seek;
mod stored;
mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

pub use report::{From, Item, Report};

use crate::model::clock::Clock;
use crate::model::event::{Event, Observer};
use crate::model::time::Timestamp;
use crate::op::check::{self, Hurt};
use crate::op::{Cancel, OpError, prune};
use crate::plan::heal::Truth;
use crate::plan::retention::Wish;
use crate::repo::Repository;
use crate::repo::blobs::Groups;
use crate::repo::healer::Healer;
use crate::source::Source;
use crate::store::lease::{self, Holder};

use survey::{Name, Need};

/// Everything a healing works with.
pub struct Context {
    /// The store.
    pub repo: Repository,
    /// The live source, or why there is none.
    pub source: Result<Arc<dyn Source>, String>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Is told what happens.
    pub observer: Arc<dyn Observer>,
    /// Says stop.
    pub cancel: Cancel,
}

/// How to heal.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Where temporary files go.
    pub spool: PathBuf,
    /// This machine.
    pub host: String,
    /// This process.
    pub pid: u32,
    /// So many blobs are looked for at a time; more come in further rounds.
    pub most: usize,
}

impl Options {
    /// Temporary files in `spool`.
    pub fn new(spool: PathBuf) -> Self {
        Self { dry_run: false, spool, host: String::new(), pid: 0, most: 50_000 }
    }
}

/// A blob that the store cannot give.
struct Pending {
    need: Need,
    truth: Truth,
}

/// Why a blob did not come back.
struct Loss {
    reason: String,
    /// Nothing that is known of can bring it back.
    for_good: bool,
}

/// Heals a store.
///
/// # Errors
/// The store cannot be reached or written, or it was told to stop; what was healed until then stays. Damage that is left is in
/// the report.
pub async fn heal(ctx: &Context, options: &Options) -> Result<Report, OpError> {
    let began = ctx.clock.now();
    let holder =
        Holder { what: "heal".into(), host: options.host.clone(), pid: options.pid, since: began.rfc3339() };
    let lease =
        if options.dry_run { None } else { Some(lease::take(ctx.repo.store(), lease::For::Run, &holder)?) };
    let healer = lease.map(|lease| Healer::new(&ctx.repo, options.spool.clone(), lease));
    let mut work = Work {
        ctx,
        options,
        healer,
        report: Report { dry_run: options.dry_run, ..Report::default() },
        met: Vec::new(),
        done: BTreeSet::new(),
        failed: BTreeSet::new(),
        source_failed: None,
    };
    let result = work.run().await;
    let Work { mut report, healer, .. } = work;
    result?;
    report.written_bytes = healer.map_or(0, |h| h.written);
    report.source = ctx.source.as_ref().ok().map(|s| s.identity().url.clone());
    report.seconds = seconds(began, ctx.clock.now());
    Ok(report)
}

struct Work<'a> {
    ctx: &'a Context,
    options: &'a Options,
    /// None in a dry run.
    healer: Option<Healer>,
    report: Report,
    /// Damage that was met and that no record names yet (in a dry run: that none will).
    met: Vec<Hurt>,
    /// Blobs that were brought back; blobs that could not be.
    done: BTreeSet<Name>,
    failed: BTreeSet<Name>,
    /// Why the source is not asked any more.
    source_failed: Option<String>,
}

impl Work<'_> {
    async fn run(&mut self) -> Result<(), OpError> {
        let ctx = self.ctx;
        let mut outcome = self.check(true).await?;
        // What a mended record leads to has not been looked at.
        let mended = records::mend(ctx, &outcome.findings, self.options.dry_run).await?;
        self.report.records = mended;
        if mended > 0 && !self.options.dry_run {
            outcome = self.check(true).await?;
        }
        self.met = std::mem::take(&mut outcome.hurt);
        let bad = indexes::damaged(&outcome.findings);
        loop {
            let groups = self.groups(&bad).await?;
            let known = self.done.union(&self.failed).copied().collect();
            let needs = survey::survey(ctx, &groups, &known, self.options.most).await?;
            if needs.is_empty() {
                break;
            }
            let ended = self.round(&groups, needs).await;
            if let Some(healer) = &mut self.healer {
                healer.finish().await?;
            }
            ended?;
        }
        let groups = self.groups(&bad).await?;
        if let Some(healer) = &self.healer {
            self.report.indexes = indexes::rebuild(ctx, healer, &groups, &bad, &self.failed).await?;
        } else {
            self.report.indexes = bad.values().map(|ids| ids.len() as u64).sum();
            return Ok(());
        }
        self.retire(&groups).await?;
        let left = self.check(false).await?;
        self.report.damage_left = left.damage().count() as u64 + left.more;
        self.report.left =
            left.findings.into_iter().filter(|f| f.severity == check::Severity::Damage).collect();
        Ok(())
    }

    /// Hurt packs hold nothing by now that is needed and lies nowhere else: they go as a prune's packs do.
    async fn retire(&mut self, groups: &Arc<Groups>) -> Result<(), OpError> {
        let (ctx, options) = (self.ctx, self.options);
        let prunes = prune::Context {
            repo: ctx.repo.clone(),
            clock: Arc::clone(&ctx.clock),
            observer: Arc::clone(&ctx.observer),
            cancel: ctx.cancel.clone(),
        };
        let wish = prune::Options {
            wish: Wish::default(),
            dry_run: false,
            spool: options.spool.clone(),
            host: options.host.clone(),
            pid: options.pid,
        };
        match prune::retire(&prunes, wish).await {
            Ok(packs) => self.report.retired = packs,
            // They harm nobody: readers know of them, and pass them by.
            Err(e @ (OpError::Damage(_) | OpError::InUse(_))) => {
                ctx.observer.event(Event::Note(format!("damaged packs stay for now: {e}")));
            }
            Err(e) => return Err(e),
        }
        records::forget_gone(ctx, groups).await
    }

    async fn check(&self, tables: bool) -> Result<check::Outcome, OpError> {
        let options = check::Options { tables, ..check::Options::default() };
        check::check(&self.ctx.repo, &options, &self.ctx.observer, &self.ctx.cancel).await
    }

    /// The groups as they stand, with all that is known against their packs. What was met is recorded first.
    async fn groups(&mut self, bad: &indexes::Bad) -> Result<Arc<Groups>, OpError> {
        let (repo, now) = (&self.ctx.repo, self.ctx.clock.now());
        if !self.options.dry_run {
            let met = std::mem::take(&mut self.met);
            check::record(repo, now, &met, &self.ctx.observer).await?;
        }
        let mut damage = repo.damage().await?;
        check::add(&mut damage, &self.met, now);
        let doubted = bad.values().flatten().copied().collect();
        Ok(Arc::new(Groups::doubting(repo, damage, doubted).await?))
    }

    /// Brings back what can be: first from the store, then from the source.
    async fn round(&mut self, groups: &Arc<Groups>, needs: BTreeMap<Name, Need>) -> Result<(), OpError> {
        let phase = Event::Phase { name: "healing blobs", objects: Some(needs.len() as u64), bytes: None };
        self.ctx.observer.event(phase);
        self.report.damaged += needs.len() as u64;
        let mut pending = Vec::new();
        for need in needs.into_values() {
            self.stop()?;
            let found = stored::find(self.ctx, groups, &need, &mut self.met).await?;
            match found.copy {
                Some((bytes, hashes, from)) => self.put(need, hashes, bytes, from).await?,
                None if need.uses.is_empty() => {
                    let reason = "no whole copy of it is left; where the source has not changed since, the next qbak snapshot writes the same again";
                    self.lose(need, Loss { reason: reason.into(), for_good: false });
                }
                None if found.truth == Truth::Contradicted => {
                    let reason = "the records of it contradict each other, so that it cannot be told which bytes are right";
                    self.lose(need, Loss { reason: reason.into(), for_good: true });
                }
                None => pending.push(Pending { need, truth: found.truth }),
            }
        }
        self.ask_source(pending).await
    }

    fn stop(&self) -> Result<(), OpError> {
        if self.ctx.cancel.is_set() { Err(OpError::Interrupted) } else { Ok(()) }
    }

    /// Stores a blob where it is needed.
    async fn put(
        &mut self,
        need: Need,
        hashes: crate::model::content::Hashes,
        bytes: bytes::Bytes,
        from: From,
    ) -> Result<(), OpError> {
        if let Some(healer) = &mut self.healer {
            healer.put(need.home, need.kind, hashes, bytes).await?;
        }
        self.healed(need, from);
        Ok(())
    }

    fn healed(&mut self, need: Need, from: From) {
        self.done.insert(need.name());
        self.ctx.observer.event(Event::Advance { objects: 1, bytes: need.length });
        self.report.healed(need, from);
    }

    fn lose(&mut self, need: Need, loss: Loss) {
        self.failed.insert(need.name());
        self.ctx.observer.event(Event::Advance { objects: 1, bytes: 0 });
        self.report.lost(need, loss);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a duration for people")]
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    (to.nanos() - from.nanos()).max(0) as f64 / 1e9
}
