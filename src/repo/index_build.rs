//! Writes an index file from records that come sorted, in memory while it is small and through a temporary file when it is not.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use super::index_file::IndexFile;
use super::merge::{Found, Merge};
use super::names;
use super::repository::random;
use super::{RepoError, Repository};
use crate::control::{Point, point};
use crate::format::index::{Encoder, IndexRecord, PackEntry, RECORD};
use crate::model::id::{IndexId, PackId};
use crate::model::name::RunName;

/// Up to so many bytes an index file is made in memory.
pub const IN_MEMORY: u64 = 64 << 20;

/// An index file names at most so many others as replaced.
pub const MOST_REPLACED: usize = 1 << 16;

/// Where the bytes go until the file's name, its digest, is known.
enum Spool {
    Memory(Vec<u8>),
    File(BufWriter<File>),
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Memory(out) => out.write(bytes),
            Self::File(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(out) => out.flush(),
        }
    }
}

/// What went wrong in the temporary folder, which is named.
fn within(folder: Option<&Path>, e: &io::Error) -> RepoError {
    let place = folder.map(|f| format!("{}: ", f.display())).unwrap_or_default();
    RepoError::Spool(format!("{place}{e}"))
}

/// What an index file is to say.
#[derive(Debug, Default)]
pub struct Plan {
    /// The packs it names; records of others are left out.
    pub packs: Vec<PackEntry>,
    /// The index files it replaces.
    pub replaces: Vec<IndexId>,
}

/// Makes an index file of `group` from `records`, durable when this returns. `spool` takes it while it is made, if it is
/// large; without one it is made in memory.
///
/// # Errors
/// An index file that is merged cannot be read, or the store or the temporary folder failed.
pub async fn write(
    repo: &Repository,
    group: RunName,
    mut records: Merge,
    expected: u64,
    plan: &Plan,
    spool: Option<&Path>,
) -> Result<Arc<IndexFile>, RepoError> {
    let out = match spool {
        Some(folder) if expected.saturating_mul(RECORD as u64) > IN_MEMORY => {
            let file = tempfile::tempfile_in(folder).map_err(|e| within(spool, &e))?;
            Spool::File(BufWriter::with_capacity(1 << 18, file))
        }
        _ => Spool::Memory(Vec::new()),
    };
    let numbers: HashMap<PackId, u32> = (0..).zip(&plan.packs).map(|(n, p)| (p.id, n)).collect();
    let mut encoder = Encoder::new(repo.sealer().clone(), random()?, out).map_err(|e| within(spool, &e))?;
    let mut found: Vec<Found> = Vec::new();
    let mut lines: Vec<IndexRecord> = Vec::new();
    while records.next_blob(&mut found).await? {
        lines.clear();
        lines.extend(
            found.iter().filter_map(|f| Some(IndexRecord { record: f.record, pack: *numbers.get(&f.pack)? })),
        );
        // Two files may name one pack: it is named once here.
        lines.sort_unstable_by_key(IndexRecord::order);
        lines.dedup_by_key(|l| l.pack);
        lines.iter().try_for_each(|l| encoder.push(l)).map_err(|e| within(spool, &e))?;
    }
    let (id, out) = encoder.finish(&plan.packs, &plan.replaces).map_err(|e| within(spool, &e))?;
    let name = names::index(group, id);
    let size = match out {
        Spool::Memory(bytes) => {
            let size = bytes.len() as u64;
            repo.store().create(&name, bytes).await?;
            size
        }
        Spool::File(out) => {
            let mut file = out.into_inner().map_err(|e| within(spool, e.error()))?;
            let size = file.seek(SeekFrom::End(0)).map_err(|e| within(spool, &e))?;
            file.seek(SeekFrom::Start(0)).map_err(|e| within(spool, &e))?;
            repo.store().create_from(&name, file).await?;
            size
        }
    };
    point(Point::IndexWritten);
    // Believe what stands there, not the answer: whoever reads the new file no longer looks at the old ones.
    Ok(Arc::new(IndexFile::open(repo, group, id, size).await?))
}

/// So many index files a group may have before a run joins the smaller ones.
pub const MANY_FILES: usize = 8;

/// Which of a group's index files are worth joining: as many of the smallest as it takes, and each next one that is not much
/// larger than those before it together. So a record is copied only a few times in the life of a group.
pub fn worth_joining(files: &[Arc<IndexFile>]) -> Vec<Arc<IndexFile>> {
    if files.len() <= MANY_FILES {
        return Vec::new();
    }
    let mut by_size = files.to_vec();
    by_size.sort_by_key(|f| (f.records(), f.id));
    let least = files.len() - MANY_FILES / 2;
    let (mut sum, mut chosen) = (0, Vec::new());
    for file in by_size {
        let fits = (sum + file.records()).saturating_mul(RECORD as u64) <= IN_MEMORY;
        if !fits || (chosen.len() > least && file.records() > 2 * sum) {
            break;
        }
        sum += file.records();
        chosen.push(file);
    }
    if chosen.len() < 2 { Vec::new() } else { chosen }
}
