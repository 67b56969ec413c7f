//! Floor 3: one file a verb. The loops that do I/O: they read through floor 2, decide with `plan`, and tell an observer.

pub mod cancel;
pub mod cat;
mod checkpoints;
pub mod error;
pub mod keys;
pub mod ls;
pub mod open;
pub mod restore;
pub mod snapshot;
pub mod spool;

pub use cancel::Cancel;
pub use error::OpError;
