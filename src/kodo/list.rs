//! Listing a bucket page by page. A pure state machine decides what to ask next and whether a page makes sense.

use std::collections::{HashMap, HashSet};

use super::client::{Call, Client, Count};
use super::encode::query;
use super::failure::Failure;
use super::host::Service;
use super::wire::{ListPage, MAX_PAGE, Object, WireError, parse_list_page};
use crate::control::{Control, off};
use crate::model::key::Key;

/// Objects to ask for in one page: the most there can be.
pub const PAGE: usize = 1000;

/// Why a listing cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// Its marker was there before.
    #[error(
        "page {page} of the listing leads back to where the listing has been; it would never end, so it is not complete"
    )]
    NoAdvance {
        /// Which page, from 1.
        page: u64,
    },
    /// It has been there, again and again, under ever new markers.
    #[error(
        "page {page} of the listing has come {REPEATS} times before, each time under another marker; it would never end, so it is not complete"
    )]
    Repeats {
        /// Which page, from 1.
        page: u64,
    },
    /// It is one of too many without an object.
    #[error(
        "page {page} of the listing is the {EMPTY}th in a row without an object; it would never end, so it is not complete"
    )]
    Empty {
        /// Which page, from 1.
        page: u64,
    },
    /// It holds a key that was not asked for.
    #[error(
        "page {page} of the listing holds the key “{key}”, which does not begin with the prefix that was asked for"
    )]
    Outside {
        /// Which page, from 1.
        page: u64,
        /// The key.
        key: Key,
    },
}

/// Where a listing stands.
#[derive(Debug, Clone)]
pub struct Pager {
    prefix: Key,
    marker: String,
    page: u64,
    /// Digests of all markers so far: a listing that goes in circles of any length is found out.
    seen: HashSet<u128>,
    /// How often each page with objects has come, by the digest of what it holds.
    pages: HashMap<u128, u32>,
    /// Pages without an object since the last one with any.
    empty: u64,
    ended: bool,
}

/// How often a page may come before it is too often: a service that repeats one now and then does no harm.
const REPEATS: u32 = 3;
/// So many pages in a row without an object are no listing: after deletions they come by dozens, and each costs a request.
const EMPTY: u64 = 100_000;

/// The first 16 bytes of the hash of some texts, each with its length.
fn digest<'t>(texts: impl Iterator<Item = &'t [u8]>) -> u128 {
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text);
    }
    let mut first = [0u8; 16];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(first)
}

impl Pager {
    /// Before the first page of all keys with this prefix.
    pub fn new(prefix: Key) -> Self {
        let (seen, pages) = (HashSet::new(), HashMap::new());
        Self { prefix, marker: String::new(), page: 0, seen, pages, empty: 0, ended: false }
    }

    /// The query of the next page; `None`: the listing has ended.
    pub fn query(&self, bucket: &str, limit: usize) -> Option<String> {
        if self.ended {
            return None;
        }
        let limit = limit.to_string();
        let mut pairs =
            vec![("bucket", bucket.as_bytes()), ("limit", limit.as_bytes()), ("needparts", b"true")];
        if !self.prefix.bytes().is_empty() {
            pairs.push(("prefix", self.prefix.bytes()));
        }
        if !self.marker.is_empty() {
            pairs.push(("marker", self.marker.as_bytes()));
        }
        Some(query(pairs))
    }

    /// The number of the next page, from 1.
    pub fn page(&self) -> u64 {
        self.page + 1
    }

    /// Takes a page. Only an empty marker ends the listing: pages without objects are normal after many deletions.
    pub fn take(&mut self, page: ListPage) -> Result<Vec<Object>, ListFault> {
        self.page += 1;
        if off(Control::NoListingCheck) {
            self.ended = page.marker.is_empty();
            self.marker = page.marker;
            return Ok(page.items);
        }
        if let Some(odd) = page.items.iter().find(|o| !o.key.starts_with(self.prefix.bytes())) {
            return Err(ListFault::Outside { page: self.page, key: Key::new(odd.key.clone()) });
        }
        if page.marker.is_empty() {
            self.ended = true;
        } else if !self.seen.insert(digest(std::iter::once(page.marker.as_bytes()))) {
            return Err(ListFault::NoAdvance { page: self.page });
        }
        if page.items.is_empty() {
            self.empty += 1;
            if self.empty >= EMPTY {
                return Err(ListFault::Empty { page: self.page });
            }
        } else {
            self.empty = 0;
            let what = digest(page.items.iter().flat_map(|o| [o.key.as_slice(), o.hash.as_bytes()]));
            let times = self.pages.entry(what).or_default();
            *times += 1;
            if *times > REPEATS {
                return Err(ListFault::Repeats { page: self.page });
            }
        }
        self.marker = page.marker;
        Ok(page.items)
    }
}

