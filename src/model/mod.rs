//! Floor 0: the nouns. Nothing here does I/O, reads a clock or knows a byte layout.

pub mod clock;
pub mod content;
pub mod date;
pub mod duration;
pub mod entry;
pub mod event;
pub mod glob;
pub mod id;
pub mod key;
pub mod listed;
pub mod name;
pub mod share;
pub mod size;
pub mod slice;
pub mod time;
pub mod url;
pub mod zone;
