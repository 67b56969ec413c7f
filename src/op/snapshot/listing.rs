//! The source's listing as a stream of pages in strictly ascending key order: it runs ahead of the work, and when the source
//! does not keep to the order it is sorted outside memory.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::control::{Control, off};
use crate::format::entry;
use crate::model::entry::Entry;
use crate::model::event::{Event, Observer};
use crate::model::key::Key;
use crate::model::listed::{Listed, ListedHash};
use crate::op::OpError;
use crate::op::spool::Sorter;
use crate::repo::RepoError;
use crate::source::Source;

/// Pages that the listing runs ahead.
const AHEAD: usize = 16;
/// Objects a page of a sorted listing.
const PAGE: usize = 1000;

/// What comes next of a listing.
pub(in crate::op) enum Next {
    /// Objects, their keys above all before.
    Page(Vec<Listed>),
    /// The source does not list in order: begin again with [`Listing::sorted`].
    OutOfOrder,
    /// That was all.
    End,
}

/// A page, or `None` for the end: a channel that just closes is a listing that broke off.
type Message = Result<Option<Vec<Listed>>, OpError>;

/// A listing on its way.
pub(in crate::op) struct Listing {
    pages: mpsc::Receiver<Message>,
    task: JoinHandle<()>,
    last: Option<Key>,
    sorted: bool,
    ended: bool,
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listing {
    /// Lists as the source does.
    pub(in crate::op) fn direct(source: Arc<dyn Source>) -> Self {
        let (sender, pages) = mpsc::channel(AHEAD);
        let task = tokio::spawn(async move {
            let mut stream = source.list();
            while let Some(page) = stream.next().await {
                let failed = page.is_err();
                if failed && off(Control::NoListingEnd) {
                    break;
                }
                if sender.send(page.map(Some).map_err(OpError::from)).await.is_err() || failed {
                    return;
                }
            }
            let _ = sender.send(Ok(None)).await;
        });
        Self { pages, task, last: None, sorted: false, ended: false }
    }

    /// Lists everything first and sorts it; of a key that is listed twice, the later one counts.
    pub(in crate::op) fn sorted(source: Arc<dyn Source>, spool: &Path, observer: &Arc<dyn Observer>) -> Self {
        let (sender, pages) = mpsc::channel(AHEAD);
        let (spool, observer) = (spool.to_owned(), Arc::clone(observer));
        let task = tokio::spawn(async move {
            if let Err(e) = sort(source, &spool, &sender, &observer).await {
                let _ = sender.send(Err(e)).await;
            }
        });
        Self { pages, task, last: None, sorted: true, ended: false }
    }

    /// The next page.
    ///
    /// # Errors
    /// The listing failed: then nothing is known of what would have come, least of all that it is gone.
    pub(in crate::op) async fn next(&mut self) -> Result<Next, OpError> {
        loop {
            if self.ended {
                return Ok(Next::End);
            }
            let page = match self.pages.recv().await {
                Some(page) => page?,
                None => return Err(OpError::Failed("the listing stopped before its end".into())),
            };
            let Some(page) = page else {
                self.ended = true;
                continue;
            };
            if page.is_empty() {
                continue;
            }
            let ascending = page.is_sorted_by(|a, b| a.key < b.key)
                && self.last.as_ref().is_none_or(|last| page.first().is_some_and(|p| p.key > *last));
            if !ascending && !self.sorted {
                return Ok(Next::OutOfOrder);
            }
            self.last = page.last().map(|l| l.key.clone());
            return Ok(Next::Page(page));
        }
    }
}

async fn sort(
    source: Arc<dyn Source>,
    spool: &Path,
    sender: &mpsc::Sender<Message>,
    observer: &Arc<dyn Observer>,
) -> Result<(), OpError> {
    let mut sorter = Sorter::new(spool, 32 << 20);
    let mut stream = source.list();
    let mut number = 0u64;
    while let Some(page) = stream.next().await {
        for listed in page? {
            number += 1;
            let mut payload = number.to_be_bytes().to_vec();
            pack(&listed, &mut payload)?;
            sorter.push(listed.key.bytes().to_vec(), payload)?;
        }
    }
    let mut sorted = sorter.finish()?;
    let (mut page, mut doubled) = (Vec::<Listed>::with_capacity(PAGE), 0u64);
    while let Some(item) = sorted.take_next()? {
        let listed = unpack(Key::new(item.key), item.payload.get(8..).unwrap_or_default())?;
        if page.last().is_some_and(|last| last.key == listed.key) {
            page.pop();
            doubled += 1;
        } else if page.len() >= PAGE && sender.send(Ok(Some(std::mem::take(&mut page)))).await.is_err() {
            return Ok(());
        }
        page.push(listed);
    }
    if doubled > 0 {
        observer.event(Event::Warning(format!(
            "{doubled} keys were listed more than once; the last state listed counts"
        )));
    }
    if !page.is_empty() {
        let _ = sender.send(Ok(Some(page))).await;
    }
    let _ = sender.send(Ok(None)).await;
    Ok(())
}

/// A listed object as an entry's line, which holds all of it but the sort of its hash and what keeps it from being read.
fn pack(listed: &Listed, out: &mut Vec<u8>) -> Result<(), OpError> {
    let (tag, md5) = match &listed.hash {
        None => (0, None),
        Some(ListedHash::Etag(_)) => (1, None),
        Some(ListedHash::Parts(_)) => (2, None),
        Some(ListedHash::Md5(sum, _)) => (3, Some(sum)),
        Some(ListedHash::Opaque(_)) => (4, None),
    };
    out.push(tag);
    if let Some(sum) = md5 {
        out.extend_from_slice(sum);
    }
    for text in [&listed.unavailable, &listed.failed] {
        let bytes = text.as_deref().unwrap_or_default().as_bytes();
        out.push(u8::from(text.is_some()));
        out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(bytes);
    }
    let mut entry = super::fetch::bare_entry(listed);
    entry.key = Key::new(Vec::new());
    entry::encode(&entry, out)
        .map_err(|e| RepoError::file(format!("the listing of {}", listed.key), e).into())
}

fn unpack(key: Key, bytes: &[u8]) -> Result<Listed, OpError> {
    let broken = || OpError::from(RepoError::Spool("a sorted listing does not read back".into()));
    let (&tag, mut rest) = bytes.split_first().ok_or_else(broken)?;
    let mut md5 = [0u8; 16];
    if tag == 3 {
        let (sum, after) = rest.split_at_checked(16).ok_or_else(broken)?;
        md5.copy_from_slice(sum);
        rest = after;
    }
    let mut texts = [None, None];
    for text in &mut texts {
        let (head, after) = rest.split_at_checked(5).ok_or_else(broken)?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (bytes, after) = after.split_at_checked(length).ok_or_else(broken)?;
        if head[0] == 1 {
            *text = Some(String::from_utf8_lossy(bytes).into_owned());
        }
        rest = after;
    }
    let entry: Entry = entry::decode(rest.trim_ascii_end()).map_err(|_| broken())?;
    let text = entry.fingerprint.unwrap_or_default();
    let hash = match tag {
        1 => Some(ListedHash::Etag(text.parse().map_err(|_| broken())?)),
        2 => Some(ListedHash::Parts(text)),
        3 => Some(ListedHash::Md5(md5, text)),
        4 => Some(ListedHash::Opaque(text)),
        _ => None,
    };
    let [unavailable, failed] = texts;
    Ok(Listed {
        key,
        kind: entry.kind,
        size: entry.size,
        hash,
        put_time: entry.put_time,
        target: entry.target,
        unavailable,
        failed,
        attributes: entry.attributes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::Kind;
    use crate::model::time::Timestamp;

    #[test]
    fn listed_objects_survive_the_spool() {
        let mut l = Listed::new(Key::new(vec![0xff, 1]), Kind::Object);
        l.size = 7;
        l.put_time = Some(Timestamp::from_nanos(-5));
        l.unavailable = Some("archived".into());
        l.attributes.mime = Some("text/plain".into());
        for hash in [
            None,
            Some(ListedHash::Etag("Fto5o-5ea0sNMlW_75VgGJCv2AcJ".parse().unwrap())),
            Some(ListedHash::Parts("n".into())),
            Some(ListedHash::Md5([9; 16], "x".into())),
            Some(ListedHash::Opaque("o".into())),
        ] {
            l.hash = hash;
            let mut bytes = Vec::new();
            pack(&l, &mut bytes).unwrap();
            assert_eq!(unpack(l.key.clone(), &bytes).unwrap(), l);
            for n in 0..bytes.len() {
                assert!(unpack(l.key.clone(), &bytes[..n]).is_err() || n + 1 == bytes.len());
            }
        }
    }
}
