//! Room that is kept back on a local store's disk, for the one operation that makes room: a prune deletes these files first
//! when the disk has no bytes or no names left for what it must write. Nothing ever reads them.

use futures::future::join_all;

use super::{Store, StoreError, StoreErrorKind, StoredFile};
use crate::model::size::human;

/// The folder that they lie in.
pub const FOLDER: &str = "reserve";
/// How many files: each also keeps back a name, which is what some disks run out of.
pub const FILES: u32 = 8;
/// Bytes of each.
pub const BYTES: u64 = 512 << 10;

/// It is made only where this much stays free besides: it must not be what fills a disk.
const MARGIN_BYTES: u64 = 4 << 20;
/// As [`MARGIN_BYTES`], in files.
const MARGIN_FILES: u64 = 16;

/// The name of its file number `k`, from 1.
fn name(k: u32) -> String {
    format!("{FOLDER}/{k}")
}

/// Whether a file of this name in [`FOLDER`] belongs to it.
pub fn is_part(file: &str) -> bool {
    (1..=FILES).any(|k| k.to_string() == file)
}

/// Its files that are there.
async fn present(store: &Store) -> Result<Vec<StoredFile>, StoreError> {
    let mut files = store.list_all(FOLDER).await?;
    files.retain(|f| f.name.strip_prefix(FOLDER).and_then(|n| n.strip_prefix('/')).is_some_and(is_part));
    Ok(files)
}

/// Makes what is missing of it, where enough stays free for everything else; says whether all of it is there now. A store
/// that is no local folder has none. `seed` is random: bytes that compress would keep nothing back on a disk that does so.
///
/// # Errors
/// The store cannot be read or written. A disk that fills up meanwhile is no error.
pub async fn refill(store: &Store, seed: [u8; 32]) -> Result<bool, StoreError> {
    if store.root().is_none() {
        return Ok(false);
    }
    let there = present(store).await?;
    let missing: Vec<String> =
        (1..=FILES).map(name).filter(|n| !there.iter().any(|f| f.name == *n && f.size == BYTES)).collect();
    if missing.is_empty() {
        return Ok(true);
    }
    let count = missing.len() as u64;
    let room = store.room();
    let fits = room.is_some_and(|room| {
        room.bytes >= count * BYTES + MARGIN_BYTES
            && room.files.is_none_or(|(free, _)| free >= count + MARGIN_FILES)
    });
    if !fits {
        return Ok(false);
    }
    let broken: Vec<String> = there.into_iter().map(|f| f.name).filter(|n| missing.contains(n)).collect();
    if !broken.is_empty() {
        store.delete(&broken).await?;
    }
    let made = join_all(missing.iter().map(|name| async move {
        let mut bytes = vec![0; usize::try_from(BYTES).unwrap_or(0)];
        blake3::Hasher::new_keyed(&seed).update(name.as_bytes()).finalize_xof().fill(&mut bytes);
        match store.create(name, bytes).await {
            // Another run was faster.
            Err(e) if e.kind == StoreErrorKind::AlreadyExists => Ok(true),
            Err(e) if e.kind == StoreErrorKind::Full => Ok(false),
            other => other.map(|()| true),
        }
    }));
    made.await.into_iter().try_fold(true, |all, one| Ok(all && one?))
}

/// Gives it up, durably. True: there was something to give up, so what failed for want of room is worth another try.
/// Needs no room itself. To be called only by what makes room, and followed by [`refill`] when that is done.
///
/// # Errors
/// The store cannot be read or written.
pub async fn release(store: &Store) -> Result<bool, StoreError> {
    if store.root().is_none() {
        return Ok(false);
    }
    let names: Vec<String> = present(store).await?.into_iter().map(|f| f.name).collect();
    if names.is_empty() {
        return Ok(false);
    }
    store.delete(&names).await?;
    Ok(true)
}

/// [`release`], if hardly anything is free: before what makes room begins to write.
///
/// # Errors
/// As there.
pub async fn release_if_tight(store: &Store) -> Result<bool, StoreError> {
    match store.room() {
        Some(room) if room.is_tight() => release(store).await,
        _ => Ok(false),
    }
}

