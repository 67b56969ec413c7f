//! `restore`: brings a snapshot's state back into a folder. What is whole comes back; the rest is named.

mod delete;
mod ledger;
mod walk;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

pub use delete::Doomed;
pub use ledger::{Cause, OnAction, Problem};

use crate::model::clock::Clock;
use crate::model::entry::{Entry, Kind};
use crate::model::event::{Event, Observer};
use crate::model::glob::Filter;
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::op::keys::Keys;
use crate::op::open::Opened;
use crate::op::{Cancel, OpError, cat};
use crate::plan::restore::{self as plan, Deed, Reach, Refusal, Step, Wish, reaches};
use crate::plan::select::Completeness;
use crate::repo::RepoError;
use crate::repo::repository::random;
use crate::source::folder::relabel::Among;
use crate::source::sorted::{Sorter, Table};
use crate::target::TargetError;
use crate::target::folder::{FolderStack, FolderTarget, Meta, Policy};
use crate::target::keymap::{KeyMap, Rules};
use crate::target::same_name::SameNames;
use crate::target::sidefile::SideFile;

use delete::Extras;
use ledger::{Ledger, Totals};

/// Everything a restore works with.
pub struct Context {
    /// The snapshot.
    pub opened: Opened,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Is told what happens.
    pub observer: Arc<dyn Observer>,
    /// Says stop.
    pub cancel: Cancel,
}

/// Is asked before anything is deleted; not if there is nothing to delete.
pub type Confirm = Arc<dyn Fn(&Doomed) -> bool + Send + Sync>;

/// What a restore is asked for.
#[derive(Clone)]
pub struct Request {
    /// Which keys.
    pub filter: Filter,
    /// The folder to restore into.
    pub to: PathBuf,
    /// What may be done.
    pub wish: Wish,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Is asked before anything is deleted.
    pub confirm: Confirm,
    /// Is told what is (or would be) done with each key.
    pub on_action: Option<OnAction>,
    /// Where temporary files go.
    pub scratch: PathBuf,
}

impl Request {
    /// Everything, into a new or empty folder.
    pub fn new(to: PathBuf, scratch: PathBuf) -> Self {
        Self {
            filter: Filter::default(),
            to,
            wish: Wish::default(),
            dry_run: false,
            confirm: Arc::new(|_| false),
            on_action: None,
            scratch,
        }
    }
}

/// What a restore did, or with `dry_run` would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The snapshot.
    pub snapshot: RunName,
    /// The folder.
    pub target: PathBuf,
    /// Entries that were asked for.
    pub objects: u64,
    /// The sum of their sizes.
    pub bytes: u64,
    /// Files, links and folders that were written, or got another mode or time.
    pub written: u64,
    /// Those that were right already.
    pub unchanged: u64,
    /// What was deleted.
    pub deleted: u64,
    /// All that did not come back: damaged, absent, or not to be written.
    pub failed: u64,
    /// Of these, those whose bytes in the store are lost or wrong (exit 4).
    pub damaged: u64,
    /// Of these, those that the snapshot names without contents.
    pub absent: u64,
    /// Not everything that was to be deleted was, and why.
    pub not_deleted: Option<String>,
    /// The first thousand of what did not come back.
    pub problems: Vec<Problem>,
    /// Nothing was written.
    pub dry_run: bool,
    /// How long it took.
    pub seconds: f64,
}

/// How many deleted keys are told one by one.
const NOTED: usize = 1_000;

/// What all who work on a restore share.
struct Site {
    opened: Opened,
    keys: Arc<Keys>,
    /// None in a dry run into a folder that is not there.
    target: Option<FolderTarget>,
    overwrite: bool,
    dry_run: bool,
    scratch: PathBuf,
    side: Mutex<Option<SideFile>>,
    ledger: Ledger,
    memory: Arc<Semaphore>,
    cancel: Cancel,
    runtime: Handle,
}

