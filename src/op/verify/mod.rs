//! `verify`: proves that a restore will work. Without more it checks what holds the store together; `--data` and its kin
//! also read packs front to back and check every byte; `--restore` reads every object as a restore would.

mod data;
mod holding;
mod memory;
mod objects;
mod restore;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use restore::{Against, Comparison, Trial, Way};

use crate::format::records::DamageRecord;
use crate::model::clock::Clock;
use crate::model::event::{Event, Observer};
use crate::model::id::PackId;
use crate::model::name::RunName;
use crate::op::check::{self, Finding, Severity};
use crate::op::{Cancel, OpError};
use crate::plan::verify::Choice;
use crate::repo::Repository;

/// Everything a verification works with.
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

/// What is asked for.
#[derive(Default)]
pub struct Options {
    /// Only this snapshot, and the packs that hold it.
    pub only: Option<RunName>,
    /// How deep.
    pub depth: Depth,
}

/// How deep a verification goes. All of them check the structure.
#[derive(Default)]
pub enum Depth {
    /// No contents are read.
    #[default]
    Structure,
    /// These packs are read whole.
    Data(Choice),
    /// One snapshot (the newest, unless another is named) is restored for the trial.
    Restore(Trial),
}

/// What a verification came to.
#[derive(Debug, Default)]
pub struct Report {
    /// What was found, damage first.
    pub findings: Vec<Finding>,
    /// How much damage in all: exit 4 unless it is 0.
    pub damaged: u64,
    /// Whether contents were read.
    pub contents: bool,
    /// Snapshots whose entries were followed to their blobs.
    pub snapshots: u64,
    /// Packs that were read; without contents, packs that were looked for.
    pub packs: u64,
    /// Blobs that were decoded and checked; without contents, blobs that index files and tables name.
    pub blobs: u64,
    /// Bytes of contents and packs that were read.
    pub bytes: u64,
    /// How `--restore` went about it.
    pub way: Option<Way>,
    /// What `--restore` compared with, if it was asked to.
    pub compared: Option<Comparison>,
    /// How long it took.
    pub seconds: f64,
}

/// Verifies a store.
///
/// # Errors
/// The store cannot be reached, or the verification was told to stop (what was found until then is recorded). Damage is
/// in the report.
pub async fn verify(ctx: &Context, options: Options) -> Result<Report, OpError> {
    let began = ctx.clock.now();
    let Options { only, depth } = options;
    let mut report = Report::default();
    let mut read = data::Read::default();
    match &depth {
        Depth::Structure | Depth::Restore(_) => {}
        Depth::Data(choice) => {
            read = data::read(ctx, *choice, only).await?;
            report.contents = true;
            (report.packs, report.blobs, report.bytes) = (read.packs, read.blobs, read.bytes);
        }
    }
    let known: BTreeMap<PackId, DamageRecord> = read.found.clone();
    let checking = check::Options { only, tables: false, known };
    let outcome = check::check(&ctx.repo, &checking, &ctx.observer, &ctx.cancel).await?;
    check::record(&ctx.repo, ctx.clock.now(), &outcome.hurt, &ctx.observer).await?;
    report.snapshots = outcome.snapshots;
    if !report.contents {
        (report.packs, report.blobs) = (outcome.packs, outcome.blobs);
    }
    report.findings = outcome.findings;
    report.damaged = outcome.more;
    data::add_unneeded(ctx, &read, &mut report.findings).await?;
    if let Depth::Restore(trial) = depth {
        restore::prove(ctx, only, trial, &mut report).await?;
    }
    memory::forget_unreadable(ctx, &report.findings).await?;
    // Objects are read side by side: the order in which they finish says nothing.
    let order = |f: &Finding| (f.severity, f.file.clone(), f.keys.first().cloned(), f.what.clone());
    report.findings.sort_by_cached_key(order);
    report.damaged += report.findings.iter().filter(|f| f.severity == Severity::Damage).count() as u64;
    report.seconds = seconds(ctx, began);
    Ok(report)
}

#[expect(clippy::cast_precision_loss, reason = "a duration for people")]
fn seconds(ctx: &Context, began: crate::model::time::Timestamp) -> f64 {
    (ctx.clock.now().nanos() - began.nanos()).max(0) as f64 / 1e9
}

/// A record that could not be written is no reason to hide what was found.
fn unwritten(ctx: &Context, what: &str, result: Result<(), crate::repo::RepoError>) {
    if let Err(e) = result {
        ctx.observer.event(Event::Warning(format!("{what} could not be recorded: {e}")));
    }
}
