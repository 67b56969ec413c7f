//! What a prune decides and what it did, for people and for scripts.

use std::time::Duration;

use serde::Serialize;

use super::human::{clean, count, counted, duration, size};
use super::output::{Output, OutputError, Paint};
use crate::model::name::RunName;
use crate::op::prune::Report;
use crate::plan::retention::Decision;

#[derive(Serialize)]
struct Line<'a> {
    snapshot: RunName,
    keep: bool,
    reasons: &'a [String],
    incomplete: bool,
}

#[derive(Serialize)]
struct GroupLine<'a> {
    group: RunName,
    whole: bool,
    kept: u64,
    deleted: u64,
    rewritten: u64,
    why: Vec<Why<'a>>,
}

#[derive(Serialize)]
struct Why<'a> {
    pack: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Summary<'a> {
    kept: u64,
    removed: u64,
    freed_bytes: u64,
    moved_bytes: u64,
    pending_bytes: u64,
    waiting_for: Vec<RunName>,
    held_back: usize,
    refused: &'a [String],
    damaged_blobs: u64,
    dry_run: bool,
    seconds: f64,
}

/// Shows what was decided, before anything is done.
///
/// # Errors
/// Nothing can be printed any more.
pub fn plan(r: &Report, out: &Output) -> Result<(), OutputError> {
    if out.is_json() {
        let all = r.decisions.iter().map(|d| (d, false)).chain(r.runs.iter().map(|d| (d, true)));
        for (d, incomplete) in all {
            let line = Line { snapshot: d.snapshot, keep: d.keep, reasons: &d.reasons, incomplete };
            out.json("decision", &line)?;
        }
        for g in &r.groups {
            let why = g.why.iter().map(|(pack, reason)| Why { pack, reason }).collect();
            let line = GroupLine {
                group: g.group,
                whole: g.whole,
                kept: g.kept,
                deleted: g.deleted,
                rewritten: g.rewritten,
                why,
            };
            out.json("group", &line)?;
        }
        return Ok(());
    }
    if out.options().quiet {
        return Ok(());
    }
    r.decisions.iter().try_for_each(|d| decision(d, "", out))?;
    r.runs.iter().try_for_each(|d| decision(d, " (INCOMPLETE)", out))?;
    if out.options().verbose > 0 {
        for g in &r.groups {
            let what = if g.whole { "goes whole".to_owned() } else { packs(g.kept, g.deleted, g.rewritten) };
            out.aside(format_args!("group {}: {what}", g.group));
            for (pack, reason) in &g.why {
                out.aside(format_args!("  {pack}: {reason}"));
            }
        }
    }
    Ok(())
}

fn packs(kept: u64, deleted: u64, rewritten: u64) -> String {
    format!("{} packs stay, {} go, {} are written anew", count(kept), count(deleted), count(rewritten))
}

fn decision(d: &Decision, mark: &str, out: &Output) -> Result<(), OutputError> {
    let word = if d.keep { out.paint(Paint::Green, "keep  ") } else { out.paint(Paint::Red, "remove") };
    out.line(format_args!("{word}  {}{mark}  {}", d.snapshot, clean(&d.reasons.join("; "))))
}

/// Asks whether to go on.
pub fn question(r: &Report) -> String {
    let runs = r.runs.iter().filter(|d| !d.keep).count() as u64;
    let runs = if runs > 0 { format!(" and {}", counted(runs, "unfinished run")) } else { String::new() };
    format!("Remove {}{runs}, and free about {}?", counted(r.removed, "snapshot"), size(r.freed_bytes))
}

/// Whether it would change anything that a person should be asked about.
pub fn changes(r: &Report) -> bool {
    r.removed > 0 || r.freed_bytes > 0 || !r.groups.is_empty() || r.runs.iter().any(|d| !d.keep)
}

