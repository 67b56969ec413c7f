//! `qbak ls`: its arguments, and how it is run.

use chrono::Local;

use super::args;
use super::chosen::Unfinished;
use super::context::Context;
use super::exit::Exit;
use super::run::Failure;
use super::session::Session;
use crate::model::date::DateSpec;
use crate::model::event::Event;
use crate::model::key::Key;
use crate::op::OpError;
use crate::op::ls::Listing;
use crate::render::ls::Shown;

/// List the objects of a snapshot
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  qbak ls latest\n  qbak ls 2026-11-15 photos/ --delimiter /")]
pub struct Args {
    /// Which snapshot: latest, 2026-11-15, "2 weeks ago", or a name
    #[arg(value_name = "DATE")]
    pub date: DateSpec,
    /// Only keys that begin so
    #[arg(value_name = "PREFIX", value_parser = args::key())]
    pub prefix: Option<Key>,
    /// One level only: fold what follows this behind the prefix
    #[arg(long, value_name = "D", value_parser = args::key())]
    pub delimiter: Option<Key>,
}

impl Args {
    /// Lists. Where a piece of the list is damaged, what is whole is shown and the rest is named (exit 4).
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let session = Session::new(context)?;
        let repo = session.open().await?;
        let opened = session.open_chosen(&repo, &self.date, Unfinished::Named).await?;
        let prefix = self.prefix.unwrap_or_else(|| Key::from(""));
        let delimiter = self.delimiter.map(|d| d.bytes().to_vec()).unwrap_or_default();
        let mut listing = Listing::new(&opened, prefix, delimiter);
        let mut shown = Shown::new(&context.out, opened.name, &Local);
        let mut exit = Exit::Done;
        loop {
            if context.cancel.is_set() {
                return Err(OpError::Interrupted.into());
            }
            match listing.next().await {
                Ok(Some(item)) => shown.item(&item)?,
                Ok(None) => break,
                Err(OpError::Repo(e)) if e.is_damage() => {
                    let text = format!("some objects cannot be listed: {e}");
                    context.observer.event(Event::Warning(text));
                    exit = Exit::Damage;
                }
                Err(e) => return Err(e.into()),
            }
        }
        if exit == Exit::Damage
            && let Some(removed) = opened.removed().await
        {
            return Err(removed.into());
        }
        shown.finish()?;
        Ok(exit)
    }
}
