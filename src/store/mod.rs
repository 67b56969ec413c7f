//! Floor 1: where a store's files lie. A thin skin over `object_store`, and the one door through which all of a store's
//! bytes pass: tests wrap the [`ObjectStore`] behind it to cut, delay and lose any operation.

pub mod lease;
mod local;
pub mod reserve;

use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

#[cfg(feature = "controls")]
use crate::control::{Control, off};
use crate::control::{Point, point};
use crate::model::time::Timestamp;

/// What a failed store operation means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// There is no file of that name.
    NotFound,
    /// There is one already, and it is never overwritten.
    AlreadyExists,
    /// No permission, or read-only.
    Denied,
    /// The disk is full, or a quota is reached.
    Full,
    /// The process or the system has run out of open files or memory: it says nothing about the file.
    Exhausted,
    /// The file is longer than anything of its kind may be.
    TooLong,
    /// The file is there and these bytes of it cannot be had: it is too short, or the disk cannot read the place.
    Damaged,
    /// Everything else.
    Other,
}

/// A failed store operation: on what, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct StoreError {
    /// What it means.
    pub kind: StoreErrorKind,
    /// The file.
    pub name: String,
    /// Why, in words.
    pub message: String,
}

/// Files are copied into a store in pieces of this many bytes.
const PIECE: u64 = 8 << 20;

/// A file of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its name from the store's root.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A folder of named byte strings.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    root: Option<PathBuf>,
    url: String,
}

impl Store {
    /// The store in a local folder, which must exist. Everything written is durable when the write returns.
    ///
    /// # Errors
    /// There is no such folder, or it cannot be entered.
    pub fn local(folder: &FsPath) -> Result<Self, StoreError> {
        local::open(folder)
    }

    /// A store in memory, for tests.
    pub fn memory() -> Self {
        Self::over(Arc::new(object_store::memory::InMemory::new()), None, "memory:".into())
    }

    /// A store over any `object_store`; `root` where it is a local folder.
    pub fn over(inner: Arc<dyn ObjectStore>, root: Option<PathBuf>, url: String) -> Self {
        Self { inner, root, url }
    }

    /// Where it is, for people and records; without secrets.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The local folder, if it is one.
    pub fn root(&self) -> Option<&FsPath> {
        self.root.as_deref()
    }

    /// What carries it; tests wrap it.
    pub fn inner(&self) -> &Arc<dyn ObjectStore> {
        &self.inner
    }

