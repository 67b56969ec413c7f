//! What a healing brought back and what it could not, for people and for scripts.

use std::time::Duration;

use serde::Serialize;

use super::human::{clean, count, counted, duration, size};
use super::json::KeyItem;
use super::output::{Output, OutputError, Paint};
use super::verify;
use crate::model::id::BlobId;
use crate::model::name::RunName;
use crate::op::check::Finding;
use crate::op::heal::{From, Item, Report};

#[derive(Serialize)]
struct Healed<'a> {
    kind: String,
    blob: BlobId,
    group: RunName,
    from: &'static str,
    from_group: Option<RunName>,
    keys: Vec<KeyItem<'a>>,
    entries: u64,
    snapshots: &'a [RunName],
}

#[derive(Serialize)]
struct Lost<'a> {
    kind: String,
    blob: BlobId,
    group: RunName,
    reason: &'a str,
    for_good: bool,
    keys: Vec<KeyItem<'a>>,
    entries: u64,
    snapshots: &'a [RunName],
}

#[derive(Serialize)]
struct Summary<'a> {
    damaged: u64,
    from_packs: u64,
    from_groups: u64,
    from_source: u64,
    lost: u64,
    postponed: u64,
    records: u64,
    indexes: u64,
    retired: u64,
    damage_left: u64,
    written_bytes: u64,
    downloaded_bytes: u64,
    source: Option<&'a str>,
    no_source: Option<&'a str>,
    dry_run: bool,
    seconds: f64,
}

/// Says what was done.
///
/// # Errors
/// Nothing can be printed any more.
pub fn report(r: &Report, out: &Output) -> Result<(), OutputError> {
    if out.is_json() {
        return for_scripts(r, out);
    }
    if out.options().verbose > 0 {
        for item in &r.healed {
            out.aside(format_args!("healed: {} blob {}, from {}", item.kind, item.id, origin(item)));
        }
    }
    for item in &r.missing {
        let head = out.paint(Paint::Red, if item.for_good { "lost:" } else { "not healed:" });
        let reason = clean(item.reason.as_deref().unwrap_or_default());
        out.line(format_args!("{head} {} blob {}: {reason}", item.kind, item.id))?;
        verify::harm(&item.keys, item.entries, &item.snapshots, out)?;
    }
    others(r).try_for_each(|f| verify::text(f, out))?;
    if out.options().quiet {
        return Ok(());
    }
    let would = if r.dry_run { "would be " } else { "" };
    let healed = r.from_packs + r.from_groups + r.from_source;
    if r.damaged > 0 {
        let parts: Vec<String> = [
            (r.from_packs, "still whole in hurt packs"),
            (r.from_groups, "from other groups"),
            (r.from_source, "from the source"),
        ]
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{} {what}", count(*n)))
        .collect();
        let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
        let time = duration(Duration::from_secs_f64(r.seconds));
        let (all, bytes) = (counted(r.damaged, "damaged or missing blob"), size(r.downloaded_bytes));
        out.line(format_args!("{all}; {would}healed {}{parts}; downloaded {bytes}; {time}", count(healed)))?;
    }
    for (n, what) in [(r.records, "record"), (r.indexes, "index file"), (r.retired, "damaged pack")] {
        let done = if what == "damaged pack" { "deleted" } else { "mended" };
        if n > 0 {
            out.line(format_args!("{} {would}{done}", counted(n, what)))?;
        }
    }
    out.line("what is not known to be damaged was not read: `qbak verify --data` finds it")?;
    out.line(match (r.is_whole(), r.dry_run) {
        (true, false) => out.paint(Paint::Green, "all that is known of is whole"),
        (true, true) => out.paint(Paint::Green, "all that is known of can be healed"),
        (false, _) if r.lost > 0 => {
            out.paint(Paint::Red, format_args!("lost for good: {}", counted(r.lost, "blob")))
        }
        (false, _) => out.paint(Paint::Red, "damage is left"),
    })
}

/// Damage that is left and that is not of a blob: those are named with their reasons.
fn others(r: &Report) -> impl Iterator<Item = &Finding> {
    r.left.iter().filter(|f| r.missing.is_empty() || (f.pack.is_none() && f.blob.is_none()))
}

fn origin(item: &Item) -> String {
    match item.from {
        Some(From::Pack) => "its hurt pack, in which it was whole".into(),
        Some(From::Group(group)) => format!("group {group}"),
        Some(From::Source) => "the source".into(),
        None => "nowhere".into(),
    }
}

