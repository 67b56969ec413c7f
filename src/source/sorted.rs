//! Pairs of byte strings, sorted outside memory: what does not fit goes into temporary files.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How many bytes of pairs are sorted in memory at a time.
const MEMORY: usize = 16 << 20;
/// How long a block of the finished table is: what one look-up reads.
const BLOCK: usize = 64 << 10;
/// The longest string that is taken.
const LONGEST: usize = 1 << 20;

/// A pair.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Takes pairs in any order.
#[derive(Debug)]
pub struct Sorter {
    scratch: PathBuf,
    memory: usize,
    pairs: Vec<Pair>,
    used: usize,
    runs: Vec<File>,
}

impl Sorter {
    /// A sorter whose temporary files lie in the folder `scratch`; they have no names and go with the process.
    pub fn new(scratch: &Path) -> Self {
        Self::with_memory(scratch, MEMORY)
    }

    fn with_memory(scratch: &Path, memory: usize) -> Self {
        Self { scratch: scratch.into(), memory, pairs: Vec::new(), used: 0, runs: Vec::new() }
    }

    /// Adds a pair.
    pub fn push(&mut self, first: &[u8], second: &[u8]) -> io::Result<()> {
        if first.len() > LONGEST || second.len() > LONGEST {
            return Err(io::Error::other("a name is too long to be sorted"));
        }
        self.used += first.len() + second.len() + 64;
        self.pairs.push((first.to_vec(), second.to_vec()));
        if self.used >= self.memory { self.spill().map_err(|e| self.named(&e)) } else { Ok(()) }
    }

    /// The error with the folder's name: who reads it must know which disk is meant.
    fn named(&self, e: &io::Error) -> io::Error {
        io::Error::new(e.kind(), format!("{}: {e}", self.scratch.display()))
    }

    fn spill(&mut self) -> io::Result<()> {
        self.pairs.sort_unstable();
        let mut out = Writer::new(tempfile::tempfile_in(&self.scratch)?);
        for pair in self.pairs.drain(..) {
            out.put(&pair)?;
        }
        self.runs.push(out.finish()?.0);
        self.used = 0;
        Ok(())
    }

    /// The sorted table.
    pub fn finish(self) -> io::Result<Table> {
        let place = self.scratch.clone();
        self.sorted().map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", place.display())))
    }

    fn sorted(mut self) -> io::Result<Table> {
        if self.runs.is_empty() {
            self.pairs.sort_unstable();
            return Ok(Table(Storage::Memory(self.pairs)));
        }
        if !self.pairs.is_empty() {
            self.spill()?;
        }
        let mut runs: Vec<_> = self.runs.into_iter().map(|f| BufReader::with_capacity(BLOCK, f)).collect();
        let mut heap = BinaryHeap::new();
        for (i, run) in runs.iter_mut().enumerate() {
            run.seek(SeekFrom::Start(0))?;
            if let Some(pair) = get(run)? {
                heap.push(Reverse((pair, i)));
            }
        }
        let mut out = Writer::new(tempfile::tempfile_in(&self.scratch)?);
        while let Some(Reverse((pair, i))) = heap.pop() {
            out.put(&pair)?;
            if let Some(next) = get(&mut runs[i])? {
                heap.push(Reverse((next, i)));
            }
        }
        let (file, blocks) = out.finish()?;
        Ok(Table(Storage::File(file, blocks)))
    }
}

/// Where a block of the file lies and the first string of its first pair.
#[derive(Debug)]
struct Block {
    first: Vec<u8>,
    offset: u64,
    length: usize,
}

/// Writes pairs in blocks, each pair whole in one.
struct Writer {
    file: File,
    blocks: Vec<Block>,
    buffer: Vec<u8>,
    offset: u64,
    first: Vec<u8>,
}

impl Writer {
    fn new(file: File) -> Self {
        Self { file, blocks: Vec::new(), buffer: Vec::new(), offset: 0, first: Vec::new() }
    }

    fn put(&mut self, (first, second): &Pair) -> io::Result<()> {
        if self.buffer.is_empty() {
            self.first.clone_from(first);
        }
        for text in [first, second] {
            // `LONGEST` fits.
            self.buffer.extend_from_slice(&u32::try_from(text.len()).unwrap_or_default().to_le_bytes());
            self.buffer.extend_from_slice(text);
        }
        if self.buffer.len() >= BLOCK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_all(&self.buffer)?;
            let (offset, length) = (self.offset, self.buffer.len());
            self.blocks.push(Block { first: std::mem::take(&mut self.first), offset, length });
            self.offset += length as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<(File, Vec<Block>)> {
        self.flush()?;
        Ok((self.file, self.blocks))
    }
}

/// The next pair of what a [`Writer`] wrote.
fn get(from: &mut impl Read) -> io::Result<Option<Pair>> {
    let Some(first) = get_text(from)? else { return Ok(None) };
    let second = get_text(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Some((first, second)))
}

fn get_text(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0u8; 4];
    match from.read_exact(&mut length) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length];
    from.read_exact(&mut text)?;
    Ok(Some(text))
}