/// What is free where a store lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes.
    pub bytes: u64,
    /// Files that can still be made, and how many there can be; unknown where the system does not count them.
    pub files: Option<(u64, u64)>,
}

impl Room {
    /// Whether a few small files may be too much.
    fn is_tight(&self) -> bool {
        self.bytes < MARGIN_BYTES || self.files.is_some_and(|(free, _)| free < MARGIN_FILES)
    }

    /// Why `need` bytes in a new file did not fit, for a person.
    pub fn lacks(&self, need: u64) -> String {
        let (needed, free) = (human(need), human(self.bytes));
        match self.files {
            Some((0, all)) => {
                format!("the disk takes no more files: one is needed and none of its {all} is free")
            }
            _ if self.bytes > need => {
                format!(
                    "a quota is reached, or the disk was full: {needed} are needed for it, and now {free} are free"
                )
            }
            _ => format!("the disk is full: {needed} are needed for it and {free} are free"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn made_once_given_up_and_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::local(folder.path()).unwrap();
        assert!(!release(&store).await.unwrap(), "there is nothing to give up");
        assert!(refill(&store, [1; 32]).await.unwrap());
        let size = |k: u32| std::fs::metadata(folder.path().join(name(k))).map(|m| m.len()).ok();
        assert!((1..=FILES).all(|k| size(k) == Some(BYTES)));
        assert_eq!((size(0), size(FILES + 1)), (None, None));
        let first = std::fs::read(folder.path().join(name(1))).unwrap();
        assert!(zstd::bulk::compress(&first, 3).unwrap().len() >= first.len(), "it keeps its bytes back");
        assert_ne!(first, std::fs::read(folder.path().join(name(2))).unwrap());

        // Whole: nothing is written. Half of one, and one gone: those two are.
        assert!(refill(&store, [2; 32]).await.unwrap());
        assert_eq!(std::fs::read(folder.path().join(name(1))).unwrap(), first);
        std::fs::write(folder.path().join(name(2)), "half").unwrap();
        std::fs::remove_file(folder.path().join(name(3))).unwrap();
        std::fs::write(folder.path().join("reserve/mine"), "stays").unwrap();
        assert!(refill(&store, [2; 32]).await.unwrap());
        assert!((1..=FILES).all(|k| size(k) == Some(BYTES)));
        assert!(release(&store).await.unwrap());
        assert!((1..=FILES).all(|k| size(k).is_none()));
        assert!(folder.path().join("reserve/mine").exists());
        assert!(!release(&store).await.unwrap());
    }

    #[tokio::test]
    async fn only_local_stores_have_one() {
        let store = Store::memory();
        assert!(!refill(&store, [1; 32]).await.unwrap());
        assert!(!release(&store).await.unwrap());
        assert!(store.list_all("").await.unwrap().is_empty());
    }

    #[test]
    fn what_is_lacking_in_words() {
        let room = Room { bytes: 1_000_000, files: Some((3, 50)) };
        assert_eq!(
            room.lacks(32_000_000),
            "the disk is full: 32.0 MB are needed for it and 1.00 MB are free"
        );
        let room = Room { bytes: 1 << 30, files: Some((0, 50)) };
        assert_eq!(room.lacks(9), "the disk takes no more files: one is needed and none of its 50 is free");
    }

    #[test]
    fn tight_is_less_than_it_leaves_free_itself() {
        let room = |bytes, files| Room { bytes, files }.is_tight();
        assert!(!room(1 << 30, None) && !room(MARGIN_BYTES, Some((MARGIN_FILES, 100))));
        assert!(room(0, None) && room(MARGIN_BYTES - 1, Some((100, 100))) && room(1 << 30, Some((15, 100))));
    }

    #[test]
    fn its_names() {
        assert!(is_part("1") && is_part("8"));
        assert!(!is_part("0") && !is_part("9") && !is_part("01") && !is_part("x"));
    }
}
