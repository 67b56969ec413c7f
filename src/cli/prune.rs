//! `qbak prune`: its arguments.

use clap::value_parser;

use super::args;
use crate::model::date::DateSpec;
use crate::model::duration::CalendarDuration;

/// Remove old snapshots and free their space
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  qbak prune --keep 8 --dry-run
  qbak prune --keep-groups 2
  qbak prune --remove 2026-11-15

What any rule keeps is kept; the newest snapshot always stays. Rules given here replace those of the configuration.
On a terminal it asks first.")]
pub struct Args {
    /// Keep the N newest snapshots that are not suspect
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
    /// Keep the N newest groups, each whole
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub keep_groups: Option<u32>,
    /// Keep the newest of each of the last N days that have one
    #[arg(long, hide = true, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub keep_daily: Option<u32>,
    /// Keep the newest of each of the last N weeks that have one
    #[arg(long, hide = true, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub keep_weekly: Option<u32>,
    /// Keep the newest of each of the last N months that have one
    #[arg(long, hide = true, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub keep_monthly: Option<u32>,
    /// Keep the newest of each of the last N years that have one
    #[arg(long, hide = true, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub keep_yearly: Option<u32>,
    /// Keep everything as young as this
    #[arg(long, hide = true, value_name = "DURATION")]
    pub keep_within: Option<CalendarDuration>,
    /// Keep snapshots with this tag; may be given several times
    #[arg(long = "keep-tag", hide = true, value_name = "T", value_parser = args::tag)]
    pub keep_tags: Vec<String>,
    /// Remove this snapshot whatever the rules say; may be given several times
    #[arg(long, value_name = "DATE")]
    pub remove: Vec<DateSpec>,
    /// Remove what unfinished runs left
    #[arg(long, hide = true)]
    pub drop_incomplete: bool,
    /// Promise that nothing else uses the store, for stores that honour nothing
    #[arg(long, hide = true)]
    pub exclusive: bool,
    /// Only print the plan
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
}

impl Args {
    pub(super) fn later(&self) -> Option<&'static str> {
        let flags = [
            (self.keep_daily.is_some(), "--keep-daily"),
            (self.keep_weekly.is_some(), "--keep-weekly"),
            (self.keep_monthly.is_some(), "--keep-monthly"),
            (self.keep_yearly.is_some(), "--keep-yearly"),
            (self.keep_within.is_some(), "--keep-within"),
            (!self.keep_tags.is_empty(), "--keep-tag"),
            (self.drop_incomplete, "--drop-incomplete"),
            (self.exclusive, "--exclusive"),
        ];
        flags.into_iter().find(|(set, _)| *set).map(|(_, name)| name)
    }
}
