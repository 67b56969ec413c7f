//! Walks a folder in byte order of the keys, a folder's key ending in `/`. Memory holds the names of the folders
//! on the way down and nothing else; only the deepest few of them are held open.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::{Errno, Result};

use super::names::{Names, read_names};
use super::open::open_name;
use super::stamp::{Stamp, file_type};
use crate::model::key::Key;

/// How many folders on the way down are held open; others are opened again when it is their turn.
const OPEN: usize = 32;

/// What to tell of something whose folder is not the one that was listed any more.
const REPLACED: &str = "it was replaced while its folder was listed";

/// One thing that was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its path below the root; a folder's ends in `/`.
    pub(crate) path: Vec<u8>,
    /// What it is.
    pub(crate) what: What,
}

/// What was found.
#[derive(Debug)]
pub(crate) enum What {
    /// A regular file.
    File(Stat),
    /// A folder; its contents follow. The text says what of them cannot be listed.
    Folder(Stat, Option<String>),
    /// A symbolic link and where it points.
    Link(Stat, Vec<u8>),
    /// A socket, a FIFO or a device.
    Special(FileType),
    /// Something that could not be examined, and why. A folder (its path ends in `/`) is not descended into then.
    Failed(String),
}

/// A folder on the way down.
struct Level {
    handle: Option<OwnedFd>,
    stamp: Stamp,
    names: Names,
    /// How much of the path is this folder's, its `/` included.
    length: usize,
}

/// The walk.
pub(crate) struct Walk {
    root: Arc<OwnedFd>,
    levels: Vec<Level>,
    path: Vec<u8>,
}

impl Walk {
    /// A walk of everything below `root`.
    pub(crate) fn new(root: Arc<OwnedFd>) -> Result<Self> {
        let stamp = Stamp::of(&rustix::fs::fstat(&*root)?);
        let names = read_names(root.as_fd(), Key::MAX)?;
        let level = Level { handle: None, stamp, names, length: 0 };
        Ok(Self { root, levels: vec![level], path: Vec::new() })
    }

    /// Opens the deepest folder again after its handle had to go, and its neighbours above with it.
    fn reopen(&mut self) -> Result<()> {
        let keep = self.levels.len().saturating_sub(OPEN).max(1);
        let mut passing: Option<OwnedFd> = None;
        let mut start = 0;
        for i in 1..self.levels.len() {
            let length = self.levels[i].length;
            let name = &self.path[start..length - 1];
            start = length;
            if self.levels[i].handle.is_some() {
                continue;
            }
            let above = match (&passing, &self.levels[i - 1].handle) {
                (_, Some(handle)) => handle.as_fd(),
                (Some(handle), None) => handle.as_fd(),
                (None, None) => self.root.as_fd(),
            };
            let handle = open_name(above, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
            if !Stamp::of(&rustix::fs::fstat(&handle)?).same_inode(&self.levels[i].stamp) {
                return Err(Errno::STALE);
            }
            if i >= keep {
                self.levels[i].handle = Some(handle);
                passing = None;
            } else {
                passing = Some(handle);
            }
        }
        Ok(())
    }

    /// Goes down into a folder that was found.
    fn descend(&mut self, handle: OwnedFd, stamp: Stamp, names: Names) {
        let depth = self.levels.len();
        if depth > OPEN {
            self.levels[depth - OPEN].handle = None;
        }
        self.levels.push(Level { handle: Some(handle), stamp, names, length: self.path.len() });
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let depth = self.levels.len();
            let level = self.levels.last_mut()?;
            if level.names.is_done() {
                self.levels.pop();
                continue;
            }
            self.path.truncate(level.length);
            let lost = depth > 1 && level.handle.is_none() && self.reopen().is_err();
            let root = self.root.as_fd();
            let level = self.levels.last_mut()?;
            let folder = level.handle.as_ref().map_or(root, AsFd::as_fd);
            let (name, is_folder) = level.names.next()?;
            self.path.extend_from_slice(name.to_bytes());
            if is_folder {
                self.path.push(b'/');
            }
            if lost {
                return Some(Found { path: self.path.clone(), what: What::Failed(REPLACED.into()) });
            }
            let look =
                if is_folder { look_into(folder, name, self.path.len()) } else { look_at(folder, name) };
            let what = match look {
                Look::Gone => continue,
                Look::NowFolder => {
                    // Its place among its siblings is another one: it comes when that is reached.
                    level.names.again_as_folder();
                    continue;
                }
                Look::Found(what) => what,
                Look::Into(stat, handle, names) => {
                    let problem = names.problem();
                    self.descend(handle, Stamp::of(&stat), names);
                    What::Folder(stat, problem)
                }
            };
            return Some(Found { path: self.path.clone(), what });
        }
    }
}

/// What a look at one name shows.
enum Look {
    Gone,
    NowFolder,
    Found(What),
    Into(Stat, OwnedFd, Names),
}

/// Looks at what is not a folder.
fn look_at(folder: BorrowedFd<'_>, name: &CStr) -> Look {
    let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Look::Gone,
        Err(e) => return Look::Found(What::Failed(reason(e))),
    };
    match file_type(&stat) {
        FileType::RegularFile => Look::Found(What::File(stat)),
        FileType::Directory => Look::NowFolder,
        FileType::Symlink => match rustix::fs::readlinkat(folder, name, Vec::new()) {
            Ok(target) => Look::Found(What::Link(stat, target.into_bytes())),
            Err(Errno::NOENT) => Look::Gone,
            Err(Errno::INVAL) => Look::Found(What::Failed(REPLACED.into())),
            Err(e) => Look::Found(What::Failed(reason(e))),
        },
        other => Look::Found(What::Special(other)),
    }
}

/// Opens a folder and reads its names.
fn look_into(folder: BorrowedFd<'_>, name: &CStr, length: usize) -> Look {
    let opened = open_name(folder, name, OFlags::RDONLY | OFlags::DIRECTORY).and_then(|handle| {
        let stat = rustix::fs::fstat(&handle)?;
        let names = read_names(handle.as_fd(), Key::MAX.saturating_sub(length))?;
        Ok(Look::Into(stat, handle, names))
    });
    match opened {
        Ok(look) => look,
        Err(Errno::NOENT) => Look::Gone,
        Err(Errno::NOTDIR | Errno::LOOP) => Look::Found(What::Failed(REPLACED.into())),
        Err(e) => Look::Found(What::Failed(reason(e))),
    }
}

/// An error of the system as the end of a sentence.
pub(crate) fn reason(e: Errno) -> String {
    match e {
        Errno::ACCESS => "permission denied".into(),
        e => std::io::Error::from(e).to_string(),
    }
}
