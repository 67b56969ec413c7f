//! What a verification found, for people and for scripts.

use std::time::Duration;

use serde::Serialize;

use super::human::{clean, count, counted, duration, size};
use super::json::KeyItem;
use super::output::{Output, OutputError, Paint};
use crate::model::id::{BlobId, PackId};
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::op::check::{Finding, Severity};
use crate::op::verify::{Comparison, Report, Way};

#[derive(Serialize)]
pub(super) struct Found<'a> {
    what: &'a str,
    file: Option<&'a str>,
    pack: Option<PackId>,
    blob: Option<BlobId>,
    keys: Vec<KeyItem<'a>>,
    entries: u64,
    snapshots: &'a [RunName],
}

#[derive(Serialize)]
struct Compared {
    same: u64,
    same_by_hash: u64,
    changed: u64,
    gone: u64,
    new: u64,
    different: u64,
    unread: u64,
}

#[derive(Serialize)]
struct Summary {
    snapshots: u64,
    packs: u64,
    blobs: u64,
    bytes: u64,
    damaged: u64,
    contents: bool,
    restored: Option<&'static str>,
    compared: Option<Compared>,
    seconds: f64,
}

/// So many keys of a finding are shown to a person; scripts get them all.
const SHOWN: usize = 5;

/// Says what was found. Damage is said to whoever wants to hear of problems only, too.
///
/// # Errors
/// Nothing can be printed any more.
pub fn report(r: &Report, out: &Output) -> Result<(), OutputError> {
    for finding in &r.findings {
        if out.is_json() {
            let kind = if finding.severity == Severity::Damage { "damage" } else { "notice" };
            out.json(kind, &found(finding))?;
        } else {
            text(finding, out)?;
        }
    }
    if out.is_json() {
        return out.json("summary", &summary(r));
    }
    let named = r.findings.iter().filter(|f| f.severity == Severity::Damage).count() as u64;
    let more = r.damaged.saturating_sub(named);
    if more > 0 {
        out.line(format_args!("{} {} more", out.paint(Paint::Red, "damage:"), count(more)))?;
    }
    if out.options().quiet {
        return Ok(());
    }
    if let Some(c) = &r.compared {
        comparison(c, out)?;
    }
    let snapshots = counted(r.snapshots, "snapshot");
    let (packs, blobs) = (counted(r.packs, "pack"), counted(r.blobs, "blob"));
    let time = duration(Duration::from_secs_f64(r.seconds));
    if let Some(way) = r.way {
        out.line(match way {
            Way::Folder => "restored into a temporary folder, and read back from there",
            Way::Stream => "read and hashed as a restore would; there was no room to write it",
        })?;
    }
    let checked = if r.way.is_some() {
        format!("checked {snapshots}, and restored one: {blobs}, {}; {time}", size(r.bytes))
    } else if r.contents {
        format!("checked {snapshots}, and read {packs} and {blobs}, {}; {time}", size(r.bytes))
    } else {
        format!("checked {snapshots}, {packs} and {blobs} by name, size, index and manifest; {time}")
    };
    out.line(checked)?;
    if !r.contents {
        out.line("no contents were read: `qbak verify --data` reads and checks every byte")?;
    }
    out.line(match r.damaged {
        0 => out.paint(Paint::Green, "no damage found"),
        n => out.paint(Paint::Red, format_args!("damaged: {}", count(n))),
    })
}

pub(super) fn text(finding: &Finding, out: &Output) -> Result<(), OutputError> {
    let head = match finding.severity {
        Severity::Damage => out.paint(Paint::Red, "damage:"),
        Severity::Notice if out.options().quiet => return Ok(()),
        Severity::Notice => out.paint(Paint::Yellow, "notice:"),
    };
    out.line(format_args!("{head} {}", clean(&finding.what)))?;
    harm(&finding.keys, finding.entries, &finding.snapshots, out)
}

/// Whom something harms.
pub(super) fn harm(
    keys: &[Key],
    entries: u64,
    snapshots: &[RunName],
    out: &Output,
) -> Result<(), OutputError> {
    if entries > 0 {
        let shown: Vec<String> = keys.iter().take(SHOWN).map(ToString::to_string).collect();
        let more = entries.saturating_sub(shown.len() as u64);
        let more = if more > 0 { format!(" and {} more", count(more)) } else { String::new() };
        out.line(format_args!("  harms {}: {}{more}", counted(entries, "entry/entries"), shown.join(", ")))?;
    }
    if !snapshots.is_empty() {
        let names: Vec<String> = snapshots.iter().map(ToString::to_string).collect();
        out.line(format_args!("  in {}", names.join(", ")))?;
    }
    Ok(())
}

