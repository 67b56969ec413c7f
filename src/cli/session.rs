//! What most commands begin with: the configured store, opened, and the configured source, ready to be read.

use std::path::PathBuf;
use std::sync::Arc;

use super::config::{Config, Unavailable};
use super::context::Context;
use super::run::Failure;
use super::{credentials, places};
use crate::kodo::host::Overrides;
use crate::kodo::http::Timeouts;
use crate::kodo::limits::LimitSettings;
use crate::kodo::retry::{Backoff, SystemJitter};
use crate::model::url::{Location, Role, Scheme};
use crate::op::snapshot::Options;
use crate::render::words::Problem;
use crate::repo::Repository;
use crate::source::Source;
use crate::source::folder::FolderSource;
use crate::source::kodo::{KodoSettings, KodoSource};
use crate::store::Store;

/// A command's configuration, with what it leads to.
pub struct Session<'a> {
    /// The surroundings.
    pub context: &'a Context,
    /// What is set.
    pub config: Config,
}

impl<'a> Session<'a> {
    /// Reads the configuration.
    pub fn new(context: &'a Context) -> Result<Self, Failure> {
        Ok(Self { config: context.config()?, context })
    }

    /// Where the store is.
    pub fn store_location(&self) -> Result<&Location, Failure> {
        self.config.store.as_ref().ok_or_else(|| {
            Problem::usage("no store is named")
                .hint("set store in qbak.toml, or give --store FOLDER (or QBAK_STORE)")
                .into()
        })
    }

    /// The folder that a local store lies in.
    pub fn store_folder(&self) -> Result<PathBuf, Failure> {
        let location = self.store_location()?;
        location.supported(Role::Store)?;
        match location.folder() {
            Some(folder) => Ok(folder.to_owned()),
            None => Err(Problem::usage(format!("{location} cannot be a store")).into()),
        }
    }

    /// Opens the store.
    pub async fn open(&self) -> Result<Repository, Failure> {
        let folder = self.store_folder()?;
        if !folder.is_dir() {
            let missing = format!("there is no qbak store at {}", folder.display());
            return Err(Problem::new(1, "no_store", missing)
                .hint("run `qbak init`; or is the disk not mounted?")
                .into());
        }
        places::check(self.store_location()?, self.config.source.as_ref(), None)?;
        Ok(Repository::open(Store::local(&folder).map_err(crate::repo::RepoError::from)?).await?)
    }

    /// The live source, for whatever compares with it: it must be the one that the store's newest snapshot is of. (A
    /// snapshot looks for itself, since it may be told that the source has moved.)
    pub async fn live(&self, repo: &Repository) -> Result<Arc<dyn Source>, Failure> {
        let source = self.source(repo).await?;
        let identity = source.identity();
        let snapshots = repo.snapshots().await?;
        if let Some(latest) = snapshots.finished.last()
            && (latest.source.url != identity.url || latest.source.scope != identity.scope)
        {
            let (here, there) = (&latest.source.url, &identity.url);
            let text = format!("this store holds snapshots of {here}, and the configured source is {there}");
            return Err(Problem::usage(text)
                .hint(format_args!("give --source {here}, or the store that goes with {there}"))
                .into());
        }
        Ok(source)
    }

    /// The source to read: the configured one, else the one that the store's newest snapshot records.
    pub async fn source(&self, repo: &Repository) -> Result<Arc<dyn Source>, Failure> {
        match self.recorded(repo).await? {
            Some(recorded) => self.source_at(&recorded),
            None => self.source_at(self.config.source.as_ref().ok_or_else(no_source)?),
        }
    }

    /// The source of the newest snapshot, when the configuration names none or the same.
    async fn recorded(&self, repo: &Repository) -> Result<Option<Location>, Failure> {
        if self.config.source.is_some() {
            return Ok(None);
        }
        let snapshots = repo.snapshots().await?;
        let Some(latest) = snapshots.finished.last() else { return Ok(None) };
        let location = Location::parse(latest.source.url.as_ref(), Role::Source)?;
        Ok(Some(location))
    }

    /// The source at a location.
    pub fn source_at(&self, location: &Location) -> Result<Arc<dyn Source>, Failure> {
        location.supported(Role::Source)?;
        places::check(self.store_location()?, Some(location), None)?;
        let observer = Arc::clone(&self.context.observer);
        match location {
            Location::Folder(folder) => {
                let clock = Arc::clone(&self.context.clock);
                Ok(Arc::new(FolderSource::open(folder, &self.spool(), clock, observer)?))
            }
            Location::Bucket { scheme: Scheme::Kodo, bucket, prefix } => {
                let settings = self.kodo_settings(bucket, &prefix.lossy())?;
                Ok(Arc::new(KodoSource::new(settings, observer)?))
            }
            Location::Bucket { .. } => Err(Problem::usage(format!("{location} cannot be a source")).into()),
        }
    }

    fn kodo_settings(&self, bucket: &str, prefix: &str) -> Result<KodoSettings, Failure> {
        let kodo = self.config.kodo(bucket);
        let limits = &self.config.limits;
        Ok(KodoSettings {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            domain: kodo.domain.clone(),
            private: kodo.private,
            referer: kodo.referer.clone(),
            overrides: Overrides {
                uc: kodo.uc.clone(),
                rs: kodo.rs.clone(),
                rsf: kodo.rsf.clone(),
                up: kodo.up.clone(),
                io: kodo.io.clone(),
            },
            credentials: Some(credentials::kodo(kodo, self.context.env.as_ref())?),
            limits: LimitSettings {
                concurrency: limits.concurrency as usize,
                download_rate: limits.download_rate,
                requests_per_second: limits.requests_per_second.map(f64::from),
            },
            timeouts: Timeouts::default(),
            backoff: Backoff::default(),
            proxy: None,
            clock: Arc::clone(&self.context.clock),
            jitter: Arc::new(SystemJitter),
        })
    }

    /// Where temporary files go: `$TMPDIR`, else the system's folder.
    pub fn spool(&self) -> PathBuf {
        let set = self.context.env.var("TMPDIR").filter(|d| !d.is_empty());
        set.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
    }

    /// The options of a snapshot as the configuration has them.
    pub fn snapshot_options(&self) -> Options {
        let kodo = match &self.config.source {
            Some(Location::Bucket { scheme: Scheme::Kodo, bucket, .. }) => self.config.kodo(bucket),
            _ => &self.config.kodo,
        };
        Options {
            trust_etag: kodo.trust_etag,
            accept_unavailable: kodo.unavailable == Unavailable::Accept,
            full_every: self.config.groups.full_every,
            share: self.config.groups.share,
            guard: self.config.guard,
            concurrency: self.config.limits.concurrency as usize,
            host: host(),
            pid: pid(),
            ..Options::new(self.spool())
        }
    }
}

fn no_source() -> Failure {
    Problem::usage("no source is named")
        .hint("set source in qbak.toml, such as source = \"kodo://BUCKET\", or give --source")
        .into()
}

/// This process's number.
pub fn pid() -> u32 {
    std::process::id()
}

/// This machine's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
