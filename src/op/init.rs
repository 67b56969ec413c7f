//! `init`: makes a store in a folder. Its record is written last, so that a half-made store is none.

use std::io::ErrorKind;
use std::path::Path;

use super::OpError;
use crate::model::time::Timestamp;
use crate::repo::{RepoError, Repository, names};
use crate::store::Store;

/// What lies in every store for whoever finds it.
const README: &str = include_str!("../../docs/STORE-README.txt");
/// Gets the data back without this program.
const RESCUE: &str = include_str!("../../docs/rescue.py");

/// What a new disk may hold of itself.
const OF_THE_DISK: [&str; 3] = ["lost+found", ".DS_Store", "System Volume Information"];

/// Makes a store in `folder`, which is made too where the folder above it is there.
///
/// # Errors
/// There is a store already, the folder holds something else, or it cannot be written.
pub async fn init(folder: &Path, now: Timestamp, program: &str) -> Result<Repository, OpError> {
    let path = folder.to_owned();
    tokio::task::spawn_blocking(move || prepare(&path)).await??;
    let store = Store::local(folder)?;
    // What an interrupted attempt left is replaced; without the record it was no store.
    store.replace("README.txt", README).await?;
    store.replace("rescue.py", RESCUE).await?;
    let repo = Repository::init(store, now, program).await?;
    // A store without it is one all the same; the next snapshot tries again.
    let _ = repo.refill_reserve().await;
    Ok(repo)
}

/// Whether an interrupted `init` left this: one of its own two files, or a write that was cut off.
fn is_ours(folder: &Path, name: &str) -> bool {
    let cut_off = |own: &str| {
        let number = name.strip_prefix(own).and_then(|rest| rest.strip_prefix('#'));
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let same = |own: &str, text: &str| {
        name == own && std::fs::read(folder.join(name)).is_ok_and(|bytes| bytes == text.as_bytes())
    };
    same("README.txt", README)
        || same("rescue.py", RESCUE)
        || ["README.txt", "rescue.py", names::STORE].into_iter().any(cut_off)
}

fn prepare(folder: &Path) -> Result<(), OpError> {
    let shown = folder.display();
    let failed = |e: std::io::Error| OpError::Failed(format!("the folder {shown} cannot be used: {e}"));
    match std::fs::create_dir(folder) {
        Ok(()) => return sync_above(folder).map_err(failed),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let text = "the folder above it is not there; check the name, or mount its disk";
            return Err(OpError::Failed(format!("{shown} cannot be made: {text}")));
        }
        Err(e) => return Err(failed(e)),
    }
    if folder.join(names::STORE).symlink_metadata().is_ok() {
        return Err(RepoError::StoreExists(shown.to_string()).into());
    }
    let mut foreign = 0u64;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let known = name.to_str().is_some_and(|n| OF_THE_DISK.contains(&n) || is_ours(folder, n));
        foreign += u64::from(!known);
    }
    if foreign > 0 {
        return Err(OpError::Failed(format!(
            "{shown} is not empty ({foreign} entries), and what is in it is no qbak store; name a new or empty folder"
        )));
    }
    Ok(())
}

/// Makes the new folder's own name durable.
fn sync_above(folder: &Path) -> std::io::Result<()> {
    let above = match folder.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    std::fs::File::open(above)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn make(folder: &Path) -> Result<Repository, OpError> {
        init(folder, Timestamp::from_seconds(1), "test").await
    }

    #[tokio::test]
    async fn makes_a_store_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("store");
        let made = make(&at).await.unwrap();
        assert_eq!(std::fs::read_to_string(at.join("rescue.py")).unwrap(), RESCUE);
        assert_eq!(std::fs::read_to_string(at.join("README.txt")).unwrap(), README);
        let opened = Repository::open(Store::local(&at).unwrap()).await.unwrap();
        assert_eq!(opened.record(), made.record());
        assert!(matches!(make(&at).await, Err(OpError::Repo(RepoError::StoreExists(_)))));
        let missing = make(&dir.path().join("a/b")).await.unwrap_err().to_string();
        assert!(missing.contains("the folder above it is not there"), "{missing}");
    }

    #[tokio::test]
    async fn other_folders_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        let refused = make(dir.path()).await.unwrap_err().to_string();
        assert!(refused.contains("not empty (1 entries)"), "{refused}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let file = dir.path().join("letter.txt");
        assert!(make(&file).await.is_err());
    }

    #[tokio::test]
    async fn a_half_made_store_is_none_and_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("README.txt"), README).unwrap();
        std::fs::write(dir.path().join("rescue.py#1"), "ha").unwrap();
        let none = Repository::open(Store::local(dir.path()).unwrap()).await.unwrap_err();
        assert!(matches!(none, RepoError::NoStore(_)));
        make(dir.path()).await.unwrap();
        // Somebody else's README is not written over.
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("README.txt"), "dear reader").unwrap();
        assert!(make(dir.path()).await.is_err());
        assert_eq!(std::fs::read_to_string(dir.path().join("README.txt")).unwrap(), "dear reader");
    }
}
