//! Joins the listing with what earlier runs know: for each object, what is to be done.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::fetch::{bare_entry, entry_with, unread_entry};
use super::listing::{Listing, Next};
use super::options::Options;
use super::order::Done;
use super::parents::Cursor;
use super::tally::Tally;
use crate::format::records::Begun;
use crate::model::entry::{Entry, Kind, State};
use crate::model::id::{BlobId, ContentId};
use crate::model::key::Key;
use crate::model::listed::{Listed, ListedHash};
use crate::op::OpError;
use crate::plan::compare::{is_same, merge_attributes, relate};
use crate::plan::suspect::fate;
use crate::source::Source;

/// What earlier runs have for a key.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The parent's entry.
    pub parent: Option<Box<Entry>>,
    /// What the baseline has, where that is another snapshot: `Some(None)` is an entry without content.
    pub baseline: Option<Option<Had>>,
}

/// A content of the baseline.
#[derive(Debug, Clone)]
pub(super) struct Had {
    content: ContentId,
    /// The hash it was listed by.
    shown: Option<String>,
}

impl Had {
    fn of(entry: &Entry) -> Option<Self> {
        let content = entry.content.filter(|_| entry.state == State::Ok)?;
        Some(Self { content, shown: entry.shown_hash() })
    }
}

/// What is to be done for an object.
#[derive(Debug)]
pub(super) enum Task {
    /// Nothing: this is its entry.
    Ready(Box<Entry>),
    /// Its content should be this one: look whether it is here or can be copied, else read it.
    Expect(Box<Listed>, ContentId, Vec<BlobId>),
    /// Read it. The blocks are those an earlier run stored.
    Fetch(Box<Listed>, Vec<BlobId>),
}

/// The join, page by page.
pub(super) struct Input {
    /// The listing.
    pub listing: Listing,
    /// The source, for details.
    pub source: Arc<dyn Source>,
    /// What is asked for.
    pub options: Arc<Options>,
    /// Where what went away is counted.
    pub tally: Arc<Mutex<Tally>>,
    /// The parent snapshot.
    pub parent: Option<Cursor>,
    /// The checkpoints of runs that were cut off, the newest first.
    pub saved: Vec<Cursor>,
    /// The baseline, where that is not the parent.
    pub baseline: Option<Cursor>,
    /// Large objects that were begun.
    pub begun: std::collections::HashMap<Key, Begun>,
    /// The parent's blobs are in the run's group and nothing there is missing: unchanged means present.
    pub unchanged_is_present: bool,
    /// Metadata of all objects is read again, not only of new and changed ones.
    pub all_details: bool,
    /// Everything is to come from the source again.
    pub redownload: bool,
    /// A folder that could not be read: nothing is known of what lies in it.
    pub unread_folder: Option<Key>,
}

/// A listed object with what earlier runs have for it, and what comes before it from them alone.
struct Joined {
    before: VecDeque<(Task, Known)>,
    listed: Listed,
    known: Known,
    saved: Vec<Entry>,
}

/// A page's worth of tasks, or that there is none.
pub(super) enum Tasks {
    /// In key order.
    Some(VecDeque<(Task, Known)>),
    /// Begin again with a sorted listing.
    OutOfOrder,
    /// The listing is at its end.
    End,
}

impl Input {
    /// The tasks of the next page.
    ///
    /// # Errors
    /// The listing failed, or the store.
    pub(super) async fn next(&mut self) -> Result<Tasks, OpError> {
        let page = match self.listing.next().await? {
            Next::Page(page) => page,
            Next::OutOfOrder => return Ok(Tasks::OutOfOrder),
            Next::End => {
                let mut tasks = VecDeque::new();
                self.advance(None, &mut tasks).await?;
                return Ok(if tasks.is_empty() { Tasks::End } else { Tasks::Some(tasks) });
            }
        };
        let mut joined = Vec::with_capacity(page.len());
        let mut tasks = VecDeque::with_capacity(page.len());
        for listed in page {
            let mut before = VecDeque::new();
            let (known, saved) = self.advance(Some(&listed.key), &mut before).await?;
            // Before the next key is looked for: what lies between the two is in there, and nobody knows of it.
            if is_unread_folder(&listed) {
                self.unread_folder = Some(listed.key.clone());
            }
            joined.push(Joined { before, listed, known, saved });
        }
        self.details(&mut joined).await?;
        for Joined { before, listed, known, saved } in joined {
            tasks.extend(before);
            let task = self.decide(listed, &known, &saved);
            tasks.push_back((task, known));
        }
        Ok(Tasks::Some(tasks))
    }

