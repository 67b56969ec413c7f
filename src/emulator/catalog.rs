//! The bucket behind the service: what a catalog of objects must be able to do.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::object::Object;
use super::spool::{Spool, Stored};

/// An object's bytes, ready to be read.
#[derive(Debug)]
pub enum Data {
    /// In memory.
    Bytes(Bytes),
    /// An open file; it stays the same file whatever happens to its name.
    File(File),
}

/// An object and its bytes, which belong together.
#[derive(Debug)]
pub struct Opened {
    /// What is known of it.
    pub object: Arc<Object>,
    /// Its bytes.
    pub data: Data,
}

/// What a look that must not take long found.
#[derive(Debug)]
pub enum Lookup {
    /// The object.
    Found(Opened),
    /// There is none of that key.
    Absent,
    /// It takes hashing to tell: ask [`Catalog::open`] on a thread that may block.
    Slow,
}

/// A stretch of the catalog, in byte order of the keys.
#[derive(Debug, Default)]
pub struct Listing {
    /// The objects.
    pub objects: Vec<(Arc<str>, Arc<Object>)>,
    /// The first key after them; none at the end of the catalog.
    pub next: Option<Arc<str>>,
}

/// Decides, from what stands under the key now, whether a put may go on.
pub type Allow<'a> = &'a (dyn Fn(Option<&Object>) -> bool + Sync);

/// What became of a put.
#[derive(Debug, Clone)]
pub enum PutOutcome {
    /// The new object is there.
    Done(Arc<Object>),
    /// It was not allowed; this is what stands there.
    Refused(Option<Arc<Object>>),
}

/// A bucket's objects. Everything may block; the service calls it on threads that may.
pub trait Catalog: Send + Sync + 'static {
    /// The object of that key.
    fn find(&self, key: &str) -> io::Result<Option<Arc<Object>>>;

    /// The object of that key with its bytes.
    fn open(&self, key: &str) -> io::Result<Option<Opened>>;

    /// The same for the download path, without hashing anything.
    fn try_open(&self, key: &str) -> io::Result<Lookup> {
        Ok(self.open(key)?.map_or(Lookup::Absent, Lookup::Found))
    }

    /// Brings the catalog up to date with what lies underneath, for keys that begin with `prefix`.
    fn refresh(&self, _prefix: &str) -> io::Result<()> {
        Ok(())
    }

    /// At most `limit` objects whose keys are `from` or greater.
    fn list(&self, from: &str, limit: usize) -> io::Result<Listing>;

    /// Puts an object (its `size` is taken from the bytes) if `allow` says so, in one step.
    fn put(&self, key: &str, object: Object, stored: Stored, allow: Allow<'_>) -> io::Result<PutOutcome>;

    /// Changes an object's metadata in one step; what `change` answers goes back. `None`: there is no such object.
    fn update(
        &self,
        key: &str,
        change: &mut dyn FnMut(&mut Object) -> bool,
    ) -> io::Result<Option<Arc<Object>>>;

    /// Deletes an object; `false`: there was none.
    fn delete(&self, key: &str) -> io::Result<bool>;

    /// A place for bytes that will be put here.
    fn spool(&self) -> io::Result<Spool>;
}

/// Allows every put.
pub fn any(_: Option<&Object>) -> bool {
    true
}
