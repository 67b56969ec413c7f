//! A local folder as a source: regular files, folders, symbolic links as links.
//!
//! Keys are paths below the folder, as bytes. Every sub-folder is an entry of its own whose key ends in `/`. What
//! cannot be examined is listed with [`Listed::failed`]: when the key ends in `/` it is a folder, and then nothing is
//! known about keys that begin with it and are not listed; they are not gone. No link is followed anywhere below the
//! root, other file systems mounted there are walked into, and sockets, FIFOs and devices are skipped with a note.
//!
//! A file's hash is only a fingerprint (`stamp`), none if it changed in the last two seconds; folders and links
//! have none, since the listing itself holds all there is of them.

pub(crate) mod list;
mod names;
pub(crate) mod open;
mod read;
pub(crate) mod relabel;
pub(crate) mod stamp;
pub(crate) mod walk;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use rustix::fs::{Mode, OFlags};
use tokio::sync::mpsc;

use self::list::Listing;
use self::read::Recent;
use self::relabel::{Labels, Unusable};
use super::{BlockingRead, ErrorKind, Identity, ReadError, Requests, Route, Source, SourceError, Verdict};
use crate::format::keyfile;
use crate::model::clock::Clock;
use crate::model::event::{Event, Observer};
use crate::model::key::Key;
use crate::model::listed::Listed;

/// How many pages a listing may run ahead of who reads it.
const AHEAD: usize = 8;

/// A local folder.
#[derive(Clone)]
pub struct FolderSource(Arc<Inner>);

struct Inner {
    identity: Identity,
    path: PathBuf,
    root: Arc<OwnedFd>,
    scratch: PathBuf,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    labels: Mutex<Option<Arc<Labels>>>,
    recent: Mutex<Recent>,
}

impl FolderSource {
    /// Opens the folder `path`. `scratch` is a folder for temporary files, which only a side file of many megabytes
    /// needs.
    pub fn open(
        path: &Path,
        scratch: &Path,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, SourceError> {
        let path = path.canonicalize().map_err(|e| unusable(path, &e))?;
        let root = Arc::new(open_root(&path)?);
        Ok(Self(Arc::new(Inner {
            identity: Identity { url: path.to_string_lossy().into_owned(), scope: Key::from("") },
            path,
            root,
            scratch: scratch.into(),
            clock,
            observer,
            labels: Mutex::new(None),
            recent: Mutex::default(),
        })))
    }

    /// Runs what may wait for a disk where it holds up nothing else.
    async fn apart<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Result<T, SourceError> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || f(&inner))
            .await
            .map_err(|_| other("reading the folder broke off"))
    }
}

fn open_root(path: &Path) -> Result<OwnedFd, SourceError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| unusable(path, &e.into()))
}

/// Why a folder cannot be a source.
fn unusable(path: &Path, e: &io::Error) -> SourceError {
    let path = path.display();
    let (kind, message) = match e.kind() {
        io::ErrorKind::NotFound => {
            (ErrorKind::Missing, format!("the folder {path} is not there: check its name, or mount its disk"))
        }
        io::ErrorKind::NotADirectory => (ErrorKind::Missing, format!("{path} is not a folder")),
        io::ErrorKind::PermissionDenied => {
            (ErrorKind::Denied, format!("the folder {path} cannot be read: permission denied"))
        }
        _ => (ErrorKind::Other, format!("the folder {path} cannot be read: {e}")),
    };
    SourceError { kind, message }
}

fn other(message: impl Into<String>) -> SourceError {
    SourceError { kind: ErrorKind::Other, message: message.into() }
}

