//! A bucket over a folder: ordinary keys are ordinary files, so that a person can drop files in, change and delete
//! them while the service runs; the rest lies in the side folder `.kodo`.
//!
//! A file is noticed by size, time and inode; its hash is computed when it is first needed and kept in the side
//! file. Symbolic links and names that are no UTF-8 are not objects. What a person changes gets the metadata of a
//! new object. One lock orders all changes; reading takes only the index's read lock for a moment.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::catalog::{Allow, Catalog, Data, Listing, Lookup, Opened, PutOutcome};
use super::etag;
use super::journal::{Journal, Noted, Place, Stamp};
use super::mime;
use super::object::Object;
use super::paths::{SIDE, ordinary, parents_are_folders};
use super::spool::{Content, Spool, Stored};

#[derive(Debug, Clone)]
struct Slot {
    object: Arc<Object>,
    place: Place,
}

type Index = BTreeMap<Arc<str>, Slot>;

#[derive(Debug)]
struct Changes {
    journal: Journal,
    next_side_name: u64,
}

/// A bucket over a folder.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    contents: PathBuf,
    spool: PathBuf,
    index: RwLock<Index>,
    /// Whoever changes index, journal or files holds this.
    changes: Mutex<Changes>,
    /// Held for as long as the folder is served.
    _lock: File,
}

