//! The leases: one run at a time, and one prune, for politeness; a prune beside a run is fine. On a local store it is an advisory lock that the operating system
//! drops with the process, so nobody ever has to unlock anything.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, StoreErrorKind};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Runs, and what else adds to a store.
    Run,
    /// Prunes.
    Prune,
}

impl For {
    fn file(self) -> &'static str {
        match self {
            Self::Run => "lock",
            Self::Prune => "lock-prune",
        }
    }
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What it does: "snapshot", "prune".
    pub what: String,
    /// On which machine.
    pub host: String,
    /// As which process.
    pub pid: u32,
    /// Since when, RFC 3339.
    pub since: String,
}

/// Why a lease could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another process holds it; who, if that could be read.
    #[error("the store is in use")]
    Held(Option<Holder>),
    /// The store does not let us lock.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Held until dropped.
#[derive(Debug)]
pub struct Lease {
    // Closing the file drops the lock.
    _file: Option<File>,
    #[expect(dead_code, reason = "dropping it releases the lease of a store in memory")]
    memory: Option<MemoryLease>,
}

/// Stores in memory live in one process: their leases do too.
static MEMORY: Mutex<Vec<(usize, For)>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct MemoryLease((usize, For));

impl Drop for MemoryLease {
    fn drop(&mut self) {
        if let Ok(mut held) = MEMORY.lock() {
            held.retain(|id| *id != self.0);
        }
    }
}

/// Takes the lease, or says who has it.
///
/// # Errors
/// It is held, or the store is read-only.
pub fn take(store: &Store, what: For, holder: &Holder) -> Result<Lease, LeaseError> {
    let Some(root) = store.root() else {
        let id = (std::sync::Arc::as_ptr(store.inner()).cast::<()>() as usize, what);
        let mut held = MEMORY.lock().map_err(|_| LeaseError::Held(None))?;
        if held.contains(&id) {
            return Err(LeaseError::Held(None));
        }
        held.push(id);
        return Ok(Lease { _file: None, memory: Some(MemoryLease(id)) });
    };
    let failed = |e: &std::io::Error| {
        LeaseError::Store(StoreError {
            kind: match e.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    StoreErrorKind::Denied
                }
                std::io::ErrorKind::StorageFull => StoreErrorKind::Full,
                _ => StoreErrorKind::Other,
            },
            name: what.file().into(),
            message: e.to_string(),
        })
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(root.join(what.file()))
        .map_err(|e| failed(&e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LeaseError::Held(read(&mut file))),
        Err(TryLockError::Error(e)) => return Err(failed(&e)),
    }
    // Who holds it is a courtesy to whoever waits: a full disk must not stop a prune from making room.
    let text = serde_json::to_vec(holder).unwrap_or_default();
    let _ = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| file.write_all(&text));
    Ok(Lease { _file: Some(file), memory: None })
}

/// Whether somebody holds the lease now, and who.
pub fn holder(store: &Store, what: For) -> Option<Holder> {
    let mut file = File::open(store.root()?.join(what.file())).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => read(&mut file),
        _ => None,
    }
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(4096).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let me = Holder {
            what: "snapshot".into(),
            host: "h".into(),
            pid: 7,
            since: "2026-11-21T00:00:00Z".into(),
        };
        for store in [Store::local(folder.path()).unwrap(), Store::memory()] {
            let lease = take(&store, For::Run, &me).unwrap();
            drop(take(&store, For::Prune, &me).unwrap());
            match take(&store, For::Run, &me) {
                Err(LeaseError::Held(who)) if store.root().is_some() => assert_eq!(who, Some(me.clone())),
                Err(LeaseError::Held(_)) => {}
                other => panic!("{other:?}"),
            }
            drop(lease);
            assert!(take(&store, For::Run, &me).is_ok());
        }
    }
}