impl Inner {
    /// Reads the side file anew.
    fn load_labels(&self) -> Result<Arc<Labels>, SourceError> {
        let labels = match Labels::read(self.root.as_fd(), &self.scratch) {
            Ok(labels) => labels,
            Err(Unusable::Wrong(why)) => {
                self.observer.event(Event::Warning(format!(
                    "{} of {} is not used, so files keep their own names as keys: {why}",
                    keyfile::NAME,
                    self.path.display()
                )));
                Labels::none()
            }
            // Without it every relabelled file would seem gone, and come back under another key.
            Err(e @ Unusable::Unread(_)) => {
                return Err(other(format!("the folder {} cannot be listed: {e}", self.path.display())));
            }
        };
        let labels = Arc::new(labels);
        *self.labels.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&labels));
        Ok(labels)
    }

    /// The labels of the last listing; of now, if there was none.
    fn labels(&self) -> Result<Arc<Labels>, SourceError> {
        let known = self.labels.lock().unwrap_or_else(PoisonError::into_inner).clone();
        known.map_or_else(|| self.load_labels(), Ok)
    }

    /// Lists everything into a channel. The last message is `None`; a channel that ends without it broke off.
    fn list(&self, to: &mpsc::Sender<Option<Result<Vec<Listed>, SourceError>>>) {
        let listed = self.load_labels().and_then(|labels| {
            let listing =
                Listing { root: &self.root, labels: &labels, clock: &*self.clock, observer: &*self.observer };
            let page = |page| to.blocking_send(Some(Ok(page))).is_ok();
            listing.run(page).map_err(|e| unusable(&self.path, &e))
        });
        if let Err(e) = listed {
            let _ = to.blocking_send(Some(Err(e)));
        }
        let _ = to.blocking_send(None);
    }
}

#[async_trait]
impl Source for FolderSource {
    fn identity(&self) -> &Identity {
        &self.0.identity
    }

    async fn check(&self) -> Result<(), SourceError> {
        self.apart(|inner| {
            // The path anew, not the handle: a disk may have been unmounted.
            let there = open_root(&inner.path)?;
            rustix::fs::Dir::read_from(&there).map(drop).map_err(|e| unusable(&inner.path, &e.into()))
        })
        .await?
    }

    fn list(&self) -> BoxStream<'_, Result<Vec<Listed>, SourceError>> {
        stream::unfold(Progress::Idle, move |progress| async move {
            let mut pages = match progress {
                Progress::Idle => {
                    let (sender, pages) = mpsc::channel(AHEAD);
                    let inner = Arc::clone(&self.0);
                    tokio::task::spawn_blocking(move || inner.list(&sender));
                    pages
                }
                Progress::Running(pages) => pages,
                Progress::Done => return None,
            };
            match pages.recv().await {
                Some(Some(Ok(page))) => Some((Ok(page), Progress::Running(pages))),
                Some(Some(Err(e))) => Some((Err(e), Progress::Done)),
                Some(None) => None,
                None => Some((Err(other("listing the folder broke off")), Progress::Done)),
            }
        })
        .boxed()
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, SourceError> {
        let key = key.clone();
        self.apart(move |inner| inner.stat(&key)).await?
    }

    async fn read(&self, object: &Listed, range: std::ops::Range<u64>, _: Route) -> Result<Bytes, ReadError> {
        let object = object.clone();
        self.apart(move |inner| inner.read(&object, range)).await?
    }

    fn blocking(&self) -> Option<&dyn BlockingRead> {
        Some(self)
    }

    async fn judge(&self, object: &Listed, _: Route) -> Result<Verdict, SourceError> {
        let object = object.clone();
        self.apart(move |inner| inner.judge(&object)).await?
    }

    fn requests(&self) -> Requests {
        Requests::default()
    }
}

/// How far a listing is.
enum Progress {
    Idle,
    Running(mpsc::Receiver<Option<Result<Vec<Listed>, SourceError>>>),
    Done,
}

impl BlockingRead for FolderSource {
    fn read_blocking(&self, object: &Listed, range: std::ops::Range<u64>) -> Result<Bytes, ReadError> {
        self.0.read(object, range)
    }
}
