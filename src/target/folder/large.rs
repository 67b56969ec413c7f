//! A file that is written in pieces, in any order and from several threads.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::temporary::Temporary;
use super::{Inner, Meta, Result, named};

/// A file that has no final name yet. Dropped unfinished, it is gone.
#[derive(Debug)]
pub struct LargeFile {
    temporary: Temporary,
    path: Vec<u8>,
    size: u64,
    meta: Meta,
}

impl LargeFile {
    pub(super) fn begin(inner: Arc<Inner>, path: &[u8], size: u64, meta: Meta) -> io::Result<Self> {
        let temporary = Temporary::file(&inner, path, &meta)?;
        // A disk that is too small says so before the download, where the file system can tell.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if size > 0 {
            use rustix::fs::FallocateFlags;
            use rustix::io::Errno;
            let reserved = rustix::fs::fallocate(&temporary.file, FallocateFlags::KEEP_SIZE, 0, size);
            if let Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) = reserved {
                return Err(e.into());
            }
        }
        Ok(Self { temporary, path: path.to_vec(), size, meta })
    }

    /// Writes a piece. Pieces that do not overlap may be written at the same time.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(named(&self.path, &io::Error::other("a piece lies beyond its end")));
        }
        self.temporary.file.write_all_at(bytes, offset).map_err(|e| named(&self.path, &e))
    }

    /// Gives the file its final name, once every piece is written.
    pub fn finish(self) -> Result<()> {
        let finished = self.temporary.file.metadata().and_then(|there| {
            if there.len() != self.size {
                return Err(io::Error::other("its last piece is missing"));
            }
            self.temporary.publish(&self.path, &self.meta)
        });
        finished.map_err(|e| named(&self.path, &e))
    }
}
