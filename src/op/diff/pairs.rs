//! Both sides of a comparison as one stream in key order.

use super::{Context, To};
use crate::model::entry::{Entry, Kind, State};
use crate::model::key::Key;
use crate::model::listed::{Listed, ListedHash};
use crate::op::OpError;
use crate::op::open::{Entries, Opened};
use crate::op::snapshot::fetch::{bare_entry, entry_with};
use crate::op::snapshot::input::is_unread_folder;
use crate::op::snapshot::listing::{Listing, Next};
use crate::plan::compare::{is_same, merge_attributes};
use crate::repo::manifest_diff::{ManifestDiff, Pair};
use crate::repo::manifest_reader::Span;

/// Both sides as one stream in key order.
pub(super) enum Pairs {
    /// Two whole manifests: what is equal is skipped.
    Walk(Box<ManifestDiff>),
    /// Everything, side by side.
    Join(Box<Join>),
}

impl Pairs {
    pub(super) fn new(ctx: &Context, from: Option<&Opened>, to: To<'_>) -> Self {
        if let (Some(from), To::Snapshot(to)) = (from, &to)
            && let ([old], [new]) = (from.manifests(), to.manifests())
        {
            let old = (from.blobs.clone(), from.name, old);
            return Self::Walk(Box::new(ManifestDiff::new(old, (to.blobs.clone(), to.name, new))));
        }
        let new = match to {
            To::Snapshot(opened) => New::Snapshot(opened.entries(&Span::all())),
            To::Live(source) => New::Live {
                listing: Listing::sorted(source, &ctx.spool, &ctx.observer),
                page: Vec::new().into_iter(),
                unread_folder: None,
            },
        };
        let old = from.map(|opened| opened.entries(&Span::all()));
        Self::Join(Box::new(Join { old, new, old_head: None, new_head: None, hidden: 0 }))
    }

    pub(super) async fn next(&mut self) -> Result<Option<Pair>, OpError> {
        match self {
            Self::Walk(walk) => Ok(walk.next().await?),
            Self::Join(join) => join.next().await,
        }
    }

    /// Keys in folders that could not be listed.
    pub(super) fn hidden(&self) -> u64 {
        match self {
            Self::Walk(_) => 0,
            Self::Join(join) => join.hidden,
        }
    }
}

/// The newer side, entry by entry.
enum New {
    Snapshot(Entries),
    Live {
        listing: Listing,
        page: std::vec::IntoIter<Listed>,
        /// A folder that could not be read: nothing is known of what lies in it.
        unread_folder: Option<Key>,
    },
}

enum Head {
    Entry(Entry),
    Listed(Listed),
}

impl Head {
    fn key(&self) -> &Key {
        match self {
            Self::Entry(entry) => &entry.key,
            Self::Listed(listed) => &listed.key,
        }
    }
}

impl New {
    async fn next(&mut self) -> Result<Option<Head>, OpError> {
        match self {
            Self::Snapshot(entries) => Ok(entries.next().await?.map(Head::Entry)),
            Self::Live { listing, page, unread_folder } => loop {
                if let Some(listed) = page.next() {
                    if is_unread_folder(&listed) {
                        *unread_folder = Some(listed.key.clone());
                    }
                    return Ok(Some(Head::Listed(listed)));
                }
                match listing.next().await? {
                    Next::Page(next) => *page = next.into_iter(),
                    Next::End => return Ok(None),
                    Next::OutOfOrder => {
                        return Err(OpError::Failed("a sorted listing is out of order".into()));
                    }
                }
            },
        }
    }

    fn hides(&self, key: &Key) -> bool {
        match self {
            Self::Snapshot(_) => false,
            Self::Live { unread_folder, .. } => {
                unread_folder.as_ref().is_some_and(|folder| key.bytes().starts_with(folder.bytes()))
            }
        }
    }
}

pub(super) struct Join {
    old: Option<Entries>,
    new: New,
    old_head: Option<Entry>,
    new_head: Option<Head>,
    hidden: u64,
}

impl Join {
    async fn next(&mut self) -> Result<Option<Pair>, OpError> {
        loop {
            if self.old_head.is_none()
                && let Some(old) = &mut self.old
            {
                self.old_head = old.next().await?;
            }
            if self.new_head.is_none() {
                self.new_head = self.new.next().await?;
            }
            let order = match (&self.old_head, &self.new_head) {
                (None, None) => return Ok(None),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(a), Some(b)) => a.key.cmp(b.key()),
            };
            let old = if order.is_le() { self.old_head.take() } else { None };
            let new = if order.is_ge() { self.new_head.take() } else { None };
            if let (Some(old), None) = (&old, &new)
                && self.new.hides(&old.key)
            {
                self.hidden += 1;
                continue;
            }
            let new = new.map(|head| match head {
                Head::Entry(entry) => entry,
                Head::Listed(listed) => foresee(&listed, old.as_ref()),
            });
            if old != new {
                return Ok(Some(Pair { old, new }));
            }
        }
    }
}

/// The entry that a listed object would become, as far as its listing says.
fn foresee(listed: &Listed, old: Option<&Entry>) -> Entry {
    let unread = |state| {
        let mut entry = bare_entry(listed);
        entry.state = state;
        entry
    };
    if listed.failed.is_some() {
        return unread(State::Failed);
    }
    if listed.kind != Kind::Object {
        return bare_entry(listed);
    }
    // The same hash and size is the same content; a put time alone does not make another.
    // Where there is no hash (a file that was touched just now), time and size have to do: this only shows, a run reads.
    let same_hash = |old: &&Entry| {
        is_same(listed, old)
            || (old.state == State::Ok
                && old.kind == listed.kind
                && old.size == listed.size
                && match &listed.hash {
                    Some(hash) => Some(hash.text()) == old.shown_hash(),
                    None => old.put_time == listed.put_time,
                })
    };
    let known = old.filter(same_hash).and_then(|old| old.content);
    let named = match &listed.hash {
        Some(ListedHash::Etag(id)) if id.fits(listed.size) => Some(*id),
        _ => None,
    };
    let Some(content) = known.or(named) else {
        return match listed.unavailable {
            Some(_) => unread(State::Unavailable),
            None => bare_entry(listed),
        };
    };
    let mut entry = entry_with(listed, content);
    if let Some(old) = old {
        entry.attributes = merge_attributes(&listed.attributes, &old.attributes);
    }
    entry
}
