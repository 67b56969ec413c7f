//! `qbak list`: its arguments, and how it is run.

use chrono::Local;

use super::context::Context;
use super::exit::Exit;
use super::run::Failure;
use super::session::Session;
use crate::model::event::Event;
use crate::op;
use crate::render::list as show;

/// List the snapshots, oldest first, by group
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Example:
  qbak list

Runs that have not finished are shown as INCOMPLETE; what they stored serves the next run.")]
pub struct Args {}

impl Args {
    /// Lists the snapshots.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let session = Session::new(context)?;
        let repo = session.open().await?;
        let list = op::list::list(&repo).await?;
        for (name, e) in &list.unreadable {
            context.observer.event(Event::Warning(format!("{name} cannot be read: {e}")));
        }
        show::report(&list, &Local, &context.out)?;
        Ok(Exit::Done)
    }
}
