//! Restoring into a folder, which nothing ever leaves.
//!
//! Every path is gone part by part, each opened relative to the handle of the one before and never through a link,
//! so that neither `..`, nor a link that stands in the target, nor one that is swapped in while this runs leads
//! elsewhere. A file is written under a temporary name beside its own and then renamed: under a final name there is
//! never half a file. Everything may be called from several threads at once.

mod compare;
mod delete;
mod handles;
mod large;
mod stack;
mod temporary;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timestamps};
use rustix::io::Errno;

pub use self::compare::Existing;
pub use self::delete::TargetEntry;
pub use self::large::LargeFile;
pub use self::stack::{FolderStack, Ticket};

use self::handles::Handles;
use self::temporary::Temporary;
use super::{TargetError, TargetErrorKind};
use crate::control::{Control, off};
use crate::format::keyfile::is_path;
use crate::model::key::Key;
use crate::model::time::Timestamp;
use crate::source::folder::open::open_path;
use crate::source::folder::stamp::{file_type, permissions};

/// What may be done to what is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Files, links and empty folders may be replaced.
    pub overwrite: bool,
    /// So may folders with something in them, and what is not in the snapshot may be deleted.
    pub delete: bool,
}

/// What a file, folder or link gets beside its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits; none: as for any new file. The set-user-id and set-group-id bits of files are left out,
    /// since whom they would act for is not restored.
    pub mode: Option<u32>,
    /// The time of its last change.
    pub mtime: Option<Timestamp>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was written or made.
    Written,
    /// It was there already.
    Unchanged,
}

/// A folder to restore into. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct FolderTarget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    root: Arc<Dir>,
    policy: Policy,
    handles: Handles,
    nonce: u64,
    counter: AtomicU64,
}

type Result<T> = std::result::Result<T, TargetError>;

