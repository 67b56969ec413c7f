//! Floor 3: one file a verb. The loops that do I/O: they read through floor 2, decide with `plan`, and tell an observer.

pub mod accept;
pub mod cancel;
pub mod cat;
pub mod check;
mod checkpoints;
pub mod diff;
pub mod error;
pub mod heal;
pub mod init;
pub mod keys;
pub mod list;
pub mod ls;
pub mod open;
pub mod prune;
pub mod restore;
pub mod snapshot;
pub mod spool;
pub mod stats;
pub mod verify;

pub use cancel::Cancel;
pub use error::OpError;
