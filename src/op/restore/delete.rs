//! `--delete`: what the target has and the snapshot has not, within what was asked for.

use std::cell::RefCell;
use std::io;

use super::walk::each;
use super::{Site, spool, whole};
use crate::model::entry::Kind;
use crate::model::glob::Filter;
use crate::model::key::Key;
use crate::op::OpError;
use crate::repo::RepoError;
use crate::source::sorted::{Pairs, Sorter, Table};
use crate::target::folder::{FolderTarget, TargetEntry};
use crate::target::keymap::KeyMap;
use crate::target::sidefile::KnownKeys;

/// How many keys a question shows.
const SHOWN: usize = 20;

/// What is about to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Doomed {
    /// How many files, links and folders.
    pub count: u64,
    /// How many bytes of files.
    pub bytes: u64,
    /// The first few keys.
    pub keys: Vec<Key>,
}

/// Knows what is extra in a target.
pub(super) struct Extras {
    /// The paths of all that the snapshot lists, with contents or not; those of folders end in `/`.
    paths: Table,
    known: KnownKeys,
    scope: Key,
    filter: Filter,
}

impl Extras {
    /// Goes through the whole snapshot: a key that was not asked for is no extra either.
    pub(super) fn read(
        site: &Site,
        target: &FolderTarget,
        filter: &Filter,
        map: &KeyMap<'_>,
    ) -> Result<Self, OpError> {
        let mut paths = Sorter::new(&site.scratch);
        let mut damage: Option<RepoError> = None;
        each(site, &whole(), &mut |e| damage = Some(e), &mut |entry, next| {
            // What has no path cannot be in the target.
            if let Ok(place) = map.place(entry.key.bytes(), entry.kind, next.map(|n| n.key.bytes())) {
                let mut path = place.path;
                if entry.kind == Kind::Folder {
                    path.push(b'/');
                }
                paths.push(&path, b"").map_err(spool)?;
            }
            Ok(())
        })?;
        if let Some(e) = damage.or_else(|| site.keys.problem()) {
            return Err(OpError::Failed(format!(
                "what the snapshot lacks is not known, since its list of objects cannot be read in full ({e}); nothing was written or deleted: restore without --delete"
            )));
        }
        Ok(Self {
            paths: paths.finish().map_err(spool)?,
            known: KnownKeys::read(target, &site.scratch).map_err(|e| OpError::Failed(e.message))?,
            scope: site.opened.source.scope.clone(),
            filter: filter.clone(),
        })
    }

    /// Asks each thing in the target, which come in order, whether it is extra; its key if it is.
    pub(super) fn judge(&self) -> Judge<'_> {
        Judge { extras: self, paths: self.paths.iter(), head: None, begun: false, failed: RefCell::default() }
    }

    /// What would be deleted now. `one` is given each.
    pub(super) fn doomed(
        &self,
        target: &FolderTarget,
        one: &mut dyn FnMut(&Key, &TargetEntry),
    ) -> Result<Doomed, OpError> {
        let mut doomed = Doomed::default();
        let mut judge = self.judge();
        for entry in target.entries().map_err(|e| OpError::Failed(e.message))? {
            if let Some(key) = judge.extra(&entry) {
                one(&key, &entry);
                doomed.count += 1;
                doomed.bytes = doomed.bytes.saturating_add(entry.size);
                if doomed.keys.len() < SHOWN {
                    doomed.keys.push(key);
                }
            }
        }
        judge.finish()?;
        Ok(doomed)
    }
}

/// Goes along the snapshot's paths beside the target's.
pub(super) struct Judge<'a> {
    extras: &'a Extras,
    paths: Pairs<'a>,
    head: Option<Vec<u8>>,
    begun: bool,
    failed: RefCell<Option<io::Error>>,
}

impl Judge<'_> {
    /// The key of an extra.
    pub(super) fn extra(&mut self, entry: &TargetEntry) -> Option<Key> {
        match self.look(entry) {
            Ok(key) => key,
            Err(e) => {
                self.failed.borrow_mut().get_or_insert(e);
                None
            }
        }
    }

    fn look(&mut self, entry: &TargetEntry) -> io::Result<Option<Key>> {
        let mut name = entry.path.clone();
        let is_folder = entry.kind == Kind::Folder;
        if is_folder {
            name.push(b'/');
        }
        while !self.begun || self.head.as_ref().is_some_and(|head| *head < name) {
            self.begun = true;
            self.head = self.paths.next().transpose()?.map(|(path, _)| path);
        }
        // A folder is also needed by what lies in it.
        let wanted = |head: &Vec<u8>| if is_folder { head.starts_with(&name) } else { *head == name };
        if self.head.as_ref().is_some_and(wanted) || entry.path == crate::format::keyfile::NAME.as_bytes() {
            return Ok(None);
        }
        let key = Key::new(self.extras.known.key_of(&entry.path)?.unwrap_or(name));
        let asked = key.bytes().starts_with(self.extras.scope.bytes()) && self.extras.filter.takes(&key);
        Ok(asked.then_some(key))
    }

    pub(super) fn finish(self) -> Result<(), OpError> {
        self.failed.into_inner().map_or(Ok(()), |e| Err(spool(e)))
    }
}
