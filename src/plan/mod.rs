//! Floor 2: pure decisions, with `now` and the zone passed in. Nothing here does I/O or is `async`.

pub mod compare;
pub mod group;
pub mod heal;
pub mod near;
pub mod prune;
pub mod restore;
pub mod retention;
pub mod select;
pub mod suspect;
pub mod verify;
