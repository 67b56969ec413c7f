//! Reads `.qbak-keys.jsonl` of a restored folder: the files that stand for keys which are no paths.
//!
//! All or nothing: a side file with anything wrong in it is an ordinary file, and every file keeps its own name.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;

use super::open::{in_parent, open_name};
use super::stamp::file_type;
use crate::format::keyfile::{self, MAX_LINE, is_path};
use crate::model::key::Key;
use crate::source::sorted::{Pairs, Sorter, Table};

/// The largest side file that is read: tens of millions of lines.
const MAX_SIZE: u64 = 16 << 30;

/// Why a side file that is there gives no labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// What is in it cannot be: it is an ordinary file.
    #[error("{0}")]
    Wrong(String),
    /// It could not be read, or not be sorted: what it says is not known, and nobody may go on as if it said nothing.
    #[error("{name} cannot be read: {0}", name = keyfile::NAME)]
    Unread(String),
}

impl From<std::io::Error> for Unusable {
    fn from(e: std::io::Error) -> Self {
        Self::Unread(e.to_string())
    }
}

fn wrong(why: impl Into<String>) -> Unusable {
    Unusable::Wrong(why.into())
}

/// Which path stands for which key.
#[derive(Debug)]
pub(crate) struct Labels {
    /// (path, key)
    pub(crate) by_path: Table,
    /// (key, path)
    pub(crate) by_key: Table,
    /// Whether a side file was read: it is no object then.
    pub(crate) in_use: bool,
}

impl Labels {
    /// Of a folder without a side file.
    pub(crate) fn none() -> Self {
        Self { by_path: Table::empty(), by_key: Table::empty(), in_use: false }
    }

    /// Reads the side file of the folder `root`. The error says why one that is there is not used.
    pub(crate) fn read(root: BorrowedFd<'_>, scratch: &Path) -> Result<Self, Unusable> {
        match open_name(root, keyfile::NAME, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => read(root, fd, scratch),
            Err(Errno::NOENT) => Ok(Self::none()),
            Err(Errno::LOOP) => Err(wrong("it is a symbolic link")),
            // As a socket says.
            Err(Errno::NXIO) => Err(wrong("it is not a regular file")),
            Err(e) => Err(Unusable::Unread(super::walk::reason(e))),
        }
    }

    /// As [`Labels::read`]; a side file with something wrong in it is none.
    pub(crate) fn read_or_none(root: BorrowedFd<'_>, scratch: &Path) -> Result<Self, Unusable> {
        match Self::read(root, scratch) {
            Err(Unusable::Wrong(_)) => Ok(Self::none()),
            other => other,
        }
    }

    /// The path that stands for a key, and whether it is a relabelled file's; `None`: none can.
    pub(crate) fn path_of(&self, key: &[u8]) -> std::io::Result<Option<(Vec<u8>, bool)>> {
        if let Some(path) = self.by_key.get(key)? {
            return Ok(Some((path, true)));
        }
        let own = key.strip_suffix(b"/").unwrap_or(key);
        let hidden = (self.in_use && own == keyfile::NAME.as_bytes()) || self.by_path.get(own)?.is_some();
        Ok((is_path(own) && !hidden).then(|| (own.to_vec(), false)))
    }
}

fn read(root: BorrowedFd<'_>, fd: OwnedFd, scratch: &Path) -> Result<Labels, Unusable> {
    let stat = rustix::fs::fstat(&fd).map_err(|e| Unusable::Unread(super::walk::reason(e)))?;
    if file_type(&stat) != FileType::RegularFile {
        return Err(wrong("it is not a regular file"));
    }
    let (mut by_path, mut by_key) = (Sorter::new(scratch), Sorter::new(scratch));
    let mut lines = BufReader::with_capacity(256 << 10, File::from(fd).take(MAX_SIZE + 1));
    let (mut line, mut number, mut size) = (Vec::new(), 0u64, 0u64);
    loop {
        line.clear();
        let length = lines.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        if length == 0 {
            break;
        }
        number += 1;
        size += length as u64;
        if size > MAX_SIZE || length > MAX_LINE {
            return Err(wrong(format!("line {number} is too long, or the file too large")));
        }
        let (path, key) = keyfile::parse(&line).map_err(|e| wrong(format!("line {number}: {e}")))?;
        if path == keyfile::NAME.as_bytes() {
            return Err(wrong(format!("line {number} is about this file itself")));
        }
        by_path.push(&path, &key)?;
        by_key.push(&key, &path)?;
    }
    let labels = Labels { by_path: by_path.finish()?, by_key: by_key.finish()?, in_use: true };
    twice(&labels.by_path, "path")?.map_or(Ok(()), |why| Err(wrong(why)))?;
    twice(&labels.by_key, "key")?.map_or(Ok(()), |why| Err(wrong(why)))?;
    taken(root, &labels)?.map_or(Ok(()), |why| Err(wrong(why)))?;
    Ok(labels)
}

/// A name that two lines have.
fn twice(table: &Table, what: &str) -> std::io::Result<Option<String>> {
    let mut last: Option<Vec<u8>> = None;
    for pair in table.iter() {
        let (name, _) = pair?;
        if last.as_ref() == Some(&name) {
            return Ok(Some(format!("two lines have the {what} “{}”", Key::new(name))));
        }
        last = Some(name);
    }
    Ok(None)
}

/// A key that is the name of another file, one that keeps its own name.
fn taken(root: BorrowedFd<'_>, labels: &Labels) -> std::io::Result<Option<String>> {
    let mut paths = Among::new(&labels.by_path);
    for pair in labels.by_key.iter() {
        let (key, path) = pair?;
        // A file that is itself relabelled leaves its name free, and so does the side file, which is no object.
        if key == path || key == keyfile::NAME.as_bytes() || paths.has(&key)? || !is_path(&key) {
            continue;
        }
        if stat_path(root, &key).is_ok_and(|s| file_type(&s) != FileType::Directory) {
            return Ok(Some(format!("it gives “{}” a key that is another file's name", Key::new(path))));
        }
    }
    Ok(None)
}

/// What is at a path, links not followed.
pub(crate) fn stat_path(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<Stat> {
    in_parent(root, path, |folder, name| rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW))
}

/// Whether names that come in order are among a table's first strings.
pub(crate) struct Among<'a> {
    pairs: Pairs<'a>,
    head: Option<Vec<u8>>,
    begun: bool,
}

impl<'a> Among<'a> {
    pub(crate) fn new(table: &'a Table) -> Self {
        Self { pairs: table.iter(), head: None, begun: false }
    }

    pub(crate) fn has(&mut self, name: &[u8]) -> std::io::Result<bool> {
        while !self.begun || self.head.as_deref().is_some_and(|head| head < name) {
            self.begun = true;
            self.head = self.pairs.next().transpose()?.map(|(first, _)| first);
        }
        Ok(self.head.as_deref() == Some(name))
    }
}
