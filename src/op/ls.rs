//! `ls`: a snapshot's objects in the order of their keys; with a delimiter one level, folders folded. Memory does not
//! grow with the number of objects, and what lies in a big folder is skipped unread.

use super::OpError;
use super::open::{Entries, Opened};
use crate::model::entry::Entry;
use crate::model::key::Key;
use crate::repo::manifest_reader::Span;

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An object; also a folder or link of a folder's snapshot.
    Object(Box<Entry>),
    /// All keys that begin so.
    Folded(Key),
}

/// How many entries of a folded folder are read before it is jumped over: a jump reads a segment anew.
const STEPS: u32 = 4_096;

/// A listing.
#[derive(Debug)]
pub struct Listing {
    opened: Opened,
    prefix: Key,
    delimiter: Vec<u8>,
    entries: Entries,
    folded: Option<Vec<u8>>,
    steps: u32,
}

impl Listing {
    /// The keys that begin with `prefix`. An empty delimiter folds nothing.
    pub fn new(opened: &Opened, prefix: Key, delimiter: impl Into<Vec<u8>>) -> Self {
        let entries = opened.entries(&Span::prefix(prefix.clone()));
        Self { opened: opened.clone(), prefix, delimiter: delimiter.into(), entries, folded: None, steps: 0 }
    }

    /// The next line; `None` after the last.
    ///
    /// # Errors
    /// A piece of the manifest is damaged, or the store cannot be read. After damage it can go on.
    pub async fn next(&mut self) -> Result<Option<Item>, OpError> {
        while let Some(entry) = self.entries.next().await? {
            let key = entry.key.bytes();
            if let Some(folded) = &self.folded
                && key.starts_with(folded)
            {
                self.steps += 1;
                if self.steps >= STEPS {
                    match after(folded) {
                        Some(from) => self.jump(from),
                        None => return Ok(None),
                    }
                }
                continue;
            }
            let rest = &key[self.prefix.bytes().len().min(key.len())..];
            let Some(end) = find(rest, &self.delimiter) else {
                return Ok(Some(Item::Object(Box::new(entry))));
            };
            let fold = key[..key.len() - rest.len() + end].to_vec();
            self.folded = Some(fold.clone());
            self.steps = 0;
            return Ok(Some(Item::Folded(Key::new(fold))));
        }
        Ok(None)
    }

    fn jump(&mut self, from: Vec<u8>) {
        let from = Key::new(from).max(self.prefix.clone());
        self.entries = self.opened.entries(&Span { from, prefix: self.prefix.clone() });
        self.folded = None;
    }
}

/// Where the first delimiter ends.
fn find(text: &[u8], delimiter: &[u8]) -> Option<usize> {
    if delimiter.is_empty() {
        return None;
    }
    text.windows(delimiter.len()).position(|w| w == delimiter).map(|at| at + delimiter.len())
}

/// The first bytes behind all that begin with `prefix`; none if there are no such.
fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let end = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut out = prefix[..=end].to_vec();
    out[end] += 1;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_prefix() {
        assert_eq!(after(b"a/").as_deref(), Some(&b"a0"[..]));
        assert_eq!(after(b"a\xff\xff").as_deref(), Some(&b"b"[..]));
        assert_eq!(after(b"\xff"), None);
        assert_eq!(find(b"a//b", b"//"), Some(3));
        assert_eq!(find(b"a", b""), None);
    }
}
