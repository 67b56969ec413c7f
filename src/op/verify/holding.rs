//! Which packs hold a snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Context;
use crate::format::pack::BlobKind;
use crate::format::records::SnapshotRecord;
use crate::model::id::PackId;
use crate::op::OpError;
use crate::repo::blobs::{BlobReader, Groups};
use crate::repo::manifest_reader::{ManifestReader, Span};

/// The packs that hold a snapshot's blobs, its manifest's own included.
pub(super) async fn packs_of(
    ctx: &Context,
    groups: &Arc<Groups>,
    snapshot: &SnapshotRecord,
) -> Result<BTreeSet<PackId>, OpError> {
    let reader = BlobReader::new(&ctx.repo, Arc::clone(groups), snapshot.group, &snapshot.needs);
    let mut packs = BTreeSet::new();
    // Packs of metadata are few, and hold the manifest and the block lists: all of the group's count.
    for name in std::iter::once(snapshot.group).chain(snapshot.needs.iter().copied()) {
        let own = groups.get(name).await?.packs();
        packs.extend(own.into_iter().filter(|(_, state)| state.metadata).map(|(id, _)| id));
    }
    let mut entries = ManifestReader::new(reader.clone(), snapshot.name, &snapshot.manifest, Span::all());
    loop {
        if ctx.cancel.is_set() {
            return Err(OpError::Interrupted);
        }
        let entry = match entries.next().await {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(packs),
            Err(e) if e.is_damage() => continue,
            Err(e) => return Err(e.into()),
        };
        let Some(content) = entry.content else { continue };
        let ids = match reader.blocks(content, entry.size).await {
            Ok(ids) => ids,
            Err(e) if e.is_damage() => continue,
            Err(e) => return Err(e.into()),
        };
        for id in ids {
            packs.extend(reader.copies(BlobKind::Data, &id).await?.into_iter().map(|l| l.pack));
        }
    }
}
