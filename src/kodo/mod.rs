//! The Kodo protocol. Pure parts that the embedded service shares (encodings, signatures, hashes, JSON), and the
//! client: HTTP, retries, limits, region query, listing, stat and batch.

pub mod encode;
pub mod etag;
pub mod failure;
pub mod fault;
pub mod http;
pub mod limits;
pub mod pace;
pub mod policy;
pub mod retry;
pub mod sign;
#[cfg(test)]
pub(crate) mod testserver;
pub mod wire;
mod wire_types;
