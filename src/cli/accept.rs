//! `qbak accept`: its arguments, and how it is run.

use super::chosen::Unfinished;
use super::context::Context;
use super::exit::Exit;
use super::run::Failure;
use super::session::Session;
use crate::model::date::DateSpec;
use crate::op;
use crate::render::accept as show;

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

impl Args {
    /// Accepts a suspect snapshot.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let session = Session::new(context)?;
        let repo = session.open().await?;
        let catalog = session.catalog(&repo).await?;
        let name = session.choose(&catalog, &self.date, Unfinished::No)?.snapshot.name;
        let accepted = op::accept::accept(&repo, name, context.clock.as_ref()).await?;
        show::report(name, &accepted, &context.out)?;
        Ok(Exit::Done)
    }
}
