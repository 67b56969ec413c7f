//! Writes `.qbak-keys.jsonl`: the files of a restored folder whose paths are not their keys.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::folder::{FolderTarget, Meta};
use super::keymap::KeySpace;
use super::{TargetError, TargetErrorKind};
use crate::format::keyfile::{self, is_path, line};
use crate::model::key::Key;
use crate::source::folder::relabel::{Among, Labels, Unusable, stat_path};
use crate::source::folder::stamp::file_type;
use crate::source::sorted::{Sorter, Table};

/// How many pairs of keys that met at one path are named.
const NAMED: usize = 100;

/// Collects the lines of one restore, in any order.
#[derive(Debug)]
pub struct SideFile {
    scratch: PathBuf,
    by_key: Sorter,
    by_path: Sorter,
}

/// What the side file holds now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SideReport {
    /// How many lines; with none there is no side file.
    pub lines: u64,
    /// Keys that met at one path, which takes names made for it: only one of each two was kept. The first hundred.
    pub met: Vec<(Key, Key)>,
}

impl SideFile {
    /// Temporary files, which only very many lines need, lie in `scratch`.
    pub fn new(scratch: &Path) -> Self {
        Self { scratch: scratch.into(), by_key: Sorter::new(scratch), by_path: Sorter::new(scratch) }
    }

    /// Adds a file whose path is not its key.
    pub fn record(&mut self, path: &[u8], key: &[u8]) -> io::Result<()> {
        self.by_key.push(key, path)?;
        self.by_path.push(path, key)
    }

    /// Writes the side file, in the order of the keys. Lines of an earlier restore stay where their files do, unless
    /// this one wrote them anew or their path is a key of the snapshot, whose keys `space` holds.
    pub fn finish(self, target: &FolderTarget, space: &dyn KeySpace) -> Result<SideReport, TargetError> {
        let failed = |e: io::Error| {
            TargetError::new(
                TargetErrorKind::Other,
                format!("the names of the restored files cannot be sorted: {e}"),
            )
        };
        let new = self.by_key.finish().map_err(failed)?;
        let paths = self.by_path.finish().map_err(failed)?;
        let root = target.handle();
        // One that cannot be used is replaced only by one that is needed; one that cannot be read is left as it is.
        let old = Labels::read_or_none(root.as_fd(), &self.scratch).map_err(unread)?;
        let mut report = SideReport { lines: 0, met: met(&paths).map_err(failed)? };
        let stays = |key: &[u8], path: &[u8]| -> io::Result<bool> {
            let kind = |path: &[u8]| stat_path(root.as_fd(), path).map(|s| file_type(&s));
            // A file that has the key for its own name by now is that key.
            let own = is_path(key) && kind(key).is_ok_and(|k| k != FileType::Directory);
            let there = kind(path) == Ok(FileType::RegularFile);
            Ok(there && !own && !space.contains(path) && paths.get(path)?.is_none())
        };
        let mut any = !new.is_empty();
        for pair in old.by_key.iter() {
            let (key, path) = pair.map_err(failed)?;
            any = any || stays(&key, &path).map_err(failed)?;
        }
        if !any {
            return match old.in_use {
                true => target.remove_side_file().map(|()| report),
                false => Ok(report),
            };
        }
        target.replace(keyfile::NAME.as_bytes(), &Meta::default(), &mut |out| {
            let mut out = io::BufWriter::with_capacity(256 << 10, out);
            let mut old = old.by_key.iter().peekable();
            let mut taken = Among::new(&new);
            let mut new = new.iter().peekable();
            report.lines = 0;
            loop {
                let from_old = match (old.peek(), new.peek()) {
                    (None, None) => break,
                    (Some(Ok((a, _))), Some(Ok((b, _)))) => a < b,
                    (Some(_), _) => true,
                    (None, Some(_)) => false,
                };
                let Some(pair) = (if from_old { old.next() } else { new.next() }) else { break };
                let (key, path) = pair?;
                if !from_old || (!taken.has(&key)? && stays(&key, &path)?) {
                    io::Write::write_all(&mut out, &line(&path, &key))?;
                    report.lines += 1;
                }
            }
            io::Write::flush(&mut out)
        })?;
        Ok(report)
    }
}

/// Which keys the files of a folder stand for, as the side file of an earlier restore says.
#[derive(Debug)]
pub struct KnownKeys(Labels);

impl KnownKeys {
    /// Reads the side file, if there is one that can be used.
    ///
    /// # Errors
    /// There is one, and it cannot be read.
    pub fn read(target: &FolderTarget, scratch: &Path) -> Result<Self, TargetError> {
        Labels::read_or_none(target.handle().as_fd(), scratch).map(Self).map_err(unread)
    }

    /// The key that the file at a path stands for, where it is not the path.
    pub fn key_of(&self, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.0.by_path.get(path)
    }
}

fn unread(e: Unusable) -> TargetError {
    TargetError::new(
        TargetErrorKind::Other,
        format!("which keys the target's files stand for is not known: {e}"),
    )
}

/// Neighbours with the same path.
fn met(paths: &Table) -> io::Result<Vec<(Key, Key)>> {
    let mut out = Vec::new();
    let mut last: Option<(Vec<u8>, Vec<u8>)> = None;
    for pair in paths.iter() {
        let (path, key) = pair?;
        if let Some((p, k)) = &last
            && *p == path
            && out.len() < NAMED
        {
            out.push((Key::new(k.clone()), Key::new(key.clone())));
        }
        last = Some((path, key));
    }
    Ok(out)
}
