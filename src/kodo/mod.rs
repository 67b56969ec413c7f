//! The Kodo protocol. Pure parts that the embedded service shares (encodings, signatures, hashes, JSON), and the
//! client: HTTP, retries, limits, region query, listing, stat and batch.

pub mod encode;
pub mod etag;
pub mod fault;
pub mod http;
pub mod policy;
pub mod sign;
#[cfg(test)]
pub(crate) mod testserver;
