//! The snapshots of a store by group, oldest first, and the runs that have not finished.

use chrono::TimeZone;
use serde::Serialize;

use super::human::{clean, count, counted, local_time, size};
use super::json;
use super::output::{Output, OutputError, Paint};
use super::table::Table;
use crate::format::records::RunKind;
use crate::model::name::RunName;
use crate::model::time::Timestamp;
use crate::op::list::{List, Row};
use crate::plan::select::Completeness;

#[derive(Serialize)]
struct Line<'a> {
    snapshot: RunName,
    kind: RunKind,
    group: RunName,
    state: Completeness,
    suspect: bool,
    suspect_reason: Option<&'a str>,
    accepted: bool,
    pinned: bool,
    tags: &'a [String],
    objects: u64,
    bytes: u64,
    source: &'a str,
    #[serde(serialize_with = "json::time")]
    started: Timestamp,
    #[serde(serialize_with = "json::time_or_null")]
    finished: Option<Timestamp>,
    running: bool,
}

#[derive(Serialize)]
struct Summary {
    snapshots: u64,
    incomplete: u64,
    groups: u64,
    unreadable: u64,
}

/// Shows the list. Files that cannot be read are the caller's to warn of.
///
/// # Errors
/// Nothing can be printed any more.
pub fn report<Z: TimeZone>(list: &List, zone: &Z, out: &Output) -> Result<(), OutputError> {
    if out.is_json() {
        return for_scripts(list, out);
    }
    let Some(newest) = list.rows.last() else {
        return out.line("there are no snapshots here yet; `qbak snapshot` makes the first");
    };
    let mut table =
        Table::new().left("snapshot").left("local time").left("kind").right("objects").right("size");
    table = table.left("state").long("tags");
    for row in &list.rows {
        let cells = [
            row.name.to_string(),
            local_time(row.name.time(), zone),
            kind(row.kind).to_owned(),
            count(row.counts.objects),
            size(row.counts.bytes),
            state(row),
            row.tags.join(" "),
        ];
        table.row(cells);
    }
    out.line(format_args!("snapshots of {}", out.paint(Paint::Bold, clean(&newest.source))))?;
    let mut lines = table.lines(out.options().stdout_width).into_iter();
    if let Some(header) = lines.next() {
        out.line(out.paint(Paint::Dim, header))?;
    }
    for (n, group) in list.groups().enumerate() {
        if n > 0 {
            out.line("")?;
        }
        for (row, line) in group.iter().zip(lines.by_ref()) {
            out.line(match row.state {
                _ if row.suspect.is_some() => out.paint(Paint::Red, line),
                Completeness::Complete => line,
                Completeness::Partial => out.paint(Paint::Yellow, line),
                Completeness::Incomplete => out.paint(Paint::Dim, line),
            })?;
        }
    }
    for row in list.rows.iter().filter(|r| r.suspect.is_some()) {
        let reason = row.suspect.as_deref().unwrap_or_default();
        out.line(format_args!("{} is suspect: {}", row.name, clean(reason)))?;
    }
    if list.rows.iter().any(|r| r.state == Completeness::Incomplete && r.running.is_none()) {
        out.line("INCOMPLETE: that run has not finished; the next `qbak snapshot` goes on from it")?;
    }
    if out.options().verbose > 0 {
        out.aside(counted(list.rows.len() as u64, "snapshot"));
    }
    Ok(())
}

fn for_scripts(list: &List, out: &Output) -> Result<(), OutputError> {
    for row in &list.rows {
        let line = Line {
            snapshot: row.name,
            kind: row.kind,
            group: row.group,
            state: row.state,
            suspect: row.suspect.is_some(),
            suspect_reason: row.suspect.as_deref(),
            accepted: row.accepted,
            pinned: row.pinned,
            tags: &row.tags,
            objects: row.counts.objects,
            bytes: row.counts.bytes,
            source: &row.source,
            started: row.started,
            finished: row.finished,
            running: row.running.is_some(),
        };
        out.json("snapshot", &line)?;
    }
    let incomplete = list.rows.iter().filter(|r| r.state == Completeness::Incomplete).count() as u64;
    out.json(
        "summary",
        &Summary {
            snapshots: list.rows.len() as u64 - incomplete,
            incomplete,
            groups: list.groups().count() as u64,
            unreadable: list.unreadable.len() as u64,
        },
    )
}

