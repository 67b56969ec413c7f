//! Sorting more than fits into memory: sorted runs in temporary files, merged as they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::repo::RepoError;

/// A record: what it is sorted by, and what it carries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Sorted by these bytes, then by the payload.
    pub key: Vec<u8>,
    /// Anything.
    pub payload: Vec<u8>,
}

/// Takes records in any order.
#[derive(Debug)]
pub struct Sorter {
    folder: PathBuf,
    budget: usize,
    held: usize,
    items: Vec<Item>,
    runs: Vec<File>,
}

/// Gives them back in order.
#[derive(Debug)]
pub struct Sorted {
    memory: std::iter::Peekable<std::vec::IntoIter<Item>>,
    readers: Vec<BufReader<File>>,
    heads: BinaryHeap<Reverse<(Item, usize)>>,
}

/// A record longer than this was never written by us.
const LONGEST: u32 = 64 << 20;

/// What went wrong in the folder of temporary files, which is named.
fn within(folder: &Path, e: &io::Error) -> RepoError {
    RepoError::Spool(format!("{}: {e}", folder.display()))
}

fn failed(e: &io::Error) -> RepoError {
    RepoError::Spool(e.to_string())
}

impl Sorter {
    /// A sorter that holds about `budget` bytes in memory and puts the rest into `folder`.
    pub fn new(folder: &Path, budget: usize) -> Self {
        Self { folder: folder.to_owned(), budget, held: 0, items: Vec::new(), runs: Vec::new() }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// The temporary folder cannot be written.
    pub fn push(&mut self, key: Vec<u8>, payload: Vec<u8>) -> Result<(), RepoError> {
        self.held += key.len() + payload.len() + 64;
        self.items.push(Item { key, payload });
        if self.held > self.budget { self.spill().map_err(|e| within(&self.folder, &e)) } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        self.items.sort_unstable();
        // A nameless file: it goes with the process, however that ends.
        let mut out = BufWriter::with_capacity(1 << 18, tempfile::tempfile_in(&self.folder)?);
        for item in self.items.drain(..) {
            for part in [&item.key, &item.payload] {
                let length = u32::try_from(part.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
                out.write_all(&length.to_le_bytes())?;
                out.write_all(part)?;
            }
        }
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        self.runs.push(file);
        self.held = 0;
        Ok(())
    }

    /// Everything, in order.
    ///
    /// # Errors
    /// The temporary files cannot be read.
    pub fn finish(mut self) -> Result<Sorted, RepoError> {
        self.items.sort_unstable();
        let mut sorted = Sorted {
            memory: self.items.into_iter().peekable(),
            readers: self.runs.into_iter().map(|f| BufReader::with_capacity(1 << 18, f)).collect(),
            heads: BinaryHeap::new(),
        };
        for n in 0..sorted.readers.len() {
            sorted.refill(n).map_err(|e| failed(&e))?;
        }
        Ok(sorted)
    }
}

impl Sorted {
    fn refill(&mut self, n: usize) -> io::Result<()> {
        let reader = &mut self.readers[n];
        let Some(key) = part(reader)? else { return Ok(()) };
        let payload = part(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.heads.push(Reverse((Item { key, payload }, n)));
        Ok(())
    }

    /// The next record.
    ///
    /// # Errors
    /// A temporary file cannot be read.
    pub fn take_next(&mut self) -> Result<Option<Item>, RepoError> {
        let from_disk = match (self.memory.peek(), self.heads.peek()) {
            (Some(a), Some(Reverse((b, _)))) => b < a,
            (None, Some(_)) => true,
            _ => false,
        };
        if !from_disk {
            return Ok(self.memory.next());
        }
        let Some(Reverse((item, n))) = self.heads.pop() else { return Ok(None) };
        self.refill(n).map_err(|e| failed(&e))?;
        Ok(Some(item))
    }
}

fn part(reader: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0u8; 4];
    match reader.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorts_like_a_sort(keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..200), budget in 1usize..4000) {
            let folder = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::new(folder.path(), budget);
            for (n, key) in keys.iter().enumerate() {
                sorter.push(key.clone(), vec![n as u8]).unwrap();
            }
            let mut sorted = sorter.finish().unwrap();
            let mut got = Vec::new();
            while let Some(item) = sorted.take_next().unwrap() {
                got.push(item);
            }
            let mut want: Vec<Item> = keys.into_iter().enumerate().map(|(n, key)| Item { key, payload: vec![n as u8] }).collect();
            want.sort();
            prop_assert_eq!(got, want);
        }
    }
}
