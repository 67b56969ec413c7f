//! Listing a bucket page by page. A pure state machine decides what to ask next and whether a page makes sense.

use std::collections::HashSet;

use super::client::{Call, Client, Count};
use super::encode::query;
use super::failure::Failure;
use super::host::Service;
use super::wire::{ListPage, MAX_PAGE, Object, parse_list_page};
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
    ended: bool,
}

impl Pager {
    /// Before the first page of all keys with this prefix.
    pub fn new(prefix: Key) -> Self {
        Self { prefix, marker: String::new(), page: 0, seen: HashSet::new(), ended: false }
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
        if let Some(odd) = page.items.iter().find(|o| !o.key.starts_with(self.prefix.bytes())) {
            return Err(ListFault::Outside { page: self.page, key: Key::new(odd.key.clone()) });
        }
        if page.marker.is_empty() {
            self.ended = true;
        } else {
            let mut digest = [0u8; 16];
            digest.copy_from_slice(&blake3::hash(page.marker.as_bytes()).as_bytes()[..16]);
            if !self.seen.insert(u128::from_le_bytes(digest)) {
                return Err(ListFault::NoAdvance { page: self.page });
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
        self.call(&call, parse_list_page).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(marker: &str, keys: &[&str]) -> ListPage {
        let items = keys.iter().map(|k| Object { key: k.as_bytes().to_vec(), ..Object::default() }).collect();
        ListPage { marker: marker.into(), items, prefixes: vec![] }
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
