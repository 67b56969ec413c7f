//! The command line: global flags, the commands, and how their words become values.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use super::config::Overrides;
use super::{
    accept, cat, completions, demo, diff, emulate, heal, init, list, ls, prune, restore, snapshot, stats,
    verify,
};
use crate::model::glob::Glob;
use crate::model::key::Key;
use crate::model::share::Share;
use crate::model::url::{Location, Role};

pub(super) const FIVE_LINES: &str = "\
In five lines:
  export QINIU_ACCESS_KEY=… QINIU_SECRET_KEY=…
  qbak init --store /backup/photos
  qbak snapshot --store /backup/photos --source kodo://photos
  qbak list --store /backup/photos
  qbak restore 2026-11-15 --store /backup/photos --to ./photos-of-that-day

Store and source can stand in qbak.toml or in QBAK_STORE and QBAK_SOURCE instead.";

const CONTRACT: &str = "\
DATE is `latest`, `latest~2`, 2026-11-21 (the newest snapshot up to the end of that day, local time),
2026-11-21T22:48 (up to that moment; with Z or +08:00 in that zone), `yesterday`, `3 days ago`, `2 weeks ago`,
`6 months ago`, `12 hours ago`, or a snapshot's name or the start of one.

GLOB matches the whole key, or its last part if there is no / in it: * stops at a /, ** does not.

Exit codes:
  0    done, and durable
  1    failed; earlier snapshots are as they were
  2    wrong usage or configuration
  3    done, but some objects could not be read: the snapshot is partial and lists them
  4    damage was found
  5    the store is in use by another run
  6    it looks wrong: a snapshot was kept but marked suspect, or a prune was refused
  130  interrupted (143: terminated); what was stored serves the next run";

/// A time machine for object-storage buckets.
#[derive(Debug, Parser)]
#[command(
    name = "qbak",
    version = crate::control::VERSION,
    disable_help_subcommand = true,
    max_term_width = 110,
    about = "Every week's state of a bucket or folder, back at will",
    after_help = FIVE_LINES,
    after_long_help = format!("{FIVE_LINES}\n\n{CONTRACT}")
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command, before or after its name.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The configuration file [default: ./qbak.toml, else the one in the user's configuration folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Lay [profile.NAME] of the configuration over the rest
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Run the command for every profile
    #[arg(long, global = true, hide = true, conflicts_with = "profile")]
    pub all_profiles: bool,
    /// Where the backups lie: a folder's path
    #[arg(long, global = true, value_name = "URL")]
    pub store: Option<OsString>,
    /// What is backed up: kodo://BUCKET[/PREFIX] or a folder's path
    #[arg(long, global = true, value_name = "URL")]
    pub source: Option<OsString>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but results and problems
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Show no progress
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// When to use colour: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub color: ColorWhen,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// One variant a command; its file has the arguments.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    #[allow(missing_docs)]
    Init(init::Args),
    #[allow(missing_docs)]
    Snapshot(snapshot::Args),
    #[allow(missing_docs)]
    List(list::Args),
    #[allow(missing_docs)]
    Ls(ls::Args),
    #[allow(missing_docs)]
    Cat(cat::Args),
    #[allow(missing_docs)]
    Diff(diff::Args),
    #[allow(missing_docs)]
    Restore(restore::Args),
    #[allow(missing_docs)]
    Verify(verify::Args),
    #[allow(missing_docs)]
    Heal(heal::Args),
    #[allow(missing_docs)]
    Prune(prune::Args),
    #[allow(missing_docs)]
    Accept(accept::Args),
    #[allow(missing_docs)]
    Stats(stats::Args),
    #[allow(missing_docs)]
    Emulate(emulate::Args),
    #[allow(missing_docs)]
    Demo(demo::Args),
    #[allow(missing_docs)]
    Completions(completions::Args),
}

impl Global {
    /// What of it the configuration could say too.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            config: self.config.clone(),
            profile: self.profile.clone(),
            store: self.store.clone(),
            source: self.source.clone(),
        }
    }
}

impl Cli {
    /// The first flag that is part of the contract but whose feature this version does not have. It is refused
    /// rather than ignored, and help does not offer it; a flag leaves these lists when its feature comes.
    pub fn later(&self) -> Option<&'static str> {
        if self.global.all_profiles {
            return Some("--all-profiles");
        }
        match &self.command {
            Command::Init(args) => args.later(),
            Command::Snapshot(args) => args.later(),
            Command::Prune(args) => args.later(),
            _ => None,
        }
    }
}

/// A key, byte for byte as it was typed.
pub(super) fn key() -> impl TypedValueParser<Value = Key> {
    OsStringValueParser::new().map(|s| Key::new(s.as_encoded_bytes()))
}

/// A pattern over keys.
pub(super) fn glob() -> impl TypedValueParser<Value = Glob> {
    OsStringValueParser::new().try_map(|s| Glob::new(s.as_encoded_bytes()))
}

/// A restore's target that this version can write to.
pub(super) fn target() -> impl TypedValueParser<Value = Location> {
    OsStringValueParser::new().try_map(|s| {
        let location = Location::parse(&s, Role::Target)?;
        location.supported(Role::Target).map(|()| location)
    })
}

/// A share of more than nothing, with or without the sign.
pub(super) fn percent(text: &str) -> Result<Share, String> {
    let text = text.trim();
    let share: Share = format!("{}%", text.strip_suffix('%').unwrap_or(text))
        .parse()
        .map_err(|e: crate::model::share::BadShare| e.to_string())?;
    if share.hundredths() == 0 { Err("0% of a store proves nothing".into()) } else { Ok(share) }
}

/// A tag: a short word that prints.
pub(super) fn tag(text: &str) -> Result<String, String> {
    let fits = (1..=64).contains(&text.chars().count())
        && !text.contains(|c: char| c.is_control() || c.is_whitespace());
    if fits { Ok(text.to_owned()) } else { Err("a tag is one word of at most 64 characters".into()) }
}

#[cfg(test)]
mod tests;
