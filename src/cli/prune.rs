//! `qbak prune`: its arguments, and how it is run.

use std::sync::Arc;

use chrono::Local;
use clap::value_parser;

use super::chosen::Unfinished;
use super::config::Retention;
use super::context::Context;
use super::exit::Exit;
use super::run::Failure;
use super::session::{Session, host, pid};
use super::{args, ask};
use crate::model::date::DateSpec;
use crate::model::duration::CalendarDuration;
use crate::op::prune::{self, Options};
use crate::plan::retention::{Rules, Wish};
use crate::render::prune as show;
use crate::render::words::Problem;

/// Remove old snapshots and free their space
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  qbak prune --keep 8 --dry-run
  qbak prune --keep-groups 2
  qbak prune --keep-weekly 8 --keep-monthly 12
  qbak prune --remove 2026-11-15

What any rule keeps is kept; the newest snapshot always stays. Rules given here replace those of the configuration.
On a terminal it asks first.")]
pub struct Args {
    /// Keep the N newest snapshots that are not suspect
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
    /// Keep the N newest groups, each whole
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub keep_groups: Option<u32>,
    /// Keep the newest of each of the last N days that have one
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub keep_daily: Option<u32>,
    /// Keep the newest of each of the last N weeks that have one
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub keep_weekly: Option<u32>,
    /// Keep the newest of each of the last N months that have one
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub keep_monthly: Option<u32>,
    /// Keep the newest of each of the last N years that have one
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub keep_yearly: Option<u32>,
    /// Keep everything as young as this
    #[arg(long, value_name = "DURATION")]
    pub keep_within: Option<CalendarDuration>,
    /// Keep snapshots with this tag; may be given several times
    #[arg(long = "keep-tag", value_name = "T", value_parser = args::tag)]
    pub keep_tags: Vec<String>,
    /// Remove this snapshot whatever the rules say; may be given several times
    #[arg(long, value_name = "DATE")]
    pub remove: Vec<DateSpec>,
    /// Remove what unfinished runs left
    #[arg(long)]
    pub drop_incomplete: bool,
    /// Promise that nothing else uses the store, for stores that honour nothing
    #[arg(long, hide = true)]
    pub exclusive: bool,
    /// Only print the plan
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
}

impl Args {
    pub(super) fn later(&self) -> Option<&'static str> {
        self.exclusive.then_some("--exclusive")
    }

    /// Decides, shows what was decided, asks where there is somebody to ask, and does it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let session = Session::new(context)?;
        let repo = session.open().await?;
        let options = Options {
            wish: self.wish(&session, &repo).await?,
            dry_run: self.dry_run,
            spool: session.spool(),
            host: host(),
            pid: pid(),
        };
        let work = prune::Context {
            repo,
            clock: Arc::clone(&context.clock),
            observer: Arc::clone(&context.observer),
            cancel: context.cancel.clone(),
        };
        let planned = prune::plan(&work, options, &Local).await?;
        show::plan(planned.report(), &context.out)?;
        let asks = !self.yes && !self.dry_run && show::changes(planned.report()) && ask::can(context);
        if asks && !ask::yes(&context.out, &show::question(planned.report())) {
            return Err(Problem::new(1, "not_confirmed", "nothing was removed").into());
        }
        let report = planned.execute(&work).await?;
        show::report(&report, &context.out)?;
        Ok(if report.is_refused() { Exit::Suspicious } else { Exit::Done })
    }

    async fn wish(&self, session: &Session<'_>, repo: &crate::repo::Repository) -> Result<Wish, Failure> {
        let mut wish = Wish { rules: self.rules(), drop_incomplete: self.drop_incomplete, ..Wish::default() };
        // What is named goes alone: the configured rules would take more along with it.
        if wish.rules.is_empty() && self.remove.is_empty() && !self.drop_incomplete {
            wish.rules = configured(&session.config.retention);
        }
        if !self.remove.is_empty() {
            let catalog = session.catalog(repo).await?;
            for date in &self.remove {
                wish.remove.insert(session.choose(&catalog, date, Unfinished::No)?.snapshot.name);
            }
        }
        Ok(wish)
    }

    fn rules(&self) -> Rules {
        Rules {
            keep: self.keep,
            keep_groups: self.keep_groups,
            keep_daily: self.keep_daily,
            keep_weekly: self.keep_weekly,
            keep_monthly: self.keep_monthly,
            keep_yearly: self.keep_yearly,
            keep_within: self.keep_within,
            keep_tags: self.keep_tags.clone(),
        }
    }
}

fn configured(retention: &Retention) -> Rules {
    Rules {
        keep: retention.keep,
        keep_groups: retention.keep_groups,
        keep_daily: retention.keep_daily,
        keep_weekly: retention.keep_weekly,
        keep_monthly: retention.keep_monthly,
        keep_yearly: retention.keep_yearly,
        keep_within: retention.keep_within,
        keep_tags: retention.keep_tag.clone(),
    }
}
