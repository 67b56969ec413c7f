//! Floor 4: what people and scripts see: text, tables, progress, JSON lines.

pub mod accept;
pub mod choice;
pub mod diff;
pub mod heal;
pub mod human;
pub mod init;
pub mod json;
pub mod list;
pub mod ls;
pub mod output;
pub mod progress;
pub mod prune;
pub mod restore;
pub mod snapshot;
pub mod stats;
pub mod table;
pub mod verify;
pub mod words;