impl Site {
    /// The target, unless nothing is to be written.
    fn writable(&self) -> Option<&FolderTarget> {
        self.target.as_ref().filter(|_| !self.dry_run)
    }

    fn foresee_folder(&self, path: &[u8]) -> Result<Step, TargetError> {
        self.foresee(path, |kind, _| kind == Kind::Folder)
    }

    fn foresee_link(&self, path: &[u8], to: &[u8]) -> Result<Step, TargetError> {
        self.foresee(path, |kind, there| kind == Kind::Link && there == to)
    }

    fn foresee(&self, path: &[u8], same: impl Fn(Kind, &[u8]) -> bool) -> Result<Step, TargetError> {
        Ok(match self.target.as_ref().map_or(Ok(None), |t| t.stands(path))? {
            None => Step::Write,
            Some((kind, to)) if same(kind, &to) => Step::Unchanged,
            Some(_) => Step::Replace,
        })
    }
}

/// The mode and time of an entry; a bucket's object has the time it was put.
fn meta_of(entry: &Entry) -> Meta {
    Meta { mode: entry.attributes.mode, mtime: entry.put_time }
}

/// Restores a snapshot into a folder.
///
/// # Errors
/// It was refused, nothing could be written, the store cannot be reached, or it was told to stop. Single objects that
/// are damaged or cannot be written are no error: they are in the report.
pub async fn restore(ctx: &Context, request: Request) -> Result<Report, OpError> {
    let began = ctx.clock.now();
    let suspect = ctx.opened.suspect.is_some();
    plan::may(request.wish, ctx.opened.name, ctx.opened.state, suspect).map_err(refused)?;
    let keys = Arc::new(Keys::new(&ctx.opened));
    for key in &request.filter.keys {
        cat::must_have(&keys, &ctx.opened, key).await?;
    }
    let (objects, bytes) = ctx.opened.totals();
    let whole = request.filter.is_all();
    ctx.observer.event(Event::Phase {
        name: "restoring",
        objects: whole.then_some(objects),
        bytes: whole.then_some(bytes),
    });
    let work = Work {
        opened: ctx.opened.clone(),
        keys,
        ledger: Ledger::new(Arc::clone(&ctx.observer), request.on_action.clone()),
        cancel: ctx.cancel.clone(),
        runtime: Handle::current(),
        request: request.clone(),
    };
    let done = tokio::task::spawn_blocking(move || work.run()).await?;
    let damaged = match &done {
        Ok((totals, _)) => totals.damaged > 0,
        Err(OpError::Repo(e)) => e.is_damage(),
        Err(_) => false,
    };
    if damaged && let Some(removed) = ctx.opened.removed().await {
        return Err(removed);
    }
    let (totals, not_deleted) = done?;
    let nanos = ctx.clock.now().nanos().saturating_sub(began.nanos());
    Ok(Report {
        snapshot: ctx.opened.name,
        target: request.to,
        objects: totals.objects,
        bytes: totals.bytes,
        written: totals.written,
        unchanged: totals.unchanged,
        deleted: totals.deleted,
        failed: totals.damaged + totals.absent + totals.target,
        damaged: totals.damaged,
        absent: totals.absent,
        not_deleted,
        problems: totals.problems,
        dry_run: request.dry_run,
        seconds: std::time::Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)).as_secs_f64(),
    })
}

fn refused(refusal: Refusal) -> OpError {
    if refusal.is_usage() {
        OpError::Usage(refusal.to_string())
    } else {
        OpError::Failed(refusal.to_string())
    }
}

fn unusable(e: TargetError) -> OpError {
    OpError::Failed(e.message)
}

/// The part that runs on a thread of its own.
struct Work {
    opened: Opened,
    keys: Arc<Keys>,
    ledger: Ledger,
    cancel: Cancel,
    runtime: Handle,
    request: Request,
}

