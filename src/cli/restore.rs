//! `qbak restore`: its arguments.

use super::args;
use crate::model::date::DateSpec;
use crate::model::glob::{Filter, Glob};
use crate::model::key::Key;
use crate::model::url::Location;

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
