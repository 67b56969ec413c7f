//! `qbak diff`: its arguments.

use std::str::FromStr;

use crate::model::date::{BadDate, DateSpec};

/// Show what changed between two snapshots, or since one
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  qbak diff latest                     what the newest snapshot changed
  qbak diff 2026-11-01 2026-11-15      from the first to the second
  qbak diff latest live --stat         what changed since, by the source's listing; nothing is downloaded

+ added, - removed, ~ changed, > renamed, m only metadata changed.")]
pub struct Args {
    /// The older snapshot; alone: what that snapshot changed against the one before it
    #[arg(value_name = "DATE")]
    pub from: DateSpec,
    /// The newer snapshot, or `live` for the source as it stands
    #[arg(value_name = "DATE|live")]
    pub to: Option<Side>,
    /// Counts and sizes only
    #[arg(long)]
    pub stat: bool,
    /// Exit with 1 if there are differences
    #[arg(long)]
    pub exit_code: bool,
}

/// The other side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// The source as its listing shows it now.
    Live,
    /// A snapshot.
    Snapshot(DateSpec),
}

impl FromStr for Side {
    type Err = BadDate;

    fn from_str(text: &str) -> Result<Self, BadDate> {
        if text == "live" { Ok(Self::Live) } else { text.parse().map(Self::Snapshot) }
    }
}
