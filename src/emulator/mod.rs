//! A Kodo service over a folder: real HTTP, for the demo, rehearsals and tests.
//!
//! ```text
//! service.rs      start, stop, addresses        conn.rs    one request in, one reply out
//! config.rs       what is served, and how       request.rs the request exactly as received
//! route.rs        which request is what         reply.rs, body.rs  what goes back
//! auth.rs         signatures                    faults.rs, rules.rs, inject.rs  what tests break on purpose
//! catalog.rs      the bucket: memory.rs, folder.rs (with paths.rs, journal.rs), spool.rs, object.rs
//! list*.rs  ops.rs  batch.rs  uc.rs  download.rs  upload_*.rs  policy.rs  vars.rs  create.rs   the calls
//! ```
//!
//! With one address for everything, a request that carries an `Authorization` header (or is no GET or HEAD) is a
//! management or upload call, the region query (`/v4/query?ak=…&bucket=…`) is recognised by its path and its two
//! parameters, and every other GET or HEAD is a download: so the object `list` can be downloaded like any other.
//! Only where no such object exists does an unsigned `GET /list…` get the answer of the management call.

mod auth;
mod batch;
mod body;
mod catalog;
mod config;
mod conn;
mod create;
mod download;
mod etag;
mod faults;
mod folder;
mod gzip;
mod inject;
mod journal;
mod list;
mod list_v2;
mod log;
mod memory;
mod mime;
mod object;
mod ops;
mod paths;
mod policy;
mod reply;
mod request;
mod route;
mod rules;
mod service;
mod spool;
mod state;
mod uc;
mod upload_form;
mod upload_v1;
mod upload_v2;
mod vars;

pub use catalog::{Allow, Catalog, Data, Listing, Lookup, Opened, PutOutcome, any};
pub use config::{Backing, Config, EtagReading, MarkerReading};
pub use faults::Faults;
pub use folder::Folder;
pub use log::{Counts, Record};
pub use memory::Memory;
pub use object::{Object, Restore};
pub use route::{Kind, Role};
pub use rules::{Action, Framing, NextMarker, Rule, Seen};
pub use service::{Service, StartError};
pub use spool::{Content, Spool, Stored};
