//! `qbak list`: its arguments.

/// List the snapshots, oldest first, by group
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Example:
  qbak list

Runs that have not finished are shown as INCOMPLETE; what they stored serves the next run.")]
pub struct Args {}
