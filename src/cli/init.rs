//! `qbak init`: its arguments.

/// Make a store. No other command ever makes one
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  qbak init --store /backup/photos")]
pub struct Args {
    /// Encrypt everything that is stored
    #[arg(long, hide = true)]
    pub encrypt: bool,
}

impl Args {
    pub(super) fn later(&self) -> Option<&'static str> {
        self.encrypt.then_some("--encrypt")
    }
}
