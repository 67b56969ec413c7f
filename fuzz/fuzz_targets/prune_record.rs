//! Drives the target `prune_record`; see `targets/`.

#![no_main]

#[path = "../targets/mod.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::run("prune_record", data));
