//! What a snapshot run did, for people and for scripts.

use std::time::Duration;

use serde::Serialize;

use super::human::{clean, count, counted, duration};
use super::output::{Output, OutputError, Paint};
use crate::format::records::{Completeness, RunKind};
use crate::model::name::RunName;
use crate::model::size::human as size;
use crate::op::snapshot::Report;

#[derive(Serialize)]
struct Summary<'a> {
    snapshot: RunName,
    source: &'a str,
    kind: RunKind,
    group: RunName,
    state: Completeness,
    suspect: bool,
    suspect_reason: Option<&'a str>,
    objects: u64,
    bytes: u64,
    added: u64,
    changed: u64,
    removed: u64,
    renamed: u64,
    unchanged: u64,
    metadata_changed: u64,
    failed: u64,
    unavailable: u64,
    vanished: u64,
    full_postponed: bool,
    dry_run: bool,
    downloaded_objects: u64,
    downloaded_bytes: u64,
    stored_bytes: u64,
    requests: u64,
    seconds: f64,
}

/// Says what a run did.
///
/// # Errors
/// Nothing can be printed any more.
pub fn report(r: &Report, out: &Output) -> Result<(), OutputError> {
    if out.is_json() {
        return out.json("summary", &summary(r));
    }
    if out.options().quiet {
        return Ok(());
    }
    let (c, t) = (&r.counts, &r.transfer);
    let kind = match r.kind {
        RunKind::Full => "full",
        RunKind::Incremental => "incremental",
    };
    let state = match r.state {
        Completeness::Complete => out.paint(Paint::Green, "complete"),
        Completeness::Partial => out.paint(Paint::Yellow, "partial"),
    };
    let what = if r.dry_run { "would make snapshot" } else { "snapshot" };
    out.line(format_args!("{what} {} of {}: {kind}, {state}", r.snapshot, clean(&r.source)))?;
    out.line(format_args!("  {}, {}", counted(c.objects, "object"), size(c.bytes)))?;
    let mut parts = vec![
        format!("{} added", count(c.added)),
        format!("{} changed", count(c.changed)),
        format!("{} removed", count(c.removed)),
        format!("{} renamed", count(c.renamed)),
        format!("{} unchanged", count(c.unchanged)),
    ];
    for (n, word) in [
        (c.metadata_changed, "of these with other metadata"),
        (c.failed, "failed"),
        (c.vanished, "vanished"),
        (c.unavailable, "unavailable"),
    ] {
        if n > 0 {
            parts.push(format!("{} {word}", count(n)));
        }
    }
    out.line(format_args!("  {}", parts.join(", ")))?;
    let would = if r.dry_run { "to download" } else { "downloaded" };
    let mut moved =
        format!("  {would} {}, {}", counted(t.downloaded_objects, "object"), size(t.downloaded_bytes));
    if !r.dry_run {
        moved = format!(
            "{moved}; stored {}; {}",
            size(t.stored_bytes),
            duration(Duration::from_secs_f64(r.seconds))
        );
    }
    out.line(moved)?;
    if let Some(reason) = &r.suspect {
        let head = out.paint(Paint::Yellow, "suspect:");
        out.line(format_args!(
            "  {head} {reason}; prune leaves older snapshots alone until a run finds them again or you say `qbak accept {}`",
            r.snapshot
        ))?;
    }
    Ok(())
}

fn summary(r: &Report) -> Summary<'_> {
    let (c, t) = (&r.counts, &r.transfer);
    Summary {
        snapshot: r.snapshot,
        source: &r.source,
        kind: r.kind,
        group: r.group,
        state: r.state,
        suspect: r.suspect.is_some(),
        suspect_reason: r.suspect.as_deref(),
        objects: c.objects,
        bytes: c.bytes,
        added: c.added,
        changed: c.changed,
        removed: c.removed,
        renamed: c.renamed,
        unchanged: c.unchanged,
        metadata_changed: c.metadata_changed,
        failed: c.failed,
        unavailable: c.unavailable,
        vanished: c.vanished,
        full_postponed: r.full_postponed,
        dry_run: r.dry_run,
        downloaded_objects: t.downloaded_objects,
        downloaded_bytes: t.downloaded_bytes,
        stored_bytes: t.stored_bytes,
        requests: t.requests,
        seconds: r.seconds,
    }
}
