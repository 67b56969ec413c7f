//! `qbak verify`: its arguments, and how it is run.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::Local;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::args;
use super::chosen::Unfinished;
use super::context::Context;
use super::exit::Exit;
use super::run::Failure;
use super::session::Session;
use crate::model::date::DateSpec;
use crate::model::share::Share;
use crate::model::slice::Slice;
use crate::op::verify::{self, Depth, Options, Report, Trial};
use crate::plan::verify::Choice;
use crate::render::verify as show;
use crate::render::words::Problem;
use crate::repo::Repository;
use crate::repo::repository::random;
use crate::source::folder::FolderSource;

/// Prove that a restore will work
#[derive(Debug, Clone, clap::Args)]
#[command(
    group = clap::ArgGroup::new("depth").args(["data", "sample", "slice", "incremental", "restore"]),
    after_help = "\
Examples:
  qbak verify                          names, sizes, indexes, manifests; no contents
  qbak verify --data                   read, decode and check every byte
  qbak verify --slice week/8           an eighth a week, all of it in eight
  qbak verify latest --restore --against live

Exits 0; 4 if there is damage, naming the keys and snapshots it harms.")]
pub struct Args {
    /// Only this snapshot [default: the whole store]
    #[arg(value_name = "DATE")]
    pub date: Option<DateSpec>,
    /// Read, decode and check every byte
    #[arg(long)]
    pub data: bool,
    /// As --data, for packs chosen at random
    #[arg(long, value_name = "PERCENT", value_parser = args::percent)]
    pub sample: Option<Share>,
    /// As --data, for the K-th of N parts; week/N takes the part from the number of the week
    #[arg(long, value_name = "K/N|week/N")]
    pub slice: Option<Slice>,
    /// As --data, for packs that nobody has proven since they were written
    #[arg(long)]
    pub incremental: bool,
    /// Restore for the trial and compare
    #[arg(long)]
    pub restore: bool,
    /// What to compare the restored objects with: the source as it stands (live), or a folder
    #[arg(long, value_name = "live|DIR", requires = "restore", value_parser = against())]
    pub against: Option<Against>,
}

/// What restored objects are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Against {
    /// The source as it stands.
    Live,
    /// A folder.
    Folder(PathBuf),
}

fn against() -> impl TypedValueParser<Value = Against> {
    OsStringValueParser::new().try_map(|s: OsString| {
        Ok::<_, Infallible>(if s == "live" { Against::Live } else { Against::Folder(s.into()) })
    })
}

impl Args {
    /// Verifies, and says what was found.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let session = Session::new(context)?;
        let repo = session.open().await?;
        let only = match &self.date {
            Some(date) => {
                let catalog = session.catalog(&repo).await?;
                Some(session.choose(&catalog, date, Unfinished::No)?.snapshot.name)
            }
            None => None,
        };
        let depth = self.depth(&session, &repo).await?;
        let work = verify::Context {
            repo,
            clock: Arc::clone(&context.clock),
            observer: Arc::clone(&context.observer),
            cancel: context.cancel.clone(),
        };
        let report = verify::verify(&work, Options { only, depth }).await?;
        show::report(&report, &context.out)?;
        Ok(exit(&report))
    }

    async fn depth(&self, session: &Session<'_>, repo: &Repository) -> Result<Depth, Failure> {
        Ok(if self.data {
            Depth::Data(Choice::All)
        } else if let Some(share) = self.sample {
            Depth::Data(Choice::Sample { share, seed: random()? })
        } else if let Some(slice) = self.slice {
            let (k, n) = slice.part(session.context.clock.now(), &Local);
            Depth::Data(Choice::Slice { k, n })
        } else if self.incremental {
            Depth::Data(Choice::Unproven)
        } else if self.restore {
            let against = match &self.against {
                Some(against) => Some(opened(against, session, repo).await?),
                None => None,
            };
            Depth::Restore(Trial { against, scratch: session.spool(), stream: false })
        } else {
            Depth::Structure
        })
    }
}

async fn opened(
    against: &Against,
    session: &Session<'_>,
    repo: &Repository,
) -> Result<verify::Against, Failure> {
    let spool = session.spool();
    let (source, live) = match against {
        Against::Live => (session.live(repo).await?, true),
        Against::Folder(folder) => {
            let context = session.context;
            let current = context.env.current_dir().map_err(|e| {
                Problem::new(1, "system", format_args!("the working folder cannot be found: {e}"))
            })?;
            let (clock, observer) = (Arc::clone(&context.clock), Arc::clone(&context.observer));
            let source = FolderSource::open(&current.join(folder), &spool, clock, observer)?;
            (Arc::new(source) as Arc<dyn crate::source::Source>, false)
        }
    };
    Ok(verify::Against { source, live })
}

fn exit(report: &Report) -> Exit {
    let damage = if report.damaged > 0 { Exit::Damage } else { Exit::Done };
    let unread = report.compared.is_some_and(|c| c.unread > 0);
    Exit::of_several([damage, if unread { Exit::Partial } else { Exit::Done }])
}