    /// Steps the earlier runs' streams up to `key`. What they step over is gone, unless it lies in a folder that could
    /// not be read: such keys become failed entries, in their place.
    async fn advance(
        &mut self,
        key: Option<&Key>,
        unread: &mut VecDeque<(Task, Known)>,
    ) -> Result<(Known, Vec<Entry>), OpError> {
        let mut known = Known::default();
        let tally = Arc::clone(&self.tally);
        let note = |f: &dyn Fn(&mut Tally) -> Result<(), OpError>| match tally.lock() {
            Ok(mut tally) => f(&mut tally),
            Err(_) => Err(OpError::Failed("a worker stopped while it counted".into())),
        };
        let hidden = self.unread_folder.clone();
        let hidden = |e: &Entry| hidden.as_ref().is_some_and(|f| e.key.bytes().starts_with(f.bytes()));
        if let Some(parent) = &mut self.parent {
            let mut outcome = Ok(());
            let found = parent
                .until(key, |entry| {
                    let away = hidden(&entry);
                    let noted = note(&|t| t.parent(&entry, !away));
                    if outcome.is_ok() {
                        outcome = noted;
                    }
                    if away {
                        unread.push_back((Task::Ready(Box::new(hidden_entry(entry))), Known::default()));
                    }
                })
                .await?;
            outcome?;
            if let Some(entry) = found {
                note(&|t| t.parent(&entry, false))?;
                known.parent = Some(Box::new(entry));
            }
        }
        if let Some(baseline) = &mut self.baseline {
            let mut outcome = Ok(());
            let found = baseline
                .until(key, |entry| {
                    let noted = note(&|t| t.baseline(&entry, !hidden(&entry)));
                    if outcome.is_ok() {
                        outcome = noted;
                    }
                })
                .await?;
            outcome?;
            if let Some(entry) = found {
                note(&|t| t.baseline(&entry, false))?;
                known.baseline = Some(Had::of(&entry));
            }
        }
        let mut saved = Vec::new();
        for cursor in &mut self.saved {
            saved.extend(cursor.until(key, |_| {}).await?);
        }
        Ok((known, saved))
    }

    /// Asks for the metadata that the listing does not show.
    async fn details(&self, joined: &mut [Joined]) -> Result<(), OpError> {
        let wanted: Vec<usize> = joined
            .iter()
            .enumerate()
            .filter(|(_, Joined { listed, known, .. })| {
                let same = known.parent.as_ref().is_some_and(|p| is_same(listed, p));
                listed.kind == Kind::Object && listed.failed.is_none() && (self.all_details || !same)
            })
            .map(|(n, _)| n)
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut objects: Vec<Listed> = wanted.iter().map(|n| joined[*n].listed.clone()).collect();
        for some in objects.chunks_mut(1000) {
            self.source.details(some).await?;
        }
        for (n, object) in wanted.into_iter().zip(objects) {
            joined[n].listed = object;
        }
        Ok(())
    }

    fn decide(&self, listed: Listed, known: &Known, saved: &[Entry]) -> Task {
        if let Some(reason) = listed.failed.clone() {
            return Task::Ready(Box::new(unread_entry(&listed, State::Failed, reason)));
        }
        if listed.kind != Kind::Object {
            return Task::Ready(Box::new(bare_entry(&listed)));
        }
        let begun = super::parents::begun_blocks(&self.begun, &listed);
        if self.redownload {
            // What this very run, or the one it continues, has read from the source need not be read twice.
            return match saved.iter().find(|s| is_same(&listed, s)).and_then(|s| s.content) {
                Some(content) => Task::Expect(Box::new(listed), content, begun),
                None => fetch(listed, begun),
            };
        }
        if let Some(parent) = known.parent.as_deref().filter(|p| is_same(&listed, p))
            && let Some(content) = parent.content
        {
            if self.unchanged_is_present {
                return Task::Ready(Box::new(expected_entry(&listed, content, known, self.all_details)));
            }
            return Task::Expect(Box::new(listed), content, begun);
        }
        if let Some(content) = saved.iter().find(|s| is_same(&listed, s)).and_then(|s| s.content) {
            return Task::Expect(Box::new(listed), content, begun);
        }
        match named_content(&listed, self.options.trust_etag) {
            Some(content) => Task::Expect(Box::new(listed), content, begun),
            None => fetch(listed, begun),
        }
    }
}

fn fetch(listed: Listed, begun: Vec<BlobId>) -> Task {
    match listed.unavailable.clone() {
        Some(reason) => Task::Ready(Box::new(unread_entry(&listed, State::Unavailable, reason))),
        None => Task::Fetch(Box::new(listed), begun),
    }
}

fn hidden_entry(mut entry: Entry) -> Entry {
    entry.state = State::Failed;
    entry.content = None;
    entry.reason = Some("the folder it lies in could not be read".into());
    entry
}

/// Whether a listed object is a folder that could not be read: nothing is known of the keys that begin with its own,
/// which ends in a slash.
pub(in crate::op) fn is_unread_folder(listed: &Listed) -> bool {
    listed.failed.is_some() && listed.kind == Kind::Folder && listed.key.bytes().ends_with(b"/")
}

/// The content that a listed hash names, if it is to be believed.
pub(super) fn named_content(listed: &Listed, trust: bool) -> Option<ContentId> {
    match &listed.hash {
        Some(ListedHash::Etag(id)) if trust && id.fits(listed.size) => Some(*id),
        _ => None,
    }
}

/// The entry of an object whose content was expected and is here.
pub(super) fn expected_entry(listed: &Listed, content: ContentId, known: &Known, all_details: bool) -> Entry {
    let mut entry = entry_with(listed, content);
    if !all_details
        && let Some(parent) = known.parent.as_deref()
        && is_same(listed, parent)
    {
        entry.attributes = merge_attributes(&listed.attributes, &parent.attributes);
    }
    entry
}

/// A finished entry with what it counts as.
pub(super) fn done(entry: Entry, known: &Known, separate: bool) -> Done {
    let relation = relate(&entry, known.parent.as_deref());
    let before = match separate {
        true => known.baseline.clone().flatten(),
        false => known.parent.as_deref().and_then(Had::of),
    };
    let fate = before.map(|had| fate(had.content, had.shown.as_deref(), &entry)).unwrap_or_default();
    Done { entry, relation, fate }
}
