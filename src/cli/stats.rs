//! `qbak stats`: its arguments.

/// Show sizes, and what storing everything once saves
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  qbak stats")]
pub struct Args {}
