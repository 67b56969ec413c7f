//! `snapshot`: makes the store hold what the source holds now, downloading only what it lacks.

mod collision;
mod content;
mod engine;
pub(super) mod fetch;
pub(in crate::op) mod input;
pub(super) mod listing;
mod options;
mod order;
mod parents;
mod preview;
mod tally;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

pub use options::{Options, Report};

use crate::format::records::{
    Completeness, Counts, RunKind, RunRecord, SnapshotRecord, SourceRecord, Transfer,
};
use crate::model::clock::Clock;
use crate::model::event::{Event, Observer};
use crate::model::name::RunName;
use crate::model::time::Timestamp;
use crate::op::{Cancel, OpError, checkpoints};
use crate::plan::group::{Choice, Situation, Wish, choose};
use crate::plan::suspect;
use crate::repo::Repository;
use crate::repo::blobs::{BlobReader, Groups};
use crate::repo::repository::Snapshots;
use crate::repo::run::{self, Intent};
use crate::repo::writer::Writer;
use crate::source::Source;
use crate::store::lease::{self, Holder};

use content::Contents;
use engine::{End, Engine, Moved, Parts};
use fetch::{Fetcher, MEMORY_KIB};
use input::Input;
use listing::Listing;
use parents::Cursor;
use tally::Tally;

/// Everything a run works with.
pub struct Context {
    /// The store.
    pub repo: Repository,
    /// The bucket or folder.
    pub source: Arc<dyn Source>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Is told what happens.
    pub observer: Arc<dyn Observer>,
    /// Says stop.
    pub cancel: Cancel,
}

/// What the store knows when a run begins.
struct Ground {
    snapshots: Snapshots,
    /// Runs of this source that were cut off, by name.
    open: Vec<RunRecord>,
    /// Runs whose record cannot be read.
    broken: Vec<RunName>,
    groups: Arc<Groups>,
    choice: Choice,
    baseline: Option<SnapshotRecord>,
}

impl Ground {
    fn parent(&self) -> Option<&SnapshotRecord> {
        self.snapshots.finished.last()
    }

    fn is_separate(&self) -> bool {
        self.baseline.as_ref().map(|b| b.name) != self.parent().map(|p| p.name)
    }
}

/// Makes a snapshot.
///
/// # Errors
/// There is none then; what was stored serves the next run.
pub async fn snapshot(ctx: &Context, options: Options) -> Result<Report, OpError> {
    let began = ctx.clock.now();
    let holder = Holder {
        what: "snapshot".into(),
        host: options.host.clone(),
        pid: options.pid,
        since: began.rfc3339(),
    };
    let _lease = if options.dry_run { None } else { Some(lease::take(ctx.repo.store(), &holder)?) };
    let identity = ctx.source.identity();
    let source = SourceRecord { url: identity.url.clone(), scope: identity.scope.clone() };
    let ground = survey(ctx, &options, &source).await?;
    let options = Arc::new(options);
    if options.dry_run {
        return preview::preview(ctx, &options, &ground, &source, began).await;
    }
    let intent = Intent {
        kind: ground.choice.kind,
        group: ground.choice.group,
        redownload: options.redownload,
        source: source.clone(),
        host: options.host.clone(),
        pid: options.pid,
    };
    // A source that cannot be reached at all leaves no trace; a store that cannot be written was noticed by the lease.
    ctx.source.check().await?;
    let record = run::begin(&ctx.repo, intent, began).await?;
    ctx.observer.event(Event::Note(format!(
        "{} run {}: {}",
        kind_word(record.kind),
        record.name,
        ground.choice.reason
    )));
    if ground.choice.postponed {
        ctx.observer
            .event(Event::Warning(format!("{}; an incremental is made instead", ground.choice.reason)));
    }
    let name = record.name;
    let work = Work::new(ctx, &options, &ground, record).await?;
    let writer = Arc::clone(&work.writer);
    let result = work.run(source, began).await;
    if result.is_err() && writer.put_bytes() == 0 {
        // It stored nothing, so there is nothing to go on from.
        let _ = run::forget(&ctx.repo, name).await;
    }
    result
}

fn kind_word(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Full => "full",
        RunKind::Incremental => "incremental",
    }
}

/// Reads what the store knows and decides what the run will be.
async fn survey(ctx: &Context, options: &Options, source: &SourceRecord) -> Result<Ground, OpError> {
    let snapshots = ctx.repo.snapshots().await?;
    for (name, error) in &snapshots.unreadable {
        ctx.observer.event(Event::Warning(format!("{name} cannot be read: {error}")));
    }
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
        if snapshots.tombstones.contains(&name) || snapshots.finished.iter().any(|s| s.name == name) {
            continue;
        }
        match record {
            Ok(record) if record.source == *source => open.push(record),
            Ok(_) => {}
            Err(_) => broken.push(name),
        }
    }
    let groups = Arc::new(Groups::new(&ctx.repo).await?);
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
    Ok(Ground { snapshots, open, broken, groups, choice, baseline })
}

