//! `qbak stats`: its arguments, and how it is run.

use super::context::Context;
use super::exit::Exit;
use super::run::Failure;
use super::session::Session;
use crate::op;
use crate::render::stats as show;

/// Show sizes, and what storing everything once saves
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  qbak stats")]
pub struct Args {}

impl Args {
    /// Measures the store.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let session = Session::new(context)?;
        let repo = session.open().await?;
        let stats = op::stats::stats(&repo, &context.cancel).await?;
        show::report(&stats, &context.out)?;
        Ok(Exit::Done)
    }
}