pub(super) fn kind(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Full => "full",
        RunKind::Incremental => "incremental",
    }
}

fn state(row: &Row) -> String {
    let mut words = vec![match row.state {
        Completeness::Complete => "complete".to_owned(),
        Completeness::Partial => "partial".to_owned(),
        Completeness::Incomplete => "INCOMPLETE".to_owned(),
    }];
    if let Some(holder) = &row.running {
        words.push(format!("running as process {}", holder.pid));
    }
    if row.suspect.is_some() {
        words.push("suspect".into());
    }
    if row.accepted {
        words.push("accepted".into());
    }
    if row.pinned {
        words.push("pinned".into());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::output::Options;
    use super::super::output::kept::output;
    use super::*;
    use crate::format::records::Counts;

    fn row(name: &str, group: &str, state: Completeness) -> Row {
        let name: RunName = name.parse().unwrap();
        Row {
            name,
            state,
            kind: if name.to_string() == group { RunKind::Full } else { RunKind::Incremental },
            group: group.parse().unwrap(),
            sequence: Some(1),
            suspect: None,
            accepted: false,
            pinned: false,
            tags: Vec::new(),
            counts: Counts { objects: 1234, bytes: 5_000_000, ..Counts::default() },
            source: "kodo://b".into(),
            started: name.time(),
            finished: (state != Completeness::Incomplete).then(|| name.time()),
            running: None,
        }
    }

    fn sample() -> List {
        let (a, b) = ("2026-11-01T00-00-00Z", "2026-11-21T00-00-00Z");
        let mut rows = vec![
            row(a, a, Completeness::Complete),
            row("2026-11-08T00-00-00Z", a, Completeness::Partial),
            row(b, b, Completeness::Complete),
            row("2026-11-28T00-00-00Z", b, Completeness::Incomplete),
        ];
        rows[1].tags = vec!["before-the-move".into()];
        rows[1].pinned = true;
        rows[2].suspect = Some("40 of 50 objects are gone".into());
        List { rows, unreadable: Vec::new() }
    }

    fn said(list: &List, json: bool) -> String {
        let (out, stdout, _) = output(Options { json, ..Options::default() });
        report(list, &chrono::FixedOffset::east_opt(8 * 3600).unwrap(), &out).unwrap();
        out.flush().unwrap();
        stdout.text()
    }

    #[test]
    fn for_people() {
        assert_eq!(
            said(&sample(), false),
            "\
snapshots of kodo://b
snapshot              local time           kind         objects     size  state              tags
2026-11-01T00-00-00Z  2026-11-01 08:00:00  full           1,234  5.00 MB  complete
2026-11-08T00-00-00Z  2026-11-08 08:00:00  incremental    1,234  5.00 MB  partial, pinned    before-the-move

2026-11-21T00-00-00Z  2026-11-21 08:00:00  full           1,234  5.00 MB  complete, suspect
2026-11-28T00-00-00Z  2026-11-28 08:00:00  incremental    1,234  5.00 MB  INCOMPLETE
2026-11-21T00-00-00Z is suspect: 40 of 50 objects are gone
INCOMPLETE: that run has not finished; the next `qbak snapshot` goes on from it
"
        );
        assert!(said(&List::default(), false).starts_with("there are no snapshots here yet"));
    }

    #[test]
    fn for_programs() {
        let text = said(&sample(), true);
        assert_eq!(
            text.lines().nth(1).unwrap(),
            "{\"type\":\"snapshot\",\"snapshot\":\"2026-11-08T00-00-00Z\",\"kind\":\"incremental\",\
             \"group\":\"2026-11-01T00-00-00Z\",\"state\":\"partial\",\"suspect\":false,\"suspect_reason\":null,\
             \"accepted\":false,\"pinned\":true,\"tags\":[\"before-the-move\"],\"objects\":1234,\"bytes\":5000000,\
             \"source\":\"kodo://b\",\"started\":\"2026-11-08T00:00:00Z\",\"finished\":\"2026-11-08T00:00:00Z\",\
             \"running\":false}"
        );
        assert_eq!(
            text.lines().last().unwrap(),
            "{\"type\":\"summary\",\"snapshots\":3,\"incomplete\":1,\"groups\":2,\"unreadable\":0}"
        );
    }
}
