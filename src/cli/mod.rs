//! Floor 5: arguments and configuration → one operation → its report.

pub mod accept;
pub mod args;
pub mod ask;
pub mod cat;
pub mod chosen;
pub mod completions;
pub mod config;
pub mod context;
pub mod credentials;
pub mod demo;
pub mod diff;
pub mod emulate;
pub mod env;
pub mod exit;
pub mod files;
pub mod heal;
pub mod init;
pub mod interrupt;
pub mod list;
pub mod ls;
pub mod places;
pub mod prune;
pub mod restore;
pub mod run;
pub mod session;
pub mod snapshot;
pub mod stats;
pub mod verify;

use std::process::ExitCode;
use std::sync::Arc;

use crate::control;
use crate::model::clock::SystemClock;
use crate::op::Cancel;
use crate::render::output::Output;
use crate::render::words::Problem;
use env::{Env, SystemEnv};
use exit::Exit;

/// Runs the process's command line and returns its exit code.
pub fn main() -> ExitCode {
    let env: Arc<dyn Env> = Arc::new(SystemEnv);
    let words: Vec<_> = std::env::args_os().collect();
    let open = |options| Output::new(options, Box::new(std::io::stdout()), Box::new(std::io::stderr()));
    let cli = match run::parse(&words, env.as_ref(), open) {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    let out = Arc::new(open(context::options(&cli.global, env.as_ref())));
    match control::warning() {
        Ok(None) => {}
        Ok(Some(text)) => out.aside(text),
        Err(text) => {
            out.aside(format_args!("error: {text}"));
            return Exit::Usage.into();
        }
    }
    if let Err(few) = files::allow_enough() {
        return run::end(&out, Err(Problem::new(1, "system", few).into())).into();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            out.aside(format_args!("error: the process cannot start its threads: {e}"));
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(async {
        let said = out.clone();
        let (stop, cancel) = Cancel::pair();
        let first = move |signal: interrupt::Signal| {
            stop.stop();
            said.aside(format_args!(
                "{}: stopping, and keeping what is whole; once more ends it at once",
                signal.name()
            ));
        };
        // Without signal handlers the process still ends by them, only less gently.
        let heard = interrupt::listen(first).unwrap_or_default();
        run::run(cli, env, Arc::new(SystemClock), out.clone(), heard, cancel).await
    });
    // A blocked read of a dead disk or network must not hold up the end.
    runtime.shutdown_background();
    exit.into()
}
