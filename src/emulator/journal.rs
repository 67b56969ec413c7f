//! The side file: everything a folder cannot hold, one JSON object a line; the last line of a key counts.
//!
//! Each change is one appended line, so that a busy bucket does not rewrite the file; a line torn by a crash is
//! passed over. When it is opened with more old lines than living ones it is written anew, atomically.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::object::Object;

/// How a file looked when its hash was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) size: u64,
    /// Nanoseconds since the Unix epoch.
    pub(super) mtime: i64,
    pub(super) inode: u64,
}

impl Stamp {
    /// The stamp of a file.
    pub(super) fn of(meta: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let mtime = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Self { size: meta.len(), mtime, inode: meta.ino() }
    }
}

/// Where an object's bytes lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Place {
    /// Under its key in the folder.
    File(Stamp),
    /// In the side folder, under this name.
    Side(String),
}

/// What the journal holds for a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    pub(super) place: Place,
    pub(super) object: Object,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(flatten)]
    noted: Option<Noted>,
}

/// The open side file.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
}

impl Journal {
    /// Reads the side file (there may be none yet) and opens it for more.
    pub(super) fn open(path: &Path) -> io::Result<(Self, BTreeMap<String, Noted>)> {
        let mut living: BTreeMap<String, Noted> = BTreeMap::new();
        let (mut lines, mut torn) = (0usize, false);
        if let Some(file) = found(File::open(path))? {
            let mut reader = BufReader::new(file);
            let mut line = Vec::new();
            while {
                line.clear();
                reader.read_until(b'\n', &mut line)?
            } > 0
            {
                lines += 1;
                torn |= !line.ends_with(b"\n");
                match serde_json::from_slice::<Line>(&line) {
                    Ok(Line { key, noted: Some(noted) }) => drop(living.insert(key, noted)),
                    Ok(Line { key, noted: None }) => drop(living.remove(&key)),
                    Err(_) => torn = true,
                }
            }
        }
        if torn || lines > 2 * living.len() + 1000 {
            rewrite(path, &living)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok((Self { file }, living))
    }

    /// Notes that these keys now stand so; `None`: gone. One write for all of them.
    pub(super) fn note<'a>(
        &mut self,
        changes: impl IntoIterator<Item = (&'a str, Option<Noted>)>,
    ) -> io::Result<()> {
        let mut text = Vec::new();
        for (key, noted) in changes {
            serde_json::to_writer(&mut text, &Line { key: key.into(), noted })?;
            text.push(b'\n');
        }
        self.file.write_all(&text)
    }
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn rewrite(path: &Path, living: &BTreeMap<String, Noted>) -> io::Result<()> {
    let folder: PathBuf = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let mut out = io::BufWriter::new(file.as_file_mut());
    for (key, noted) in living {
        serde_json::to_writer(&mut out, &Line { key: key.clone(), noted: Some(noted.clone()) })?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    drop(out);
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_line_counts_and_torn_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("objects.jsonl");
        let noted = |size| Noted {
            place: Place::File(Stamp { size, mtime: -5, inode: 7 }),
            object: Object { size, ..Object::default() },
        };
        let (mut j, none) = Journal::open(&path).unwrap();
        assert!(none.is_empty());
        j.note([("a", Some(noted(1))), ("b\n😀", Some(noted(2)))]).unwrap();
        j.note([("a", None), ("c", Some(noted(3)))]).unwrap();
        drop(j);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"key\":\"torn").unwrap();
        for _ in 0..2 {
            let (_, living) = Journal::open(&path).unwrap();
            let keys: Vec<&String> = living.keys().collect();
            assert_eq!(keys, ["b\n😀", "c"]);
            assert_eq!(living["c"], noted(3));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "written anew after a torn line");
    }
}
