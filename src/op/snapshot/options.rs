//! What a snapshot run is asked for, and what it reports.

use std::path::PathBuf;

use crate::format::records::{Completeness, Counts, RunKind, Transfer};
use crate::model::name::RunName;
use crate::plan::suspect::Guard;

/// What a run is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--full` or `--incremental`.
    pub kind: Option<RunKind>,
    /// `--redownload`.
    pub redownload: bool,
    /// `--tag`.
    pub tags: Vec<String>,
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--new-source`.
    pub new_source: bool,
    /// `kodo.trust_etag`.
    pub trust_etag: bool,
    /// `kodo.unavailable = "accept"`.
    pub accept_unavailable: bool,
    /// `groups.full_every`.
    pub full_every: u32,
    /// `groups.share`.
    pub share: bool,
    /// `[guard]`.
    pub guard: Guard,
    /// Objects read at a time.
    pub concurrency: usize,
    /// Where temporary files go.
    pub spool: PathBuf,
    /// This machine's name.
    pub host: String,
    /// This process's number.
    pub pid: u32,
    /// This program and its version.
    pub program: String,
}

impl Options {
    /// The defaults of `docs/cli.md`, with temporary files in `spool`.
    pub fn new(spool: PathBuf) -> Self {
        Self {
            kind: None,
            redownload: false,
            tags: Vec::new(),
            dry_run: false,
            new_source: false,
            trust_etag: true,
            accept_unavailable: false,
            full_every: 8,
            share: false,
            guard: Guard::default(),
            concurrency: 16,
            spool,
            host: String::new(),
            pid: 0,
            program: concat!("qbak ", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// What a run did, or with `--dry-run` would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The snapshot's name; of a dry run, what it might be called.
    pub snapshot: RunName,
    /// The source's URL.
    pub source: String,
    /// Full or incremental.
    pub kind: RunKind,
    /// The group.
    pub group: RunName,
    /// Whether all objects are in it.
    pub state: Completeness,
    /// Why it looks wrong, if it does.
    pub suspect: Option<String>,
    /// What it holds.
    pub counts: Counts,
    /// What was moved.
    pub transfer: Transfer,
    /// A full was due but would not fit.
    pub full_postponed: bool,
    /// Nothing was written.
    pub dry_run: bool,
    /// How long it took.
    pub seconds: f64,
    /// The snapshot it was compared with.
    pub parent: Option<RunName>,
}