fn describe(source: &SourceRecord) -> String {
    if source.scope.bytes().is_empty() || source.url.contains(source.scope.lossy().as_ref()) {
        source.url.clone()
    } else {
        format!("{} ({}…)", source.url, source.scope)
    }
}

/// A run that has begun.
struct Work<'a> {
    ctx: &'a Context,
    options: &'a Arc<Options>,
    ground: &'a Ground,
    writer: Arc<Writer>,
    contents: Contents,
    fetcher: Arc<Fetcher>,
    /// The parent's blobs are all known to be where this run needs them.
    sound: bool,
}

impl<'a> Work<'a> {
    async fn new(
        ctx: &'a Context,
        options: &'a Arc<Options>,
        ground: &'a Ground,
        record: RunRecord,
    ) -> Result<Self, OpError> {
        let group = ground.groups.get(record.group).await?;
        for (_, error) in &group.unreadable {
            let text =
                format!("an index file cannot be read ({error}); the packs' own tables are used instead");
            ctx.observer.event(Event::Warning(text));
        }
        let reader = BlobReader::new(&ctx.repo, Arc::clone(&ground.groups), record.group, &[]);
        let needs: Arc<Mutex<BTreeSet<RunName>>> = Arc::default();
        let sound = is_sound(options, ground, &record, &needs).await?;
        let writer = Arc::new(Writer::new(&ctx.repo, record, Arc::clone(&group)));
        let contents = Contents {
            group,
            writer: Some(Arc::clone(&writer)),
            reader: reader.clone(),
            share: options.share,
            needs,
        };
        let fetcher = Arc::new(Fetcher {
            source: Arc::clone(&ctx.source),
            writer: Arc::clone(&writer),
            reader,
            memory: Arc::new(Semaphore::new(MEMORY_KIB)),
            begun: Mutex::default(),
        });
        Ok(Self { ctx, options, ground, writer, contents, fetcher, sound })
    }

    async fn run(self, source: SourceRecord, began: Timestamp) -> Result<Report, OpError> {
        let ctx = self.ctx;
        let continued = self.continued();
        for run in &continued {
            ctx.observer.event(Event::Note(format!("continues run {}, which was cut off", run.name)));
        }
        let listing = Listing::direct(Arc::clone(&ctx.source));
        let (end, mut moved, mut tally) = self.pass(listing, &continued).await?;
        let manifest = match end {
            End::Finished(manifest) => manifest,
            End::OutOfOrder => {
                ctx.observer.event(Event::Warning(
                    "the source does not list in the order of keys; it is listed again and sorted".into(),
                ));
                // The first pass has left a checkpoint of this very run.
                let mut continued = continued;
                continued.insert(0, self.writer.run().clone());
                let listing = Listing::sorted(Arc::clone(&ctx.source), &self.options.spool, &ctx.observer);
                let (end, more, second) = self.pass(listing, &continued).await?;
                moved.objects += more.objects;
                moved.bytes += more.bytes;
                moved.collisions.extend(more.collisions);
                tally = second;
                match end {
                    End::Finished(manifest) => manifest,
                    End::OutOfOrder => {
                        return Err(OpError::Failed("a sorted listing is out of order".into()));
                    }
                }
            }
        };
        // Told to stop from here on, it finishes: all is read, and only a commit keeps all of it.
        let manifest = manifest.finish().await?;
        let indexes = self.writer.seal().await?;
        let (counts, difference) = Tally::take(&tally)?.finish()?;
        let state = completeness(&counts, self.options);
        let suspect =
            self.ground.baseline.as_ref().and_then(|_| suspect::judge(&self.options.guard, &difference));
        let requests = ctx.source.requests();
        let finished = ctx.clock.now();
        let record = self.writer.run();
        let needs = self.contents.needs.lock().map(|n| n.iter().copied().collect()).unwrap_or_default();
        let snapshot = SnapshotRecord {
            name: record.name,
            sequence: self.ground.parent().map_or(1, |p| p.sequence + 1),
            kind: record.kind,
            group: record.group,
            needs,
            state,
            baseline: suspect.as_ref().and(self.ground.baseline.as_ref().map(|b| b.name)),
            suspect,
            tags: self.options.tags.clone(),
            source,
            started: began,
            finished,
            program: self.options.program.clone(),
            parent: self.ground.parent().map(|p| p.name),
            counts,
            transfer: Transfer {
                downloaded_objects: moved.objects,
                downloaded_bytes: moved.bytes,
                stored_bytes: self.writer.stored_bytes(),
                requests: requests.listings + requests.reads + requests.others,
            },
            full_postponed: self.ground.choice.postponed,
            indexes,
            manifest,
        };
        self.writer.commit(&snapshot).await?;
        self.put_aside(finished).await;
        // The snapshot stands: what cannot be found out about it now must not make its run a failed one.
        if !moved.collisions.is_empty()
            && let Err(e) = collision::name_both(&ctx.repo, &snapshot, &moved.collisions, &ctx.observer).await
        {
            ctx.observer.event(Event::Warning(format!("which objects collide cannot be found out: {e}")));
        }
        Ok(report(&snapshot, began, finished))
    }