    /// Writes a new file. Never replaces one.
    ///
    /// # Errors
    /// `AlreadyExists`, or the write failed; then nothing stands under the name, or all of it.
    pub async fn create(&self, name: &str, bytes: impl Into<Bytes>) -> Result<(), StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let bytes = bytes.into();
        point(Point::StoreCreate);
        #[cfg(feature = "controls")]
        if let Some(root) = &self.root
            && (off(Control::NoFsync) || off(Control::NoDirFsync))
        {
            return local::create_badly(root, name, &bytes).await;
        }
        let payload = PutPayload::from_bytes(bytes);
        let need = payload.content_length() as u64;
        let put = self.inner.put_opts(&path(name)?, payload, options).await;
        put.map_err(|e| self.unwritten(name, need, &e))?;
        point(Point::StoreCreated);
        Ok(())
    }

    /// Writes a new file from a local one, in pieces, so that its size does not matter to memory. The name must be one that
    /// nobody else can choose (it holds the file's own digest).
    ///
    /// # Errors
    /// The local file cannot be read, or the write failed; then nothing stands under the name.
    pub async fn create_from(&self, name: &str, file: std::fs::File) -> Result<(), StoreError> {
        let local = |e: std::io::Error| StoreError {
            kind: StoreErrorKind::Other,
            name: name.into(),
            message: format!("its temporary copy cannot be read: {e}"),
        };
        let need = file.metadata().map_err(local)?.len();
        let failed = |e| self.unwritten(name, need, &e);
        let mut upload = self.inner.put_multipart(&path(name)?).await.map_err(failed)?;
        let mut file = tokio::fs::File::from_std(file);
        loop {
            let mut piece = Vec::new();
            let mut limited = tokio::io::AsyncReadExt::take(&mut file, PIECE);
            if tokio::io::AsyncReadExt::read_to_end(&mut limited, &mut piece).await.map_err(local)? == 0 {
                break;
            }
            if let Err(e) = upload.put_part(piece.into()).await {
                let _ = upload.abort().await;
                return Err(failed(e));
            }
        }
        upload.complete().await.map(drop).map_err(failed)
    }

    /// Writes a file that may stand there already; only for what is not the truth about any snapshot
    /// (a README, a record of damage).
    ///
    /// # Errors
    /// The write failed.
    pub async fn replace(&self, name: &str, bytes: impl Into<Bytes>) -> Result<(), StoreError> {
        let payload = PutPayload::from_bytes(bytes.into());
        let need = payload.content_length() as u64;
        let put = self.inner.put(&path(name)?, payload).await;
        put.map_err(|e| self.unwritten(name, need, &e))?;
        point(Point::StoreReplaced);
        Ok(())
    }

    /// A whole file of at most `limit` bytes.
    ///
    /// # Errors
    /// `NotFound`, `TooLong`, or the read failed.
    pub async fn get(&self, name: &str, limit: u64) -> Result<Bytes, StoreError> {
        let result = self.inner.get(&path(name)?).await.map_err(|e| unread(name, &e))?;
        if result.meta.size > limit {
            return Err(StoreError {
                kind: StoreErrorKind::TooLong,
                name: name.into(),
                message: format!(
                    "it has {} bytes; nothing of its kind has more than {limit}",
                    result.meta.size
                ),
            });
        }
        result.bytes().await.map_err(|e| unread(name, &e))
    }

    /// The bytes `range` of a file: all of them, or an error.
    ///
    /// # Errors
    /// `NotFound`, `Damaged` (the file is too short, or the disk cannot read it there), or the read failed.
    pub async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        // An empty blob is not worth a request, and services refuse an empty range.
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let read = async {
            let result = self.inner.get_opts(&path(name)?, options).await.map_err(|e| unread(name, &e))?;
            result.bytes().await.map_err(|e| unread(name, &e))
        };
        let short = |end: u64| StoreError {
            kind: StoreErrorKind::Damaged,
            name: name.into(),
            message: format!(
                "it ends after {end} bytes; bytes {} to {} were asked for",
                range.start, range.end
            ),
        };
        match read.await {
            Ok(bytes) if bytes.len() as u64 == range.end - range.start => Ok(bytes),
            Ok(bytes) => Err(short(range.start + bytes.len() as u64)),
            // Every service says "past its end" in words of its own; the size says it plainly.
            Err(e) if e.kind == StoreErrorKind::Other => match self.size(name).await {
                Ok(Some(size)) if size < range.end => Err(short(size)),
                _ => Err(e),
            },
            Err(e) => Err(e),
        }
    }

    /// The file's size; `None`: there is none.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        match self.inner.head(&path(name)?).await.map_err(|e| error(name, &e)) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(e) if e.kind == StoreErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// When the file was written, by the store's clock; `None`: there is none.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn modified(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        match self.inner.head(&path(name)?).await.map_err(|e| error(name, &e)) {
            Ok(meta) => Ok(Some(meta.last_modified.into())),
            Err(e) if e.kind == StoreErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Every file under a folder (`""`: the whole store), in any order. An error ends the listing: an incomplete one is
    /// never taken for a complete one.
    pub fn list(&self, folder: &str) -> BoxStream<'static, Result<StoredFile, StoreError>> {
        let name = folder.to_owned();
        let prefix = if folder.is_empty() { None } else { Some(Path::from(folder)) };
        self.inner
            .list(prefix.as_ref())
            .map(move |item| match item {
                Ok(meta) => Ok(StoredFile { name: meta.location.to_string(), size: meta.size }),
                Err(e) => Err(error(&name, &e)),
            })
            .boxed()
    }

    /// [`Store::list`], collected.
    ///
    /// # Errors
    /// The listing failed.
    pub async fn list_all(&self, folder: &str) -> Result<Vec<StoredFile>, StoreError> {
        self.list(folder).try_collect().await
    }

    /// The names of the folders directly inside a folder.
    ///
    /// # Errors
    /// The listing failed.
    pub async fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let listing =
            self.inner.list_with_delimiter(Some(&Path::from(folder))).await.map_err(|e| error(folder, &e))?;
        Ok(listing.common_prefixes.iter().filter_map(|p| p.filename().map(str::to_owned)).collect())
    }

    /// Deletes these files, and returns when the deletion is durable. Files that are gone already do not matter.
    ///
    /// # Errors
    /// One could not be deleted; others may be.
    pub async fn delete(&self, names: &[String]) -> Result<(), StoreError> {
        for name in names {
            match self.inner.delete(&path(name)?).await.map_err(|e| error(name, &e)) {
                Ok(()) => point(Point::StoreDeleted),
                Err(e) if e.kind == StoreErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        match &self.root {
            // object_store does not make local deletions durable.
            Some(root) => local::sync_parents(root.clone(), names.to_vec()).await,
            None => Ok(()),
        }
    }

    /// Makes the names of these files durable: for files that another process has written, and may not have flushed the folder of.
    ///
    /// # Errors
    /// A folder could not be flushed.
    pub async fn flush(&self, names: Vec<String>) -> Result<(), StoreError> {
        match &self.root {
            Some(root) if !names.is_empty() => local::sync_parents(root.clone(), names).await,
            _ => Ok(()),
        }
    }

    /// Removes an empty folder of a local store and its empty subfolders; only tidiness, so failures do not matter.
    pub async fn tidy(&self, folder: &str) {
        if let Some(root) = &self.root {
            local::remove_empty(root.join(folder)).await;
        }
    }

    /// Deletes what writes of a local store left when they were cut off, if it is older than `before`: files whose last
    /// part is a name that `ours` knows, a `#` and a number. Nothing ever reads them. Returns how many bytes they took.
    ///
    /// # Errors
    /// One could not be deleted.
    pub async fn clean_cut_off(
        &self,
        before: Timestamp,
        ours: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<u64, StoreError> {
        match &self.root {
            Some(root) => local::clean_cut_off(root.clone(), before, ours).await,
            None => Ok(0),
        }
    }

    /// How many bytes are free where the store lies, if that can be known.
    pub fn free_bytes(&self) -> Option<u64> {
        self.room().map(|room| room.bytes)
    }

    /// What is free where the store lies, if that can be known.
    pub fn room(&self) -> Option<reserve::Room> {
        local::room(self.root.as_deref()?)
    }

    /// Why `need` bytes could not be written to a new file. A full disk is said in numbers: by now what was begun is gone
    /// again, so that what is free is what there was.
    fn unwritten(&self, name: &str, need: u64, e: &object_store::Error) -> StoreError {
        let mut error = error(name, e);
        if error.kind == StoreErrorKind::Full
            && let Some(room) = self.room()
        {
            error.message = room.lacks(need);
        }
        error
    }
}

/// No room has to be made for this one: it is a limit of the process or of the file system.
const TOO_LARGE: &str = "files of that size cannot be written here: raise this process's limit (`ulimit -f`), or choose another file system";

fn path(name: &str) -> Result<Path, StoreError> {
    Path::parse(name).map_err(|e| StoreError {
        kind: StoreErrorKind::Other,
        name: name.into(),
        message: format!("it is not a name in a store: {e}"),
    })
}

/// As [`error`], for a read: what a disk cannot read at one place is damage there, not a store that cannot be reached.
fn unread(name: &str, e: &object_store::Error) -> StoreError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(e);
    let mut found = error(name, e);
    while let Some(now) = cause {
        if found.kind == StoreErrorKind::Other
            && now.downcast_ref::<std::io::Error>().is_some_and(local::is_bad_place)
        {
            found.kind = StoreErrorKind::Damaged;
        }
        cause = now.source();
    }
    found
}

fn error(name: &str, e: &object_store::Error) -> StoreError {
    let mut kind = match e {
        object_store::Error::NotFound { .. } => StoreErrorKind::NotFound,
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => {
            StoreErrorKind::AlreadyExists
        }
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            StoreErrorKind::Denied
        }
        _ => StoreErrorKind::Other,
    };
    // The cause lies at the end of the chain; the links above it repeat paths and type names.
    let mut cause: &dyn std::error::Error = e;
    let mut message = e.to_string();
    while let Some(next) = cause.source() {
        cause = next;
        message = cause.to_string();
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind as Io;
            kind = match io.kind() {
                Io::StorageFull | Io::QuotaExceeded => StoreErrorKind::Full,
                Io::PermissionDenied | Io::ReadOnlyFilesystem => StoreErrorKind::Denied,
                Io::NotFound if kind == StoreErrorKind::Other => StoreErrorKind::NotFound,
                _ => kind,
            };
            if io.kind() == Io::FileTooLarge {
                message = TOO_LARGE.into();
            }
            if local::is_exhausted(io) {
                kind = StoreErrorKind::Exhausted;
            }
        }
    }
    match kind {
        StoreErrorKind::NotFound => message = "there is no such file in the store".into(),
        StoreErrorKind::AlreadyExists => message = "it exists already".into(),
        _ => {}
    }
    StoreError { kind, name: name.into(), message }
}
