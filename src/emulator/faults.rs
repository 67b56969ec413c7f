//! What tests break on purpose: the rules that are set, the clock, late deletions, frozen listings.
//!
//! Everything is deterministic: rules fire by kind, key and count, never by chance.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::catalog::Catalog;
use super::memory::Memory;
use super::rules::{Action, Rule, Seen};

#[derive(Debug)]
struct Active {
    id: u64,
    rule: Rule,
    matched: u64,
    fired: u64,
}

#[derive(Default)]
struct Inner {
    rules: Mutex<Vec<Active>>,
    next: Mutex<u64>,
    /// Whether there is any rule: asked on every request, so without a lock.
    any: AtomicBool,
    clock_offset: AtomicI64,
    delete_delay: AtomicI64,
    pending: Mutex<Vec<(String, i64)>>,
    frozen: Mutex<Option<Arc<Memory>>>,
    last_markers: Mutex<Vec<String>>,
    last_items: Mutex<Vec<String>>,
}

/// The faults of one service; clones are the same faults.
#[derive(Clone, Default)]
pub struct Faults(Arc<Inner>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&*lock(&self.0.rules)).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    /// Adds a rule; the number names it for [`Faults::remove`] and [`Faults::fired`].
    pub fn add(&self, rule: Rule) -> u64 {
        let mut next = lock(&self.0.next);
        let id = *next;
        *next += 1;
        lock(&self.0.rules).push(Active { id, rule, matched: 0, fired: 0 });
        self.0.any.store(true, Ordering::Release);
        id
    }

    /// Takes a rule away.
    pub fn remove(&self, id: u64) {
        let mut rules = lock(&self.0.rules);
        rules.retain(|a| a.id != id);
        self.0.any.store(!rules.is_empty(), Ordering::Release);
    }

    /// Takes all rules away. Clock, frozen listing and delays stay as they are.
    pub fn clear(&self) {
        lock(&self.0.rules).clear();
        self.0.any.store(false, Ordering::Release);
    }

    /// How often a rule has fired.
    pub fn fired(&self, id: u64) -> u64 {
        lock(&self.0.rules).iter().find(|a| a.id == id).map_or(0, |a| a.fired)
    }

    /// Moves the service's clock by so many seconds: signatures and dates of clients are then off.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.0.clock_offset.store(seconds, Ordering::Relaxed);
    }

    /// Deletions take so many seconds of the service's time to show; 0: none.
    pub fn delay_deletes(&self, seconds: i64) {
        self.0.delete_delay.store(seconds, Ordering::Relaxed);
    }

    /// Listings go on showing the objects that are there now, while everything else shows what is.
    pub fn freeze_listing(&self, catalog: &dyn Catalog) -> std::io::Result<()> {
        catalog.refresh("")?;
        let frozen = Memory::new();
        let mut at: Arc<str> = "".into();
        loop {
            let page = catalog.list(&at, 10_000)?;
            for (key, object) in page.objects {
                frozen.insert_shared([key], &object, &Bytes::new());
            }
            match page.next {
                Some(next) => at = next,
                None => break,
            }
        }
        *lock(&self.0.frozen) = Some(Arc::new(frozen));
        Ok(())
    }

    /// Listings show what is there again.
    pub fn unfreeze_listing(&self) {
        *lock(&self.0.frozen) = None;
    }

    pub(super) fn clock_offset(&self) -> i64 {
        self.0.clock_offset.load(Ordering::Relaxed)
    }

    pub(super) fn delete_delay(&self) -> i64 {
        self.0.delete_delay.load(Ordering::Relaxed)
    }

    pub(super) fn delete_later(&self, key: &str, due: i64) {
        lock(&self.0.pending).push((key.to_owned(), due));
    }

    pub(super) fn due_deletes(&self, now: i64) -> Vec<String> {
        let mut pending = lock(&self.0.pending);
        if pending.is_empty() {
            return Vec::new();
        }
        let (due, later): (Vec<_>, Vec<_>) = pending.drain(..).partition(|(_, t)| *t <= now);
        *pending = later;
        due.into_iter().map(|(key, _)| key).collect()
    }

    pub(super) fn frozen(&self) -> Option<Arc<Memory>> {
        lock(&self.0.frozen).clone()
    }

    /// Notes the marker a listing was asked with; answers the one of the listing before.
    pub(super) fn marker_before(&self, asked: &str) -> String {
        let mut last = lock(&self.0.last_markers);
        last.push(asked.to_owned());
        if last.len() > 2 {
            last.remove(0);
        }
        if last.len() == 2 { last[0].clone() } else { String::new() }
    }

    /// Notes the items a listing was answered with; answers those of the listing before.
    pub(super) fn items_before(&self, items: &[String]) -> Vec<String> {
        std::mem::replace(&mut *lock(&self.0.last_items), items.to_vec())
    }

    /// Whether any rule is set.
    pub(super) fn active(&self) -> bool {
        self.0.any.load(Ordering::Acquire)
    }

    /// What goes wrong with this request.
    pub(super) fn take(&self, seen: &Seen) -> Vec<Action> {
        if !self.active() {
            return Vec::new();
        }
        let mut out = Vec::new();
        for active in lock(&self.0.rules).iter_mut().filter(|a| a.rule.matches(seen)) {
            active.matched += 1;
            let spent = active.rule.times.is_some_and(|n| active.fired >= n);
            let Some(place) = active.matched.checked_sub(active.rule.skip + 1) else { continue };
            let spared = active.rule.share.is_some_and(|(n, of)| place % of >= n);
            if !spent && !spared {
                active.fired += 1;
                out.extend(active.rule.actions.iter().cloned());
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::route::{Kind, Role};
    use super::*;

    fn seen(kind: Kind, key: &str) -> Seen {
        Seen {
            number: 0,
            kind,
            role: Role::Main,
            method: "GET".into(),
            target: "/".into(),
            key: Some(key.into()),
            range: None,
        }
    }

    #[test]
    fn rules_fire_by_kind_key_and_count() {
        let faults = Faults::default();
        assert!(faults.take(&seen(Kind::List, "")).is_empty());
        let id = faults.add(Rule::on(Kind::Download).key("photos/*").after(1).times(2).does(Action::Drop));
        assert!(faults.take(&seen(Kind::Stat, "photos/a")).is_empty());
        assert!(faults.take(&seen(Kind::Download, "photos/a/b")).is_empty(), "* stops at a slash");
        let fired: Vec<usize> =
            (0..4).map(|_| faults.take(&seen(Kind::Download, "photos/a")).len()).collect();
        assert_eq!(fired, [0, 1, 1, 0]);
        assert_eq!(faults.fired(id), 2);
        faults.remove(id);
        faults.add(Rule::any().exactly("a*").does(Action::Stall));
        assert!(faults.take(&seen(Kind::Stat, "ab")).is_empty());
        assert_eq!(faults.take(&seen(Kind::Stat, "a*")).len(), 1);
        faults.clear();
        assert!(!faults.active());
        faults.add(Rule::any().after(1).share(2, 3).does(Action::Drop));
        let fired: Vec<usize> = (0..8).map(|_| faults.take(&seen(Kind::Stat, "a")).len()).collect();
        assert_eq!(fired, [0, 1, 1, 0, 1, 1, 0, 1]);
    }

    #[test]
    fn deletes_come_due() {
        let faults = Faults::default();
        faults.delete_later("a", 10);
        faults.delete_later("b", 20);
        assert!(faults.due_deletes(9).is_empty());
        assert_eq!(faults.due_deletes(10), ["a"]);
        assert_eq!(faults.due_deletes(30), ["b"]);
    }
}
