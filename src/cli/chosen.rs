//! From a DATE to the snapshot that is meant, and to its being said: every command that takes a DATE goes through here.

use chrono::Local;

use super::run::Failure;
use super::session::Session;
use crate::model::date::DateSpec;
use crate::model::event::Event;
use crate::op::open::{Catalog, Opened};
use crate::plan::select::{self, Choice};
use crate::render::choice;
use crate::repo::Repository;

/// Whether a run that has not finished may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// Never.
    No,
    /// Where it is named, not where a date or `latest` happens to fall on it.
    Named,
    /// As if it were a snapshot.
    Yes,
}

impl Session<'_> {
    /// What the store has to choose from. Snapshots that cannot be read are named: a date must not pass them over in
    /// silence.
    pub async fn catalog(&self, repo: &Repository) -> Result<Catalog, Failure> {
        let catalog = Catalog::read(repo).await?;
        for (name, e) in &catalog.snapshots.unreadable {
            let text = format!("{name} cannot be read, so that snapshot cannot be chosen: {e}");
            self.context.observer.event(Event::Warning(text));
        }
        Ok(catalog)
    }

    /// Chooses, and says what was chosen.
    pub fn choose(&self, catalog: &Catalog, date: &DateSpec, runs: Unfinished) -> Result<Choice, Failure> {
        let runs = match runs {
            Unfinished::No => false,
            Unfinished::Named => matches!(date, DateSpec::Name(_) | DateSpec::Prefix(_)),
            Unfinished::Yes => true,
        };
        let now = self.context.clock.now();
        let chosen = select::select(&catalog.candidates(), date, now, &Local, runs)?;
        choice::say(&chosen, &Local, &self.context.out);
        Ok(chosen)
    }

    /// Chooses, and opens what was chosen.
    pub async fn open_chosen(
        &self,
        repo: &Repository,
        date: &DateSpec,
        runs: Unfinished,
    ) -> Result<Opened, Failure> {
        let catalog = self.catalog(repo).await?;
        let chosen = self.choose(&catalog, date, runs)?;
        Ok(catalog.open(chosen.snapshot.name).await?)
    }
}
