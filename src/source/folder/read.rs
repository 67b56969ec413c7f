//! Reading one file: its bytes are those of the file that was listed, or it is said that they are not.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::PoisonError;

use bytes::Bytes;
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use super::open::{in_parent, open_path};
use super::stamp::{Stamp, file_type, listed};
use super::walk::reason;
use super::{Inner, other};
use crate::control::{Control, off};
use crate::model::content::BLOCK;
use crate::model::entry::Kind;
use crate::model::key::Key;
use crate::model::listed::Listed;
use crate::source::{ReadError, SourceError, Verdict};

/// How many files without a fingerprint are watched at a time while their blocks are read.
const WATCHED: usize = 1_024;

/// Files of several blocks that were listed without a fingerprint: the stamp that the first block had, which the
/// others must have too, since size and mtime alone do not show every change.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<(Key, Stamp)>);

impl Recent {
    /// Whether the stamp is that of the blocks before.
    fn agrees(&mut self, key: &Key, stamp: Stamp) -> bool {
        if let Some((_, known)) = self.0.iter().find(|(k, _)| k == key) {
            return *known == stamp;
        }
        if self.0.len() == WATCHED {
            self.0.pop_front();
        }
        self.0.push_back((key.clone(), stamp));
        true
    }

    fn forget(&mut self, key: &Key) {
        self.0.retain(|(k, _)| k != key);
    }
}

impl Inner {
    /// The bytes `range` of a listed file.
    pub(super) fn read(&self, object: &Listed, range: std::ops::Range<u64>) -> Result<Bytes, ReadError> {
        let failed = |e: Errno| match e {
            Errno::NOENT | Errno::NOTDIR => ReadError::Vanished,
            // A link or a socket stands in its place now.
            Errno::LOOP | Errno::NXIO => ReadError::Changed,
            e => ReadError::Failed(other(format!("“{}” cannot be read: {}", object.key, reason(e)))),
        };
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        if length > BLOCK || range.end > object.size {
            return Err(ReadError::Failed(other(format!("“{}” has no bytes {range:?}", object.key))));
        }
        let (path, _) = self.path_of(&object.key)?.ok_or(ReadError::Vanished)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = open_path(self.root.as_fd(), &path, flags).map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        let before = Stamp::of(&stat);
        let trusting = off(Control::NoChangeCheck);
        if file_type(&stat) != FileType::RegularFile || !(before.is(object) || trusting) {
            return Err(ReadError::Changed);
        }
        let bytes = pread(file.as_fd(), range.start, length).map_err(failed)?.ok_or(ReadError::Changed)?;
        if Stamp::of(&rustix::fs::fstat(&file).map_err(failed)?) != before && !trusting {
            return Err(ReadError::Changed);
        }
        if object.hash.is_none() && object.size > BLOCK as u64 {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if !recent.agrees(&object.key, before) {
                return Err(ReadError::Changed);
            }
        }
        Ok(bytes)
    }

    /// One key as it is now.
    pub(super) fn stat(&self, key: &Key) -> Result<Option<Listed>, SourceError> {
        let Some((path, relabelled)) = self.path_of(key)? else { return Ok(None) };
        let is_folder = !relabelled && key.bytes().ends_with(b"/");
        let now = self.clock.now();
        let look = in_parent(self.root.as_fd(), &path, |folder, name| {
            let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let mut target = None;
            let kind = match file_type(&stat) {
                FileType::RegularFile if !is_folder => Kind::Object,
                FileType::Directory if is_folder => Kind::Folder,
                FileType::Symlink if !is_folder && !relabelled => {
                    target = Some(rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes());
                    Kind::Link
                }
                _ => return Ok(None),
            };
            let mut out = listed(key.clone(), kind, &stat, now);
            out.target = target;
            Ok(Some(out))
        });
        match look {
            Ok(found) => Ok(found),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL) => Ok(None),
            Err(e) => Err(other(format!("“{key}” cannot be examined: {}", reason(e)))),
        }
    }

    /// What became of a file that was not as listed.
    pub(super) fn judge(&self, object: &Listed) -> Result<Verdict, SourceError> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).forget(&object.key);
        Ok(match self.stat(&object.key)? {
            None => Verdict::Gone,
            // Without a fingerprint nothing shows that it is the same.
            Some(now) if now != *object || object.hash.is_none() => Verdict::Changed(Box::new(now)),
            Some(_) => Verdict::Altered(
                "the file is as it was listed, but its bytes are not: check its disk and this machine's memory".into(),
            ),
        })
    }

    fn path_of(&self, key: &Key) -> Result<Option<(Vec<u8>, bool)>, SourceError> {
        let path = self.labels()?.path_of(key.bytes());
        path.map_err(|e| other(format!("the names of the relabelled files cannot be read: {e}")))
    }
}

/// `length` bytes at `start`; `None` if the file ends before.
fn pread(file: BorrowedFd<'_>, start: u64, length: usize) -> rustix::io::Result<Option<Bytes>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = start + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => return Ok(None),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(length);
    Ok(Some(bytes.into()))
}
