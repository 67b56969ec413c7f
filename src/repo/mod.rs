//! Floor 2: a typed repository over a store. [`Repository`] reads; a [`writer::Writer`] holds a run and its `commit`
//! consumes it; only a [`maintainer`] deletes packs. Only checked bytes leave this floor.

pub mod blobs;
pub mod chain;
pub mod error;
pub mod group;
pub mod healer;
pub mod index_build;
pub mod index_file;
pub mod liveness;
pub mod maintainer;
pub mod manifest_diff;
pub mod manifest_reader;
pub mod manifest_writer;

pub mod merge;
mod mover;
pub mod names;
pub mod needed;
pub mod pack_proof;
pub mod pack_queue;
pub mod repository;
pub mod run;
pub mod writer;

pub use error::RepoError;
pub use repository::Repository;
