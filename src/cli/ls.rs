//! `qbak ls`: its arguments.

use super::args;
use crate::model::date::DateSpec;
use crate::model::key::Key;

/// List the objects of a snapshot
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  qbak ls latest\n  qbak ls 2026-11-15 photos/ --delimiter /")]
pub struct Args {
    /// Which snapshot: latest, 2026-11-15, "2 weeks ago", or a name
    #[arg(value_name = "DATE")]
    pub date: DateSpec,
    /// Only keys that begin so
    #[arg(value_name = "PREFIX", value_parser = args::key())]
    pub prefix: Option<Key>,
    /// One level only: fold what follows this behind the prefix
    #[arg(long, value_name = "D", value_parser = args::key())]
    pub delimiter: Option<Key>,
}