impl Folder {
    /// Serves `root`, which must exist. Fails if another service already serves it.
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        let side = root.join(SIDE);
        let (contents, spool) = (side.join("contents"), side.join("tmp"));
        fs::create_dir_all(&contents)?;
        let lock = File::create(side.join("lock"))?;
        lock.try_lock().map_err(|e| match e {
            fs::TryLockError::Error(e) => e,
            fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "the folder is already served by another process")
            }
        })?;
        // What an earlier process left half-written is nobody's.
        match fs::remove_dir_all(&spool) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => fs::create_dir_all(&spool)?,
        }
        let (journal, noted) = Journal::open(&side.join("objects.jsonl"))?;
        let number = |n: &Noted| match &n.place {
            Place::Side(name) => name.parse::<u64>().ok(),
            Place::File(_) => None,
        };
        let next_side_name = noted.values().filter_map(number).max().map_or(0, |n| n.saturating_add(1));
        let slot = |n: Noted| Slot { object: Arc::new(n.object), place: n.place };
        let index = noted.into_iter().map(|(k, n)| (Arc::from(k), slot(n))).collect();
        let changes = Mutex::new(Changes { journal, next_side_name });
        Ok(Self { root, contents, spool, index: RwLock::new(index), changes, _lock: lock })
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, key: &str) -> Option<Slot> {
        self.read().get(key).cloned()
    }

    /// How the file of `key` looks, if there is one that counts.
    fn stamp(&self, key: &str) -> io::Result<Option<Stamp>> {
        let Some(path) = ordinary(key) else { return Ok(None) };
        match fs::symlink_metadata(self.root.join(path)) {
            Ok(m) if m.is_file() => Ok(Some(Stamp::of(&m))),
            Ok(_) => Ok(None),
            Err(e) if gone(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn file(&self, key: &str) -> io::Result<Option<File>> {
        let Some(path) = ordinary(key) else { return Ok(None) };
        let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        match OpenOptions::new().read(true).custom_flags(no_follow).open(self.root.join(path)) {
            Ok(f) => Ok(Some(f)),
            Err(e) if gone(&e) => Ok(None),
            Err(e) => Err(io::Error::new(e.kind(), format!("{key}: {e}"))),
        }
    }

    /// The key's slot, brought up to date with the folder, with its hash.
    fn examine(&self, key: &str) -> io::Result<Option<Slot>> {
        let before = self.slot(key);
        if let Some(slot @ Slot { place: Place::Side(_), .. }) = before {
            return Ok(Some(slot));
        }
        let stamp = self.stamp(key)?;
        match (&before, stamp) {
            (None, None) => return Ok(None),
            (Some(slot), Some(now)) if slot.place == Place::File(now) && !slot.object.hash.is_empty() => {
                return Ok(before);
            }
            _ => {}
        }
        let found = match stamp {
            Some(_) if parents_are_folders(&self.root, key) => self.hashed(key)?,
            _ => None,
        };
        let mut changes = self.changes();
        let unchanged = match (&before, &self.slot(key)) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(&a.object, &b.object),
            _ => false,
        };
        if unchanged {
            let noted = found.as_ref().map(noted);
            changes.journal.note([(key, noted)])?;
            match &found {
                Some(slot) => drop(self.write().insert(key.into(), slot.clone())),
                None => drop(self.write().remove(key)),
            }
            return Ok(found);
        }
        Ok(self.slot(key))
    }

    /// A new object of what lies in the file now.
    fn hashed(&self, key: &str) -> io::Result<Option<Slot>> {
        let Some(file) = self.file(key)? else { return Ok(None) };
        // A file that grows while it is read is read again; one that never stops counts as it was at the end.
        for _ in 0..3 {
            let stamp = Stamp::of(&file.metadata()?);
            let mut spool = Spool::hash_only();
            spool.append_data(Data::File(file.try_clone()?))?;
            let stored = spool.finish()?;
            if stored.size == stamp.size && Stamp::of(&file.metadata()?) == stamp {
                let object = Object {
                    size: stamp.size,
                    hash: etag::plain(&stored.blocks),
                    put_time: stamp.mtime / 100,
                    mime: mime::by_name(key).unwrap_or_else(|| mime::sniff(&stored.head)).into(),
                    ..Object::default()
                };
                return Ok(Some(Slot { object: Arc::new(object), place: Place::File(stamp) }));
            }
        }
        Err(io::Error::other(format!("{key}: the file does not stop changing")))
    }

    /// Every file below the folder part of `prefix` whose key begins with `prefix`.
    fn walk(&self, prefix: &str) -> io::Result<BTreeMap<String, Stamp>> {
        let start = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut found = BTreeMap::new();
        if !start.is_empty() && (ordinary(start).is_none() || !parents_are_folders(&self.root, prefix)) {
            return Ok(found);
        }
        let mut waiting = vec![start.to_string()];
        while let Some(folder) = waiting.pop() {
            let entries = match fs::read_dir(self.root.join(&folder)) {
                Ok(entries) => entries,
                Err(e) if gone(&e) => continue,
                Err(e) => return Err(e),
            };
            for entry in entries {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                if ordinary(&key).is_none() {
                    continue;
                }
                let sort = entry.file_type()?;
                if sort.is_dir() && (key.starts_with(prefix) || prefix.starts_with(&format!("{key}/"))) {
                    waiting.push(key);
                } else if sort.is_file() && key.starts_with(prefix) {
                    match entry.metadata() {
                        Ok(meta) => drop(found.insert(key, Stamp::of(&meta))),
                        Err(e) if gone(&e) => {}
                        Err(e) => return Err(e),
                    }
                }
            }
        }
        Ok(found)
    }

    /// Moves finished bytes to where the key's bytes belong.
    fn settle(&self, key: &str, content: Content, changes: &mut Changes) -> io::Result<Place> {
        let mut file = match content {
            Content::File(file) => file,
            Content::Memory(bytes) => {
                let mut spool = self.spool()?;
                spool.write(&bytes)?;
                match spool.finish()?.content {
                    Content::File(file) => file,
                    Content::Memory(_) => return Err(io::Error::other("a folder's spool is a file")),
                }
            }
        };
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        if let Some(path) = ordinary(key).filter(|_| parents_are_folders(&self.root, key)) {
            let path = self.root.join(path);
            // An empty folder of that name is in nobody's way.
            let _ = fs::remove_dir(&path);
            let there = path.parent().is_none_or(|p| fs::create_dir_all(p).is_ok());
            if there && !path.is_dir() {
                let stamp = Stamp::of(&fs::metadata(&file)?);
                match file.persist(&path) {
                    Ok(()) => return Ok(Place::File(stamp)),
                    Err(e) => file = e.path,
                }
            }
        }
        let name = changes.next_side_name.to_string();
        changes.next_side_name += 1;
        file.persist(self.contents.join(&name)).map_err(|e| e.error)?;
        Ok(Place::Side(name))
    }

    /// Removes the bytes at `place`, and folders that have become empty.
    fn discard(&self, key: &str, place: &Place) -> io::Result<()> {
        let path = match place {
            Place::Side(name) => self.contents.join(name),
            Place::File(_) => match ordinary(key) {
                Some(path) => self.root.join(path),
                None => return Ok(()),
            },
        };
        match fs::remove_file(&path) {
            Err(e) if !gone(&e) => return Err(e),
            _ => {}
        }
        if matches!(place, Place::File(_)) {
            let above = path.ancestors().skip(1).take_while(|p| *p != self.root);
            for folder in above {
                if fs::remove_dir(folder).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn gone(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

fn noted(slot: &Slot) -> Noted {
    Noted { place: slot.place.clone(), object: (*slot.object).clone() }
}

impl Catalog for Folder {
    fn find(&self, key: &str) -> io::Result<Option<Arc<Object>>> {
        Ok(self.examine(key)?.map(|s| s.object))
    }

    fn open(&self, key: &str) -> io::Result<Option<Opened>> {
        for _ in 0..10 {
            if self.examine(key)?.is_none() {
                return Ok(None);
            }
            match self.try_open(key)? {
                Lookup::Found(opened) => return Ok(Some(opened)),
                Lookup::Absent => return Ok(None),
                Lookup::Slow => {}
            }
        }
        Err(io::Error::other(format!("{key}: the file does not stop changing, or its bytes were removed")))
    }

    fn try_open(&self, key: &str) -> io::Result<Lookup> {
        let Some(slot) = self.slot(key) else {
            return Ok(if self.stamp(key)?.is_some() { Lookup::Slow } else { Lookup::Absent });
        };
        let file = match &slot.place {
            Place::Side(name) => File::open(self.contents.join(name)).ok(),
            Place::File(stamp) => self.file(key)?.filter(|f| {
                !slot.object.hash.is_empty() && f.metadata().is_ok_and(|m| Stamp::of(&m) == *stamp)
            }),
        };
        Ok(file.map_or(Lookup::Slow, |f| Lookup::Found(Opened { object: slot.object, data: Data::File(f) })))
    }

    fn refresh(&self, prefix: &str) -> io::Result<()> {
        let found = self.walk(prefix)?;
        let mut changed: Vec<String> = Vec::new();
        {
            let index = self.read();
            let begin = (Bound::Included(prefix), Bound::Unbounded);
            for (key, slot) in index.range::<str, _>(begin).take_while(|(k, _)| k.starts_with(prefix)) {
                if matches!(slot.place, Place::File(_)) && !found.contains_key(&**key) {
                    changed.push(key.to_string());
                }
            }
            for (key, stamp) in &found {
                if index.get(key.as_str()).is_none_or(|s| s.place != Place::File(*stamp)) {
                    changed.push(key.clone());
                }
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let mut changes = self.changes();
        let mut forgotten = Vec::new();
        for key in changed {
            // Looked at once more under the lock: a put or delete may have come in between.
            let slot = self.slot(&key);
            match self.stamp(&key)? {
                Some(now) if slot.as_ref().is_none_or(|s| s.place != Place::File(now)) => {
                    if let Some(Slot { place: place @ Place::Side(_), .. }) = &slot {
                        self.discard(&key, place)?;
                    }
                    let object = Object { size: now.size, put_time: now.mtime / 100, ..Object::default() };
                    let slot = Slot { object: Arc::new(object), place: Place::File(now) };
                    self.write().insert(key.into(), slot);
                }
                None if matches!(slot, Some(Slot { place: Place::File(_), .. })) => {
                    self.write().remove(key.as_str());
                    forgotten.push(key);
                }
                _ => {}
            }
        }
        changes.journal.note(forgotten.iter().map(|k| (k.as_str(), None)))
    }

    fn list(&self, from: &str, limit: usize) -> io::Result<Listing> {
        let mut out = Listing::default();
        let mut at: Arc<str> = from.into();
        loop {
            let wanted = limit - out.objects.len();
            let (keys, next) = {
                let index = self.read();
                let mut range = index.range::<str, _>((Bound::Included(&*at), Bound::Unbounded));
                let keys: Vec<Arc<str>> = range.by_ref().take(wanted).map(|(k, _)| Arc::clone(k)).collect();
                (keys, range.next().map(|(k, _)| Arc::clone(k)))
            };
            for key in keys {
                if let Some(slot) = self.examine(&key)? {
                    out.objects.push((key, slot.object));
                }
            }
            out.next = next;
            match &out.next {
                Some(next) if out.objects.len() < limit => at = Arc::clone(next),
                _ => return Ok(out),
            }
        }
    }

    fn put(&self, key: &str, mut object: Object, stored: Stored, allow: Allow<'_>) -> io::Result<PutOutcome> {
        self.examine(key)?;
        let mut changes = self.changes();
        let old = self.slot(key);
        if !allow(old.as_ref().map(|s| &*s.object)) {
            return Ok(PutOutcome::Refused(old.map(|s| s.object)));
        }
        object.size = stored.size;
        let place = self.settle(key, stored.content, &mut changes)?;
        let slot = Slot { object: Arc::new(object), place };
        changes.journal.note([(key, Some(noted(&slot)))])?;
        let object = Arc::clone(&slot.object);
        let same_file = matches!(slot.place, Place::File(_));
        self.write().insert(key.into(), slot);
        if let Some(old) = old
            && !(same_file && matches!(old.place, Place::File(_)))
        {
            self.discard(key, &old.place)?;
        }
        Ok(PutOutcome::Done(object))
    }

    fn update(
        &self,
        key: &str,
        change: &mut dyn FnMut(&mut Object) -> bool,
    ) -> io::Result<Option<Arc<Object>>> {
        self.examine(key)?;
        let mut changes = self.changes();
        let Some(mut slot) = self.slot(key) else { return Ok(None) };
        let mut object = (*slot.object).clone();
        if change(&mut object) {
            slot.object = Arc::new(object);
            changes.journal.note([(key, Some(noted(&slot)))])?;
            self.write().insert(key.into(), slot.clone());
        }
        Ok(Some(slot.object))
    }

    fn delete(&self, key: &str) -> io::Result<bool> {
        self.examine(key)?;
        let mut changes = self.changes();
        let Some(slot) = self.slot(key) else { return Ok(false) };
        changes.journal.note([(key, None)])?;
        self.write().remove(key);
        self.discard(key, &slot.place)?;
        Ok(true)
    }

    fn spool(&self) -> io::Result<Spool> {
        Spool::file(&self.spool)
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
