//! Sizes of a store: what its snapshots hold, what that takes, and what storing each block once saves.

use serde::Serialize;

use super::human::{count, counted, size};
use super::output::{Output, OutputError, Paint};
use super::table::Table;
use crate::format::records::RunKind;
use crate::model::name::RunName;
use crate::op::stats::{Sizes, Stats};

#[derive(Serialize)]
struct SnapshotLine {
    snapshot: RunName,
    group: RunName,
    kind: RunKind,
    objects: u64,
    bytes: u64,
    downloaded_bytes: u64,
    stored_bytes: u64,
}

#[derive(Serialize)]
struct GroupLine<'a> {
    group: RunName,
    #[serde(flatten)]
    sizes: SizesLine<'a>,
}

#[derive(Serialize)]
struct Summary<'a> {
    groups: u64,
    #[serde(flatten)]
    sizes: SizesLine<'a>,
    damaged_packs: u64,
    free_bytes: Option<u64>,
}

/// The sizes of a group, or of all.
struct SizesLine<'a>(&'a Sizes);

impl Serialize for SizesLine<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let sizes = self.0;
        let mut map = s.serialize_map(None)?;
        for (name, n) in [
            ("snapshots", sizes.snapshots),
            ("logical_bytes", sizes.logical_bytes),
            ("blobs", sizes.data_blobs),
            ("unique_bytes", sizes.unique_bytes),
            ("packed_bytes", sizes.packed_bytes),
            ("metadata_blobs", sizes.metadata_blobs),
            ("packs", sizes.packs),
            ("pack_bytes", sizes.pack_bytes),
            ("index_bytes", sizes.index_bytes),
            ("stored_bytes", sizes.stored_bytes()),
        ] {
            map.serialize_entry(name, &n)?;
        }
        map.serialize_entry("dedup_ratio", &rounded(sizes.dedup_ratio()))?;
        map.serialize_entry("compression_ratio", &rounded(sizes.compression_ratio()))?;
        map.end()
    }
}

fn rounded(ratio: f64) -> f64 {
    (ratio * 1000.0).round() / 1000.0
}

/// Shows the sizes.
///
/// # Errors
/// Nothing can be printed any more.
pub fn report(stats: &Stats, out: &Output) -> Result<(), OutputError> {
    if out.is_json() {
        return for_scripts(stats, out);
    }
    let width = out.options().stdout_width;
    if stats.snapshots.is_empty() {
        out.line("there are no snapshots here yet")?;
    }
    let mut table = Table::new().left("snapshot").left("kind").right("objects").right("size");
    table = table.right("downloaded").right("stored");
    for s in &stats.snapshots {
        table.row([
            s.name.to_string(),
            super::list::kind(s.kind).to_owned(),
            count(s.objects),
            size(s.bytes),
            size(s.downloaded_bytes),
            size(s.stored_bytes),
        ]);
    }
    show(&table, width, out)?;
    let mut table = Table::new().left("group").right("snapshots").right("holding").right("unique");
    table = table.right("compressed").right("packs").right("on disk");
    for (name, sizes) in &stats.groups {
        table.row([
            name.to_string(),
            count(sizes.snapshots),
            size(sizes.logical_bytes),
            size(sizes.unique_bytes),
            size(sizes.packed_bytes),
            count(sizes.packs),
            size(sizes.stored_bytes()),
        ]);
    }
    show(&table, width, out)?;
    let t = &stats.total;
    out.line(format_args!(
        "{} of {} in {} on disk: each byte is used {:.1} times, and compression makes it {:.2} times smaller",
        counted(t.snapshots, "snapshot"),
        size(t.logical_bytes),
        size(t.stored_bytes()),
        t.dedup_ratio(),
        t.compression_ratio(),
    ))?;
    if let Some(free) = stats.free_bytes {
        out.line(format_args!("{} are free there", size(free)))?;
    }
    if stats.damaged_packs > 0 {
        let packs = counted(stats.damaged_packs, "pack");
        let text = format!("{packs} known to be damaged; `qbak verify` says what is harmed");
        out.line(out.paint(Paint::Red, text))?;
    }
    Ok(())
}

fn show(table: &Table, width: Option<u16>, out: &Output) -> Result<(), OutputError> {
    if table.is_empty() {
        return Ok(());
    }
    table.lines(width).into_iter().try_for_each(|line| out.line(line))?;
    out.line("")
}

fn for_scripts(stats: &Stats, out: &Output) -> Result<(), OutputError> {
    for s in &stats.snapshots {
        let line = SnapshotLine {
            snapshot: s.name,
            group: s.group,
            kind: s.kind,
            objects: s.objects,
            bytes: s.bytes,
            downloaded_bytes: s.downloaded_bytes,
            stored_bytes: s.stored_bytes,
        };
        out.json("snapshot", &line)?;
    }
    for (group, sizes) in &stats.groups {
        out.json("group", &GroupLine { group: *group, sizes: SizesLine(sizes) })?;
    }
    let summary = Summary {
        groups: stats.groups.len() as u64,
        sizes: SizesLine(&stats.total),
        damaged_packs: stats.damaged_packs,
        free_bytes: stats.free_bytes,
    };
    out.json("summary", &summary)
}
