//! What a restore did, or would do, for people and for scripts.

use std::time::Duration;

use serde::Serialize;

use super::human::{clean, count, counted, duration};
use super::output::{Output, OutputError, Paint};
use crate::model::name::RunName;
use crate::model::size::human as size;
use crate::op::restore::{Doomed, Report};
use crate::plan::restore::{Action, Step};

#[derive(Serialize)]
struct Summary<'a> {
    snapshot: RunName,
    target: &'a str,
    objects: u64,
    bytes: u64,
    written: u64,
    unchanged: u64,
    deleted: u64,
    failed: u64,
    damaged: u64,
    absent: u64,
    not_deleted: Option<&'a str>,
    dry_run: bool,
    seconds: f64,
}

/// Says what a restore did.
///
/// # Errors
/// Nothing can be printed any more.
pub fn report(r: &Report, out: &Output) -> Result<(), OutputError> {
    let target = r.target.to_string_lossy();
    if out.is_json() {
        return out.json(
            "summary",
            &Summary {
                snapshot: r.snapshot,
                target: &target,
                objects: r.objects,
                bytes: r.bytes,
                written: r.written,
                unchanged: r.unchanged,
                deleted: r.deleted,
                failed: r.failed,
                damaged: r.damaged,
                absent: r.absent,
                not_deleted: r.not_deleted.as_deref(),
                dry_run: r.dry_run,
                seconds: r.seconds,
            },
        );
    }
    if out.options().quiet {
        return Ok(());
    }
    let what = if r.dry_run { "would restore" } else { "restored" };
    out.line(format_args!("{what} {} to {}", r.snapshot, clean(&target)))?;
    out.line(format_args!("  {}, {}", counted(r.objects, "object"), size(r.bytes)))?;
    let mut parts =
        vec![format!("{} written", count(r.written)), format!("{} unchanged", count(r.unchanged))];
    if r.deleted > 0 {
        parts.push(format!("{} deleted", count(r.deleted)));
    }
    let time =
        if r.dry_run { String::new() } else { format!("; {}", duration(Duration::from_secs_f64(r.seconds))) };
    out.line(format_args!("  {}{time}", parts.join(", ")))?;
    if r.failed > 0 {
        let elsewhere = r.failed.saturating_sub(r.damaged).saturating_sub(r.absent);
        let mut parts = Vec::new();
        for (n, word) in [
            (r.damaged, "damaged in the store"),
            (r.absent, "without contents in the snapshot"),
            (elsewhere, "not to be written"),
        ] {
            if n > 0 {
                parts.push(format!("{} {word}", count(n)));
            }
        }
        let head = out.paint(Paint::Red, "not restored:");
        out.line(format_args!("  {head} {}", parts.join(", ")))?;
    }
    Ok(())
}

/// Says one line of the plan.
///
/// # Errors
/// Nothing can be printed any more.
pub fn action(action: &Action, out: &Output) -> Result<(), OutputError> {
    if out.is_json() {
        return out.json("action", action);
    }
    let word = match action.step {
        Step::Write => out.paint(Paint::Green, "write    "),
        Step::Replace => out.paint(Paint::Yellow, "replace  "),
        Step::Metadata => out.paint(Paint::Blue, "metadata "),
        Step::Delete => out.paint(Paint::Red, "delete   "),
        Step::Skip => out.paint(Paint::Red, "skip     "),
        Step::Unchanged => return Ok(()),
    };
    let path = action.path.as_ref().map(|p| format!(" as {p}")).unwrap_or_default();
    let reason = action.reason.as_deref().map(|r| format!(" ({})", clean(r))).unwrap_or_default();
    out.line(format_args!("{word}{}{path}{reason}", action.key))
}

/// Asks whether all this may be deleted.
pub fn question(doomed: &Doomed) -> String {
    let mut lines: Vec<String> = doomed.keys.iter().map(|k| format!("delete {k}")).collect();
    let more = doomed.count.saturating_sub(doomed.keys.len() as u64);
    if more > 0 {
        lines.push(format!("and {} more", count(more)));
    }
    let things = counted(doomed.count, "file or folder/files and folders");
    lines.push(format!("Delete {things} ({}) that the snapshot does not have?", size(doomed.bytes)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::output::Options;
    use super::super::output::kept::output;
    use super::*;

    fn sample() -> Report {
        Report {
            snapshot: "2026-11-21T22-48-21Z".parse().unwrap(),
            target: "/t".into(),
            objects: 1234,
            bytes: 2_000_000,
            written: 1230,
            unchanged: 1,
            deleted: 2,
            failed: 3,
            damaged: 1,
            absent: 1,
            not_deleted: None,
            problems: Vec::new(),
            dry_run: false,
            seconds: 1.5,
        }
    }

    fn said(r: &Report, options: Options) -> String {
        let (out, stdout, _) = output(options);
        report(r, &out).unwrap();
        out.flush().unwrap();
        stdout.text()
    }

    #[test]
    fn for_people() {
        assert_eq!(
            said(&sample(), Options::default()),
            "restored 2026-11-21T22-48-21Z to /t\n  1,234 objects, 2.00 MB\n  1,230 written, 1 unchanged, 2 deleted; \
             1.5 s\n  not restored: 1 damaged in the store, 1 without contents in the snapshot, 1 not to be written\n"
        );
        assert_eq!(said(&sample(), Options { quiet: true, ..Options::default() }), "");
    }

    #[test]
    fn for_scripts() {
        assert_eq!(
            said(&sample(), Options { json: true, quiet: true, ..Options::default() }),
            "{\"type\":\"summary\",\"snapshot\":\"2026-11-21T22-48-21Z\",\"target\":\"/t\",\"objects\":1234,\
             \"bytes\":2000000,\"written\":1230,\"unchanged\":1,\"deleted\":2,\"failed\":3,\"damaged\":1,\"absent\":1,\
             \"not_deleted\":null,\"dry_run\":false,\"seconds\":1.5}\n"
        );
    }

    #[test]
    fn the_question_shows_what_goes() {
        let doomed = Doomed { count: 3, bytes: 7, keys: vec!["a\n".into(), "b".into()] };
        assert_eq!(
            question(&doomed),
            "delete a\\x0a\ndelete b\nand 1 more\nDelete 3 files and folders (7 B) that the snapshot does not have?"
        );
    }
}
