//! Sources that lie, through the whole of a run: what comes broken, altered, endless, late or from elsewhere ends in the exit code
//! that is promised, with one message that names the object or the page and the cause; earlier snapshots stay as they are, the
//! next run completes, and nobody hears a secret who should not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

#[path = "../common/mod.rs"]
mod common;

mod bodies;
mod elsewhere;
mod folders;
mod listings;
mod quick;
mod storms;
mod tls;
mod under;
