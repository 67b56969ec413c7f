//! Starting and stopping a service, and where it is.

use std::io;
use std::sync::{Arc, PoisonError};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::catalog::{Catalog, PutOutcome, any};
use super::config::{Backing, Config};
use super::conn;
use super::faults::Faults;
use super::folder::Folder;
use super::log::{Counts, Record};
use super::object::Object;
use super::route::Role;
use super::state::{Addresses, State};
use super::{etag, mime};

/// Why a service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder cannot be served.
    #[error("cannot serve {folder}: {error}")]
    Folder {
        /// The folder.
        folder: String,
        /// What the system says.
        error: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {error}")]
    Listen {
        /// The address.
        addr: String,
        /// What the system says.
        error: io::Error,
    },
}

/// A running service. It stops when it is dropped.
pub struct Service {
    state: Arc<State>,
    tasks: Vec<JoinHandle<()>>,
    /// Where the service brought a runtime of its own.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("addresses", &self.state.addresses).finish_non_exhaustive()
    }
}

async fn listen(addr: std::net::SocketAddr) -> Result<(TcpListener, std::net::SocketAddr), StartError> {
    let failed = |error| StartError::Listen { addr: addr.to_string(), error };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

impl Service {
    /// Starts a service on the present runtime.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let catalog: Arc<dyn Catalog> = match &config.backing {
            Backing::Catalog(catalog) => Arc::clone(catalog),
            Backing::Folder(folder) => Arc::new(
                Folder::open(folder)
                    .map_err(|error| StartError::Folder { folder: folder.display().to_string(), error })?,
            ),
        };
        let (main, at) = listen(config.addr).await?;
        let mut addresses = Addresses { main: at, source: None, domain: None };
        let mut listeners = vec![(main, Role::Main)];
        let any_port = std::net::SocketAddr::new(at.ip(), 0);
        if config.separate_source_host {
            let (listener, at) = listen(any_port).await?;
            addresses.source = Some(at);
            listeners.push((listener, Role::Source));
        }
        if config.separate_domain_host {
            let (listener, at) = listen(any_port).await?;
            addresses.domain = Some(at);
            listeners.push((listener, Role::Domain));
        }
        let state = Arc::new(State::new(config, catalog, addresses));
        let tasks = listeners
            .into_iter()
            .map(|(listener, role)| tokio::spawn(conn::accept(listener, role, Arc::clone(&state))))
            .collect();
        Ok(Self { state, tasks, runtime: None })
    }

    /// Starts a service on a runtime of its own, for callers without one.
    pub fn start_apart(config: Config) -> Result<Self, StartError> {
        let addr = config.addr.to_string();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("emulator")
            .enable_all()
            .build()
            .map_err(|error| StartError::Listen { addr, error })?;
        let mut service = runtime.block_on(Self::start(config))?;
        service.runtime = Some(runtime);
        Ok(service)
    }

    /// Stops: connections are closed where they stand. Of a service on a runtime of its own nothing is left when this
    /// returns; one on the caller's runtime ends as soon as that gets to it.
    pub fn stop(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        }
    }

    /// The URL for management calls and uploads (`uc`, `rs`, `rsf`, `up`), without a slash at the end.
    pub fn uc_url(&self) -> String {
        format!("http://{}", self.state.addresses.main)
    }

    /// The URL of the download domain.
    pub fn domain_url(&self) -> String {
        format!("http://{}", self.state.addresses.domain())
    }

    /// The URL of the source host.
    pub fn source_url(&self) -> String {
        format!("http://{}", self.state.addresses.source())
    }

    /// The address of the management calls.
    pub fn addr(&self) -> std::net::SocketAddr {
        self.state.addresses.main
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.state.config.bucket
    }

    /// What tests break.
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// The bucket's objects.
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.state.catalog
    }

    /// Puts an object past the network, with the etag and type that an upload would give it.
    pub fn put(&self, key: &str, bytes: &[u8]) -> io::Result<Arc<Object>> {
        let mut spool = self.state.catalog.spool()?;
        spool.write(bytes)?;
        let stored = spool.finish()?;
        let object = Object {
            hash: etag::plain(&stored.blocks),
            mime: mime::by_name(key).unwrap_or_else(|| mime::sniff(&stored.head)).into(),
            put_time: self.state.ticks(),
            ..Object::default()
        };
        match self.state.catalog.put(key, object, stored, &any)? {
            PutOutcome::Done(object) | PutOutcome::Refused(Some(object)) => Ok(object),
            PutOutcome::Refused(None) => Err(io::Error::other("the put was refused")),
        }
    }

    /// Freezes what listings show; see [`Faults::freeze_listing`].
    pub fn freeze_listing(&self) -> io::Result<()> {
        self.state.faults.freeze_listing(&*self.state.catalog)
    }

    /// Forgets all unfinished uploads, as if their time were over.
    pub fn expire_uploads(&self) {
        self.state.blocks.clear();
        self.state.uploads.clear();
    }

    /// The requests so far, oldest first.
    pub fn requests(&self) -> Vec<Record> {
        self.state.log.lock().unwrap_or_else(PoisonError::into_inner).records()
    }

    /// How many requests there were.
    pub fn counts(&self) -> Counts {
        self.state.log.lock().unwrap_or_else(PoisonError::into_inner).counts()
    }

    /// Empties the log and sets the counters to zero.
    pub fn clear_requests(&self) {
        self.state.log.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
