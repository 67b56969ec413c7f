//! Handles of the folders that were used last, so that not every file goes the whole way down.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::{Policy, at, cut, in_the_way};
#[cfg(feature = "controls")]
use crate::control::{Control, off};

/// How many folders are held open at most.
const OPEN: usize = 64;

/// How many folders are held open where the process may open only so many files: there are others who need some.
fn share() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    files.and_then(|n| usize::try_from(n / 8).ok()).map_or(OPEN, |n| n.clamp(2, OPEN))
}

/// The handles. Each was opened without following a link, from the handle of the folder above it.
#[derive(Debug)]
pub(super) struct Handles {
    root: Arc<Dir>,
    open: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    dirs: HashMap<Vec<u8>, (Arc<Dir>, u64)>,
    uses: u64,
}

impl Handles {
    pub(super) fn new(root: Arc<Dir>) -> Self {
        Self { root, open: share(), known: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, path: &[u8]) -> Option<Arc<Dir>> {
        if path.is_empty() {
            return Some(Arc::clone(&self.root));
        }
        let mut known = self.lock();
        known.uses += 1;
        let now = known.uses;
        known.dirs.get_mut(path).map(|(dir, used)| {
            *used = now;
            Arc::clone(dir)
        })
    }

    fn remember(&self, path: &[u8], dir: &Arc<Dir>) {
        let mut known = self.lock();
        if known.dirs.len() >= self.open {
            // The half that was used longest ago: cheaper than the one, and hardly worse.
            let mut used: Vec<u64> = known.dirs.values().map(|(_, used)| *used).collect();
            used.sort_unstable();
            let middle = used[used.len() / 2];
            known.dirs.retain(|_, (_, used)| *used > middle);
        }
        known.uses += 1;
        let now = known.uses;
        known.dirs.insert(path.to_vec(), (Arc::clone(dir), now));
    }

    /// Closes the handles of a folder that is not there any more, and of those in it.
    pub(super) fn forget(&self, path: &[u8]) {
        let inside = |other: &[u8]| {
            path.is_empty()
                || other.strip_prefix(path).is_some_and(|r| matches!(r.first(), None | Some(b'/')))
        };
        self.lock().dirs.retain(|other, _| !inside(other));
    }

    /// The folder at a path, which must be there.
    pub(super) fn get(&self, path: &[u8]) -> io::Result<Arc<Dir>> {
        self.walk(path, None).map(|(dir, _)| dir)
    }

    /// The folder at a path, made with `mode` where it is not there (those above it as usual), and whether it was.
    pub(super) fn make(&self, path: &[u8], mode: Mode, policy: &Policy) -> io::Result<(Arc<Dir>, bool)> {
        self.walk(path, Some((mode, policy)))
    }

    /// The folder that a path's last part stands in, made where it is not there, and that part.
    pub(super) fn parent<'p>(&self, path: &'p [u8], policy: &Policy) -> io::Result<(Arc<Dir>, &'p [u8])> {
        let (folder, name) = cut(path);
        Ok((self.make(folder, Mode::from_raw_mode(0o777), policy)?.0, name))
    }

    fn walk(&self, path: &[u8], make: Option<(Mode, &Policy)>) -> io::Result<(Arc<Dir>, bool)> {
        // From the deepest folder that is known.
        let mut length = path.len();
        let mut here = loop {
            match self.known(&path[..length]) {
                Some(dir) => break dir,
                None => length = cut(&path[..length]).0.len(),
            }
        };
        let mut made = false;
        while length < path.len() {
            let start = if length == 0 { 0 } else { length + 1 };
            let end = path[start..].iter().position(|&b| b == b'/').map_or(path.len(), |i| start + i);
            let name = &path[start..end];
            let mode = make.map(|(mode, policy)| {
                (if end == path.len() { mode } else { Mode::from_raw_mode(0o777) }, policy)
            });
            let (next, new) = step(&here, name, mode)?;
            here = Arc::new(next);
            made = new;
            length = end;
            self.remember(&path[..length], &here);
        }
        Ok((here, made))
    }
}

/// Opens one folder below another, never through a link.
fn open(here: &Dir, name: &[u8]) -> io::Result<Dir> {
    #[cfg(feature = "controls")]
    if off(Control::NoConfinement) {
        use rustix::fs::OFlags;
        let fd = rustix::fs::openat(here, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        return Ok(Dir::from_std_file(fd.into()));
    }
    here.open_dir_nofollow(OsStr::from_bytes(name))
}

/// Opens one folder below another; makes it, where that is wished and it is not there.
fn step(here: &Dir, name: &[u8], make: Option<(Mode, &Policy)>) -> io::Result<(Dir, bool)> {
    let mut made = false;
    // Others may be making or removing it at the same time.
    for _ in 0..16 {
        match open(here, name) {
            Ok(dir) => return Ok((dir, made)),
            Err(e) => {
                let Some((mode, policy)) = make else { return Err(e) };
                match at(here, name)? {
                    None => match rustix::fs::mkdirat(here, name, mode) {
                        Ok(()) => made = true,
                        Err(Errno::EXIST) => {}
                        Err(e) => return Err(e.into()),
                    },
                    Some(FileType::Directory) if matches!(e.kind(), io::ErrorKind::NotFound) => {}
                    Some(FileType::Directory) => {
                        if !matches!(
                            e.raw_os_error().map(Errno::from_raw_os_error),
                            Some(Errno::LOOP | Errno::NOTDIR)
                        ) {
                            return Err(e);
                        }
                    }
                    Some(_) if !policy.overwrite => return Err(in_the_way("something that is no folder")),
                    Some(_) => match rustix::fs::unlinkat(here, name, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
                        Err(e) => return Err(e.into()),
                    },
                }
            }
        }
    }
    Err(io::Error::other("the folder it belongs into is being replaced all the time"))
}
