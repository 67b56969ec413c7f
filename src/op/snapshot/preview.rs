//! `snapshot --dry-run`: the same join, and then only counting.

use std::sync::{Arc, Mutex};

use super::content::Contents;
use super::fetch::{bare_entry, entry_with};
use super::input::{Input, Known, Task, Tasks, done};
use super::listing::Listing;
use super::options::{Options, Report};
use super::parents::Cursor;
use super::tally::Tally;
use super::{Context, Ground, completeness, seconds};
use crate::format::records::{RunKind, SnapshotRecord, SourceRecord, Transfer};
use crate::model::entry::Entry;
use crate::model::listed::ListedHash;
use crate::model::name::RunName;
use crate::model::time::Timestamp;
use crate::op::OpError;
use crate::plan::suspect;
use crate::repo::blobs::BlobReader;

/// What a run would do now.
///
/// # Errors
/// The listing or the store failed.
pub(super) async fn preview(
    ctx: &Context,
    options: &Arc<Options>,
    ground: &Ground,
    source: &SourceRecord,
    began: Timestamp,
) -> Result<Report, OpError> {
    ctx.source.check().await?;
    let name = RunName::at(began);
    let group_name = ground.choice.group.unwrap_or(name);
    let contents = Contents {
        group: ground.groups.get(group_name).await?,
        writer: None,
        reader: BlobReader::new(&ctx.repo, Arc::clone(&ground.groups), group_name, &[]),
        share: options.share,
        needs: Arc::default(),
    };
    let mut sorted = false;
    let (tally, mut transfer) = loop {
        let listing = match sorted {
            false => Listing::direct(Arc::clone(&ctx.source)),
            true => Listing::sorted(Arc::clone(&ctx.source), &options.spool, &ctx.observer),
        };
        let mut transfer = Transfer::default();
        match count(ctx, options, ground, listing, &contents, &mut transfer).await? {
            Some(tally) => break (tally, transfer),
            None => sorted = true,
        }
    };
    let (counts, difference) = Tally::take(&tally)?.finish()?;
    let requests = ctx.source.requests();
    transfer.requests = requests.listings + requests.reads + requests.others;
    Ok(Report {
        snapshot: name,
        source: source.url.clone(),
        kind: ground.choice.kind,
        group: group_name,
        state: completeness(&counts, options),
        suspect: ground.baseline.as_ref().and_then(|_| suspect::judge(&options.guard, &difference)),
        counts,
        transfer,
        full_postponed: ground.choice.postponed,
        dry_run: true,
        seconds: seconds(began, ctx.clock.now()),
        parent: ground.parent().map(|p| p.name),
    })
}

/// `None`: the listing is out of order.
async fn count(
    ctx: &Context,
    options: &Arc<Options>,
    ground: &Ground,
    listing: Listing,
    contents: &Contents,
    transfer: &mut Transfer,
) -> Result<Option<Arc<Mutex<Tally>>>, OpError> {
    let separate = ground.is_separate();
    let tally = Arc::new(Mutex::new(Tally::new(&options.spool, separate)));
    let cursor = |s: &SnapshotRecord| Cursor::snapshot(&ctx.repo, &ground.groups, s, &ctx.observer);
    let mut input = Input {
        listing,
        source: Arc::clone(&ctx.source),
        options: Arc::clone(options),
        tally: Arc::clone(&tally),
        parent: ground.parent().map(cursor),
        saved: Vec::new(),
        baseline: if separate { ground.baseline.as_ref().map(cursor) } else { None },
        begun: std::collections::HashMap::new(),
        unchanged_is_present: false,
        all_details: ground.choice.kind == RunKind::Full,
        redownload: options.redownload,
        unread_folder: None,
    };
    loop {
        if ctx.cancel.is_set() {
            return Err(OpError::Interrupted);
        }
        let tasks = match input.next().await? {
            Tasks::Some(tasks) => tasks,
            Tasks::OutOfOrder => return Ok(None),
            Tasks::End => {
                drop(input);
                return Ok(Some(tally));
            }
        };
        for (task, known) in tasks {
            let entry = foresee(task, &known, contents, transfer).await?;
            let done = done(entry, &known, separate);
            if let Ok(mut tally) = tally.lock() {
                tally.entry(&done, known.baseline.is_some())?;
            }
        }
    }
}

/// The entry a task would come to. What would be read stands under its listed etag, or without content.
async fn foresee(
    task: Task,
    known: &Known,
    contents: &Contents,
    transfer: &mut Transfer,
) -> Result<Entry, OpError> {
    let listed = match task {
        Task::Ready(entry) => return Ok(*entry),
        Task::Expect(listed, content, _) => {
            if contents.present(content, listed.size).await? || contents.copy(content, listed.size).await? {
                return Ok(super::input::expected_entry(&listed, content, known, false));
            }
            listed
        }
        Task::Fetch(listed, _) => listed,
    };
    transfer.downloaded_objects += 1;
    transfer.downloaded_bytes = transfer.downloaded_bytes.saturating_add(listed.size);
    Ok(match &listed.hash {
        Some(ListedHash::Etag(content)) if content.fits(listed.size) => entry_with(&listed, *content),
        _ => bare_entry(&listed),
    })
}
