//! A folder's listing: the walk, and the relabelled files as a second stream, merged in the order of the keys.

use std::cmp::Ordering;
use std::io;
use std::iter::Peekable;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::relabel::{Among, Labels, stat_path};
use super::stamp::{file_type, listed};
use super::walk::{Found, Walk, What, reason};
use crate::format::keyfile;
use crate::model::clock::Clock;
use crate::model::entry::Kind;
use crate::model::event::{Event, Observer};
use crate::model::key::Key;
use crate::model::listed::Listed;
use crate::model::time::Timestamp;
use crate::source::sorted::Pairs;

/// How many objects a page has.
pub(crate) const PAGE: usize = 1_000;

/// What a listing needs.
pub(crate) struct Listing<'a> {
    pub(crate) root: &'a Arc<OwnedFd>,
    pub(crate) labels: &'a Labels,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) observer: &'a dyn Observer,
}

impl Listing<'_> {
    /// Hands the pages to `page` until it says that it wants no more.
    pub(crate) fn run(&self, mut page: impl FnMut(Vec<Listed>) -> bool) -> io::Result<()> {
        let mut now = self.clock.now();
        let mut plain =
            Plain { walk: Walk::new(Arc::clone(self.root))?, relabelled: Among::new(&self.labels.by_path) };
        let mut plain_head = plain.next(self, now)?;
        let mut labels = self.labels.by_key.iter().peekable();
        let mut label_head = self.relabelled(&mut labels, now)?;
        let mut out = Vec::with_capacity(PAGE);
        loop {
            let order = match (&plain_head, &label_head) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some((b, _))) => a.key.cmp(&b.key),
            };
            if order.is_le() {
                let next = plain.next(self, now)?;
                let item = std::mem::replace(&mut plain_head, next);
                // A folder that an object's key ends like is only there because that object's neighbours need it.
                out.extend(item.filter(|item| order.is_lt() || item.kind != Kind::Folder));
                if order.is_eq() && out.last().map(|l| &l.key) == label_head.as_ref().map(|(l, _)| &l.key) {
                    // A file of that very name turned up after the side file was checked.
                    if let Some((item, path)) = label_head.take() {
                        let mut lost = Listed::new(Key::new(path), Kind::Object);
                        lost.failed = Some(format!("its key “{}” is another file's name now", item.key));
                        out.push(lost);
                    }
                    label_head = self.relabelled(&mut labels, now)?;
                }
            } else {
                let next = self.relabelled(&mut labels, now)?;
                out.extend(std::mem::replace(&mut label_head, next).map(|(item, _)| item));
            }
            if out.len() >= PAGE {
                if !page(std::mem::replace(&mut out, Vec::with_capacity(PAGE))) {
                    return Ok(());
                }
                now = self.clock.now();
            }
        }
        if !out.is_empty() {
            page(out);
        }
        Ok(())
    }

    /// The next relabelled file that is there.
    fn relabelled(
        &self,
        labels: &mut Peekable<Pairs<'_>>,
        now: Timestamp,
    ) -> io::Result<Option<(Listed, Vec<u8>)>> {
        for pair in labels {
            let (key, path) = pair?;
            match stat_path(self.root.as_fd(), &path) {
                Ok(stat) if file_type(&stat) == FileType::RegularFile => {
                    return Ok(Some((listed(Key::new(key), Kind::Object, &stat, now), path)));
                }
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => {
                    let mut failed = Listed::new(Key::new(key), Kind::Object);
                    failed.failed =
                        Some(format!("“{}” cannot be examined: {}", Key::new(path.clone()), reason(e)));
                    return Ok(Some((failed, path)));
                }
            }
        }
        Ok(None)
    }
}

/// The files that keep their own names.
struct Plain<'a> {
    walk: Walk,
    relabelled: Among<'a>,
}

impl Plain<'_> {
    fn next(&mut self, listing: &Listing<'_>, now: Timestamp) -> io::Result<Option<Listed>> {
        for Found { path, what } in self.walk.by_ref() {
            if listing.labels.in_use && path == keyfile::NAME.as_bytes() {
                continue;
            }
            let kind = if path.ends_with(b"/") { Kind::Folder } else { Kind::Object };
            return Ok(Some(match what {
                What::File(_) | What::Failed(_) if self.relabelled.has(&path)? => continue,
                What::File(stat) => listed(Key::new(path), Kind::Object, &stat, now),
                What::Folder(stat, problem) => {
                    let mut out = listed(Key::new(path), Kind::Folder, &stat, now);
                    out.failed = problem;
                    out
                }
                What::Link(stat, target) => {
                    let mut out = listed(Key::new(path), Kind::Link, &stat, now);
                    out.target = Some(target);
                    out
                }
                What::Failed(reason) => {
                    let mut out = Listed::new(Key::new(path), kind);
                    out.failed = Some(reason);
                    out
                }
                What::Special(kind) => {
                    let what = match kind {
                        FileType::Socket => "a socket",
                        FileType::Fifo => "a FIFO",
                        _ => "a device",
                    };
                    listing.observer.event(Event::Note(format!("“{}” is {what}: skipped", Key::new(path))));
                    continue;
                }
            }));
        }
        Ok(None)
    }
}
