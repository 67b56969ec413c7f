//! `qbak verify`: its arguments.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::args;
use crate::model::date::DateSpec;
use crate::model::share::Share;
use crate::model::slice::Slice;

/// Prove that a restore will work
#[derive(Debug, Clone, clap::Args)]
#[command(
    group = clap::ArgGroup::new("depth").args(["data", "sample", "slice", "incremental", "restore"]),
    after_help = "\
Examples:
  qbak verify                          names, sizes, indexes, manifests; no contents
  qbak verify --data                   read, decode and check every byte
  qbak verify --slice week/8           an eighth a week, all of it in eight
  qbak verify latest --restore --against live

Exits 0; 4 if there is damage, naming the keys and snapshots it harms.")]
pub struct Args {
    /// Only this snapshot [default: the whole store]
    #[arg(value_name = "DATE")]
    pub date: Option<DateSpec>,
    /// Read, decode and check every byte
    #[arg(long)]
    pub data: bool,
    /// As --data, for packs chosen at random
    #[arg(long, value_name = "PERCENT", value_parser = args::percent)]
    pub sample: Option<Share>,
    /// As --data, for the K-th of N parts; week/N takes the part from the number of the week
    #[arg(long, value_name = "K/N|week/N")]
    pub slice: Option<Slice>,
    /// As --data, for packs that nobody has proven since they were written
    #[arg(long)]
    pub incremental: bool,
    /// Restore for the trial and compare
    #[arg(long)]
    pub restore: bool,
    /// What to compare the restored objects with: the source as it stands (live), or a folder
    #[arg(long, value_name = "live|DIR", requires = "restore", value_parser = against())]
    pub against: Option<Against>,
}

/// What restored objects are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Against {
    /// The source as it stands.
    Live,
    /// A folder.
    Folder(PathBuf),
}

fn against() -> impl TypedValueParser<Value = Against> {
    OsStringValueParser::new().try_map(|s: OsString| {
        Ok::<_, Infallible>(if s == "live" { Against::Live } else { Against::Folder(s.into()) })
    })
}
