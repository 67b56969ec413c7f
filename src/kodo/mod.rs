//! The Kodo protocol. Pure parts that the embedded service shares (encodings, signatures, hashes), and the client:
//! HTTP, retries and limits, the JSON it answers with, region query, listing, stat and batch.

pub mod client;
pub mod encode;
pub mod etag;
pub mod failure;
pub mod fault;
pub mod host;
pub mod http;
pub mod limits;
pub mod list;
pub mod pace;
pub mod policy;
pub mod retry;
pub mod sign;
pub mod stat;
#[cfg(test)]
pub(crate) mod testserver;
pub mod wire;
mod wire_types;

#[cfg(test)]
mod client_tests;
