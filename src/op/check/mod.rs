//! Checks what holds a store together, without reading the contents of objects: records, index files against packs,
//! manifests down to the last segment, and that every entry leads to blobs that are there. Reads only.

mod files;
mod finding;
mod groups;
mod harm;
mod invariants;
mod manifests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use finding::{Finding, Severity};
pub use harm::Hurt;
pub use invariants::{broken, contents, invariants, leftovers};

use crate::format::records::{DamageRecord, SnapshotRecord};
use crate::model::event::{Event, Observer};
use crate::model::id::PackId;
use crate::model::name::RunName;
use crate::model::time::Timestamp;
use crate::op::{Cancel, OpError};
use crate::repo::blobs::Groups;
use crate::repo::{Repository, names};

use finding::Findings;

/// What to check, and how closely.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only this snapshot and what it needs.
    pub only: Option<RunName>,
    /// Also compare the table of every pack with what the index files say of it: three small reads a pack.
    pub tables: bool,
    /// Damage that is known though no record says so yet.
    pub known: BTreeMap<PackId, DamageRecord>,
}

/// What a check came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was found, damage first.
    pub findings: Vec<Finding>,
    /// Damage beyond those.
    pub more: u64,
    /// Blobs and packs that were found damaged and that no record names yet.
    pub hurt: Vec<Hurt>,
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Packs looked for.
    pub packs: u64,
    /// Blobs that index files and tables name.
    pub blobs: u64,
}

impl Outcome {
    /// What is damage, not only worth knowing.
    pub fn damage(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.severity == Severity::Damage)
    }
}

/// Checks a store.
///
/// # Errors
/// The store cannot be reached, or the check was told to stop. Damage is no error: it is what is looked for.
pub async fn check(
    repo: &Repository,
    options: &Options,
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
) -> Result<Outcome, OpError> {
    // A run or prune beside the check moves files under its eyes: then what looks like damage may only be old news.
    for _ in 0..MOST_TRIES {
        let before = files::state(repo).await?;
        let outcome = once(repo, options, observer, cancel).await?;
        if outcome.damage().next().is_none() || files::state(repo).await? == before {
            return Ok(outcome);
        }
        observer.event(Event::Note("the store changed under the check; it is done again".into()));
    }
    once(repo, options, observer, cancel).await
}

const MOST_TRIES: usize = 3;

async fn once(
    repo: &Repository,
    options: &Options,
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
) -> Result<Outcome, OpError> {
    let mut findings = Findings::default();
    observer.event(Event::Phase { name: "checking structure", objects: None, bytes: None });
    files::check(repo, &mut findings).await?;
    let snapshots = files::snapshots(repo, &mut findings).await?;
    let mut damage = repo.damage().await?;
    damage.extend(options.known.iter().map(|(id, record)| (*id, record.clone())));
    let groups = Arc::new(Groups::knowing(repo, damage).await?);
    let chosen: Vec<&SnapshotRecord> = match options.only {
        None => snapshots.iter().collect(),
        Some(name) => match snapshots.iter().find(|s| s.name == name) {
            Some(snapshot) => vec![snapshot],
            None => return Err(OpError::Failed(format!("snapshot {name} is not there or cannot be read"))),
        },
    };
    let counted = groups::check(&groups, &snapshots, options, &mut findings, cancel).await?;
    let harms = manifests::check(repo, &groups, &chosen, observer, cancel, &mut findings).await?;
    harms.report(&groups, options, &mut findings).await?;
    let (findings, more, hurt) = findings.finish();
    Ok(Outcome {
        findings,
        more,
        hurt,
        snapshots: chosen.len() as u64,
        packs: counted.packs,
        blobs: counted.blobs,
    })
}

/// Records damage that was found on the way: blobs of manifests that do not read, packs without a table.
///
/// # Errors
/// The store cannot be read. A record that cannot be written is no reason to hide what was found: the observer hears of it.
pub async fn record(
    repo: &Repository,
    now: Timestamp,
    hurt: &[Hurt],
    observer: &Arc<dyn Observer>,
) -> Result<(), OpError> {
    if hurt.is_empty() {
        return Ok(());
    }
    let mut records = repo.damage().await?;
    for pack in add(&mut records, hurt, now) {
        if let Some(record) = records.get(&pack)
            && let Err(e) = repo.note(&names::damaged(pack), record).await
        {
            observer.event(Event::Warning(format!("damage could not be recorded: {e}")));
        }
    }
    Ok(())
}

/// Adds what was found to what is known of the packs; returns the packs it is about.
pub fn add(records: &mut BTreeMap<PackId, DamageRecord>, hurt: &[Hurt], now: Timestamp) -> BTreeSet<PackId> {
    for h in hurt {
        let record = records.entry(h.pack).or_insert_with(|| DamageRecord {
            pack: h.pack,
            group: h.group,
            found: now,
            whole: false,
            blobs: Vec::new(),
            what: h.what.clone(),
        });
        match h.blob {
            None => record.whole = true,
            Some((kind, id)) => {
                let blob = (kind.into(), id);
                if !record.blobs.contains(&blob) {
                    record.blobs.push(blob);
                }
            }
        }
    }
    hurt.iter().map(|h| h.pack).collect()
}
