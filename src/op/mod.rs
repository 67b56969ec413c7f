//! Floor 3: one file a verb. The loops that do I/O: they read through floor 2, decide with `plan`, and tell an observer.

pub mod cancel;
pub mod error;
pub mod snapshot;
pub mod spool;

pub use cancel::Cancel;
pub use error::OpError;
