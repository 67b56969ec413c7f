//! Reads what was lost from the live source. Only bytes with the right length, SHA-1 and BLAKE3 count.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::seek::{self, Candidate, Candidates};
use super::{From, Loss, Pending, Work};
use crate::format::pack::BlobKind;
use crate::model::content::{Hashes, MAX_CONTENT, block_list, block_range, blocks, hash};
use crate::model::event::Event;
use crate::model::id::BlobId;
use crate::op::OpError;
use crate::plan::heal::{Fit, Truth};
use crate::source::{ReadError, Route, Source, SourceError};

/// Blobs on their way at a time; each is at most 4 MiB.
const AT_ONCE: usize = 8;

/// What came of asking for one blob.
#[derive(Default)]
struct Answer {
    found: Option<(Bytes, Hashes)>,
    downloaded: u64,
    /// Why an object that should have it could not be read.
    unread: Option<String>,
    /// The source cannot be read at all.
    failed: Option<SourceError>,
}

impl Work<'_> {
    /// Fetches what the store does not have: from the keys it stood under, then from wherever the listing shows it.
    pub(super) async fn ask_source(&mut self, pending: Vec<Pending>) -> Result<(), OpError> {
        if pending.is_empty() {
            return Ok(());
        }
        let source = match (&self.ctx.source, &self.source_failed) {
            (Ok(source), None) => Arc::clone(source),
            (Err(why), _) | (_, Some(why)) => {
                let why = why.clone();
                return self.give_up(pending, why);
            }
        };
        let keys = seek::keys(&pending);
        let mut left: Vec<(Pending, Option<String>)> = pending.into_iter().map(|p| (p, None)).collect();
        for stage in 0..2 {
            if left.is_empty() || (stage == 0 && keys.is_empty()) {
                continue;
            }
            self.stop()?;
            let (now, unread): (Vec<Pending>, Vec<Option<String>>) = left.into_iter().unzip();
            let candidates = if stage == 0 {
                seek::by_key(&source, keys.clone(), &now).await
            } else {
                let name = "listing the source";
                self.ctx.observer.event(Event::Phase { name, objects: None, bytes: None });
                seek::by_listing(&source, &now).await
            };
            match candidates {
                Ok(candidates) => left = self.fetch(&source, now, unread, candidates).await?,
                Err(e) => return self.give_up(now, e.message),
            }
            if let Some(why) = self.source_failed.clone() {
                return self.give_up(left.into_iter().map(|(p, _)| p).collect(), why);
            }
        }
        for (p, unread) in left {
            let loss = match unread {
                Some(why) => Loss {
                    reason: format!("the source has it and it could not be read: {why}"),
                    for_good: false,
                },
                None => Loss {
                    reason: "the source has no object with these bytes any more".into(),
                    for_good: true,
                },
            };
            self.lose(p.need, loss);
        }
        Ok(())
    }

    fn give_up(&mut self, pending: Vec<Pending>, why: String) -> Result<(), OpError> {
        if self.report.no_source.is_none() {
            self.ctx.observer.event(Event::Warning(format!(
                "the source cannot be read ({why}); what the store itself still has is healed from there"
            )));
            self.report.no_source = Some(why.clone());
        }
        for p in pending {
            let reason = format!("no whole copy of it is in the store, and the source cannot be read: {why}");
            self.lose(p.need, Loss { reason, for_good: false });
        }
        self.source_failed.get_or_insert(why);
        Ok(())
    }

    /// Reads the candidates of each; returns what did not come, with the reason if there was a likely object.
    async fn fetch(
        &mut self,
        source: &Arc<dyn Source>,
        pending: Vec<Pending>,
        unread: Vec<Option<String>>,
        candidates: Candidates,
    ) -> Result<Vec<(Pending, Option<String>)>, OpError> {
        let dry = self.options.dry_run;
        let work = pending.into_iter().zip(unread).zip(candidates).map(|((p, why), candidates)| {
            let source = Arc::clone(source);
            async move {
                if dry {
                    return (p, why, Answer::default(), !candidates.is_empty());
                }
                let answer = read(&source, &p, candidates).await;
                (p, why, answer, false)
            }
        });
        let mut answers = stream::iter(work).buffer_unordered(AT_ONCE);
        let mut left = Vec::new();
        while let Some((p, why, answer, likely)) = answers.next().await {
            self.stop()?;
            self.report.downloaded_bytes += answer.downloaded;
            if let Some(e) = answer.failed {
                self.source_failed.get_or_insert(e.message);
            }
            match answer.found {
                Some((bytes, hashes)) => self.put(p.need, hashes, bytes, From::Source).await?,
                None if likely => self.healed(p.need, From::Source),
                None => left.push((p, answer.unread.or(why))),
            }
        }
        Ok(left)
    }
}

/// Reads one blob from the first candidate that has it.
async fn read(source: &Arc<dyn Source>, p: &Pending, candidates: Vec<Candidate>) -> Answer {
    let mut answer = Answer::default();
    for candidate in candidates {
        for route in [Route::Usual, Route::Origin] {
            let bytes = match p.need.kind {
                BlobKind::List => list(source, &candidate, route, &mut answer.downloaded).await,
                _ => block(source, &candidate, candidate.number, route, &mut answer.downloaded).await,
            };
            match bytes {
                Ok((bytes, hashes)) if fits(p, &bytes, &hashes) => {
                    answer.found = Some((bytes, hashes));
                    return answer;
                }
                // A cache or an image processor may have altered what the bucket itself still has.
                Ok(_) if candidate.fit == Fit::SameHash => {}
                Ok(_) | Err(ReadError::Changed | ReadError::Vanished) => break,
                Err(ReadError::Unavailable(why)) => {
                    answer.unread = Some(why);
                    break;
                }
                Err(ReadError::Failed(e)) => {
                    answer.unread = Some(e.message.clone());
                    if seek::is_final(e.kind) {
                        answer.failed = Some(e);
                        return answer;
                    }
                    break;
                }
            }
        }
    }
    answer
}

fn fits(p: &Pending, bytes: &[u8], hashes: &Hashes) -> bool {
    let known = match p.truth {
        Truth::Known(digest) => digest == hashes.digest,
        Truth::Unknown => true,
        Truth::Contradicted => false,
    };
    known && hashes.id == p.need.id && bytes.len() as u64 == p.need.length
}

async fn block(
    source: &Arc<dyn Source>,
    candidate: &Candidate,
    number: u64,
    route: Route,
    downloaded: &mut u64,
) -> Result<(Bytes, Hashes), ReadError> {
    let range = block_range(number, candidate.listed.size);
    let bytes = source.read(&candidate.listed, range, route).await?;
    *downloaded += bytes.len() as u64;
    let hashed = tokio::task::spawn_blocking(move || {
        let hashes = hash(&bytes);
        (bytes, hashes)
    });
    hashed.await.map_err(|_| ReadError::Changed)
}

/// The block list of an object, from all of its blocks.
async fn list(
    source: &Arc<dyn Source>,
    candidate: &Candidate,
    route: Route,
    downloaded: &mut u64,
) -> Result<(Bytes, Hashes), ReadError> {
    let size = candidate.listed.size;
    if size > MAX_CONTENT {
        return Err(ReadError::Changed);
    }
    let mut ids: Vec<BlobId> = Vec::new();
    for number in 0..blocks(size) {
        let (_, hashes) = block(source, candidate, number, route, downloaded).await?;
        ids.push(hashes.id);
    }
    let bytes = Bytes::from(block_list(&ids));
    let hashes = hash(&bytes);
    Ok((bytes, hashes))
}
