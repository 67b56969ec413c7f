//! `qbak cat`: its arguments.

use super::args;
use crate::model::date::DateSpec;
use crate::model::key::Key;

/// Write one object's bytes to standard output, and nothing else
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  qbak cat latest photos/cat.jpg > cat.jpg
  qbak cat 2026-11-15 -- -a-key-with-a-dash")]
pub struct Args {
    /// Which snapshot: latest, 2026-11-15, "2 weeks ago", or a name
    #[arg(value_name = "DATE")]
    pub date: DateSpec,
    /// The object's whole key
    #[arg(value_name = "KEY", value_parser = args::key())]
    pub key: Key,
}
