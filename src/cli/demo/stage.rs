//! Runs this very binary as a user would, shows each command and what it said, and holds it to what is expected.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;
use serde_json::Value;

use super::problem;
use crate::cli::context::Context;
use crate::cli::emulate::{ACCESS_KEY, SECRET_KEY};
use crate::cli::run::Failure;
use crate::op::OpError;
use crate::render::human::clean;
use crate::render::output::Paint;

/// Where the story is played.
pub(super) struct Stage<'a> {
    context: &'a Context,
    program: PathBuf,
    dir: PathBuf,
    surroundings: Vec<(&'static str, OsString)>,
    /// How many steps were begun.
    pub(super) steps: u64,
    /// How many things were checked.
    pub(super) checks: u64,
}

/// What a command said.
pub(super) struct Said {
    /// Standard output.
    pub(super) stdout: String,
}

impl Said {
    /// The last line as JSON.
    pub(super) fn summary(&self) -> Result<Value, Failure> {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).map_err(|e| problem(format!("the last line is no JSON: {e}")))
    }

    /// The lines of a type.
    pub(super) fn lines(&self, kind: &str) -> Vec<Value> {
        let all = self.stdout.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
        all.filter(|v| v.get("type").is_some_and(|t| t == kind)).collect()
    }
}

#[derive(Serialize)]
struct StepLine<'a> {
    number: u64,
    title: &'a str,
}

#[derive(Serialize)]
struct CommandLine<'a> {
    command: &'a str,
    exit: i32,
    stdout: &'a str,
    stderr: &'a str,
}

#[derive(Serialize)]
struct CheckLine<'a> {
    what: &'a str,
}

impl<'a> Stage<'a> {
    pub(super) fn new(context: &'a Context, dir: PathBuf) -> Result<Self, Failure> {
        let program =
            context.env.program().map_err(|e| problem(format!("this program does not find itself: {e}")))?;
        // What the user has set for real backups must not reach the demo.
        let mut surroundings: Vec<(&'static str, OsString)> =
            ["PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL"]
                .into_iter()
                .filter_map(|name| Some((name, context.env.var(name)?)))
                .collect();
        surroundings.push(("QINIU_ACCESS_KEY", ACCESS_KEY.into()));
        surroundings.push(("QINIU_SECRET_KEY", SECRET_KEY.into()));
        Ok(Self { context, program, dir, surroundings, steps: 0, checks: 0 })
    }

    /// The demo's folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The surroundings.
    pub(super) fn context(&self) -> &'a Context {
        self.context
    }

    /// Begins a step.
    pub(super) fn step(&mut self, title: &str) -> Result<(), Failure> {
        self.steps += 1;
        let out = &self.context.out;
        if out.is_json() {
            return Ok(out.json("step", &StepLine { number: self.steps, title })?);
        }
        if !out.options().quiet {
            out.line(format_args!("\n{}", out.paint(Paint::Bold, format_args!("{}. {title}", self.steps))))?;
        }
        Ok(())
    }

    /// Runs a command that must end with this code, and shows it.
    pub(super) async fn qbak(&self, args: &[&str], code: i32) -> Result<Said, Failure> {
        let (exit, stdout, stderr) = self.child(args).await?;
        let command = shown(args);
        let out = &self.context.out;
        if out.is_json() {
            let line = CommandLine { command: &command, exit, stdout: &stdout, stderr: &stderr };
            out.json("command", &line)?;
        } else if !out.options().quiet {
            out.line(format_args!("$ {}", out.paint(Paint::Blue, &command)))?;
            for line in stderr.lines().chain(stdout.lines()) {
                out.line(format_args!("  {}", clean(line)))?;
            }
            if exit != 0 {
                out.line(out.paint(Paint::Dim, format_args!("  (exit {exit})")))?;
            }
        }
        if exit != code {
            let last = stderr.lines().last().unwrap_or_default();
            return Err(problem(format!("`{command}` ended with {exit}, not with {code}: {last}")));
        }
        Ok(Said { stdout })
    }

    /// Runs a command for its JSON only, unseen.
    pub(super) async fn look(&self, args: &[&str]) -> Result<Said, Failure> {
        let args: Vec<&str> = std::iter::once("--json").chain(args.iter().copied()).collect();
        let (exit, stdout, stderr) = self.child(&args).await?;
        if exit == 0 {
            return Ok(Said { stdout });
        }
        Err(problem(format!("`{}` ended with {exit}: {stderr}{stdout}", shown(&args))))
    }

    async fn child(&self, args: &[&str]) -> Result<(i32, String, String), Failure> {
        if self.context.cancel.is_set() {
            return Err(OpError::Interrupted.into());
        }
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.dir).stdin(Stdio::null()).env_clear();
        command.envs(self.surroundings.iter().map(|(k, v)| (k, v)));
        let output = tokio::task::spawn_blocking(move || command.output()).await.map_err(OpError::from)?;
        let output = output.map_err(|e| problem(format!("{}: {e}", self.program.display())))?;
        // A signal goes to the child too, which has said so.
        if self.context.cancel.is_set() {
            return Err(OpError::Interrupted.into());
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
    }

    /// Says what was found to be so; ends the demo if it is not.
    pub(super) fn check(&mut self, what: &str, holds: bool) -> Result<(), Failure> {
        if !holds {
            return Err(problem(format!("not as expected: {what}")));
        }
        self.checks += 1;
        let out = &self.context.out;
        if out.is_json() {
            return Ok(out.json("check", &CheckLine { what })?);
        }
        if !out.options().quiet {
            out.line(format_args!("  {} {what}", out.paint(Paint::Green, "ok:")))?;
        }
        Ok(())
    }
}

/// The command as it would be typed.
fn shown(args: &[&str]) -> String {
    let word = |w: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:~=".contains(c);
        if !w.is_empty() && w.chars().all(plain) { (*w).to_owned() } else { format!("'{w}'") }
    };
    std::iter::once("qbak".to_owned()).chain(args.iter().map(word)).collect::<Vec<_>>().join(" ")
}