impl Client {
    /// One page of a listing, by the query of a [`Pager`].
    pub async fn list_page(&self, query: &str) -> Result<ListPage, Failure> {
        let call = Call {
            query: Some(query),
            bound: MAX_PAGE,
            count: Count::Listing,
            ..Call::get(Service::Rsf, "/list")
        };
        // Where a listing goes on, there is a page: an answer that says nothing would end it, and all that was to follow
        // would look deleted.
        let goes_on = query.split('&').any(|pair| pair.starts_with("marker="));
        self.call(&call, |body| match parse_list_page(body)? {
            page if goes_on && !page.stated => {
                Err(WireError("it is no page of a listing: it has neither items nor a marker".into()))
            }
            page => Ok(page),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(marker: &str, keys: &[&str]) -> ListPage {
        let items = keys.iter().map(|k| Object { key: k.as_bytes().to_vec(), ..Object::default() }).collect();
        ListPage { marker: marker.into(), items, prefixes: vec![], stated: true }
    }

    #[test]
    fn only_an_empty_marker_ends_it() {
        let mut pager = Pager::new(Key::from(""));
        assert_eq!(pager.query("b", 1000).unwrap(), "bucket=b&limit=1000&needparts=true");
        assert_eq!(pager.take(page("m1=", &["a"])).unwrap().len(), 1);
        assert_eq!(pager.query("b", 1000).unwrap(), "bucket=b&limit=1000&needparts=true&marker=m1%3D");
        for n in 2..1000 {
            assert!(pager.take(page(&format!("m{n}"), &[])).unwrap().is_empty());
            assert!(pager.query("b", 1).is_some());
        }
        assert_eq!(pager.take(page("", &["z"])).unwrap().len(), 1);
        assert_eq!(pager.query("b", 1000), None);
    }

    #[test]
    fn a_listing_that_does_not_advance_is_an_error() {
        let mut pager = Pager::new(Key::from(""));
        pager.take(page("a", &["1"])).unwrap();
        let fault = pager.take(page("a", &["2"])).unwrap_err();
        assert_eq!(fault, ListFault::NoAdvance { page: 2 });
        assert!(fault.to_string().starts_with("page 2 of the listing"));
        for circle in [vec!["a", "b", "a"], vec!["a", "b", "c", "d", "b"]] {
            let mut pager = Pager::new(Key::from(""));
            let (last, first) = circle.split_last().unwrap();
            first.iter().for_each(|m| drop(pager.take(page(m, &[])).unwrap()));
            assert!(pager.take(page(last, &[])).is_err(), "{circle:?}");
        }
    }

    #[test]
    fn a_listing_that_only_seems_to_advance_is_an_error() {
        let endless = |keys: &'static [&'static str]| {
            let mut pager = Pager::new(Key::from(""));
            (0..=EMPTY).find_map(|n| pager.take(page(&format!("m{n}"), keys)).err())
        };
        assert_eq!(endless(&[]), Some(ListFault::Empty { page: EMPTY }));
        assert_eq!(endless(&["a", "b"]), Some(ListFault::Repeats { page: u64::from(REPEATS) + 1 }));
        // Two pages in turn, and one that comes twice: the first is endless, the second harmless.
        let mut pager = Pager::new(Key::from(""));
        let turns = (0..100u32).find_map(|n| {
            let key = if n % 2 == 0 { "a" } else { "b" };
            pager.take(page(&format!("m{n}"), &[key])).err()
        });
        assert_eq!(turns, Some(ListFault::Repeats { page: 2 * u64::from(REPEATS) + 1 }));
        let mut pager = Pager::new(Key::from(""));
        assert!(["m1", "m2"].iter().all(|m| pager.take(page(m, &["a"])).is_ok()));
    }

    #[test]
    fn prefixes_are_bytes_and_hold() {
        let mut pager = Pager::new(Key::new(b"\xff/ +".to_vec()));
        assert!(pager.query("b", 1).unwrap().ends_with("&prefix=%FF%2F%20%2B"));
        assert!(matches!(pager.take(page("", &["x"])), Err(ListFault::Outside { page: 1, .. })));
        let mut pager = Pager::new(Key::from("a"));
        assert!(pager.take(page("", &["ab", "b"])).is_err());
        let mut pager = Pager::new(Key::from("a"));
        assert_eq!(
            pager.take(page("", &["ab", "a", "ab"])).unwrap().len(),
            3,
            "order and repeats are not its matter"
        );
    }
}
