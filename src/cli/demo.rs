//! `qbak demo`: its arguments, and the stage that its story is played on: a folder, the embedded service, this very binary.

mod bucket;
mod compare;
mod stage;
mod story;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::context::Context;
use super::emulate::{ACCESS_KEY, SECRET_KEY};
use super::exit::Exit;
use super::run::Failure;
use crate::emulator::{Backing, Config, Service};
use crate::kodo::sign::Credentials;
use crate::render::words::Problem;
use stage::Stage;

/// Show the whole job on the embedded Kodo service; nothing else is needed
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  qbak demo --dir ./demo")]
pub struct Args {
    /// Where to make bucket and store; must not exist yet [default: a new folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// The bucket's name.
const BUCKET: &str = "pictures";

impl Args {
    /// Plays the story. Whatever is not as it should be ends it (exit 1), and the folder stays to be looked at.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let dir = self.folder(context)?;
        let served = dir.join("bucket");
        fs::create_dir(&served).map_err(|e| failed(&served, &e))?;
        let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY).map_err(Problem::usage)?;
        let mut config = Config::new(Backing::Folder(served), BUCKET, credentials);
        config.clock = Arc::clone(&context.clock);
        let service = Service::start(config).await.map_err(|e| problem(e.to_string()))?;
        let settings = format!(
            "# Written by qbak demo.\nstore = \"./store\"\nsource = \"kodo://{BUCKET}\"\n\n[kodo]\nuc = \"{}\"\ndomain = \"{}\"\n",
            service.uc_url(),
            service.domain_url()
        );
        let file = dir.join("qbak.toml");
        fs::write(&file, settings).map_err(|e| failed(&file, &e))?;
        let mut stage = Stage::new(context, dir.clone())?;
        let result = story::play(&mut stage, &service).await;
        service.stop();
        if result.is_err() {
            context.out.aside(format_args!("everything up to here lies in {}", dir.display()));
        }
        result.map(|()| Exit::Done)
    }

    /// Makes the folder. One that is there already could hold anything.
    fn folder(&self, context: &Context) -> Result<PathBuf, Failure> {
        let current = context
            .env
            .current_dir()
            .map_err(|e| problem(format!("the working folder cannot be found: {e}")))?;
        let Some(dir) = &self.dir else {
            let place = context.env.var("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
            let made = tempfile::Builder::new().prefix("qbak-demo-").tempdir_in(current.join(&place));
            return made.map(tempfile::TempDir::keep).map_err(|e| failed(&place, &e));
        };
        let dir = current.join(dir);
        match fs::create_dir(&dir) {
            Ok(()) => dir.canonicalize().map_err(|e| failed(&dir, &e)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Problem::usage(format_args!("{} is there already", dir.display()))
                    .hint("name a folder that is not there yet")
                    .into())
            }
            Err(e) => Err(failed(&dir, &e)),
        }
    }
}

fn problem(message: String) -> Failure {
    Problem::new(1, "demo", message).into()
}

fn failed(path: &Path, e: &std::io::Error) -> Failure {
    problem(format!("{}: {e}", path.display()))
}
