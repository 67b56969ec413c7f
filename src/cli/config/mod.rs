//! The configuration: `qbak.toml`, its profiles, the environment and the flags, laid over one another into one value.
//!
//! What wins: a flag, then the environment, then the profile, then the rest of the file, then the default.

mod file;
mod load;
mod near;
mod read;
mod sections;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

pub use load::load;
#[doc(hidden)]
pub use load::load_text;

use crate::model::duration::CalendarDuration;
use crate::model::url::Location;
pub use crate::plan::suspect::Guard;

/// What the command line says that the configuration also could.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--profile`
    pub profile: Option<String>,
    /// `--store`
    pub store: Option<OsString>,
    /// `--source`
    pub source: Option<OsString>,
}

/// Everything that is set, typed, with paths made absolute.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from; none if there is none.
    pub file: Option<PathBuf>,
    /// The profile that was laid over it.
    pub profile: Option<String>,
    /// The names of all profiles of the file.
    pub profiles: Vec<String>,
    /// Where the backups lie.
    pub store: Option<Location>,
    /// What is backed up.
    pub source: Option<Location>,
    /// How the password of an encrypted store is found.
    pub password: Password,
    /// `[kodo]`
    pub kodo: Kodo,
    /// `[kodo.buckets.NAME]`, each laid over `[kodo]`.
    pub kodo_buckets: BTreeMap<String, Kodo>,
    /// `[s3]`
    pub s3: S3,
    /// `[s3.buckets.NAME]`, each laid over `[s3]`.
    pub s3_buckets: BTreeMap<String, S3>,
    /// `[groups]`
    pub groups: Groups,
    /// `[retention]`
    pub retention: Retention,
    /// `[limits]`
    pub limits: Limits,
    /// `[guard]`
    pub guard: Guard,
    /// `[hooks]`
    pub hooks: Hooks,
    /// `[metrics]`
    pub metrics: Metrics,
    /// Every setting that has a value, by its full name, and where it comes from; no secrets.
    pub settings: BTreeMap<String, Setting>,
    /// What a person should know: settings that mean nothing to this version. Each one sentence.
    pub warnings: Vec<String>,
}

impl Config {
    /// The Kodo settings for a bucket.
    pub fn kodo(&self, bucket: &str) -> &Kodo {
        self.kodo_buckets.get(bucket).unwrap_or(&self.kodo)
    }

    /// Whether a setting is found without flag and environment: the next command has it too.
    pub fn is_by_file(&self, name: &str) -> bool {
        self.settings.get(name).is_some_and(|s| matches!(s.origin, Origin::File { .. }))
    }

    /// The S3 settings for a bucket.
    pub fn s3(&self, bucket: &str) -> &S3 {
        self.s3_buckets.get(bucket).unwrap_or(&self.s3)
    }
}

/// One setting as `config show` will list it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its value as text.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the configuration file.
    File {
        /// Which line, from 1.
        line: usize,
        /// Whether it stands in the profile.
        profile: bool,
    },
    /// An environment variable.
    Environment(&'static str),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { line, profile: false } => write!(f, "line {line}"),
            Self::File { line, profile: true } => write!(f, "line {line}, profile"),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// How the password of an encrypted store is found, apart from `QBAK_PASSWORD` and a prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Password {
    /// A file that holds it.
    pub file: Option<PathBuf>,
    /// A command that prints it.
    pub command: Option<String>,
    /// An identity file that unlocks stored credentials.
    pub credentials_identity: Option<PathBuf>,
}

/// Settings of Kodo buckets. URLs are `scheme://host[:port]` without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kodo {
    /// Where objects are downloaded; none: the bucket's source host, signed.
    pub domain: Option<String>,
    /// Whether download URLs of the domain are signed.
    pub private: bool,
    /// The Referer header that the domain asks for.
    pub referer: Option<String>,
    /// The variable that holds the access key.
    pub access_key_env: String,
    /// The variable that holds the secret key.
    pub secret_key_env: String,
    /// A file with both instead.
    pub credentials: Option<PathBuf>,
    /// What objects count as that the listing shows to be unreadable.
    pub unavailable: Unavailable,
    /// Whether a listed etag that the store knows needs no download.
    pub trust_etag: bool,
    /// How a bucket is listed.
    pub listing: Listing,
    /// Where the region is asked for.
    pub uc: String,
    /// The management host instead of the region's.
    pub rs: Option<String>,
    /// The listing host instead of the region's.
    pub rsf: Option<String>,
    /// The upload host instead of the region's.
    pub up: Option<String>,
    /// The source host instead of the region's.
    pub io: Option<String>,
}

/// What unavailable objects make of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// It is partial, exit 3.
    Partial,
    /// They are counted, and it is complete.
    Accept,
}

/// How a bucket is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Pages, or folders side by side.
    Auto,
    /// The key space cut at made-up markers.
    Markers,
}

/// Settings of S3 buckets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct S3 {
    /// The service's URL; none: Amazon's.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Whether the bucket's name goes into the path instead of the host.
    pub path_style: bool,
    /// A file with the keys instead of the usual variables.
    pub credentials: Option<PathBuf>,
}

/// `[groups]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// Runs in a group; 0: a full one only when asked.
    pub full_every: u32,
    /// Whether a run may skip blobs that other groups hold.
    pub share: bool,
}

/// `[retention]`: what prune keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retention {
    /// So many snapshots.
    pub keep: Option<u32>,
    /// So many groups.
    pub keep_groups: Option<u32>,
    /// One a day for so many days that have one; and so on.
    pub keep_daily: Option<u32>,
    /// Weeks.
    pub keep_weekly: Option<u32>,
    /// Months.
    pub keep_monthly: Option<u32>,
    /// Years.
    pub keep_yearly: Option<u32>,
    /// Everything as young as this.
    pub keep_within: Option<CalendarDuration>,
    /// Snapshots with one of these tags.
    pub keep_tag: Vec<String>,
    /// The zone that days and weeks are counted in.
    pub timezone: Option<String>,
}

/// `[limits]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Downloads at a time.
    pub concurrency: u32,
    /// Bytes a second.
    pub download_rate: Option<u64>,
    /// Requests a second.
    pub requests_per_second: Option<u32>,
}

/// `[hooks]`: commands around a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// Before it.
    pub before: Vec<String>,
    /// After exit 0.
    pub after_success: Vec<String>,
    /// After any other.
    pub after_failure: Vec<String>,
}

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metrics {
    /// A file in Prometheus' text format.
    pub textfile: Option<PathBuf>,
    /// A URL to call when a run begins and ends.
    pub ping: Option<String>,
}

/// What is wrong with the configuration: one sentence, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file, when it is about one.
    pub file: Option<PathBuf>,
    /// The line, from 1.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl ConfigError {
    fn plain(message: impl Into<String>) -> Self {
        Self { file: None, line: None, message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{}, line {line}: {}", file.display(), self.message),
            (Some(file), None) => write!(f, "{}: {}", file.display(), self.message),
            (None, _) => f.write_str(&self.message),
        }
    }
}

#[cfg(test)]
mod tests;
