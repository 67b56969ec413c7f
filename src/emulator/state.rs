//! What all requests of a service share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::catalog::{Catalog, Listing};
use super::config::Config;
use super::faults::Faults;
use super::log::{Log, Record};
use super::reply::Reply;
use super::request::Request;
use super::upload_v1::Blocks;
use super::upload_v2::Uploads;

/// The addresses that a service listens on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) main: SocketAddr,
    pub(super) source: Option<SocketAddr>,
    pub(super) domain: Option<SocketAddr>,
}

impl Addresses {
    pub(super) fn source(&self) -> SocketAddr {
        self.source.unwrap_or(self.main)
    }

    pub(super) fn domain(&self) -> SocketAddr {
        self.domain.unwrap_or(self.main)
    }
}

/// What all requests share.
pub(super) struct State {
    pub(super) config: Config,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) addresses: Addresses,
    pub(super) faults: Faults,
    pub(super) log: Mutex<Log>,
    pub(super) blocks: Blocks,
    pub(super) uploads: Uploads,
    pub(super) numbers: AtomicU64,
    pub(super) in_flight: AtomicU64,
}

impl State {
    pub(super) fn new(config: Config, catalog: Arc<dyn Catalog>, addresses: Addresses) -> Self {
        let log = Mutex::new(Log::new(config.log_limit));
        Self {
            config,
            catalog,
            addresses,
            faults: Faults::default(),
            log,
            blocks: Blocks::default(),
            uploads: Uploads::default(),
            numbers: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
        }
    }

    /// The service's time in Unix seconds.
    pub(super) fn now(&self) -> i64 {
        self.config.clock.now().seconds().saturating_add(self.faults.clock_offset())
    }

    /// The service's time in 100 ns since the Unix epoch.
    pub(super) fn ticks(&self) -> i64 {
        let offset = self.faults.clock_offset().saturating_mul(10_000_000);
        (self.config.clock.now().nanos() / 100).saturating_add(offset)
    }

    /// An address as clients should call it: as bound, or, when it is bound to all interfaces, by the name that
    /// the request used.
    pub(super) fn advertised(&self, addr: SocketAddr, request: &Request) -> String {
        if !addr.ip().is_unspecified() {
            return addr.to_string();
        }
        let name = match request.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &request.host,
        };
        format!("{name}:{}", addr.port())
    }

    /// A stretch of the listing: of the catalog as it is, or as it was when a test froze it.
    pub(super) fn list(&self, from: &str, limit: usize) -> std::io::Result<Listing> {
        match self.faults.frozen() {
            Some(frozen) => frozen.list(from, limit),
            None => self.catalog.list(from, limit),
        }
    }

    /// Deletes an object: at once, or when a test's delay is over.
    pub(super) fn delete(&self, key: &str) -> std::io::Result<bool> {
        match self.faults.delete_delay() {
            0 => self.catalog.delete(key),
            delay => {
                self.faults.delete_later(key, self.now().saturating_add(delay));
                Ok(true)
            }
        }
    }

    /// Carries out the deletions whose delay is over.
    pub(super) fn settle_deletes(&self) -> std::io::Result<()> {
        for key in self.faults.due_deletes(self.now()) {
            self.catalog.delete(&key)?;
        }
        Ok(())
    }

    pub(super) fn record(&self, record: Record) {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        self.log.lock().unwrap_or_else(PoisonError::into_inner).add(record, in_flight);
    }
}

/// Runs something that may block where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Reply> + Send + 'static,
) -> Result<T, Reply> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Reply::error(599, "the service is stopping")),
    }
}