fn for_scripts(r: &Report, out: &Output) -> Result<(), OutputError> {
    for item in &r.healed {
        let from = match item.from {
            Some(From::Pack) => "pack",
            Some(From::Group(_)) => "group",
            Some(From::Source) | None => "source",
        };
        let from_group = match item.from {
            Some(From::Group(group)) => Some(group),
            _ => None,
        };
        let line = Healed {
            kind: item.kind.to_string(),
            blob: item.id,
            group: item.group,
            from,
            from_group,
            keys: item.keys.iter().map(KeyItem).collect(),
            entries: item.entries,
            snapshots: &item.snapshots,
        };
        out.json("healed", &line)?;
    }
    for item in &r.missing {
        let line = Lost {
            kind: item.kind.to_string(),
            blob: item.id,
            group: item.group,
            reason: item.reason.as_deref().unwrap_or_default(),
            for_good: item.for_good,
            keys: item.keys.iter().map(KeyItem).collect(),
            entries: item.entries,
            snapshots: &item.snapshots,
        };
        out.json("lost", &line)?;
    }
    for finding in others(r) {
        out.json("damage", &verify::found(finding))?;
    }
    let summary = Summary {
        damaged: r.damaged,
        from_packs: r.from_packs,
        from_groups: r.from_groups,
        from_source: r.from_source,
        lost: r.lost,
        postponed: r.postponed,
        records: r.records,
        indexes: r.indexes,
        retired: r.retired,
        damage_left: r.damage_left,
        written_bytes: r.written_bytes,
        downloaded_bytes: r.downloaded_bytes,
        source: r.source.as_deref(),
        no_source: r.no_source.as_deref(),
        dry_run: r.dry_run,
        seconds: r.seconds,
    };
    out.json("summary", &summary)
}

#[cfg(test)]
mod tests {
    use super::super::output::Options;
    use super::super::output::kept::output;
    use super::*;
    use crate::format::pack::BlobKind;

    fn sample() -> Report {
        let item = |from, reason: Option<&str>| Item {
            kind: BlobKind::Data,
            id: BlobId([7; 20]),
            group: "2026-11-21T22-48-21Z".parse().unwrap(),
            from,
            for_good: reason.is_some(),
            reason: reason.map(Into::into),
            keys: vec!["a".into(), "b".into()],
            entries: 3,
            snapshots: vec!["2026-11-21T22-48-21Z".parse().unwrap()],
        };
        Report {
            source: Some("kodo://b".into()),
            damaged: 4,
            from_packs: 1,
            from_groups: 1,
            from_source: 1,
            lost: 1,
            healed: vec![item(Some(From::Group("2026-11-22T00-00-00Z".parse().unwrap())), None)],
            missing: vec![item(None, Some("gone"))],
            records: 1,
            downloaded_bytes: 2_000_000,
            left: vec![Finding::damage("snapshots/x.json", "its bytes do not match its check sum")],
            damage_left: 2,
            seconds: 1.0,
            ..Report::default()
        }
    }

    fn said(report_: &Report, options: Options) -> String {
        let (out, stdout, _) = output(options);
        report(report_, &out).unwrap();
        out.flush().unwrap();
        stdout.text()
    }

    #[test]
    fn for_people() {
        let problems = "\
lost: data blob 0707070707070707070707070707070707070707: gone
  harms 3 entries: a, b and 1 more
  in 2026-11-21T22-48-21Z
damage: snapshots/x.json: its bytes do not match its check sum
";
        assert_eq!(
            said(&sample(), Options::default()),
            format!(
                "{problems}4 damaged or missing blobs; healed 3: 1 still whole in hurt packs, 1 from other groups, 1 from the source; downloaded 2.00 MB; 1.0 s
1 record mended
what is not known to be damaged was not read: `qbak verify --data` finds it
lost for good: 1 blob
"
            )
        );
        assert_eq!(said(&sample(), Options { quiet: true, ..Options::default() }), problems);
        let clean = said(&Report::default(), Options::default());
        assert!(clean.ends_with("all that is known of is whole\n") && clean.lines().count() == 2, "{clean}");
    }

    #[test]
    fn for_scripts() {
        let text = said(&sample(), Options { json: true, ..Options::default() });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "{\"type\":\"healed\",\"kind\":\"data\",\"blob\":\"0707070707070707070707070707070707070707\",\
             \"group\":\"2026-11-21T22-48-21Z\",\"from\":\"group\",\"from_group\":\"2026-11-22T00-00-00Z\",\
             \"keys\":[\"a\",\"b\"],\"entries\":3,\"snapshots\":[\"2026-11-21T22-48-21Z\"]}"
        );
        assert!(lines[1].contains("\"reason\":\"gone\",\"for_good\":true,"), "{text}");
        assert!(lines[2].starts_with("{\"type\":\"damage\","), "{text}");
        assert!(lines[3].starts_with("{\"type\":\"summary\",\"damaged\":4,\"from_packs\":1,"), "{text}");
    }
}