impl Work {
    fn run(self) -> Result<(Totals, Option<String>), OpError> {
        let Self { opened, keys, ledger, cancel, runtime, request } = self;
        let (wish, filter) = (request.wish, &request.filter);
        // A folder gives way to a file only where everything in it may go: not where only single keys were asked for.
        let plain = filter.keys.is_empty() && filter.include.is_empty() && filter.exclude.is_empty();
        let policy = Policy { overwrite: wish.overwrite, delete: wish.delete && plain };
        let target = open(&request.to, policy, request.dry_run)?;
        if let Some(target) = &target
            && !wish.overwrite
        {
            let count = target.occupied().map_err(unusable)?;
            if count > 0 {
                let target = request.to.display().to_string();
                return Err(refused(Refusal::Occupied { target, count }));
            }
        }
        let side = (!request.dry_run).then(|| SideFile::new(&request.scratch));
        let site = Arc::new(Site {
            opened,
            keys: Arc::clone(&keys),
            target,
            overwrite: wish.overwrite,
            dry_run: request.dry_run,
            scratch: request.scratch.clone(),
            side: Mutex::new(side),
            ledger,
            memory: Arc::new(Semaphore::new(write::MEMORY_KIB as usize)),
            cancel,
            runtime,
        });
        let map = KeyMap::new(&*keys, site.rules()?);
        let extras = match &site.target {
            Some(target) if wish.delete => {
                let extras = Extras::read(&site, target, filter, &map)?;
                let doomed = extras.doomed(target, &mut |_, _| {})?;
                if doomed.count > 0 && !request.dry_run && !(request.confirm)(&doomed) {
                    return Err(OpError::Failed("nothing was written or deleted".into()));
                }
                Some(extras)
            }
            _ => None,
        };
        if let Some(target) = site.writable().filter(|_| wish.overwrite) {
            target.remove_leftovers().map_err(unusable)?;
        }
        walk::all(&site, filter, &reaches(filter), &map)?;
        site.write_side_file(&keys);
        if let Some(fatal) = site.ledger.take_fatal() {
            return Err(fatal);
        }
        site.count_lost(filter);
        let not_deleted = match extras {
            Some(extras) => site.delete(&extras, filter, policy_to_delete(&request.to, request.dry_run)?)?,
            None => None,
        };
        if let Some(target) = site.writable() {
            target.finish().map_err(unusable)?;
        }
        Ok((site.ledger.totals(), not_deleted))
    }
}

fn open(to: &Path, policy: Policy, dry_run: bool) -> Result<Option<FolderTarget>, OpError> {
    if dry_run && std::fs::symlink_metadata(to).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let nonce = u64::from_le_bytes(random()?);
    FolderTarget::open(to, policy, nonce).map(Some).map_err(unusable)
}

/// The same folder, with leave to delete in it.
fn policy_to_delete(to: &Path, dry_run: bool) -> Result<Option<FolderTarget>, OpError> {
    open(to, Policy { overwrite: true, delete: true }, dry_run)
}

impl Site {
    /// What decides which names are ordinary here. A dry run touches nothing, so it cannot try out what names the
    /// file system takes, and supposes that it takes all.
    fn rules(&self) -> Result<Rules, OpError> {
        let mut rules = Rules { of_folder: self.opened.is_of_folder(), ..Rules::default() };
        let Some(target) = self.writable() else { return Ok(rules) };
        rules.utf8_only = target.utf8_only().map_err(unusable)?;
        if target.joins_names().map_err(unusable)? {
            let map = KeyMap::new(&*self.keys, rules.clone());
            let mut names = SameNames::new(&self.scratch);
            walk::each(self, &whole(), &mut |_| {}, &mut |entry, next| match map.place(
                entry.key.bytes(),
                entry.kind,
                next.map(|n| n.key.bytes()),
            ) {
                Ok(place) => names.add(&place.path).map_err(spool),
                Err(_) => Ok(()),
            })?;
            rules.same = names.finish().map_err(spool)?;
        }
        Ok(rules)
    }

