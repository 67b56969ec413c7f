//! `qbak init`: its arguments, and how it is run.

use super::context::Context;
use super::exit::Exit;
use super::places;
use super::run::Failure;
use super::session::Session;
use crate::op::init::init;
use crate::render::init as show;

/// Make a store. No other command ever makes one
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  qbak init --store /backup/photos")]
pub struct Args {
    /// Encrypt everything that is stored
    #[arg(long, hide = true)]
    pub encrypt: bool,
}

impl Args {
    /// Makes the folder where it is missing, and the store in it; says what comes next.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let session = Session::new(context)?;
        let folder = session.store_folder()?;
        places::check(session.store_location()?, session.config.source.as_ref(), None)?;
        let program = concat!("qbak ", env!("CARGO_PKG_VERSION"));
        let repo = init(&folder, context.clock.now(), program).await?;
        let configured = show::Configured {
            store: session.config.is_by_file("store"),
            source: session.config.source.as_ref().map(ToString::to_string),
            source_by_file: session.config.is_by_file("source"),
        };
        show::report(&folder, repo.record(), &configured, &context.out)?;
        Ok(Exit::Done)
    }

    pub(super) fn later(&self) -> Option<&'static str> {
        self.encrypt.then_some("--encrypt")
    }
}