fn comparison(c: &Comparison, out: &Output) -> Result<(), OutputError> {
    let mut parts = vec![format!("{} the same", counted(c.same.saturating_add(c.same_by_hash), "object"))];
    for (n, word) in [
        (c.changed, "changed since"),
        (c.gone, "gone since"),
        (c.new, "not in the snapshot"),
        (c.different, "different"),
        (c.unread, "not to be read"),
    ] {
        if n > 0 {
            parts.push(format!("{} {word}", count(n)));
        }
    }
    let by_hash = match c.same_by_hash {
        0 => String::new(),
        n => format!(" ({} by the listed hash)", count(n)),
    };
    out.line(format_args!("compared: {}{by_hash}", parts.join(", ")))
}

pub(super) fn found(f: &Finding) -> Found<'_> {
    Found {
        what: &f.what,
        file: f.file.as_deref(),
        pack: f.pack,
        blob: f.blob.map(|(_, id)| id),
        keys: f.keys.iter().map(KeyItem).collect(),
        entries: f.entries,
        snapshots: &f.snapshots,
    }
}

fn summary(r: &Report) -> Summary {
    Summary {
        snapshots: r.snapshots,
        packs: r.packs,
        blobs: r.blobs,
        bytes: r.bytes,
        damaged: r.damaged,
        contents: r.contents,
        restored: r.way.map(|way| match way {
            Way::Folder => "folder",
            Way::Stream => "stream",
        }),
        compared: r.compared.map(|c| Compared {
            same: c.same,
            same_by_hash: c.same_by_hash,
            changed: c.changed,
            gone: c.gone,
            new: c.new,
            different: c.different,
            unread: c.unread,
        }),
        seconds: r.seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::Options;
    use super::super::output::kept::output;
    use super::*;

    fn sample() -> Report {
        let mut harm = Finding::damage("groups/g/packs/ab/x.pack", "its end is missing");
        harm.keys = ["a", "b", "c", "d", "e", "f"].map(Into::into).to_vec();
        harm.entries = 9;
        harm.snapshots = vec!["2026-11-21T22-48-21Z".parse().unwrap()];
        Report {
            findings: vec![harm, Finding::notice("groups/g/packs/cd/y.pack", "nothing needs it")],
            damaged: 2,
            contents: true,
            way: None,
            snapshots: 3,
            packs: 2,
            blobs: 10,
            bytes: 2_000_000,
            compared: Some(Comparison { same: 4, same_by_hash: 2, changed: 1, ..Comparison::default() }),
            seconds: 1.0,
        }
    }

    fn said(options: Options) -> String {
        let (out, stdout, _) = output(options);
        report(&sample(), &out).unwrap();
        out.flush().unwrap();
        stdout.text()
    }

    #[test]
    fn for_people() {
        let damage = "\
damage: groups/g/packs/ab/x.pack: its end is missing
  harms 9 entries: a, b, c, d, e and 4 more
  in 2026-11-21T22-48-21Z
";
        assert_eq!(
            said(Options::default()),
            format!(
                "{damage}notice: groups/g/packs/cd/y.pack: nothing needs it
damage: 1 more
compared: 6 objects the same, 1 changed since (2 by the listed hash)
checked 3 snapshots, and read 2 packs and 10 blobs, 2.00 MB; 1.0 s
damaged: 2
"
            )
        );
        let quiet = said(Options { quiet: true, ..Options::default() });
        assert_eq!(quiet, format!("{damage}damage: 1 more\n"), "problems, and nothing else");
    }

    #[test]
    fn for_scripts() {
        let text = said(Options { json: true, ..Options::default() });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "{\"type\":\"damage\",\"what\":\"groups/g/packs/ab/x.pack: its end is missing\",\
             \"file\":\"groups/g/packs/ab/x.pack\",\"pack\":null,\"blob\":null,\
             \"keys\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"],\"entries\":9,\"snapshots\":[\"2026-11-21T22-48-21Z\"]}"
        );
        assert!(lines[1].starts_with("{\"type\":\"notice\","), "{text}");
        assert!(
            lines[2].starts_with(
                "{\"type\":\"summary\",\"snapshots\":3,\"packs\":2,\"blobs\":10,\"bytes\":2000000,\"damaged\":2,"
            ),
            "{text}"
        );
    }
}
