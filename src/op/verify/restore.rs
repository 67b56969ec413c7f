//! `--restore`: a trial. Where there is room the snapshot is restored into a temporary folder and read back from there;
//! where there is not, every object is read and hashed as a restore would, without being written. Then it is compared
//! with the source as it stands or with a folder, where that is asked for.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Context, Report, objects};
use crate::model::event::Event;
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::op::OpError;
use crate::op::check::{Finding, Severity};
use crate::op::open::{Catalog, Opened};
use crate::op::restore::{self, Cause, Problem, Request};
use crate::repo::names;
use crate::source::Source;
use crate::source::folder::FolderSource;
use crate::store::Store;

/// A trial restore.
pub struct Trial {
    /// What the objects are compared with.
    pub against: Option<Against>,
    /// Where the trial is restored to if there is room, and where temporary files go.
    pub scratch: PathBuf,
    /// Write nothing, even if there is room.
    pub stream: bool,
}

/// What restored objects are compared with.
pub struct Against {
    /// The source as it stands, or a folder as a source.
    pub source: Arc<dyn Source>,
    /// It is the source: what differs from the snapshot has changed since. A folder is expected to be the same.
    pub live: bool,
}

/// What a comparison came to, in objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Comparison {
    /// Both sides were read, and are equal byte for byte.
    pub same: u64,
    /// The hash that the source lists is the one of the bytes that were read from the store.
    pub same_by_hash: u64,
    /// Changed at the source since the snapshot was made.
    pub changed: u64,
    /// No longer there.
    pub gone: u64,
    /// Not in the snapshot.
    pub new: u64,
    /// Other bytes, though nothing says that it changed: damage on one side.
    pub different: u64,
    /// Could not be read at the source.
    pub unread: u64,
}

/// How a trial was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Into a temporary folder, which was read back.
    Folder,
    /// Every object was read and hashed, nothing was written.
    Stream,
}

/// Proves one snapshot.
pub(super) async fn prove(
    ctx: &Context,
    only: Option<RunName>,
    trial: Trial,
    report: &mut Report,
) -> Result<(), OpError> {
    let catalog = Catalog::read(&ctx.repo).await?;
    let newest = catalog.snapshots.finished.last().map(|s| s.name);
    let Some(name) = only.or(newest) else {
        return Err(OpError::Failed("there is no snapshot to restore".into()));
    };
    let opened = catalog.open(name).await?;
    (report.blobs, report.bytes, report.contents) = (0, 0, true);
    let way = if trial.stream || !has_room(&opened, &trial.scratch) { Way::Stream } else { Way::Folder };
    report.way = Some(way);
    let (objects, bytes) = opened.totals();
    if way == Way::Folder {
        folder(ctx, &opened, &trial.scratch, report).await?;
    }
    let against = trial.against.map(Arc::new);
    if way == Way::Stream || against.is_some() {
        let name = if way == Way::Stream { "restoring" } else { "comparing" };
        ctx.observer.event(Event::Phase { name, objects: Some(objects), bytes: Some(bytes) });
        let stored = way == Way::Stream;
        let read = (report.blobs, report.bytes);
        let compared = objects::pass(ctx, &opened, stored, against.as_ref(), &trial.scratch, report).await?;
        if !stored {
            // What was read at the other side is no proof of the store.
            (report.blobs, report.bytes) = read;
        }
        report.compared = against.is_some().then_some(compared);
    }
    Ok(())
}

/// Whether the trial fits, and leaves as much again free for everybody else.
fn has_room(opened: &Opened, scratch: &Path) -> bool {
    let (objects, bytes) = opened.totals();
    let need = bytes.saturating_add(objects.saturating_mul(4096)).saturating_add(64 << 20);
    let free = Store::local(scratch).ok().and_then(|s| s.free_bytes());
    free.is_some_and(|free| need.saturating_mul(2) <= free)
}

