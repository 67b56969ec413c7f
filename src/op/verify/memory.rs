//! What verifications remember: which packs were proven, and when.

use std::collections::{BTreeMap, BTreeSet};

use super::{Context, unwritten};
use crate::format::record;
use crate::model::id::{Digest, PackId};
use crate::model::time::Timestamp;
use crate::op::OpError;
use crate::op::check::Finding;
use crate::plan::verify::fold;
use crate::repo::blobs::Groups;
use crate::repo::{RepoError, names};

/// Writes down what is proven, and deletes the records that this replaces. Packs that are gone are forgotten.
pub(super) async fn remember(
    ctx: &Context,
    groups: &Groups,
    mut proven: BTreeMap<PackId, Timestamp>,
) -> Result<(), RepoError> {
    let mut there = BTreeSet::new();
    for name in groups.names() {
        there.extend(groups.get(name).await?.packs().into_keys());
    }
    proven.retain(|id, _| there.contains(id));
    let mut old: BTreeSet<String> =
        ctx.repo.store().list_all(names::VERIFIED).await?.into_iter().map(|f| f.name).collect();
    for record in fold(&proven) {
        let bytes = record::encode(&record).map_err(|e| RepoError::file(names::VERIFIED, e))?;
        let name = format!("{}/{}.json", names::VERIFIED, Digest::of(&bytes));
        // The same bytes under the same name need not be written twice.
        if !old.remove(&name) {
            ctx.repo.store().replace(&name, bytes).await?;
        }
    }
    old.retain(|name| matches!(names::meaning(name), names::Meaning::Note));
    let old: Vec<String> = old.into_iter().collect();
    if old.is_empty() { Ok(()) } else { Ok(ctx.repo.store().delete(&old).await?) }
}

/// A proof that cannot be read proves nothing, and has been reported: it goes.
pub(super) async fn forget_unreadable(ctx: &Context, findings: &[Finding]) -> Result<(), OpError> {
    let folder = format!("{}/", names::VERIFIED);
    let names: Vec<String> = findings
        .iter()
        .filter_map(|f| f.file.clone())
        .filter(|name| name.starts_with(&folder) && matches!(names::meaning(name), names::Meaning::Note))
        .collect();
    if !names.is_empty() {
        let gone = ctx.repo.store().delete(&names).await;
        unwritten(ctx, "that a proof cannot be read", gone.map_err(Into::into));
    }
    Ok(())
}
