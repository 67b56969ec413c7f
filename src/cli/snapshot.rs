//! `qbak snapshot`: its arguments, and how it is run.

use std::time::{Duration, Instant};

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::run::Failure;
use super::session::Session;
use crate::format::records::{Completeness, RunKind};
use crate::model::duration::CalendarDuration;
use crate::model::event::Event;
use crate::op::OpError;
use crate::op::snapshot::{self, Options, Report};
use crate::render::output::OutputError;
use crate::render::snapshot as show;
use crate::render::words::Problem;
use crate::repo::RepoError;

/// Store the source's present state
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  qbak snapshot
  qbak snapshot --full --tag before-the-move

Objects that the listing shows to be archived count as unavailable: they are listed without contents and the
snapshot is partial (exit 3), unless kodo.unavailable = \"accept\". To have them backed up, thaw them first: with
restoreAr in the console or by `qshell restorear BUCKET KEY DAYS`; it takes minutes to hours.

Exits 0; 3 if objects could not be read (the snapshot is partial); 6 if it looks wrong (kept, but suspect);
1 if it failed; 5 if another run is at work.")]
pub struct Args {
    /// Store everything afresh, in a group of its own
    #[arg(long, conflicts_with = "incremental")]
    pub full: bool,
    /// Add to the newest group, even if a full run is due
    #[arg(long)]
    pub incremental: bool,
    /// Download every object, known or not: this audits the source too
    #[arg(long)]
    pub redownload: bool,
    /// Mark the snapshot with a word; may be given several times
    #[arg(long = "tag", value_name = "T", value_parser = args::tag)]
    pub tags: Vec<String>,
    /// Only say what would be stored
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Wait so long for another run to end
    #[arg(long, value_name = "DURATION", value_parser = exact)]
    pub wait: Option<Duration>,
    /// Apply the configured retention afterwards
    #[arg(long, hide = true)]
    pub prune: bool,
    /// The bucket has moved: let the store follow another source
    #[arg(long)]
    pub new_source: bool,
}

/// A duration that a clock can wait for.
fn exact(text: &str) -> Result<Duration, String> {
    let duration: CalendarDuration =
        text.parse().map_err(|e: crate::model::duration::BadDuration| e.to_string())?;
    duration.exact().ok_or_else(|| "m means months; write 30min for minutes".into())
}

impl Args {
    /// Makes a snapshot and says what it holds.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let session = Session::new(context)?;
        let repo = session.open().await?;
        let source = session.source(&repo).await?;
        let kind = match (self.full, self.incremental) {
            (true, _) => Some(RunKind::Full),
            (_, true) => Some(RunKind::Incremental),
            _ => None,
        };
        let options = Options {
            kind,
            redownload: self.redownload,
            tags: self.tags,
            dry_run: self.dry_run,
            new_source: self.new_source,
            ..session.snapshot_options()
        };
        let work = snapshot::Context {
            repo,
            source,
            clock: context.clock.clone(),
            observer: context.observer.clone(),
            cancel: context.cancel.clone(),
        };
        let report = in_turn(context, &work, &options, self.wait).await?;
        match show::report(&report, &context.out).and_then(|()| context.out.flush()) {
            // Whoever reads this must not take the snapshot for lost.
            Err(OutputError::Failed(e)) if !report.dry_run => Err(Problem::new(
                1,
                "output",
                format!("snapshot {} is made and durable, but what is to be said of it cannot be written to standard output: {e}", report.snapshot),
            )
            .into()),
            said => Ok(said.map(|()| exit(&report))?),
        }
    }

    pub(super) fn later(&self) -> Option<&'static str> {
        self.prune.then_some("--prune")
    }
}

/// How often it is looked whether the other run has ended.
const LOOK: Duration = Duration::from_millis(500);

/// Makes the snapshot as soon as nobody else is at work, if that comes within `patience`.
async fn in_turn(
    context: &Context,
    work: &snapshot::Context,
    options: &Options,
    patience: Option<Duration>,
) -> Result<Report, Failure> {
    let began = Instant::now();
    let mut said = false;
    loop {
        match snapshot::snapshot(work, options.clone()).await {
            Err(busy @ OpError::InUse(_)) if patience.is_some_and(|p| began.elapsed() < p) => {
                if !said {
                    context.observer.event(Event::Warning(format!("waiting: {busy}")));
                    said = true;
                }
            }
            // They are needed on the way to a snapshot, and after it never.
            Err(spool @ OpError::Repo(RepoError::Spool(_))) => {
                let mut problem = Problem::from(spool);
                problem.message.push_str("; no snapshot was made");
                return Err(problem.into());
            }
            result => return Ok(result?),
        }
        let mut cancel = context.cancel.clone();
        tokio::select! {
            () = cancel.wait() => return Err(OpError::Interrupted.into()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn exit(report: &Report) -> Exit {
    let suspect = if report.suspect.is_some() { Exit::Suspicious } else { Exit::Done };
    let partial = if report.state == Completeness::Partial { Exit::Partial } else { Exit::Done };
    Exit::of_several([suspect, partial])
}
