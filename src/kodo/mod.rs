//! The Kodo protocol: encodings, signatures, hashes. What the client and the embedded service both rest on.

pub mod encode;
pub mod etag;
pub mod policy;
pub mod sign;
