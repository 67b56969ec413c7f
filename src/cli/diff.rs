//! `qbak diff`: its arguments, and how it is run.

use std::str::FromStr;
use std::sync::Arc;

use super::chosen::Unfinished;
use super::context::Context;
use super::exit::Exit;
use super::run::Failure;
use super::session::Session;
use crate::model::date::{BadDate, DateSpec};
use crate::op::diff::{self, To};
use crate::render::diff as show;

/// Show what changed between two snapshots, or since one
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  qbak diff latest                     what the newest snapshot changed
  qbak diff 2026-11-01 2026-11-15      from the first to the second
  qbak diff latest live --stat         what changed since, by the source's listing; nothing is downloaded

+ added, - removed, ~ changed, > renamed, m only metadata changed.")]
pub struct Args {
    /// The older snapshot; alone: what that snapshot changed against the one before it
    #[arg(value_name = "DATE")]
    pub from: DateSpec,
    /// The newer snapshot, or `live` for the source as it stands
    #[arg(value_name = "DATE|live")]
    pub to: Option<Side>,
    /// Counts and sizes only
    #[arg(long)]
    pub stat: bool,
    /// Exit with 1 if there are differences
    #[arg(long)]
    pub exit_code: bool,
}

/// The other side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// The source as its listing shows it now.
    Live,
    /// A snapshot.
    Snapshot(DateSpec),
}

impl FromStr for Side {
    type Err = BadDate;

    fn from_str(text: &str) -> Result<Self, BadDate> {
        if text == "live" { Ok(Self::Live) } else { text.parse().map(Self::Snapshot) }
    }
}

impl Args {
    /// Compares, and shows what differs.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let session = Session::new(context)?;
        let repo = session.open().await?;
        let catalog = session.catalog(&repo).await?;
        let first = session.choose(&catalog, &self.from, Unfinished::No)?.snapshot.name;
        let (from, newer, live) = match &self.to {
            // Alone: what that snapshot changed against the one before it.
            None => (diff::before(&catalog, first), Some(first), None),
            Some(Side::Live) => (Some(first), None, Some(session.live(&repo).await?)),
            Some(Side::Snapshot(date)) => {
                (Some(first), Some(session.choose(&catalog, date, Unfinished::No)?.snapshot.name), None)
            }
        };
        let older = match from {
            Some(name) => Some(catalog.open(name).await?),
            None => None,
        };
        let newer = match newer {
            Some(name) => Some(catalog.open(name).await?),
            None => None,
        };
        let work = diff::Context {
            spool: session.spool(),
            observer: Arc::clone(&context.observer),
            cancel: context.cancel.clone(),
        };
        let (to, name) = match (&newer, live) {
            (Some(opened), _) => (To::Snapshot(opened), opened.name.to_string()),
            (None, Some(source)) => (To::Live(source), "live".to_owned()),
            (None, None) => return Ok(Exit::Failed),
        };
        let mut found = diff::diff(&work, older.as_ref(), to).await?;
        let mut folders = show::Folders::default();
        while let Some(change) = found.next_change()? {
            if self.stat { folders.add(&change) } else { show::change(&change, &context.out)? }
        }
        folders.show(&context.out)?;
        show::report(from, &name, &found.summary, self.stat, &context.out)?;
        let differs = self.exit_code && !found.summary.is_empty();
        Ok(if differs { Exit::Failed } else { Exit::Done })
    }
}
