//! `qbak demo`: its arguments.

use std::path::PathBuf;

/// Show the whole job on the embedded Kodo service; nothing else is needed
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  qbak demo --dir ./demo")]
pub struct Args {
    /// Where to make bucket and store; must not exist yet [default: a new folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}
