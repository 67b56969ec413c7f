//! Restoring snapshots through the library: what comes back, what is refused, what is left alone.

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::{context, folder, new_store, noise, options, write};
use proptest::prelude::*;
use qbak::model::clock::SystemClock;
use qbak::model::event::Silent;
use qbak::model::glob::{Filter, Glob};
use qbak::model::key::Key;
use qbak::op::open::{Catalog, Opened};
use qbak::op::restore::{Cause, Context, Doomed, Report, Request, restore};
use qbak::op::snapshot::snapshot;
use qbak::op::{Cancel, OpError, cat, ls};
use qbak::plan::restore::{Action, Step, Wish};
use qbak::plan::select::Completeness;
use qbak::repo::Repository;

const OVER: Wish = Wish { overwrite: true, delete: false, allow_incomplete: false };
const DELETE: Wish = Wish { overwrite: true, delete: true, allow_incomplete: false };

/// Everything below a folder: kind, mode, mtime, and bytes or target; by path.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let what = if meta.is_symlink() {
                format!("-> {:?}", std::fs::read_link(&path).unwrap())
            } else if meta.is_dir() {
                todo.push(path.clone());
                "/".into()
            } else {
                blake3::hash(&std::fs::read(&path).unwrap()).to_string()
            };
            let mode = if meta.is_symlink() { 0 } else { meta.mode() & 0o7777 };
            let line = format!("{what} {mode:o} {}.{}", meta.mtime(), meta.mtime_nsec());
            out.insert(path.strip_prefix(root).unwrap().to_path_buf(), line);
        }
    }
    out
}

async fn latest(repo: &Repository) -> Opened {
    let catalog = Catalog::read(repo).await.unwrap();
    let last = catalog.candidates().last().unwrap().name;
    catalog.open(last).await.unwrap()
}

fn with(opened: Opened) -> Context {
    Context { opened, clock: Arc::new(SystemClock), observer: Arc::new(Silent), cancel: Cancel::never() }
}

fn to(path: &Path) -> Request {
    Request::new(path.into(), std::env::temp_dir())
}

fn filter(keys: &[&str], prefixes: &[&str], include: &[&str], exclude: &[&str]) -> Filter {
    let keys = |list: &[&str]| list.iter().map(|k| Key::from(*k)).collect();
    let globs = |list: &[&str]| list.iter().map(|g| Glob::new(g).unwrap()).collect();
    Filter { keys: self::keys(keys), prefixes: self::keys(prefixes), include: globs(include), exclude: globs(exclude) }
}

fn keys(list: impl Fn(&[&str]) -> Vec<Key>) -> Vec<Key> {
    list(&[])
}

async fn run(repo: &Repository, request: Request) -> Result<Report, OpError> {
    restore(&with(latest(repo).await), request).await
}
