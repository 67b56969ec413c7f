//! Index files against packs: every page readable, every pack there with its size, every table as the index says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Options;
use super::files::reason;
use super::finding::{Finding, Findings};
use super::harm::Hurt;
use crate::format::index::IndexRecord;
use crate::format::pack::{FOOTER, Record};
use crate::format::records::SnapshotRecord;
use crate::model::id::PackId;
use crate::model::name::RunName;
use crate::op::{Cancel, OpError};
use crate::repo::blobs::Groups;
use crate::repo::group::Group;
use crate::repo::index_file::IndexFile;
use crate::repo::names;

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub packs: u64,
    pub blobs: u64,
}

pub(super) async fn check(
    groups: &Arc<Groups>,
    snapshots: &[SnapshotRecord],
    options: &Options,
    findings: &mut Findings,
    cancel: &Cancel,
) -> Result<Counted, OpError> {
    let wanted = options.only.and_then(|name| snapshots.iter().find(|s| s.name == name));
    let mut counted = Counted::default();
    for name in groups.names() {
        if wanted.is_some_and(|s| s.group != name && !s.needs.contains(&name)) {
            continue;
        }
        let group = groups.get(name).await?;
        for (id, error) in &group.unreadable {
            let what = format!("{}; the packs' own tables are used instead", reason(error));
            findings.push(Finding::damage(names::index(name, *id), what));
        }
        gone(&group, snapshots, findings);
        loose(groups, &group, findings);
        let packs = group.packs();
        counted.packs += packs.len() as u64;
        counted.blobs += group.loose().len() as u64;
        for file in group.files() {
            if cancel.is_set() {
                return Err(OpError::Interrupted);
            }
            counted.blobs += file.records();
            let (named, whole) = pages(&group, &file, findings).await?;
            if options.tables {
                tables(&group, &file, &named, whole, findings).await?;
            }
        }
    }
    Ok(counted)
}

/// The newest snapshot of a group names the index files there were when it was made.
fn gone(group: &Group, snapshots: &[SnapshotRecord], findings: &mut Findings) {
    let Some(newest) = snapshots.iter().rev().find(|s| s.group == group.name) else { return };
    for id in &newest.indexes {
        let there = group.files().iter().any(|f| f.id == *id)
            || group.is_replaced(id)
            || group.unreadable.iter().any(|(bad, _)| bad == id);
        if !there {
            let what = "it is missing; the packs' own tables are used instead";
            findings.push(Finding::damage(names::index(group.name, *id), what));
        }
    }
}

/// Packs that no index names and whose table cannot be read: what was in them is unknown.
fn loose(groups: &Groups, group: &Group, findings: &mut Findings) {
    for (id, state) in group.packs() {
        let Some(lost) = state.lost.filter(|_| !state.indexed) else { continue };
        let file = names::pack(group.name, id);
        // The error names the file itself.
        let lost = lost.strip_prefix(&format!("{file}: ")).unwrap_or(&lost).to_owned();
        if groups.damage().get(&id).is_some_and(|d| d.whole) {
            findings.push(Finding::notice(&file, format!("{lost}; this is known")).pack(id));
        } else {
            findings.push(Finding::damage(&file, format!("{lost}; no index says what it holds")).pack(id));
            findings.hurt(Hurt { group: group.name, pack: id, blob: None, what: lost });
        }
    }
}

/// Reads every page of an index file. Returns how many records each of its packs has, and whether all pages could be read.
async fn pages(
    group: &Group,
    file: &IndexFile,
    findings: &mut Findings,
) -> Result<(BTreeMap<PackId, usize>, bool), OpError> {
    let mut whole = true;
    let mut named: BTreeMap<PackId, usize> = file.packs.iter().map(|p| (p.id, 0)).collect();
    let mut last: Option<IndexRecord> = None;
    for n in 0..file.pages() {
        let page = match file.read_page(n).await {
            Ok(page) => page,
            Err(e) if e.is_damage() => {
                let what = format!("page {n}: {}; the packs' own tables are used instead", reason(&e));
                findings.push(Finding::damage(file.name(), what));
                whole = false;
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        for record in page {
            if last.is_some_and(|l| l.order() > record.order()) {
                findings
                    .push(Finding::damage(file.name(), format!("page {n}: its records are out of order")));
            }
            last = Some(record);
            let Some(pack) = file.packs.get(record.pack as usize) else {
                let what = format!("page {n}: blob {} lies in a pack it does not name", record.record.id);
                findings.push(Finding::damage(file.name(), what));
                continue;
            };
            let end = u64::from(record.record.offset) + u64::from(record.record.stored);
            if end + FOOTER as u64 > pack.size || pack.metadata != record.record.kind.is_metadata() {
                let what = format!(
                    "blob {} cannot lie where it says in {}",
                    record.record.id,
                    names::pack(group.name, pack.id)
                );
                findings.push(Finding::damage(file.name(), what).pack(pack.id));
            }
            *named.entry(pack.id).or_default() += 1;
        }
    }
    Ok((named, whole))
}

/// Compares the packs' own tables with what the index says.
async fn tables(
    group: &Group,
    file: &IndexFile,
    named: &BTreeMap<PackId, usize>,
    whole: bool,
    findings: &mut Findings,
) -> Result<(), OpError> {
    let packs = group.packs();
    for (id, count) in named {
        let Some(state) = packs.get(id).filter(|s| s.lost.is_none()) else { continue };
        let pack = names::pack(group.name, *id);
        let table = match group.table(*id, state.size).await {
            Ok((_, table)) => table,
            Err(e) if e.is_damage() => {
                findings.push(Finding::damage(&pack, reason(&e)).pack(*id));
                let what = reason(&e);
                findings.hurt(Hurt { group: group.name, pack: *id, blob: None, what });
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        if (whole && table.len() != *count) || !all_found(file, *id, &table).await? {
            let what = format!("its table is not what {} says of it", file.name());
            findings.push(Finding::damage(&pack, &what).pack(*id));
            findings.hurt(Hurt { group: group.name, pack: *id, blob: None, what });
        }
    }
    Ok(())
}

async fn all_found(file: &IndexFile, pack: PackId, table: &[Record]) -> Result<bool, OpError> {
    for record in table {
        let hits = match file.find(record.kind, &record.id).await {
            // The page has been reported, and says nothing about this pack.
            Err(e) if e.is_damage() => continue,
            hits => hits?,
        };
        let here = |h: &IndexRecord| {
            h.record == *record && file.packs.get(h.pack as usize).is_some_and(|p| p.id == pack)
        };
        if !hits.iter().any(here) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where a group's pack lies, in words, when only its id is known.
pub(super) fn file_of(group: RunName, pack: PackId) -> String {
    names::pack(group, pack)
}
