//! `qbak heal`: its arguments, and how it is run.

use std::sync::Arc;

use super::context::Context;
use super::exit::Exit;
use super::run::Failure;
use super::session::{Session, host, pid};
use crate::op::heal::{self, Options};
use crate::render::heal as show;
use crate::repo::Repository;
use crate::source::Source;

/// Fetch damaged or missing blobs again: from other groups, then from the live source
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  qbak verify --data                   first find what is damaged
  qbak heal --dry-run
  qbak heal

It goes by the damage that is known: what verify has recorded, and what is missing or does not fit together.
Exits 0 when all is whole; 4 if damage is left, naming what is lost.")]
pub struct Args {
    /// Only say what would be healed, and from where
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

impl Args {
    /// Heals, and says what was healed and what is lost.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let session = Session::new(context)?;
        let repo = session.open().await?;
        let work = heal::Context {
            source: source(&session, &repo).await?,
            repo,
            clock: Arc::clone(&context.clock),
            observer: Arc::clone(&context.observer),
            cancel: context.cancel.clone(),
        };
        let options =
            Options { dry_run: self.dry_run, host: host(), pid: pid(), ..Options::new(session.spool()) };
        let report = heal::heal(&work, &options).await?;
        show::report(&report, &context.out)?;
        Ok(if report.is_whole() { Exit::Done } else { Exit::Damage })
    }
}

/// The live source, or why it cannot be had: what the store itself can give back needs none. A source that is not the store's
/// is refused all the same.
async fn source(
    session: &Session<'_>,
    repo: &Repository,
) -> Result<Result<Arc<dyn Source>, String>, Failure> {
    match session.live(repo).await {
        Ok(source) => Ok(Ok(source)),
        Err(Failure::Problem(p)) if p.kind != "usage" || session.config.source.is_none() => {
            Ok(Err(p.message))
        }
        Err(e) => Err(e),
    }
}
