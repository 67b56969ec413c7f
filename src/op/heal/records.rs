//! Small files that are damaged: mended where their check sum proves what they were, written anew where their name says all there is,
//! deleted where they only save work.

use super::Context;
use std::collections::BTreeSet;

use crate::format::record;
use crate::format::record::Record as _;
use crate::format::records::{DamageRecord, PinRecord, StoreRecord};
use crate::model::event::Event;
use crate::model::id::PackId;
use crate::op::OpError;
use crate::op::check::{Finding, Severity};
use crate::repo::blobs::Groups;
use crate::repo::names::{self, Meaning};
use crate::repo::{RepoError, Repository};

/// Mends what can be mended; returns how many files.
pub(super) async fn mend(ctx: &Context, findings: &[Finding], dry_run: bool) -> Result<u64, OpError> {
    let mut files: Vec<&str> = findings
        .iter()
        .filter(|f| f.severity == Severity::Damage && f.pack.is_none() && f.blob.is_none())
        .filter_map(|f| f.file.as_deref())
        .collect();
    files.sort_unstable();
    files.dedup();
    let mut mended = 0;
    for file in files {
        if ctx.cancel.is_set() {
            return Err(OpError::Interrupted);
        }
        let done = match names::meaning(file) {
            Meaning::Furniture if file == names::STORE || file == names::STORE_COPY => {
                store(&ctx.repo, file, dry_run).await?
            }
            Meaning::Snapshot(_) => one_bit(ctx, file, &["snapshot", "tombstone"], dry_run).await?,
            Meaning::Run(_) => one_bit(ctx, file, &["run"], dry_run).await?,
            Meaning::Checkpoint(..) => one_bit(ctx, file, &["checkpoint"], dry_run).await?,
            Meaning::Claim(_) => one_bit(ctx, file, &["claim"], dry_run).await?,
            Meaning::Mark(..) => one_bit(ctx, file, &["mark"], dry_run).await?,
            Meaning::Decision(_) => one_bit(ctx, file, &["decision"], dry_run).await?,
            Meaning::Note => note(ctx, file, dry_run).await?,
            _ => false,
        };
        mended += u64::from(done);
    }
    Ok(mended)
}

/// The store's record from its copy, or the other way round.
async fn store(repo: &Repository, file: &str, dry_run: bool) -> Result<bool, OpError> {
    let other = if file == names::STORE { names::STORE_COPY } else { names::STORE };
    let bytes = match repo.store().get(other, StoreRecord::MAX as u64).await {
        Ok(bytes) if record::decode::<StoreRecord>(&bytes).is_ok() => bytes,
        Ok(_) => return Ok(false),
        Err(e) => return harmless(Err(e.into())),
    };
    if !dry_run {
        repo.store().replace(file, bytes).await?;
    }
    Ok(true)
}

/// A record of which one bit has flipped: its check sum says which.
async fn one_bit(
    ctx: &Context,
    file: &str,
    kinds: &'static [&'static str],
    dry_run: bool,
) -> Result<bool, OpError> {
    let bytes = match ctx.repo.store().get(file, record::MAX_RECORD as u64).await {
        Ok(bytes) => bytes,
        Err(e) => return harmless(Err(e.into())),
    };
    // One whose check sum is right is wrong in a way that this is not about.
    let found = tokio::task::spawn_blocking(move || {
        kinds.iter().find_map(|kind| record::mend(&bytes, kind)).filter(|whole| *whole != bytes)
    });
    let Some(whole) = found.await? else { return Ok(false) };
    if !dry_run {
        ctx.repo.store().replace(file, whole).await?;
        ctx.observer.event(Event::Note(format!("{file} had one wrong bit, which its check sum told")));
    }
    Ok(true)
}

async fn note(ctx: &Context, file: &str, dry_run: bool) -> Result<bool, OpError> {
    let (repo, now) = (&ctx.repo, ctx.clock.now());
    let Some((folder, stem)) = file.strip_suffix(".json").and_then(|f| f.split_once('/')) else {
        return Ok(false);
    };
    if dry_run {
        return Ok(true);
    }
    match folder {
        // A pin counts by its name.
        names::PINS => {
            if let Ok(snapshot) = stem.parse() {
                repo.note(file, &PinRecord { snapshot, when: now }).await?;
            }
        }
        names::DAMAGED => {
            if let Ok(pack) = stem.parse::<PackId>() {
                damage(ctx, file, pack).await?;
            }
        }
        names::ACCEPTED => {
            repo.store().delete(&[file.to_owned()]).await?;
            ctx.observer.event(Event::Warning(format!(
                "{file} could not be read and is gone; if that snapshot was accepted, run qbak accept {stem} again"
            )));
        }
        // It only said what need not be read again.
        _ => repo.store().delete(&[file.to_owned()]).await?,
    }
    Ok(true)
}

/// What a record of damage said is unknown: all of its pack is doubted, if it is there at all.
async fn damage(ctx: &Context, file: &str, pack: PackId) -> Result<(), OpError> {
    for group in ctx.repo.group_names().await? {
        if ctx.repo.store().size(&names::pack(group, pack)).await?.is_some() {
            let what = "what was recorded of it could not be read".to_owned();
            let found = ctx.clock.now();
            let record = DamageRecord { pack, group, found, whole: true, blobs: Vec::new(), what };
            return Ok(ctx.repo.note(file, &record).await?);
        }
    }
    Ok(ctx.repo.store().delete(&[file.to_owned()]).await?)
}

/// Records of damage in packs that are gone, and that no index names, say nothing any more.
pub(super) async fn forget_gone(ctx: &Context, before: &Groups) -> Result<(), OpError> {
    let now = Groups::new(&ctx.repo).await?;
    let mut gone: BTreeSet<PackId> = before.damage().keys().copied().collect();
    for name in now.names() {
        let packs = now.get(name).await?.packs();
        gone.retain(|id| !packs.contains_key(id));
    }
    let files: Vec<String> = gone.into_iter().map(names::damaged).collect();
    if files.is_empty() { Ok(()) } else { Ok(ctx.repo.store().delete(&files).await?) }
}

fn harmless(read: Result<(), RepoError>) -> Result<bool, OpError> {
    match read {
        Err(e) if !e.is_damage() => Err(e.into()),
        _ => Ok(false),
    }
}
