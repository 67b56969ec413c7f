//! A file or link under a temporary name, which is renamed when it is whole and removed when it is not.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Inner, Meta, at, cut, in_the_way, raw_mode, times};
use crate::control::{Control, Point, off, point};

/// A name that goes with the value, unless it was renamed.
#[derive(Debug)]
pub(super) struct Name {
    inner: Arc<Inner>,
    dir: Arc<Dir>,
    pub(super) name: String,
    renamed: bool,
}

impl Drop for Name {
    fn drop(&mut self) {
        if !self.renamed {
            // Where even this fails the name still says that it is rubbish.
            let _ = rustix::fs::unlinkat(&*self.dir, &*self.name, AtFlags::empty());
        }
    }
}

impl Name {
    /// Makes something under a new temporary name in the folder of `path`.
    fn make<T>(
        inner: &Arc<Inner>,
        path: &[u8],
        mut f: impl FnMut(&Dir, &str) -> rustix::io::Result<T>,
    ) -> io::Result<(Self, T)> {
        for _ in 0..16 {
            let (dir, _) = inner.handles.parent(path, &inner.policy)?;
            let (mut name, mut renamed) = (inner.temporary_name(), false);
            if off(Control::NoTempName) {
                (name, renamed) = (String::from_utf8_lossy(cut(path).1).into_owned(), true);
                let _ = rustix::fs::unlinkat(&*dir, &*name, AtFlags::empty());
            }
            match f(&dir, &name) {
                Ok(made) => return Ok((Self { inner: Arc::clone(inner), dir, name, renamed }, made)),
                Err(Errno::EXIST) => {}
                // The handle is of a folder that was removed: open it anew.
                Err(Errno::NOENT) => inner.handles.forget(cut(path).0),
                Err(e) => return Err(e.into()),
            }
        }
        Err(io::Error::other("the folder it belongs into is being removed all the time"))
    }

    /// Gives what was made its final name.
    pub(super) fn publish(mut self, path: &[u8]) -> io::Result<()> {
        point(Point::FileFilled);
        let name = cut(path).1;
        if self.renamed {
            return Ok(());
        }
        if !self.inner.policy.overwrite {
            rename_new(&self.dir, &self.name, name)?;
        } else if let Err(e) = rustix::fs::renameat(&*self.dir, &*self.name, &*self.dir, name) {
            if at(&*self.dir, name)? != Some(FileType::Directory) {
                return Err(e.into());
            }
            self.inner.make_way(&self.dir, name, path)?;
            rustix::fs::renameat(&*self.dir, &*self.name, &*self.dir, name)?;
        }
        point(Point::FileNamed);
        self.renamed = true;
        Ok(())
    }
}

/// Renames where nothing is.
fn rename_new(dir: &Dir, from: &str, to: &[u8]) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    match rustix::fs::renameat_with(dir, from, dir, to, rustix::fs::RenameFlags::NOREPLACE) {
        // Not every file system can.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        Err(Errno::EXIST) => return Err(in_the_way("something else")),
        other => return Ok(other?),
    }
    if at(dir, to)?.is_some() {
        return Err(in_the_way("something else"));
    }
    Ok(rustix::fs::renameat(dir, from, dir, to)?)
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Temporary {
    name: Name,
    pub(super) file: File,
}

impl Temporary {
    /// A new file beside `path`.
    pub(super) fn file(inner: &Arc<Inner>, path: &[u8], meta: &Meta) -> io::Result<Self> {
        // What gets a mode of its own is closed to others until it has it.
        let mode = Mode::from_raw_mode(if meta.mode.is_some() { 0o600 } else { 0o666 });
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (name, fd) = Name::make(inner, path, |dir, name| rustix::fs::openat(dir, name, flags, mode))?;
        Ok(Self { name, file: File::from(fd) })
    }

    /// A new link beside `path`.
    pub(super) fn link(inner: &Arc<Inner>, path: &[u8], target: &[u8]) -> io::Result<Name> {
        Ok(Name::make(inner, path, |dir, name| rustix::fs::symlinkat(target, dir, name))?.0)
    }

    /// A new file in the root whose name ends in `end`.
    pub(super) fn probe(inner: &Arc<Inner>, end: &[u8]) -> io::Result<Probe> {
        let name = [inner.temporary_name().as_bytes(), end].concat();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&*inner.root, &*name, flags, Mode::RUSR)?;
        Ok(Probe { inner: Arc::clone(inner), name })
    }

    /// Gives the file its mode, mtime and final name.
    pub(super) fn publish(self, path: &[u8], meta: &Meta) -> io::Result<()> {
        set(&self.file, meta)?;
        self.name.publish(path)
    }

    /// Gives the file its final name, whatever file is there.
    pub(super) fn replace(mut self, path: &[u8]) -> io::Result<()> {
        let dir = &*self.name.dir;
        rustix::fs::renameat(dir, &*self.name.name, dir, cut(path).1)?;
        self.name.renamed = true;
        Ok(())
    }
}

/// A file that only shows what names the file system takes.
pub(super) struct Probe {
    inner: Arc<Inner>,
    pub(super) name: Vec<u8>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(&*self.inner.root, &*self.name, AtFlags::empty());
    }
}

/// Gives a file its mode and mtime.
pub(super) fn set(file: impl AsFd, meta: &Meta) -> rustix::io::Result<()> {
    if let Some(mode) = meta.mode {
        rustix::fs::fchmod(&file, raw_mode(mode & 0o1777))?;
    }
    match meta.mtime {
        Some(mtime) => rustix::fs::futimens(&file, &times(mtime)),
        None => Ok(()),
    }
}
