//! Two contents with one SHA-1: the second object fails, and this finds the key of the first, so that both are named.

use std::collections::HashMap;
use std::sync::Arc;

use crate::format::records::SnapshotRecord;
use crate::model::content::BLOCK;
use crate::model::event::{Event, Observer};
use crate::model::id::{BlobId, ContentKind};
use crate::model::key::Key;
use crate::op::OpError;
use crate::repo::Repository;
use crate::repo::blobs::{BlobReader, Groups};
use crate::repo::manifest_reader::{ManifestReader, Span};

/// Says which object each of these collides with. Reads the whole manifest: collisions are made on purpose, and rare.
///
/// # Errors
/// The store cannot be read.
pub(super) async fn name_both(
    repo: &Repository,
    snapshot: &SnapshotRecord,
    collisions: &[(Key, BlobId)],
    observer: &Arc<dyn Observer>,
) -> Result<(), OpError> {
    let groups = Arc::new(Groups::new(repo).await?);
    let blobs = BlobReader::new(repo, groups, snapshot.group, &snapshot.needs);
    let mut first: HashMap<BlobId, Key> = HashMap::new();
    let mut entries = ManifestReader::new(blobs.clone(), snapshot.name, &snapshot.manifest, Span::all());
    while let Some(entry) = entries.next().await? {
        let Some(content) = entry.content else { continue };
        let ids = match content.kind() {
            ContentKind::Blob(id) => vec![id],
            ContentKind::List(_) if entry.size > BLOCK as u64 => blobs.blocks(content, entry.size).await?,
            ContentKind::List(_) => continue,
        };
        for id in ids {
            if collisions.iter().any(|(_, c)| *c == id) {
                first.entry(id).or_insert_with(|| entry.key.clone());
            }
        }
    }
    for (key, id) in collisions {
        let other = match first.get(id) {
            Some(other) => format!("of {other}"),
            None => "of an object of an earlier snapshot".into(),
        };
        observer.event(Event::Warning(format!(
            "SHA-1 collision: {key} has other bytes than those {other}, and the same SHA-1 {id}; {key} is not stored. Such bytes are made on purpose: find out who put them there"
        )));
    }
    Ok(())
}
