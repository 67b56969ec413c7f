//! What a local folder needs beyond `object_store`: opening, durable deletion, free space.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::local::LocalFileSystem;

use super::reserve::Room;
use super::{Store, StoreError, StoreErrorKind};
use crate::control::{Control, off};
use crate::model::time::Timestamp;

fn io_error(name: &Path, e: &io::Error) -> StoreError {
    let kind = match e.kind() {
        io::ErrorKind::NotFound => StoreErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        _ if is_exhausted(e) => StoreErrorKind::Exhausted,
        _ => StoreErrorKind::Other,
    };
    StoreError { kind, name: name.display().to_string(), message: e.to_string() }
}

/// Whether the process or the system has run out of open files or memory.
pub(super) fn is_exhausted(e: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = e.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}

pub(super) fn open(folder: &Path) -> Result<Store, StoreError> {
    let root = folder.canonicalize().map_err(|e| io_error(folder, &e))?;
    if !root.is_dir() {
        return Err(StoreError {
            kind: StoreErrorKind::NotFound,
            name: folder.display().to_string(),
            message: "it is not a folder".into(),
        });
    }
    let inner = LocalFileSystem::new_with_prefix(&root)
        .map_err(|e| StoreError {
            kind: StoreErrorKind::Other,
            name: folder.display().to_string(),
            message: e.to_string(),
        })?
        // Without this an acknowledged write can be gone after a power cut.
        .with_fsync(!off(Control::NoFsync) && !off(Control::NoDirFsync));
    let url = root.display().to_string();
    Ok(Store::over(Arc::new(inner), Some(root), url))
}

/// Flushes the folders that held these files, so that their deletion outlives a power cut.
pub(super) async fn sync_parents(root: PathBuf, names: Vec<String>) -> Result<(), StoreError> {
    let job = move || {
        let parents: BTreeSet<PathBuf> =
            names.iter().filter_map(|n| root.join(n).parent().map(Path::to_path_buf)).collect();
        for folder in parents {
            if off(Control::NoDirFsync) {
                continue;
            }
            match File::open(&folder).and_then(|f| f.sync_all()) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(io_error(&folder, &e)),
            }
        }
        Ok(())
    };
    tokio::task::spawn_blocking(job).await.unwrap_or_else(|e| {
        Err(StoreError { kind: StoreErrorKind::Other, name: "store".into(), message: e.to_string() })
    })
}

pub(super) async fn remove_empty(folder: PathBuf) {
    let _ = tokio::task::spawn_blocking(move || remove_empty_now(&folder)).await;
}

fn remove_empty_now(folder: &Path) {
    if let Ok(entries) = std::fs::read_dir(folder) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                remove_empty_now(&entry.path());
            }
        }
    }
    // Fails when something is left in it, as it should.
    let _ = std::fs::remove_dir(folder);
}

/// What a disk, or a layer that checks what it holds, answers for a place it cannot read.
pub(super) fn is_bad_place(e: &io::Error) -> bool {
    use rustix::io::Errno;
    let bad = [Errno::IO, Errno::UCLEAN, Errno::BADMSG, Errno::ILSEQ];
    e.raw_os_error().is_some_and(|raw| bad.iter().any(|errno| errno.raw_os_error() == raw))
}

/// Deletes old files whose last part is one of our names, a `#` and a number.
pub(super) async fn clean_cut_off(
    root: PathBuf,
    before: Timestamp,
    ours: impl Fn(&str) -> bool + Send + 'static,
) -> Result<u64, StoreError> {
    let job = move || {
        let (mut folders, mut freed) = (vec![root.clone()], 0);
        while let Some(folder) = folders.pop() {
            // A folder that cannot be read, or is gone, is not what this is about.
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if let (true, Ok(meta)) = (kind.is_file(), entry.metadata())
                    && written(&meta).is_some_and(|t| t < before)
                    && final_name(&root, &entry.path()).is_some_and(|name| ours(&name))
                {
                    match std::fs::remove_file(entry.path()) {
                        Ok(()) => freed += meta.len(),
                        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                        Err(e) => return Err(io_error(&entry.path(), &e)),
                    }
                }
            }
        }
        Ok(freed)
    };
    tokio::task::spawn_blocking(job).await.unwrap_or_else(|e| {
        Err(StoreError { kind: StoreErrorKind::Other, name: "store".into(), message: e.to_string() })
    })
}

fn written(meta: &std::fs::Metadata) -> Option<Timestamp> {
    let since = meta.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_nanos(i64::try_from(since.as_nanos()).ok()?))
}

/// The name that a cut-off write was to get.
fn final_name(root: &Path, path: &Path) -> Option<String> {
    let (name, number) = path.strip_prefix(root).ok()?.to_str()?.rsplit_once('#')?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then(|| name.to_owned())
}

pub(super) fn room(root: &Path) -> Option<Room> {
    let stat = rustix::fs::statvfs(root).ok()?;
    // Where files are not counted, all of it is 0.
    let files = (stat.f_files > 0).then_some((stat.f_favail, stat.f_files));
    Some(Room { bytes: stat.f_bavail.saturating_mul(stat.f_frsize), files })
}

/// `Store::create` with one of its two flushes left out, for the tests that must notice.
#[cfg(feature = "controls")]
pub(super) async fn create_badly(root: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    use crate::control::{Point, point};
    use std::io::Write as _;
    let path = root.join(name);
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".bad");
    let temporary = PathBuf::from(temporary);
    let write = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        if !off(Control::NoFsync) {
            file.sync_all()?;
        }
        std::fs::hard_link(&temporary, &path)?;
        if !off(Control::NoDirFsync) {
            let above = path.ancestors().skip(1).take_while(|a| a.starts_with(root));
            above.map(File::open).try_for_each(|folder| folder?.sync_all())?;
        }
        std::fs::remove_file(&temporary)
    };
    let result = write();
    if result.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    result.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            StoreError { kind: StoreErrorKind::AlreadyExists, ..io_error(&path, &e) }
        }
        _ => io_error(&path, &e),
    })?;
    point(Point::StoreCreated);
    Ok(())
}