    /// The runs that were cut off and whose checkpoints serve this one, the newest first.
    fn continued(&self) -> Vec<RunRecord> {
        let record = self.writer.run();
        let newer = |r: &&RunRecord| self.ground.parent().is_none_or(|p| r.name > p.name);
        let usable = |r: &&RunRecord| !record.redownload || (r.redownload && r.group == record.group);
        self.ground.open.iter().rev().filter(newer).filter(usable).cloned().collect()
    }

    async fn pass(
        &self,
        listing: Listing,
        continued: &[RunRecord],
    ) -> Result<(End, Moved, Arc<Mutex<Tally>>), OpError> {
        let (ctx, ground) = (self.ctx, self.ground);
        // Checkpoints may lie in packs that were written since the groups were opened.
        let fresh = Arc::new(Groups::new(&ctx.repo).await?);
        ctx.observer.event(Event::Phase { name: "backing up", objects: None, bytes: None });
        let (mut cursors, mut begun) = (Vec::new(), HashMap::new());
        for run in continued {
            let saved = checkpoints::saved(&ctx.repo, run.name).await?;
            cursors.push(Cursor::checkpoint(
                &ctx.repo,
                &fresh,
                run.name,
                run.group,
                &saved.segments,
                &ctx.observer,
            ));
            parents::join_begun(&mut begun, saved.begun);
        }
        let separate = ground.is_separate();
        let tally = Arc::new(Mutex::new(Tally::new(&self.options.spool, separate)));
        let cursor = |s: &SnapshotRecord| Cursor::snapshot(&ctx.repo, &ground.groups, s, &ctx.observer);
        let record = self.writer.run();
        let all_details = record.kind == RunKind::Full;
        let input = Input {
            listing,
            source: Arc::clone(&ctx.source),
            options: Arc::clone(self.options),
            tally: Arc::clone(&tally),
            parent: ground.parent().map(cursor),
            saved: cursors,
            baseline: if separate { ground.baseline.as_ref().map(cursor) } else { None },
            begun,
            unchanged_is_present: self.sound,
            all_details,
            redownload: record.redownload,
            unread_folder: None,
        };
        let parts = Parts {
            writer: Arc::clone(&self.writer),
            fetcher: Arc::clone(&self.fetcher),
            contents: self.contents.clone(),
            observer: Arc::clone(&ctx.observer),
            cancel: ctx.cancel.clone(),
            options: Arc::clone(self.options),
            tally: Arc::clone(&tally),
            separate,
            all_details,
        };
        let (end, moved) = Engine::new(input, parts).run().await;
        Ok((end?, moved, tally))
    }

    /// Runs that were cut off have served: this one has finished. Should that fail, they only show longer than needed.
    async fn put_aside(&self, now: Timestamp) {
        let reason = format!("run {} has finished since", self.writer.run().name);
        let older = self.ground.open.iter().map(|r| r.name).chain(self.ground.broken.iter().copied());
        for name in older {
            if let Err(e) = run::fence(&self.ctx.repo, name, &reason, now).await {
                self.ctx.observer.event(Event::Note(format!("run {name} could not be put aside: {e}")));
            }
        }
    }
}

/// Whether "unchanged" means "present": the parent's blobs lie in this run's group (or, with `share`, in groups that it
/// needs), and nothing is missing or damaged there.
async fn is_sound(
    options: &Options,
    ground: &Ground,
    record: &RunRecord,
    needs: &Arc<Mutex<BTreeSet<RunName>>>,
) -> Result<bool, OpError> {
    let Some(parent) = ground.parent() else { return Ok(false) };
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

fn completeness(counts: &Counts, options: &Options) -> Completeness {
    let unavailable = if options.accept_unavailable { 0 } else { counts.unavailable };
    if counts.failed + counts.vanished + unavailable == 0 {
        Completeness::Complete
    } else {
        Completeness::Partial
    }
}

fn report(s: &SnapshotRecord, began: Timestamp, finished: Timestamp) -> Report {
    Report {
        snapshot: s.name,
        source: s.source.url.clone(),
        kind: s.kind,
        group: s.group,
        state: s.state,
        suspect: s.suspect.clone(),
        counts: s.counts,
        transfer: s.transfer,
        full_postponed: s.full_postponed,
        dry_run: false,
        seconds: seconds(began, finished),
        parent: s.parent,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a duration for people")]
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    (to.nanos() - from.nanos()).max(0) as f64 / 1e9
}