/// Sorted pairs, to go through as often as needed and to look up in.
#[derive(Debug)]
pub struct Table(Storage);

#[derive(Debug)]
enum Storage {
    Memory(Vec<Pair>),
    File(File, Vec<Block>),
}

impl Table {
    /// A table of nothing.
    pub fn empty() -> Self {
        Self(Storage::Memory(Vec::new()))
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Storage::Memory(pairs) => pairs.is_empty(),
            Storage::File(_, blocks) => blocks.is_empty(),
        }
    }

    /// The pairs in order.
    pub fn iter(&self) -> Pairs<'_> {
        Pairs { table: self, at: 0, block: Vec::new().into_iter() }
    }

    /// The second string of the first pair with this first one.
    pub fn get(&self, first: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match &self.0 {
            Storage::Memory(pairs) => {
                let at = pairs.partition_point(|(f, _)| f.as_slice() < first);
                Ok(pairs.get(at).filter(|(f, _)| f == first).map(|(_, s)| s.clone()))
            }
            Storage::File(file, blocks) => {
                // Equal ones may begin at the end of the block before the first that begins with one.
                let at = blocks.partition_point(|b| b.first.as_slice() < first).saturating_sub(1);
                for block in &blocks[at..] {
                    if block.first.as_slice() > first {
                        break;
                    }
                    let pairs = load(file, block)?;
                    if let Some((_, second)) = pairs.into_iter().find(|(f, _)| f == first) {
                        return Ok(Some(second));
                    }
                }
                Ok(None)
            }
        }
    }
}

fn load(file: &File, block: &Block) -> io::Result<Vec<Pair>> {
    let mut bytes = vec![0; block.length];
    file.read_exact_at(&mut bytes, block.offset)?;
    let mut rest = bytes.as_slice();
    let mut pairs = Vec::new();
    while let Some(pair) = get(&mut rest)? {
        pairs.push(pair);
    }
    Ok(pairs)
}

/// Goes through a [`Table`].
#[derive(Debug)]
pub struct Pairs<'a> {
    table: &'a Table,
    at: usize,
    block: std::vec::IntoIter<Pair>,
}

impl Iterator for Pairs<'_> {
    type Item = io::Result<Pair>;

    fn next(&mut self) -> Option<Self::Item> {
        match &self.table.0 {
            Storage::Memory(pairs) => {
                let pair = pairs.get(self.at)?;
                self.at += 1;
                Some(Ok(pair.clone()))
            }
            Storage::File(file, blocks) => loop {
                if let Some(pair) = self.block.next() {
                    return Some(Ok(pair));
                }
                let block = blocks.get(self.at)?;
                self.at += 1;
                match load(file, block) {
                    Ok(pairs) => self.block = pairs.into_iter(),
                    Err(e) => {
                        self.at = blocks.len();
                        return Some(Err(e));
                    }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_the_same_in_memory_and_outside() {
        let dir = tempfile::tempdir().unwrap();
        let pairs: Vec<Pair> = (0..30_000u32)
            .map(|i| {
                let x = i.wrapping_mul(2_654_435_761) % 9_973;
                (format!("key {x}").into_bytes(), vec![b'v'; (i % 40) as usize])
            })
            .collect();
        let mut expected = pairs.clone();
        expected.sort();
        for memory in [MEMORY, 100_000] {
            let mut sorter = Sorter::with_memory(dir.path(), memory);
            for (a, b) in &pairs {
                sorter.push(a, b).unwrap();
            }
            let table = sorter.finish().unwrap();
            assert_eq!(matches!(table.0, Storage::File(..)), memory < MEMORY);
            for _ in 0..2 {
                assert_eq!(table.iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
            }
            for (key, _) in pairs.iter().step_by(997) {
                let at = expected.partition_point(|(k, _)| k < key);
                assert_eq!(table.get(key).unwrap().unwrap(), expected[at].1);
            }
            for missing in ["", "key 0.5", "key 99999", "zzz"] {
                assert_eq!(table.get(missing.as_bytes()).unwrap(), None);
            }
        }
        assert!(Sorter::new(dir.path()).finish().unwrap().is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
