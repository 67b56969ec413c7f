//! `snapshot`: makes the store hold what the source holds now, downloading only what it lacks.

mod collision;
mod content;
mod engine;
pub(super) mod fetch;
mod ground;
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
use crate::plan::suspect;
use crate::repo::blobs::{BlobReader, Groups};
use crate::repo::run::{self};
use crate::repo::writer::Writer;
use crate::repo::{RepoError, Repository};
use crate::source::Source;
use crate::store::lease::{self, Holder};

use content::Contents;
use engine::{End, Engine, Moved, Parts};
use fetch::{Fetcher, MEMORY_KIB};
use ground::{Ground, begin, is_sound, survey};
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
    let _lease = match options.dry_run {
        true => None,
        false => Some(lease::take(ctx.repo.store(), lease::For::Run, &holder)?),
    };
    let identity = ctx.source.identity();
    let source = SourceRecord { url: identity.url.clone(), scope: identity.scope.clone() };
    let options = Arc::new(options);
    if options.dry_run {
        let ground = survey(ctx, &options, &source, None).await?;
        ground.warn(ctx);
        return preview::preview(ctx, &options, &ground, &source, began).await;
    }
    let (ground, record) = begin(ctx, &options, &source, began).await?;
    ground.warn(ctx);
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
    if result.is_ok() {
        // What a prune gave up, or an older program never made. The snapshot stands whatever comes of it.
        let _ = ctx.repo.refill_reserve().await;
    }
    match result {
        // Whatever it stumbled over, what a prune took away from under it is the reason.
        Err(e) if !matches!(e, OpError::Interrupted) && run::is_barred(&ctx.repo, name).await => {
            Err(RepoError::Fenced(name).into())
        }
        other => other,
    }
}

fn kind_word(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Full => "full",
        RunKind::Incremental => "incremental",
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
            sequence: self.ground.next_sequence(),
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

    /// Another machine's run that has not finished may not have been cut off at all.
    async fn is_at_work(&self, name: RunName, now: Timestamp) -> bool {
        let Some(run) = self.ground.open.iter().find(|r| r.name == name) else { return false };
        run.host != self.options.host
            && run::at_work(&self.ctx.repo, run, &self.options.host, now).await.unwrap_or(true)
    }

    /// Runs that were cut off have served: this one has finished. Should that fail, they only show longer than needed.
    async fn put_aside(&self, now: Timestamp) {
        let reason = format!("run {} has finished since", self.writer.run().name);
        let older = self.ground.open.iter().map(|r| r.name).chain(self.ground.broken.iter().copied());
        for name in older {
            if self.is_at_work(name, now).await {
                continue;
            }
            if let Err(e) = run::fence(&self.ctx.repo, name, &reason, now).await {
                self.ctx.observer.event(Event::Note(format!("run {name} could not be put aside: {e}")));
            }
        }
    }
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