/// Says what was done.
///
/// # Errors
/// Nothing can be printed any more.
pub fn report(r: &Report, out: &Output) -> Result<(), OutputError> {
    if out.is_json() {
        let summary = Summary {
            kept: r.kept,
            removed: r.removed,
            freed_bytes: r.freed_bytes,
            moved_bytes: r.moved_bytes,
            pending_bytes: r.pending_bytes,
            waiting_for: r.in_the_way.iter().map(|run| run.run).collect(),
            held_back: r.held_back,
            refused: &r.refused,
            damaged_blobs: r.damaged_blobs,
            dry_run: r.dry_run,
            seconds: r.seconds,
        };
        return out.json("summary", &summary);
    }
    if out.options().quiet {
        return Ok(());
    }
    let (kept, removed) = (counted(r.kept, "snapshot"), count(r.removed));
    let (freed, moved) = (size(r.freed_bytes), size(r.moved_bytes));
    if r.dry_run {
        out.line(format_args!(
            "would keep {kept} and remove {removed}; would free {freed} and move {moved}"
        ))?;
    } else {
        let time = duration(Duration::from_secs_f64(r.seconds));
        out.line(format_args!("kept {kept}, removed {removed}; freed {freed}, moved {moved}; {time}"))?;
    }
    for run in &r.in_the_way {
        out.line(format_args!(
            "run {} is at work (process {} on {}): no pack goes while it is",
            run.run,
            run.pid,
            clean(&run.host)
        ))?;
    }
    if r.pending_bytes > 0 {
        out.line(format_args!("{} more can be freed by a later prune", size(r.pending_bytes)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::output::Options;
    use super::super::output::kept::output;
    use super::*;

    fn sample() -> Report {
        let decision = |name: &str, keep, reason: &str| Decision {
            snapshot: name.parse().unwrap(),
            keep,
            reasons: vec![reason.into()],
        };
        Report {
            decisions: vec![
                decision("2026-11-15T00-00-00Z", false, "no rule keeps it"),
                decision("2026-11-21T00-00-00Z", true, "the newest"),
            ],
            runs: vec![decision("2026-11-22T00-00-00Z", true, "it may be gone on from")],
            kept: 1,
            removed: 1,
            freed_bytes: 5_000_000,
            moved_bytes: 1000,
            seconds: 2.0,
            ..Report::default()
        }
    }

    fn said(options: Options) -> String {
        let (out, stdout, _) = output(options);
        plan(&sample(), &out).unwrap();
        report(&sample(), &out).unwrap();
        out.flush().unwrap();
        stdout.text()
    }

    #[test]
    fn for_people() {
        assert_eq!(
            said(Options::default()),
            "\
remove  2026-11-15T00-00-00Z  no rule keeps it
keep    2026-11-21T00-00-00Z  the newest
keep    2026-11-22T00-00-00Z (INCOMPLETE)  it may be gone on from
kept 1 snapshot, removed 1; freed 5.00 MB, moved 1.00 kB; 2.0 s
"
        );
        assert_eq!(said(Options { quiet: true, ..Options::default() }), "");
        assert_eq!(question(&sample()), "Remove 1 snapshot, and free about 5.00 MB?");
        assert!(changes(&sample()) && !changes(&Report::default()));
    }

    #[test]
    fn for_scripts() {
        assert_eq!(
            said(Options { json: true, ..Options::default() }),
            "{\"type\":\"decision\",\"snapshot\":\"2026-11-15T00-00-00Z\",\"keep\":false,\
             \"reasons\":[\"no rule keeps it\"],\"incomplete\":false}\n\
             {\"type\":\"decision\",\"snapshot\":\"2026-11-21T00-00-00Z\",\"keep\":true,\
             \"reasons\":[\"the newest\"],\"incomplete\":false}\n\
             {\"type\":\"decision\",\"snapshot\":\"2026-11-22T00-00-00Z\",\"keep\":true,\
             \"reasons\":[\"it may be gone on from\"],\"incomplete\":true}\n\
             {\"type\":\"summary\",\"kept\":1,\"removed\":1,\"freed_bytes\":5000000,\"moved_bytes\":1000,\
             \"pending_bytes\":0,\"waiting_for\":[],\"held_back\":0,\"refused\":[],\"damaged_blobs\":0,\"dry_run\":false,\"seconds\":2.0}\n"
        );
    }
}