impl FolderTarget {
    /// Opens the folder `path`, and makes it (and those above it) where it is not there. `nonce` is random: it keeps
    /// the temporary names of two restores apart.
    pub fn open(path: &Path, policy: Policy, nonce: u64) -> Result<Self> {
        let failed = |e: io::Error| error("the target", &path.display().to_string(), &e);
        std::fs::create_dir_all(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let root = Arc::new(Dir::open_ambient_dir(&path, ambient_authority()).map_err(failed)?);
        let handles = Handles::new(Arc::clone(&root));
        Ok(Self(Arc::new(Inner { path, root, policy, handles, nonce, counter: AtomicU64::new(0) })))
    }

    /// The folder's absolute path.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Makes a folder, where it is not there. While things are put into it it is open to its owner; its own mode and
    /// mtime come afterwards, from a [`FolderStack`].
    pub fn folder(&self, path: &[u8], meta: &Meta) -> Result<Outcome> {
        checked(path)?;
        // What is to be closed to others must not be open to them for a while.
        let mode = if meta.mode.is_some() { Mode::RWXU } else { Mode::from_raw_mode(0o777) };
        let (dir, made) = self.0.handles.make(path, mode, &self.0.policy).map_err(|e| named(path, &e))?;
        if !made && meta.mode.is_some() {
            let stat = rustix::fs::fstat(&*dir).map_err(|e| named(path, &e.into()))?;
            let bits = permissions(&stat);
            if bits & 0o700 != 0o700 {
                // Only a help: what is not allowed shows when something is written there.
                let wider = raw_mode(bits | 0o700);
                if rustix::fs::chmodat(&*dir, ".", wider, AtFlags::empty()).is_err() {
                    let opened = open_path(self.0.root.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY);
                    let _ = opened.and_then(|dir| rustix::fs::fchmod(dir, wider));
                }
            }
        }
        Ok(if made { Outcome::Written } else { Outcome::Unchanged })
    }

    /// Gives a folder its own mode and mtime.
    pub fn finish_folder(&self, path: &[u8], meta: &Meta) -> Result<()> {
        checked(path)?;
        let failed = |e: io::Error| named(path, &e);
        let dir = self.0.handles.get(path).map_err(failed)?;
        // The handles are for going through only, so a folder is changed by the name it has for itself.
        if let Some(mtime) = meta.mtime {
            let done = rustix::fs::utimensat(&*dir, ".", &times(mtime), AtFlags::empty());
            done.map_err(|e| failed(e.into()))?;
        }
        if let Some(mode) = meta.mode {
            let done = rustix::fs::chmodat(&*dir, ".", raw_mode(mode), AtFlags::empty());
            done.map_err(|e| failed(e.into()))?;
        }
        Ok(())
    }

    /// Writes a file of these bytes.
    pub fn write(&self, path: &[u8], bytes: &[u8], meta: &Meta) -> Result<()> {
        self.write_with(path, meta, &mut |out| out.write_all(bytes))
    }

    /// Writes a file of the bytes that `fill` writes. If that fails, the file is not made.
    pub fn write_with(
        &self,
        path: &[u8],
        meta: &Meta,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        checked(path)?;
        let mut temporary = Temporary::file(&self.0, path, meta).map_err(|e| named(path, &e))?;
        let filled = fill(&mut temporary.file);
        filled.and_then(|()| temporary.publish(path, meta)).map_err(|e| named(path, &e))
    }

    /// Begins a file that is written in pieces, from several threads if so wished.
    pub fn begin(&self, path: &[u8], size: u64, meta: &Meta) -> Result<LargeFile> {
        checked(path)?;
        LargeFile::begin(Arc::clone(&self.0), path, size, *meta).map_err(|e| named(path, &e))
    }

    /// Makes a symbolic link. Where it points is not looked at.
    pub fn link(&self, path: &[u8], target: &[u8], meta: &Meta) -> Result<Outcome> {
        checked(path)?;
        let failed = |e: io::Error| named(path, &e);
        if target.is_empty() || target.contains(&0) {
            return Err(failed(io::Error::other("a link cannot point there")));
        }
        let (dir, name) = self.0.handles.parent(path, &self.0.policy).map_err(failed)?;
        let there = rustix::fs::readlinkat(&*dir, name, Vec::new());
        if there.is_ok_and(|t| t.to_bytes() == target) {
            self.link_time(&dir, name, meta).map_err(|e| failed(e.into()))?;
            return Ok(Outcome::Unchanged);
        }
        let temporary = Temporary::link(&self.0, path, target).map_err(failed)?;
        self.link_time(&dir, temporary.name.as_bytes(), meta).map_err(|e| failed(e.into()))?;
        temporary.publish(path).map_err(failed)?;
        Ok(Outcome::Written)
    }

    fn link_time(&self, dir: &Dir, name: &[u8], meta: &Meta) -> rustix::io::Result<()> {
        match meta.mtime {
            Some(mtime) => rustix::fs::utimensat(dir, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW),
            None => Ok(()),
        }
    }

    /// Whether the target holds names to be the same that differ by case or by how an accent is written.
    pub fn joins_names(&self) -> Result<bool> {
        let failed = |e: io::Error| error("the target", &self.0.path.display().to_string(), &e);
        let probe = Temporary::probe(&self.0, "aé".as_bytes()).map_err(failed)?;
        let stem = probe.name.strip_suffix("aé".as_bytes()).unwrap_or_default();
        for other in ["Aé", "ae\u{301}"] {
            let name = [stem, other.as_bytes()].concat();
            match rustix::fs::statat(&*self.0.root, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => return Ok(true),
                Err(Errno::NOENT | Errno::ILSEQ | Errno::INVAL) => {}
                Err(e) => return Err(failed(e.into())),
            }
        }
        Ok(false)
    }

    /// Whether the target takes only names in UTF-8.
    pub fn utf8_only(&self) -> Result<bool> {
        match Temporary::probe(&self.0, b"\xff\xfe") {
            Ok(_) => Ok(false),
            Err(e)
                if [Errno::ILSEQ, Errno::INVAL]
                    .iter()
                    .any(|n| e.raw_os_error() == Some(n.raw_os_error())) =>
            {
                Ok(true)
            }
            Err(e) => Err(error("the target", &self.0.path.display().to_string(), &e)),
        }
    }

    /// The root's handle.
    pub(super) fn handle(&self) -> Arc<Dir> {
        Arc::clone(&self.0.root)
    }

    /// Writes a file whatever the policy: the side file, which a restore without `overwrite` may write twice.
    pub(super) fn replace(
        &self,
        path: &[u8],
        meta: &Meta,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        checked(path)?;
        let failed = |e: io::Error| named(path, &e);
        let mut temporary = Temporary::file(&self.0, path, meta).map_err(failed)?;
        fill(&mut temporary.file).map_err(failed)?;
        temporary.replace(path).map_err(failed)
    }

    /// Removes the side file.
    pub(super) fn remove_side_file(&self) -> Result<()> {
        let name = crate::format::keyfile::NAME;
        match rustix::fs::unlinkat(&*self.0.root, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(named(name.as_bytes(), &e.into())),
        }
    }

    /// Waits until everything that was written is on the disk.
    pub fn finish(&self) -> Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::openat(&*self.0.root, ".", flags, Mode::empty());
            let name = self.0.path.display().to_string();
            root.and_then(rustix::fs::syncfs).map_err(|e| error("the target", &name, &e.into()))?;
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        rustix::fs::sync();
        Ok(())
    }
}

