//! `qbak init`: its arguments, and how it is run.

use std::fs;
use std::path::Path;

use super::context::Context;
use super::exit::Exit;
use super::places;
use super::run::Failure;
use super::session::Session;
use crate::render::init as show;
use crate::render::words::Problem;
use crate::repo::{RepoError, Repository};
use crate::store::Store;

/// Make a store. No other command ever makes one
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  qbak init --store /backup/photos")]
pub struct Args {
    /// Encrypt everything that is stored
    #[arg(long, hide = true)]
    pub encrypt: bool,
}

impl Args {
    /// Makes the folder where it is missing, and the store in it; says what comes next.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let session = Session::new(context)?;
        let folder = session.store_folder()?;
        places::check(session.store_location()?, session.config.source.as_ref(), None)?;
        prepare(&folder)?;
        let store = Store::local(&folder).map_err(RepoError::from)?;
        let program = concat!("qbak ", env!("CARGO_PKG_VERSION"));
        let repo = Repository::init(store, context.clock.now(), program).await?;
        let configured = show::Configured {
            store: session.config.is_by_file("store"),
            source: session.config.source.as_ref().map(ToString::to_string),
            source_by_file: session.config.is_by_file("source"),
        };
        show::report(&folder, repo.record(), &configured, &context.out)?;
        Ok(Exit::Done)
    }

    pub(super) fn later(&self) -> Option<&'static str> {
        self.encrypt.then_some("--encrypt")
    }
}

/// What a new disk may hold of itself.
const OF_THE_DISK: [&str; 3] = ["lost+found", ".DS_Store", "System Volume Information"];

/// Makes the folder. One that holds other things is no place for a store: most likely a name is wrong.
fn prepare(folder: &Path) -> Result<(), Failure> {
    let failed = |e: std::io::Error| {
        let text = format!("{} cannot be made a store: {e}", folder.display());
        Failure::from(Problem::new(1, "store_denied", text))
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let mut others = 0u64;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name == crate::repo::names::STORE {
            let there = RepoError::StoreExists(folder.display().to_string());
            return Err(there.into());
        }
        others += u64::from(!OF_THE_DISK.iter().any(|n| name == *n));
    }
    if others > 0 {
        let text = format!("{} is not empty, and what is in it is no qbak store", folder.display());
        return Err(Problem::new(1, "not_empty", text).hint("name a new or empty folder").into());
    }
    Ok(())
}
