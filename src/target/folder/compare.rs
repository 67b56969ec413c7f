//! Is the file that is there already the right one?

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use super::temporary::set;
use super::{FolderTarget, Meta, Result, checked, in_the_way, named};
use crate::model::content::{BLOCK, content_id, sha1};
use crate::model::entry::Kind;
use crate::model::id::ContentId;
use crate::source::folder::open::{in_parent, open_path};
use crate::source::folder::stamp::{Stamp, file_type, permissions};

/// What is where a file belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Nothing.
    Nothing,
    /// A file with the right bytes.
    Same {
        /// Mode and mtime are right as well.
        meta: bool,
    },
    /// A file with other bytes, or one that cannot be read.
    Differs,
    /// A folder, a link or something else.
    NoFile,
}

impl FolderTarget {
    /// Compares what is at a path with a content: first the size, then every byte's hash.
    pub fn compare(&self, path: &[u8], size: u64, content: &ContentId, meta: &Meta) -> Result<Existing> {
        checked(path)?;
        let failed = |e: Errno| named(path, &e.into());
        let file =
            match open_path(self.0.root.as_fd(), path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
                Ok(fd) => File::from(fd),
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Existing::Nothing),
                Err(Errno::LOOP | Errno::NXIO) => return Ok(Existing::NoFile),
                Err(Errno::ACCESS | Errno::PERM) => return Ok(Existing::Differs),
                Err(e) => return Err(failed(e)),
            };
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        let stamp = Stamp::of(&stat);
        if file_type(&stat) != FileType::RegularFile {
            return Ok(Existing::NoFile);
        }
        if stamp.size != size || !matches!(id_of(&file), Ok(id) if id == *content) {
            return Ok(Existing::Differs);
        }
        let mode = meta.mode.is_none_or(|mode| mode & 0o1777 == permissions(&stat));
        let mtime = meta.mtime.is_none_or(|mtime| mtime == stamp.put_time());
        // The other names of a file may be outside the target: it is replaced rather than changed.
        Ok(if stat.st_nlink > 1 && !(mode && mtime) {
            Existing::Differs
        } else {
            Existing::Same { meta: mode && mtime }
        })
    }

    /// What stands at a path, and where it points if it is a link. Nothing is followed.
    pub fn stands(&self, path: &[u8]) -> Result<Option<(Kind, Vec<u8>)>> {
        checked(path)?;
        let found = in_parent(self.0.root.as_fd(), path, |folder, name| {
            let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(match file_type(&stat) {
                FileType::Directory => (Kind::Folder, Vec::new()),
                FileType::Symlink => {
                    (Kind::Link, rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes())
                }
                _ => (Kind::Object, Vec::new()),
            })
        });
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(e) => Err(named(path, &e.into())),
        }
    }

    /// Gives a file that is there its mode and mtime, unless it has other names, which may be outside the target.
    pub fn set_meta(&self, path: &[u8], meta: &Meta) -> Result<()> {
        checked(path)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let failed = |e: Errno| named(path, &e.into());
        let file = open_path(self.0.root.as_fd(), path, flags).map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        if file_type(&stat) != FileType::RegularFile || stat.st_nlink > 1 {
            return Err(named(path, &in_the_way("no file, or one with other names,")));
        }
        set(&file, meta).map_err(failed)
    }
}

/// What a file's bytes are called.
fn id_of(mut file: &File) -> std::io::Result<ContentId> {
    let mut blocks = Vec::new();
    let mut block = Vec::new();
    loop {
        block.clear();
        file.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if !block.is_empty() || blocks.is_empty() {
            blocks.push(sha1(&block));
        }
        if block.len() < BLOCK {
            return Ok(content_id(&blocks));
        }
    }
}
