//! From words to a command, and from its end to an exit code: the last words are said here.

use std::ffi::OsString;
use std::sync::Arc;

use clap::Parser as _;
use clap::error::ErrorKind;

use super::args::{Cli, Command, Global};
use super::config::ConfigError;
use super::context::{self, Context};
use super::credentials::CredentialsError;
use super::env::Env;
use super::exit::Exit;
use super::interrupt::Heard;
use super::{completions, places};
use crate::model::clock::Clock;
use crate::model::url::BadLocation;
use crate::op::Cancel;
use crate::render::human::clean;
use crate::render::output::{Options, Output, OutputError};
use crate::render::words::{INTERRUPTED, Problem};

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// Something to say.
    Problem(Box<Problem>),
    /// Nothing can be said any more.
    Output(OutputError),
}

impl From<OutputError> for Failure {
    fn from(e: OutputError) -> Self {
        Self::Output(e)
    }
}

impl<P: Into<Problem>> From<P> for Failure {
    fn from(problem: P) -> Self {
        Self::Problem(Box::new(problem.into()))
    }
}

impl From<ConfigError> for Problem {
    fn from(e: ConfigError) -> Self {
        Self::new(2, "config", e)
    }
}

impl From<CredentialsError> for Problem {
    fn from(e: CredentialsError) -> Self {
        Self::new(2, "credentials", e)
    }
}

impl From<BadLocation> for Problem {
    fn from(e: BadLocation) -> Self {
        Self::usage(e)
    }
}

impl From<places::Entangled> for Problem {
    fn from(e: places::Entangled) -> Self {
        Self::usage(e)
    }
}

/// Parses words. What clap has to say (help, the version, an error) is said, and the exit code is the answer.
pub fn parse(words: &[OsString], env: &dyn Env, open: impl Fn(Options) -> Output) -> Result<Cli, Exit> {
    let error = match Cli::try_parse_from(words) {
        Ok(cli) => match cli.later() {
            None => return Ok(cli),
            Some(flag) => {
                let out = open(context::options(&cli.global, env));
                let problem = Problem::usage(format_args!("{flag} is not part of this version yet"));
                return Err(end(&out, Err(problem.into())));
            }
        },
        Err(e) => e,
    };
    // The words could not be read, so their wish for JSON is looked for by hand.
    let json = words.iter().take_while(|w| *w != "--").any(|w| w == "--json");
    let out = open(context::options(&Global { json, ..Global::default() }, env));
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Err(end(
            &out,
            out.bytes(error.render().to_string().as_bytes()).map(|()| Exit::Done).map_err(Into::into),
        )),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            out.aside(error.render().to_string().trim_end());
            Err(Exit::Usage)
        }
        _ => {
            let text = error.render().to_string();
            let text = text.trim().strip_prefix("error: ").unwrap_or(text.trim());
            // On a terminal clap's own layout helps; a script gets the sentence alone.
            let text = if json { text.split("\n\n").next().unwrap_or(text) } else { text };
            Err(end(&out, Err(Problem::usage(text).into())))
        }
    }
}

/// Says a command's last words and turns its end into the exit code.
pub fn end(out: &Output, result: Result<Exit, Failure>) -> Exit {
    let mut unsaid = None;
    let (exit, said) = match result {
        Ok(exit) => (exit, Ok(())),
        Err(Failure::Problem(problem)) => {
            let said = problem.say(out);
            unsaid = out.is_json().then(|| problem.message.clone());
            (exit_of(problem.code), said)
        }
        Err(Failure::Output(e)) => (Exit::Done, Err(e)),
    };
    match said.and_then(|()| out.flush()) {
        // Whoever read has gone, as `head` does; that is no failure of the command.
        Ok(()) | Err(OutputError::Closed) => exit,
        Err(e @ OutputError::Failed(_)) => {
            // What went wrong before must not be lost with the place where it was to be said.
            if let Some(message) = unsaid {
                out.aside(format_args!("error: {}", clean(&message)));
            }
            out.aside(format_args!("error: {e}"));
            Exit::of_several([exit, Exit::Failed])
        }
    }
}

fn exit_of(code: u8) -> Exit {
    let ordinary = [Exit::Usage, Exit::Partial, Exit::Damage, Exit::Busy, Exit::Suspicious];
    let signals = [Exit::HungUp, Exit::Interrupted, Exit::Terminated];
    let mut all = ordinary.into_iter().chain(signals);
    all.find(|e| e.code() == code).unwrap_or(Exit::Failed)
}

/// Runs a parsed command.
pub async fn run(
    cli: Cli,
    env: Arc<dyn Env>,
    clock: Arc<dyn Clock>,
    out: Arc<Output>,
    heard: Heard,
    cancel: Cancel,
) -> Exit {
    let context = Context::new(cli.global, env, clock, out.clone(), heard.clone(), cancel);
    let result = dispatch(&context, cli.command).await.map_err(|failure| signalled(failure, &heard));
    end(&out, result)
}

/// An interrupted operation ends with the code of the signal that interrupted it.
fn signalled(mut failure: Failure, heard: &Heard) -> Failure {
    if let Failure::Problem(problem) = &mut failure
        && problem.kind == INTERRUPTED
        && let Some(signal) = heard.signal()
    {
        problem.code = Exit::from(signal).code();
    }
    failure
}

async fn dispatch(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Completions(args) => {
            completions::run(&args, &context.out).map(|()| Exit::Done).map_err(Into::into)
        }
        Command::Emulate(args) => args.run(context).await,
        Command::Cat(args) => args.run(context).await,
        Command::Accept(args) => args.run(context).await,
        Command::Demo(args) => args.run(context).await,
        Command::Diff(args) => args.run(context).await,
        Command::Heal(args) => args.run(context).await,
        Command::Init(args) => args.run(context).await,
        Command::List(args) => args.run(context).await,
        Command::Ls(args) => args.run(context).await,
        Command::Prune(args) => args.run(context).await,
        Command::Restore(args) => args.run(context).await,
        Command::Snapshot(args) => args.run(context).await,
        Command::Stats(args) => args.run(context).await,
        Command::Verify(args) => args.run(context).await,
    }
}

#[cfg(test)]
mod tests;
