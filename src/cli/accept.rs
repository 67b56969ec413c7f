//! `qbak accept`: its arguments.

use crate::model::date::DateSpec;

/// Say that a suspect snapshot is right after all
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Example:
  qbak accept 2026-11-15

A snapshot is suspect when it lacks or overwrites far more than the one before it did.")]
pub struct Args {
    /// Which snapshot: latest, 2026-11-15, "2 weeks ago", or a name
    #[arg(value_name = "DATE")]
    pub date: DateSpec,
}
