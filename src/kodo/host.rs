//! Which hosts to ask: settings first, then the region query, whose answer is kept for as long as it says.

use std::fmt;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::{Auth, Call, Client};
use super::encode::query;
use super::failure::Failure;
use super::fault::{Fault, clean};
use super::wire::{Region, is_host, parse_region};

/// A service of Kodo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Buckets and regions.
    Uc,
    /// Management of objects.
    Rs,
    /// Listings.
    Rsf,
    /// Uploads.
    Up,
    /// Downloads from the bucket itself.
    Source,
}

/// Hosts that a person sets: with or without a scheme.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// Where the region query goes; empty: Kodo's own.
    pub uc: String,
    /// Instead of what the region query names.
    pub rs: Option<String>,
    /// Instead of what the region query names.
    pub rsf: Option<String>,
    /// Instead of what the region query names.
    pub up: Option<String>,
    /// The source host for downloads, instead of what the region query names.
    pub io: Option<String>,
}

/// Kodo's own hosts of the region query; the others stand in where one does not answer.
pub const UC: [&str; 3] =
    ["https://uc.qiniuapi.com", "https://kodo-config.qiniuapi.com", "https://uc.qbox.me"];

/// A scheme and an authority; prints as `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    secure: bool,
    authority: String,
}

impl Base {
    /// From `host`, `http://host:port` or the like; without a scheme it is https if `secure`.
    pub fn parse(text: &str, secure: bool) -> Result<Self, Fault> {
        let (secure, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(Fault::BadUrl(format!("“{}”", clean(text)))),
            None => (secure, text),
        };
        let authority = rest.trim_end_matches('/').to_owned();
        if !is_host(&authority) {
            return Err(Fault::BadUrl(format!("“{}”", clean(text))));
        }
        Ok(Self { secure, authority })
    }

    /// Host, and port if there is one: what the Host header says and signatures cover.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host alone, for messages.
    pub fn host(&self) -> &str {
        &self.authority
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority)
    }
}

/// The hosts of one bucket.
pub(super) struct Hosts {
    uc: Vec<Base>,
    /// The scheme of the region query, which goes for the hosts it names too.
    secure: bool,
    rs: Option<Base>,
    rsf: Option<Base>,
    up: Option<Base>,
    io: Option<Base>,
    region: Mutex<Option<(Region, Instant)>>,
}

impl Hosts {
    pub(super) fn new(o: &Overrides) -> Result<Self, Fault> {
        let own = o.uc.is_empty() || UC.contains(&o.uc.trim_end_matches('/'));
        let uc: Vec<Base> = if own {
            UC.iter().map(|u| Base::parse(u, true)).collect::<Result<_, _>>()?
        } else {
            vec![Base::parse(&o.uc, true)?]
        };
        let secure = uc.first().is_none_or(|u| u.secure);
        let set = |o: &Option<String>| {
            o.as_deref().filter(|t| !t.is_empty()).map(|t| Base::parse(t, secure)).transpose()
        };
        Ok(Self {
            rs: set(&o.rs)?,
            rsf: set(&o.rsf)?,
            up: set(&o.up)?,
            io: set(&o.io)?,
            uc,
            secure,
            region: Mutex::new(None),
        })
    }
}

impl Client {
    /// The hosts of a service, best first; never none.
    pub async fn bases(&self, service: Service) -> Result<Vec<Base>, Failure> {
        let hosts = &self.hosts;
        type Names = fn(Region) -> Vec<String>;
        let (set, names): (_, Names) = match service {
            Service::Uc => return Ok(hosts.uc.clone()),
            Service::Rs => (&hosts.rs, |r| r.rs),
            Service::Rsf => (&hosts.rsf, |r| r.rsf),
            Service::Up => (&hosts.up, |r| r.up),
            Service::Source => (&hosts.io, |r| if r.io_src.is_empty() { r.io } else { r.io_src }),
        };
        if let Some(base) = set {
            return Ok(vec![base.clone()]);
        }
        let names = names(self.region().await?);
        let bases: Vec<Base> =
            names.into_iter().map(|authority| Base { secure: hosts.secure, authority }).collect();
        if bases.is_empty() {
            let why = format!("its answer to the region query names no host of the service {service:?}");
            let host = hosts.uc.first().map(|u| u.host().to_owned()).unwrap_or_default();
            return Err(Failure::Nonsense { host, why });
        }
        Ok(bases)
    }

    /// The bucket's region, asked again when its time is up. An answer that has run out is better than none.
    pub async fn region(&self) -> Result<Region, Failure> {
        let mut kept = self.hosts.region.lock().await;
        if let Some((region, until)) = &*kept
            && *until > Instant::now()
        {
            return Ok(region.clone());
        }
        let ak = self.credentials()?.access_key();
        let q = query([("ak", ak.as_bytes()), ("bucket", self.bucket().as_bytes())]);
        let call =
            Call { query: Some(&q), auth: Auth::None, bound: 1 << 20, ..Call::get(Service::Uc, "/v4/query") };
        match (self.call_at(&self.hosts.uc, &call, parse_region).await, &mut *kept) {
            (Ok(region), _) => {
                let ttl = Duration::from_secs(region.ttl.clamp(60, 7 * 86_400));
                *kept = Some((region.clone(), Instant::now() + ttl));
                Ok(region)
            }
            (Err(failure), Some((region, until))) => {
                tracing::warn!(%failure, "the region query failed; its last answer is used on");
                *until = Instant::now() + Duration::from_secs(60);
                Ok(region.clone())
            }
            (Err(failure), None) => Err(failure),
        }
    }
}
