//! Index files that are damaged or gone: what their packs say themselves is put into new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Context;
use super::survey::Name;
use crate::model::id::IndexId;
use crate::model::name::RunName;
use crate::op::OpError;
use crate::op::check::Finding;
use crate::repo::blobs::Groups;
use crate::repo::healer::Healer;
use crate::repo::names::{self, Meaning};

/// Index files that cannot be relied on, by group.
pub(super) type Bad = BTreeMap<RunName, BTreeSet<IndexId>>;

/// The index files that a check found damaged or missing.
pub(super) fn damaged(findings: &[Finding]) -> Bad {
    let mut bad = Bad::new();
    // Whether it harms anybody or not: as long as one cannot be relied on, the next run has to look everything up.
    for finding in findings {
        if let Some(Meaning::Index(group, id)) = finding.file.as_deref().map(names::meaning) {
            bad.entry(group).or_default().insert(id);
        }
    }
    bad
}

/// Makes them again, in groups of which nothing is missing. Returns how many.
pub(super) async fn rebuild(
    ctx: &Context,
    healer: &Healer,
    groups: &Arc<Groups>,
    bad: &Bad,
    failed: &BTreeSet<Name>,
) -> Result<u64, OpError> {
    let snapshots = ctx.repo.snapshots().await?;
    let shares = snapshots.finished.iter().any(|s| !s.needs.is_empty());
    let mut open = BTreeSet::new();
    let mut unknown = false;
    for (name, run) in ctx.repo.runs().await? {
        let settled =
            snapshots.tombstones.contains(&name) || snapshots.finished.iter().any(|s| s.name == name);
        match run {
            _ if settled => {}
            Ok(run) => drop(open.insert(run.group)),
            Err(_) => unknown = true,
        }
    }
    let mut made = 0;
    for (name, ids) in bad {
        let lacks = failed.iter().any(|(home, ..)| home == name) || (shares && !failed.is_empty());
        if lacks {
            continue;
        }
        let group = groups.get(*name).await?;
        // What a run that was cut off has left is not to be named before it has finished.
        let adopt = !unknown && !open.contains(name);
        let ids: Vec<IndexId> = ids.iter().copied().filter(|id| !group.is_replaced(id)).collect();
        if ids.is_empty() {
            continue;
        }
        healer.rebuild_index(&group, adopt, &ids).await?;
        made += ids.len() as u64;
    }
    Ok(made)
}
