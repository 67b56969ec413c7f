//! What is in the target, and deleting what the snapshot has not. No link is followed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use super::{FolderTarget, Result, TargetError, TargetErrorKind, named};
use crate::format::keyfile;
use crate::model::entry::Kind;
use crate::source::folder::open::{in_parent, open_name};
use crate::source::folder::walk::{Found, Walk, What};
use crate::target::keymap::TEMPORARY;

/// One thing in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetEntry {
    /// Its path, without a `/` at its end.
    pub path: Vec<u8>,
    /// What it is; sockets and the like count as objects.
    pub kind: Kind,
    /// A file's size.
    pub size: u64,
    /// Why it, or what is in it, could not be examined.
    pub problem: Option<String>,
}

impl FolderTarget {
    /// Everything in the target, in the order of the keys, a folder before what is in it.
    pub fn entries(&self) -> Result<impl Iterator<Item = TargetEntry> + use<>> {
        let root = self.root_handle().map_err(|e| named(b".", &e.into()))?;
        Ok(Walk::new(root).map_err(|e| named(b".", &e.into()))?.map(entry))
    }

    /// How many entries the target has.
    pub fn occupied(&self) -> Result<u64> {
        Ok(self.entries()?.count() as u64)
    }

    /// Deletes what `extra` says yes to, deepest first; a folder only if nothing is left in it. The side file is
    /// never asked about. What cannot be deleted is handed to `failed`. Says how many were deleted.
    pub fn delete(
        &self,
        extra: &mut dyn FnMut(&TargetEntry) -> bool,
        failed: &mut dyn FnMut(TargetError),
    ) -> Result<u64> {
        if !self.0.policy.delete {
            return Err(TargetError::new(TargetErrorKind::InTheWay, "nothing in the target may be deleted"));
        }
        self.clear(&mut |entry| entry.path != keyfile::NAME.as_bytes() && extra(entry), failed)
    }

    /// Removes the temporary files that an interrupted restore left. To be called before anything is written.
    pub fn remove_leftovers(&self) -> Result<u64> {
        let ours = |path: &[u8]| {
            let name = super::cut(path).1.strip_prefix(TEMPORARY.as_bytes());
            name.is_some_and(|n| n.len() == 32 && n.iter().all(u8::is_ascii_hexdigit))
        };
        let mut first = None;
        let removed = self.clear(&mut |e| e.kind != Kind::Folder && ours(&e.path), &mut |e| {
            first.get_or_insert(e);
        })?;
        first.map_or(Ok(removed), Err)
    }

    fn clear(
        &self,
        extra: &mut dyn FnMut(&TargetEntry) -> bool,
        failed: &mut dyn FnMut(TargetError),
    ) -> Result<u64> {
        let root = self.root_handle().map_err(|e| named(b".", &e.into()))?;
        let cleared = below(root, extra, &mut |path, e| {
            let e = io::Error::from(e);
            let path = crate::model::key::Key::new(path);
            failed(TargetError::new(TargetErrorKind::Other, format!("“{path}” cannot be deleted: {e}")));
        });
        // Folders may be gone that handles are of.
        self.0.handles.forget(b"");
        cleared.map_err(|e| named(b".", &e.into()))
    }

    /// A handle of the root of its own, for a walk.
    fn root_handle(&self) -> rustix::io::Result<Arc<OwnedFd>> {
        Ok(Arc::new(open_name(self.0.root.as_fd(), ".", OFlags::RDONLY | OFlags::DIRECTORY)?))
    }
}

fn entry(found: Found) -> TargetEntry {
    let Found { mut path, what } = found;
    let is_folder = path.last() == Some(&b'/');
    path.truncate(path.len() - usize::from(is_folder));
    let plain = if is_folder { Kind::Folder } else { Kind::Object };
    let (kind, size, problem) = match what {
        What::File(stat) => (Kind::Object, u64::try_from(stat.st_size).unwrap_or(0), None),
        What::Folder(_, problem) => (Kind::Folder, 0, problem),
        What::Link(..) => (Kind::Link, 0, None),
        What::Special(_) => (Kind::Object, 0, None),
        What::Failed(reason) => (plain, 0, Some(reason)),
    };
    TargetEntry { path, kind, size, problem }
}

/// Deletes below a folder what `extra` says yes to.
fn below(
    root: Arc<OwnedFd>,
    extra: &mut dyn FnMut(&TargetEntry) -> bool,
    failed: &mut dyn FnMut(&[u8], Errno),
) -> rustix::io::Result<u64> {
    let mut deleted = 0;
    let mut remove = |path: &[u8], flags: AtFlags| {
        match in_parent(root.as_fd(), path, |folder, name| rustix::fs::unlinkat(folder, name, flags)) {
            Ok(()) => deleted += 1,
            // Gone, or in use by what stays.
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(e) => failed(path, e),
        }
    };
    // Folders to be removed once everything in them was seen, deepest last.
    let mut waiting: Vec<Vec<u8>> = Vec::new();
    for found in Walk::new(Arc::clone(&root))? {
        let entry = entry(found);
        while let Some(done) =
            waiting.pop_if(|w| entry.path.strip_prefix(&w[..]).is_none_or(|r| r.first() != Some(&b'/')))
        {
            remove(&done, AtFlags::REMOVEDIR);
        }
        if extra(&entry) {
            match entry.kind {
                Kind::Folder => waiting.push(entry.path),
                _ => remove(&entry.path, AtFlags::empty()),
            }
        }
    }
    while let Some(done) = waiting.pop() {
        remove(&done, AtFlags::REMOVEDIR);
    }
    Ok(deleted)
}

/// Removes a folder and everything in it.
pub(super) fn tree(dir: &Dir, name: &[u8]) -> io::Result<()> {
    let root = Arc::new(open_name(dir.as_fd(), name, OFlags::RDONLY | OFlags::DIRECTORY)?);
    let mut first = None;
    below(root, &mut |_| true, &mut |_, e| {
        first.get_or_insert(e);
    })?;
    if let Some(e) = first {
        return Err(e.into());
    }
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}
