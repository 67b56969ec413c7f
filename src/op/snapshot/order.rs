//! Entries finish in any order and reach the manifest in key order: those that wait stand in memory, then on disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::format::entry;
use crate::model::entry::Entry;
use crate::op::OpError;
use crate::plan::compare::Relation;
use crate::plan::suspect::Fate;
use crate::repo::RepoError;

/// A finished entry, and what it counts as.
#[derive(Debug, Clone)]
pub(super) struct Done {
    /// The entry.
    pub entry: Entry,
    /// How it stands to the parent's.
    pub relation: Relation,
    /// What became of the content that the baseline had under its key.
    pub fate: Fate,
}

/// Puts finished entries back into the order they were listed in.
#[derive(Debug)]
pub(super) struct Order {
    folder: PathBuf,
    next: u64,
    waiting: BTreeMap<u64, Done>,
    runs: Vec<Run>,
}

/// Waiting entries that were put on disk, sorted.
#[derive(Debug)]
struct Run {
    reader: BufReader<File>,
    head: Option<(u64, Done)>,
}

/// So many wait in memory: about 40 MB.
pub(super) const IN_MEMORY: usize = 64 << 10;

fn failed(e: &io::Error) -> OpError {
    RepoError::Spool(e.to_string()).into()
}

impl Order {
    /// Begins at number 0; what does not fit into memory goes into `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), next: 0, waiting: BTreeMap::new(), runs: Vec::new() }
    }

    /// Number `n` is finished.
    ///
    /// # Errors
    /// The temporary folder cannot be written.
    pub(super) fn put(&mut self, n: u64, done: Done) -> Result<(), OpError> {
        self.waiting.insert(n, done);
        if self.waiting.len() <= IN_MEMORY {
            return Ok(());
        }
        let place = self.folder.display().to_string();
        self.spill().map_err(|e| RepoError::Spool(format!("{place}: {e}")).into())
    }

    /// The next in order, if it is finished.
    ///
    /// # Errors
    /// The temporary files cannot be read.
    pub(super) fn take(&mut self) -> Result<Option<Done>, OpError> {
        let next = self.next;
        let done = match self.waiting.remove(&next) {
            Some(done) => Some(done),
            None => match self.runs.iter_mut().position(|r| r.head.as_ref().is_some_and(|(n, _)| *n == next))
            {
                Some(i) => {
                    let done = self.runs[i].advance().map_err(|e| failed(&e))?;
                    if self.runs[i].head.is_none() {
                        self.runs.swap_remove(i);
                    }
                    done
                }
                None => None,
            },
        };
        if done.is_some() {
            self.next += 1;
        }
        Ok(done)
    }

    /// Those that wait in memory, in order: what a checkpoint keeps of them.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.values().map(|d| &d.entry)
    }

    fn spill(&mut self) -> io::Result<()> {
        let mut out = BufWriter::new(tempfile::tempfile_in(&self.folder)?);
        let mut line = Vec::new();
        for (n, done) in std::mem::take(&mut self.waiting) {
            line.clear();
            entry::encode(&done.entry, &mut line).map_err(io::Error::other)?;
            let length = u32::try_from(line.len()).map_err(io::Error::other)?;
            out.write_all(&n.to_le_bytes())?;
            out.write_all(&[relation_number(done.relation), fate_number(done.fate)])?;
            out.write_all(&length.to_le_bytes())?;
            out.write_all(&line)?;
        }
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        let mut run = Run { reader: BufReader::new(file), head: None };
        run.advance()?;
        self.runs.push(run);
        Ok(())
    }
}

impl Run {
    /// Replaces the head by the next record; returns the old one.
    fn advance(&mut self) -> io::Result<Option<Done>> {
        let mut head = [0u8; 14];
        let next = match self.reader.read_exact(&mut head) {
            Ok(()) => {
                let (n, rest) = head.split_at(8);
                let mut number = [0u8; 8];
                number.copy_from_slice(n);
                let length = u32::from_le_bytes([rest[2], rest[3], rest[4], rest[5]]) as usize;
                if length > entry::MAX_LINE {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let mut line = vec![0; length];
                self.reader.read_exact(&mut line)?;
                let entry = entry::decode(line.trim_ascii_end()).map_err(io::Error::other)?;
                let done = Done { entry, relation: relation(rest[0]), fate: fate(rest[1]) };
                Some((u64::from_le_bytes(number), done))
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(e) => return Err(e),
        };
        Ok(std::mem::replace(&mut self.head, next).map(|(_, done)| done))
    }
}

const RELATIONS: [Relation; 5] =
    [Relation::Added, Relation::Changed, Relation::Metadata, Relation::Unchanged, Relation::Unread];

fn relation_number(relation: Relation) -> u8 {
    RELATIONS.iter().zip(0..).find(|(r, _)| **r == relation).map_or(0, |(_, n)| n)
}

fn relation(number: u8) -> Relation {
    RELATIONS.get(usize::from(number)).copied().unwrap_or(Relation::Added)
}

const FATES: [Fate; 4] = [Fate::Kept, Fate::Overwritten, Fate::Emptied, Fate::Gone];

fn fate_number(fate: Fate) -> u8 {
    FATES.iter().zip(0..).find(|(f, _)| **f == fate).map_or(0, |(_, n)| n)
}

fn fate(number: u8) -> Fate {
    FATES.get(usize::from(number)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::Kind;

    #[test]
    fn a_late_first_entry_holds_back_more_than_fits_into_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut order = Order::new(folder.path());
        let total = 2 * IN_MEMORY as u64 + 500;
        let done = |n: u64| Done {
            entry: Entry::new(format!("{n:09}").into(), Kind::Object),
            relation: RELATIONS[(n % 5) as usize],
            fate: FATES[(n % 4) as usize],
        };
        for n in (1..total).rev() {
            order.put(n, done(n)).unwrap();
        }
        assert!(order.take().unwrap().is_none());
        order.put(0, done(0)).unwrap();
        for n in 0..total {
            let got = order.take().unwrap().unwrap();
            assert_eq!((got.entry, got.relation, got.fate), (done(n).entry, done(n).relation, done(n).fate));
        }
        assert!(order.take().unwrap().is_none());
    }
}
