//! What is served, and which of the readings of unsettled rules.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::catalog::Catalog;
use crate::kodo::sign::Credentials;
use crate::model::clock::{Clock, SystemClock};

/// Where the objects are.
#[derive(Clone)]
pub enum Backing {
    /// In this folder.
    Folder(PathBuf),
    /// In this catalog.
    Catalog(Arc<dyn Catalog>),
}

/// What the key in a listing's marker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MarkerReading {
    /// The last key of the page.
    #[default]
    LastReturned,
    /// The first key of the next page.
    NextKey,
}

/// The hash of an object whose only part off the 4 MiB grid is its last one, which is longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EtagReading {
    /// Made of the parts.
    #[default]
    Strict,
    /// The plain etag.
    LastPartMayBeLarge,
}

/// How a service is set up.
#[derive(Clone)]
pub struct Config {
    /// Where the objects are.
    pub backing: Backing,
    /// The bucket's name.
    pub bucket: String,
    /// The one pair of keys that the service knows.
    pub credentials: Credentials,
    /// Whether downloads from the domain need a token. The source host always asks for one.
    pub private: bool,
    /// Where the service listens; port 0: any free one.
    pub addr: SocketAddr,
    /// Whether the source host is an address of its own.
    pub separate_source_host: bool,
    /// Whether the download domain is an address of its own.
    pub separate_domain_host: bool,
    /// What the domain calls answer; none: the download domain's address.
    pub domains: Option<Vec<String>>,
    /// The region's id.
    pub region: String,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What the key in a marker is.
    pub markers: MarkerReading,
    /// Which hash an object with a long last part gets.
    pub etags: EtagReading,
    /// Whether list and stat show metadata names with `x-qn-meta-`.
    pub meta_prefix: bool,
    /// How many seconds `X-Qiniu-Date` may be off.
    pub date_window: i64,
    /// Seconds that thawing takes: archive, deep archive.
    pub thaw: (i64, i64),
    /// Whether a download token made for `https` passes too, as behind a proxy that speaks TLS.
    pub https_tokens: bool,
    /// The least size of a part that is not the last.
    pub min_part: u64,
    /// How many seconds an unfinished upload is kept.
    pub upload_lifetime: i64,
    /// How many requests the log keeps; the counters go on.
    pub log_limit: usize,
}

impl Config {
    /// A public bucket of this backing on a free port of the loopback address.
    pub fn new(backing: Backing, bucket: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            backing,
            bucket: bucket.into(),
            credentials,
            private: false,
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            separate_source_host: false,
            separate_domain_host: false,
            domains: None,
            region: "z0".into(),
            clock: Arc::new(SystemClock),
            markers: MarkerReading::default(),
            etags: EtagReading::default(),
            meta_prefix: false,
            date_window: 15 * 60,
            thaw: (60, 5 * 3600),
            https_tokens: false,
            min_part: 1 << 20,
            upload_lifetime: 7 * 86_400,
            log_limit: 1_000_000,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("bucket", &self.bucket)
            .field("credentials", &self.credentials)
            .field("private", &self.private)
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}