    /// Records the files whose paths are not their keys; also when the restore was cut short.
    fn write_side_file(&self, keys: &Keys) {
        let side = self.side.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(side), Some(target)) = (side, self.writable()) else { return };
        match side.finish(target, keys) {
            Ok(report) => {
                for (one, other) in report.met {
                    let reason =
                        format!("its file has the same name as that of “{one}”: only one of them is there");
                    self.ledger.failed(&other, Cause::Target, reason);
                }
            }
            Err(e) => self.ledger.target_failed(e.message),
        }
    }

    /// Where pieces of a finished snapshot's manifest are lost, its references still say how many objects that is.
    fn count_lost(&self, filter: &Filter) {
        let totals = self.ledger.totals();
        if totals.lost_pieces > 0 && filter.is_all() && self.opened.state != Completeness::Incomplete {
            let lost = self.opened.totals().0.saturating_sub(totals.objects);
            self.ledger.add_lost(lost.saturating_sub(totals.lost_pieces));
        }
    }

    /// Deletes what is extra; says why, if it does not.
    fn delete(
        &self,
        extras: &Extras,
        filter: &Filter,
        target: Option<FolderTarget>,
    ) -> Result<Option<String>, OpError> {
        let Some(target) = target else { return Ok(None) };
        if self.dry_run {
            extras
                .doomed(&target, &mut |key, e| self.ledger.done(key, Some(&e.path), e.size, Step::Delete))?;
            return Ok(None);
        }
        // What is lost in the store may be in the target under another name.
        let damaged = self.ledger.totals().damaged;
        if damaged > 0 {
            let text = format!(
                "nothing was deleted, since {damaged} objects are damaged in the store and the target may hold their last copies"
            );
            self.ledger.warn(text.clone());
            return Ok(Some(text));
        }
        let mut gone = Vec::new();
        let mut above = Sorter::new(&self.scratch);
        let mut failed = Ok(());
        let doomed = extras.doomed(&target, &mut |key, e| {
            if gone.len() < NOTED {
                gone.push(key.clone());
            }
            let slashes = e.path.iter().enumerate().filter(|(_, b)| **b == b'/');
            for (slash, _) in slashes {
                if failed.is_ok() {
                    failed = above.push(&e.path[..=slash], b"");
                }
            }
        })?;
        failed.map_err(spool)?;
        if doomed.count == 0 {
            return Ok(None);
        }
        let above = above.finish().map_err(spool)?;
        // What is deleted changes the times of the folders around it, and some are closed by now.
        self.folders(filter, &above, &mut |path, meta| drop(target.folder(path, meta)))?;
        let mut judge = extras.judge();
        let deleted =
            target.delete(&mut |e| judge.extra(e).is_some(), &mut |e| self.ledger.target_failed(e.message));
        self.ledger.deleted(deleted.map_err(unusable)?);
        judge.finish()?;
        let mut stack = FolderStack::new(&target);
        self.folders(filter, &above, &mut |path, meta| drop(stack.folder(path, meta)))?;
        for e in stack.finish() {
            self.ledger.target_failed(e.message);
        }
        for key in gone {
            self.ledger.note(format!("deleted {key}"));
        }
        Ok(None)
    }

    /// The folders of the snapshot that are among `above`, in order.
    fn folders(
        &self,
        filter: &Filter,
        above: &Table,
        f: &mut dyn FnMut(&[u8], &Meta),
    ) -> Result<(), OpError> {
        if !self.opened.is_of_folder() || above.is_empty() {
            return Ok(());
        }
        let mut above = Among::new(above);
        walk::each(self, &whole(), &mut |_| {}, &mut |entry, _| {
            let key = entry.key.bytes();
            if plan::deed(&entry) == Deed::Folder
                && filter.takes(&entry.key)
                && above.has(key).map_err(spool)?
            {
                f(key.strip_suffix(b"/").unwrap_or(key), &meta_of(&entry));
            }
            Ok(())
        })
    }
}

/// All keys.
fn whole() -> Reach {
    Reach { prefix: Key::from(""), exact: false }
}

fn spool(e: std::io::Error) -> OpError {
    RepoError::Spool(e.to_string()).into()
}
