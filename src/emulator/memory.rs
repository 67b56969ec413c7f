//! A bucket in memory, for tests: contents can be shared, so millions of keys cost little more than their names.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::catalog::{Allow, Catalog, Data, Listing, Opened, PutOutcome};
use super::object::Object;
use super::spool::{Content, Spool, Stored};

#[derive(Debug, Clone)]
struct Slot {
    object: Arc<Object>,
    bytes: Bytes,
}

/// Objects in memory.
#[derive(Debug, Default)]
pub struct Memory {
    slots: RwLock<BTreeMap<Arc<str>, Slot>>,
}

impl Memory {
    /// An empty bucket.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts many keys that share one object and its bytes, as they are: the object's size and hash are taken as
    /// given, so that a listing can also say what is not so.
    pub fn insert_shared(
        &self,
        keys: impl IntoIterator<Item = impl Into<Arc<str>>>,
        object: &Arc<Object>,
        bytes: &Bytes,
    ) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            slots.insert(key.into(), Slot { object: Arc::clone(object), bytes: bytes.clone() });
        }
    }

    fn slot(&self, key: &str) -> Option<Slot> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

impl Catalog for Memory {
    fn find(&self, key: &str) -> io::Result<Option<Arc<Object>>> {
        Ok(self.slot(key).map(|s| s.object))
    }

    fn open(&self, key: &str) -> io::Result<Option<Opened>> {
        Ok(self.slot(key).map(|s| Opened { object: s.object, data: Data::Bytes(s.bytes) }))
    }

    fn list(&self, from: &str, limit: usize) -> io::Result<Listing> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let mut range = slots.range::<str, _>((Bound::Included(from), Bound::Unbounded));
        let objects =
            range.by_ref().take(limit).map(|(k, s)| (Arc::clone(k), Arc::clone(&s.object))).collect();
        Ok(Listing { objects, next: range.next().map(|(k, _)| Arc::clone(k)) })
    }

    fn put(&self, key: &str, mut object: Object, stored: Stored, allow: Allow<'_>) -> io::Result<PutOutcome> {
        let bytes = match stored.content {
            Content::Memory(bytes) => bytes,
            Content::File(path) => Bytes::from(std::fs::read(path)?),
        };
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let old = slots.get(key).map(|s| Arc::clone(&s.object));
        if !allow(old.as_deref()) {
            return Ok(PutOutcome::Refused(old));
        }
        object.size = stored.size;
        let object = Arc::new(object);
        slots.insert(key.into(), Slot { object: Arc::clone(&object), bytes });
        Ok(PutOutcome::Done(object))
    }

    fn update(
        &self,
        key: &str,
        change: &mut dyn FnMut(&mut Object) -> bool,
    ) -> io::Result<Option<Arc<Object>>> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.get_mut(key) else { return Ok(None) };
        let mut object = (*slot.object).clone();
        if change(&mut object) {
            slot.object = Arc::new(object);
        }
        Ok(Some(Arc::clone(&slot.object)))
    }

    fn delete(&self, key: &str) -> io::Result<bool> {
        Ok(self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(key).is_some())
    }

    fn spool(&self) -> io::Result<Spool> {
        Ok(Spool::memory())
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::any;
    use super::*;

    #[test]
    fn lists_in_byte_order_and_puts_once() {
        let m = Memory::new();
        let shared = Arc::new(Object { mime: "text/plain".into(), ..Object::default() });
        m.insert_shared(["b", "a", "\u{e000}", "😀"], &shared, &Bytes::new());
        let page = m.list("a", 3).unwrap();
        let keys: Vec<&str> = page.objects.iter().map(|(k, _)| &**k).collect();
        assert_eq!(keys, ["a", "b", "\u{e000}"]);
        assert_eq!(page.next.as_deref(), Some("😀"));
        let stored = || {
            let mut s = m.spool().unwrap();
            s.write(b"x").unwrap();
            s.finish().unwrap()
        };
        assert!(matches!(m.put("n", Object::default(), stored(), &any).unwrap(), PutOutcome::Done(_)));
        let refused = m.put("n", Object::default(), stored(), &|old| old.is_none()).unwrap();
        assert!(matches!(refused, PutOutcome::Refused(Some(_))));
        assert!(m.delete("n").unwrap() && !m.delete("n").unwrap());
    }
}
