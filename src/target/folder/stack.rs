//! Modes and mtimes of folders, which come after everything in them, deepest first.
//!
//! Keys come in order, so the folders on the way down are all that must be remembered: a stack, and below it those
//! folders in which something is still being written.

use std::sync::{Arc, Mutex, PoisonError};

use super::{FolderTarget, Meta, Outcome, Result};
use crate::target::TargetError;

/// How many failures are kept; more of them say nothing new.
const FAILURES: usize = 1_000;

/// The folders on the way down.
#[derive(Debug)]
pub struct FolderStack {
    target: FolderTarget,
    stack: Vec<Arc<Node>>,
    failures: Arc<Mutex<Vec<TargetError>>>,
}

/// A folder that gets its mode and mtime when nobody holds it any more.
#[derive(Debug)]
struct Node {
    target: FolderTarget,
    path: Vec<u8>,
    meta: Meta,
    failures: Arc<Mutex<Vec<TargetError>>>,
    /// Held, so that the folder above comes later.
    _above: Option<Arc<Node>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(e) = self.target.finish_folder(&self.path, &self.meta) {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            if failures.len() < FAILURES {
                failures.push(e);
            }
        }
    }
}

/// To be held while something is written; its folder waits for it.
#[derive(Debug)]
#[must_use = "the folder does not wait for what holds no ticket"]
pub struct Ticket {
    _folder: Option<Arc<Node>>,
}

impl FolderStack {
    /// An empty stack.
    pub fn new(target: &FolderTarget) -> Self {
        Self { target: target.clone(), stack: Vec::new(), failures: Arc::default() }
    }

    /// Makes a folder, which is to have this mode and mtime in the end. Paths come in the order of their keys.
    pub fn folder(&mut self, path: &[u8], meta: &Meta) -> Result<Outcome> {
        let above = self.above(path);
        let outcome = self.target.folder(path, meta)?;
        self.stack.push(Arc::new(Node {
            target: self.target.clone(),
            path: path.to_vec(),
            meta: *meta,
            failures: Arc::clone(&self.failures),
            _above: above,
        }));
        Ok(outcome)
    }

    /// A ticket for a file or link. Paths come in the order of their keys; the ticket may be dropped at any time, on
    /// any thread.
    pub fn ticket(&mut self, path: &[u8]) -> Ticket {
        Ticket { _folder: self.above(path) }
    }

    /// Leaves the folders that the path is not in.
    fn above(&mut self, path: &[u8]) -> Option<Arc<Node>> {
        let outside =
            |node: &mut Arc<Node>| path.strip_prefix(&node.path[..]).is_none_or(|r| r.first() != Some(&b'/'));
        while self.stack.pop_if(outside).is_some() {}
        self.stack.last().cloned()
    }

    /// Leaves all folders and says which could not be given their mode and mtime. Every ticket is to be dropped
    /// before.
    pub fn finish(mut self) -> Vec<TargetError> {
        while self.stack.pop().is_some() {}
        std::mem::take(&mut *self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
