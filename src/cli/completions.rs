//! `qbak completions`: prints the script that completes commands and flags in a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Cli;
use crate::render::output::{Output, OutputError};

/// Print the script that completes commands and flags in a shell
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  qbak completions bash > ~/.local/share/bash-completion/completions/qbak
  qbak completions zsh > ~/.zfunc/_qbak")]
pub struct Args {
    /// For which shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Prints the script.
pub fn run(args: &Args, out: &Output) -> Result<(), OutputError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "qbak", &mut script);
    out.bytes(&script)
}
