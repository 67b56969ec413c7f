//! qbak: a time machine for object-storage buckets.
//!
//! The floors, lowest first; a file uses only floors below its own (`tests/layering.rs` holds it to that):
//!
//! | floor | folders | what lives there |
//! |---|---|---|
//! | 0 | [`model`] | ids, keys, entries, dates, events: nouns without I/O |
//! | 1 | [`mod@format`], [`store`], [`source`], [`target`], [`kodo`] | bytes ↔ values; where files lie; buckets and folders; the Kodo protocol |
//! | 2 | [`repo`], [`plan`] | a typed repository over a store; pure decisions |
//! | 3 | [`op`] | one file a verb: the loops that do I/O |
//! | 4 | [`render`] | text, tables, progress, JSON lines |
//! | 5 | [`cli`] | arguments and configuration → one operation → its report |
//! | - | [`control`] | switches for tests that must be seen to fail; nothing unless built with the feature `controls` |
//! | - | [`emulator`] | a Kodo service on loopback, for the demo, rehearsals and tests |

pub mod cli;
pub mod control;
pub mod emulator;
pub mod format;
pub mod kodo;
pub mod model;
pub mod op;
pub mod plan;
pub mod render;
pub mod repo;
pub mod source;
pub mod store;
pub mod target;
