//! Floor 4: what people and scripts see: text, tables, progress, JSON lines.

pub mod choice;
pub mod human;
pub mod init;
pub mod json;
pub mod ls;
pub mod output;
pub mod progress;
pub mod restore;
pub mod snapshot;
pub mod table;
pub mod words;