impl Inner {
    /// A temporary name that no other file of this restore has, and that is no key's.
    fn temporary_name(&self) -> String {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("{}{:016x}{n:016x}", super::keymap::TEMPORARY, self.nonce)
    }

    /// Clears the place of a file, where a folder stands in it.
    fn make_way(&self, dir: &Dir, name: &[u8], path: &[u8]) -> io::Result<()> {
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.policy.delete => delete::tree(dir, name)?,
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Err(in_the_way("a folder that is not empty")),
            Err(Errno::NOENT) => {}
            other => other?,
        }
        self.handles.forget(path);
        Ok(())
    }
}

/// The name at the end of a path, and the folder before it (empty: the root).
fn cut(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Refuses a path that is not one below the target.
fn checked(path: &[u8]) -> Result<()> {
    if is_path(path) || off(Control::NoPathCheck) {
        return Ok(());
    }
    let path = Key::new(path);
    Err(TargetError::new(
        TargetErrorKind::Unsafe,
        format!("“{path}” is not a path inside the target: not written"),
    ))
}

fn in_the_way(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("{what} is in its place"))
}

/// What went wrong with a path below the target.
fn named(path: &[u8], e: &io::Error) -> TargetError {
    error("", &Key::new(path).to_string(), e)
}

fn error(what: &str, name: &str, e: &io::Error) -> TargetError {
    use io::ErrorKind as E;
    let (kind, why) = match e.kind() {
        E::StorageFull | E::QuotaExceeded => (TargetErrorKind::Full, "the disk is full".into()),
        E::ReadOnlyFilesystem => (TargetErrorKind::Full, "the file system is read-only".into()),
        E::PermissionDenied => (TargetErrorKind::Denied, "permission denied".into()),
        E::AlreadyExists if e.raw_os_error().is_none() => (TargetErrorKind::InTheWay, e.to_string()),
        E::AlreadyExists => (TargetErrorKind::InTheWay, "there is one of that name already".into()),
        _ => (TargetErrorKind::Other, e.to_string()),
    };
    let blank = if what.is_empty() { "" } else { " " };
    TargetError::new(kind, format!("{what}{blank}“{name}” cannot be written: {why}"))
}

#[allow(clippy::useless_conversion, reason = "the raw mode has 16 bits on some systems")]
fn raw_mode(bits: u32) -> Mode {
    Mode::from_raw_mode((bits & 0o7777).try_into().unwrap_or_default())
}

/// Both times, the same: when it was last read is not kept.
fn times(t: Timestamp) -> Timestamps {
    let nanos = t.nanos().rem_euclid(1_000_000_000);
    let t = rustix::fs::Timespec { tv_sec: t.seconds(), tv_nsec: nanos as _ };
    Timestamps { last_access: t, last_modification: t }
}

/// What stands at a name, if anything does.
fn at(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<Option<FileType>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(file_type(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}
