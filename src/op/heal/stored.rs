//! A copy of a blob that the store itself still has, whole: in a hurt pack of its own group, or in another group.

use std::sync::Arc;

use bytes::Bytes;

use super::survey::Need;
use super::{Context, From};
use crate::model::content::{Hashes, hash};
use crate::op::OpError;
use crate::op::check::Hurt;
use crate::plan::heal::{Copy, Truth, order, truth};
use crate::repo::RepoError;
use crate::repo::blobs::{BlobReader, Groups};
use crate::repo::group::Located;

/// What the store says of a blob.
pub(super) struct Found {
    /// Its bytes, checked by both hashes.
    pub copy: Option<(Bytes, Hashes, From)>,
    /// What its BLAKE3 must be.
    pub truth: Truth,
}

/// Looks for a whole copy; what is found damaged on the way is `met`.
pub(super) async fn find(
    ctx: &Context,
    groups: &Arc<Groups>,
    need: &Need,
    met: &mut Vec<Hurt>,
) -> Result<Found, OpError> {
    let mut all: Vec<Located> = Vec::new();
    // The youngest group's copy is the one least likely to have rotted.
    for name in groups.names().rev() {
        all.extend(groups.get(name).await?.find(need.kind, &need.id).await?);
    }
    let copies: Vec<Copy> = all
        .iter()
        .map(|l| Copy {
            home: l.group == need.home,
            sound: l.sound,
            length: l.record.length.into(),
            digest: l.record.digest,
        })
        .collect();
    let truth = truth(need.length, need.digest, &copies);
    let reader = BlobReader::new(&ctx.repo, Arc::clone(groups), need.home, &[]);
    for copy in order(need.length, truth, &copies).into_iter().filter_map(|n| all.get(n)) {
        let bytes = match reader.read_copy(copy).await {
            Ok(bytes) => bytes,
            Err(e) if e.is_damage() => {
                if copy.sound {
                    let what = match e {
                        RepoError::Damaged { what, .. } => what,
                        e => e.to_string(),
                    };
                    let blob = Some((need.kind, need.id));
                    met.push(Hurt { group: copy.group, pack: copy.pack, blob, what });
                }
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        let (bytes, hashes) = tokio::task::spawn_blocking(move || {
            let hashes = hash(&bytes);
            (bytes, hashes)
        })
        .await?;
        if hashes == copy.record.hashes() {
            let from = if copy.group == need.home { From::Pack } else { From::Group(copy.group) };
            return Ok(Found { copy: Some((bytes, hashes, from)), truth });
        }
    }
    Ok(Found { copy: None, truth })
}