/// Restores into a temporary folder and reads that back.
async fn folder(ctx: &Context, opened: &Opened, scratch: &Path, report: &mut Report) -> Result<(), OpError> {
    let failed = |e: std::io::Error| {
        OpError::Failed(format!("the trial cannot be restored into {}: {e}", scratch.display()))
    };
    let place = tempfile::Builder::new().prefix("qbak-trial-").tempdir_in(scratch).map_err(failed)?;
    let to = place.path().join("restored");
    let result = restore_and_compare(ctx, opened, &to, scratch, report).await;
    let removed = tokio::task::spawn_blocking(move || {
        make_removable(&to);
        place.close()
    })
    .await?;
    if let Err(e) = removed {
        ctx.observer.event(Event::Warning(format!("the trial's temporary folder could not be removed: {e}")));
    }
    result
}

async fn restore_and_compare(
    ctx: &Context,
    opened: &Opened,
    to: &Path,
    scratch: &Path,
    report: &mut Report,
) -> Result<(), OpError> {
    let restoring = restore::Context {
        opened: opened.clone(),
        clock: Arc::clone(&ctx.clock),
        observer: Arc::clone(&ctx.observer),
        cancel: ctx.cancel.clone(),
    };
    let restored = restore::restore(&restoring, Request::new(to.to_owned(), scratch.to_owned())).await?;
    let told = tell(ctx, opened, &restored.problems, report).await?;
    report.damaged += (restored.failed - restored.absent).saturating_sub(told);
    ctx.observer.event(Event::Phase {
        name: "reading back",
        objects: Some(restored.objects),
        bytes: Some(restored.bytes),
    });
    let source = FolderSource::open(to, scratch, Arc::clone(&ctx.clock), Arc::clone(&ctx.observer))?;
    let against = Arc::new(Against { source: Arc::new(source), live: false });
    let before = report.findings.len();
    objects::pass(ctx, opened, false, Some(&against), scratch, report).await?;
    // What could not be restored is not missing for another reason.
    let known: BTreeSet<Key> =
        report.findings[..before].iter().flat_map(|f| f.keys.iter().cloned()).collect();
    let mut n = 0;
    report.findings.retain(|f| {
        n += 1;
        n <= before || f.severity == Severity::Notice || !f.keys.iter().all(|k| known.contains(k))
    });
    Ok(())
}

/// Says what did not come back. Where the store is to blame each object is looked at once more, for the pack and the blob.
async fn tell(
    ctx: &Context,
    opened: &Opened,
    problems: &[Problem],
    report: &mut Report,
) -> Result<u64, OpError> {
    let damaged: Vec<Key> =
        problems.iter().filter(|p| p.cause == Cause::Damaged).filter_map(|p| p.key.clone()).collect();
    let before = report.findings.len();
    objects::some(ctx, opened, &damaged, report).await?;
    let known: BTreeSet<Key> =
        report.findings[before..].iter().flat_map(|f| f.keys.iter().cloned()).collect();
    let mut told = 0;
    for problem in problems.iter().filter(|p| p.cause != Cause::Absent) {
        told += 1;
        let what = match &problem.key {
            Some(key) if known.contains(key) => continue,
            Some(key) => format!("{key}: {}", problem.reason),
            // A piece of the manifest: the structure's check has told of it.
            None if problem.cause == Cause::Damaged => continue,
            None => problem.reason.clone(),
        };
        let mut finding = Finding::damage(names::snapshot(opened.name), what).snapshot(opened.name);
        finding.entries = u64::from(problem.key.is_some());
        finding.keys.extend(problem.key.clone());
        report.findings.push(finding);
    }
    Ok(told)
}

/// Folders come back with their modes; one that nobody may write to cannot be emptied.
fn make_removable(folder: &Path) {
    let _ = std::fs::set_permissions(folder, Permissions::from_mode(0o700));
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            make_removable(&entry.path());
        }
    }
}
