//! `qbak restore`: its arguments, and how it is run.

use std::path::PathBuf;
use std::sync::Arc;

use super::chosen::Unfinished;
use super::context::Context;
use super::exit::Exit;
use super::run::Failure;
use super::session::Session;
use super::{args, ask, places};
use crate::model::date::DateSpec;
use crate::model::glob::{Filter, Glob};
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::model::url::{Location, Role};
use crate::op::restore::{self, Report, Request};
use crate::plan::restore::{Action, Wish};
use crate::render::restore as show;
use crate::render::words::Problem;

/// Bring a snapshot's state back
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  qbak restore latest --to ./photos
  qbak restore 2026-11-15 photos/cat.jpg photos/dog.jpg
  qbak restore \"2 weeks ago\" --prefix photos/ --exclude '*.tmp' --to ./photos --overwrite

Without --to it writes to ./restore-NAME. What is whole comes back; what is damaged is named, exit 4.")]
pub struct Args {
    /// Which snapshot: latest, 2026-11-15, "2 weeks ago", or a name
    #[arg(value_name = "DATE")]
    pub date: DateSpec,
    /// Only these objects, by their whole keys
    #[arg(value_name = "KEY", value_parser = args::key())]
    pub keys: Vec<Key>,
    /// Where to: a folder's path
    #[arg(long, value_name = "TARGET", value_parser = args::target())]
    pub to: Option<Location>,
    /// Only keys that begin so; may be given several times
    #[arg(long = "prefix", value_name = "P", value_parser = args::key())]
    pub prefixes: Vec<Key>,
    /// Only keys that match; may be given several times
    #[arg(long, value_name = "GLOB", value_parser = args::glob())]
    pub include: Vec<Glob>,
    /// No keys that match, whatever else asks for them; may be given several times
    #[arg(long, value_name = "GLOB", value_parser = args::glob())]
    pub exclude: Vec<Glob>,
    /// Write over what differs
    #[arg(long)]
    pub overwrite: bool,
    /// Also delete what the snapshot does not have
    #[arg(long, requires = "overwrite")]
    pub delete: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Take what a run that has not finished stored so far
    #[arg(long)]
    pub allow_incomplete: bool,
}

impl Args {
    /// Which keys are meant.
    pub fn filter(&self) -> Filter {
        Filter {
            keys: self.keys.clone(),
            prefixes: self.prefixes.clone(),
            include: self.include.clone(),
            exclude: self.exclude.clone(),
        }
    }
}

impl Args {
    /// Restores, and says what came back and what did not.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        // Said before anything is read: a script must not wait for an answer that nobody gives.
        if self.delete && !self.yes && !self.dry_run && !ask::can(context) {
            return Err(Problem::usage("nobody can be asked here whether objects may be deleted")
                .hint("give --yes to delete without being asked, or --dry-run to see what would go")
                .into());
        }
        let session = Session::new(context)?;
        let repo = session.open().await?;
        let runs = if self.allow_incomplete { Unfinished::Yes } else { Unfinished::Named };
        let opened = session.open_chosen(&repo, &self.date, runs).await?;
        let to = self.target(context, opened.name)?;
        places::check(session.store_location()?, None, Some(&Location::Folder(to.clone())))?;
        let wish =
            Wish { overwrite: self.overwrite, delete: self.delete, allow_incomplete: self.allow_incomplete };
        let mut request = Request { filter: self.filter(), wish, ..Request::new(to, session.spool()) };
        request.dry_run = self.dry_run;
        request.confirm = if self.yes {
            Arc::new(|_| true)
        } else {
            let out = Arc::clone(&context.out);
            Arc::new(move |doomed| ask::yes(&out, &show::question(doomed)))
        };
        if self.dry_run && !context.out.options().quiet {
            let out = Arc::clone(&context.out);
            // A reader that has gone away is noticed with the summary.
            request.on_action = Some(Arc::new(move |action: &Action| drop(show::action(action, &out))));
        }
        let work = restore::Context {
            opened,
            clock: Arc::clone(&context.clock),
            observer: Arc::clone(&context.observer),
            cancel: context.cancel.clone(),
        };
        let report = restore::restore(&work, request).await?;
        show::report(&report, &context.out)?;
        Ok(exit(&report))
    }

    fn target(&self, context: &Context, name: RunName) -> Result<PathBuf, Failure> {
        let current = context.env.current_dir().map_err(|e| {
            Problem::new(1, "system", format_args!("the working folder cannot be found: {e}"))
        })?;
        match &self.to {
            None => Ok(current.join(format!("restore-{name}"))),
            Some(Location::Folder(folder)) => Ok(current.join(folder)),
            Some(other) => {
                other.supported(Role::Target)?;
                Err(Problem::usage(format_args!("{other} cannot be restored to")).into())
            }
        }
    }
}

fn exit(report: &Report) -> Exit {
    let on = |is: bool, exit| if is { exit } else { Exit::Done };
    let elsewhere = report.failed.saturating_sub(report.damaged).saturating_sub(report.absent);
    Exit::of_several([
        on(report.damaged > 0, Exit::Damage),
        on(report.absent > 0, Exit::Partial),
        on(elsewhere > 0, Exit::Failed),
    ])
}
