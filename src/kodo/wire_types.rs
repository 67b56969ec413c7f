//! Pieces of Kodo's JSON that need more care than a derive takes: raw bytes, sizes, and lists with bounds.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::wire::{Object, RawAnswer, RawObject, RawRegion, WireError};
use crate::model::key::Key;

/// Objects of one page: 1,000 are asked for at most, and some servers repeat some.
const MAX_ITEMS: usize = 5_000;
/// Common prefixes of one page.
const MAX_PREFIXES: usize = 10_000;
/// Parts of one object, and runs of equal parts in one page.
const MAX_PARTS: u64 = 10_000;
const MAX_RUNS: usize = 1_000_000;
/// Answers of one batch: the service takes a thousand operations at most.
const MAX_ANSWERS: usize = 1_000;
/// Names of one service of a region.
const MAX_HOSTS: usize = 100;
/// Metadata of one object (names and values have 1,024 bytes together), and of one page.
const MAX_META: usize = 512;
const MAX_PAGE_META: usize = 200_000;

/// A JSON string as bytes: keys are bytes, and one that is not UTF-8 must not cost the whole listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(pub(super) Vec<u8>);

impl Text {
    pub(super) fn lossy(self) -> String {
        String::from_utf8(self.0).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }

    pub(super) fn strict(self) -> Result<String, WireError> {
        String::from_utf8(self.0).map_err(|_| WireError("a marker in it is not text".into()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(bytes.to_vec()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.as_bytes().to_vec()))
            }
        }
        d.deserialize_bytes(V)
    }
}

/// A size in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size(pub(super) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size in bytes")
            }

            fn visit_u64<E: Error>(self, n: u64) -> Result<Size, E> {
                if n > i64::MAX as u64 {
                    return Err(E::custom(format!("the size {n} is impossible")));
                }
                Ok(Size(n))
            }

            fn visit_i64<E: Error>(self, n: i64) -> Result<Size, E> {
                u64::try_from(n).map(Size).map_err(|_| E::custom(format!("the size {n} is impossible")))
            }
        }
        d.deserialize_any(V)
    }
}

/// Builds a visitor for a JSON list.
macro_rules! list {
    ($name:ty, $what:literal, |$seq:ident| $body:block) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct V;
                impl<'de> Visitor<'de> for V {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_seq<A: SeqAccess<'de>>(self, mut $seq: A) -> Result<$name, A::Error> $body
                }
                d.deserialize_seq(V)
            }
        }
    };
}

/// The objects of a page; records that are null or in which nothing is set are left out.
#[derive(Default)]
pub(super) struct Items(pub(super) Vec<Object>);

list!(Items, "a list of objects", |seq| {
    let (mut items, mut runs, mut meta) = (Vec::new(), 0, 0);
    while let Some(raw) = seq.next_element::<Option<RawObject>>()? {
        let Some(raw) = raw.filter(|r| !r.is_empty()) else { continue };
        runs += raw.parts.as_ref().map_or(0, |p| p.0.len());
        let object = raw.object();
        if object.key.len() > Key::MAX {
            return Err(A::Error::custom(format!("a key of {} bytes is impossible", object.key.len())));
        }
        meta += object.meta.len();
        items.push(object);
        if items.len() > MAX_ITEMS || runs > MAX_RUNS || meta > MAX_PAGE_META {
            return Err(A::Error::custom("more than was asked for"));
        }
    }
    Ok(Items(items))
});

/// The answers of a batch. One that is counted only after it is read could hold a million of them.
pub(super) struct Answers(pub(super) Vec<RawAnswer>);

list!(Answers, "a list of answers", |seq| {
    let mut answers = Vec::new();
    while let Some(answer) = seq.next_element::<RawAnswer>()? {
        if answers.len() == MAX_ANSWERS {
            return Err(A::Error::custom("more answers than any batch has"));
        }
        answers.push(answer);
    }
    Ok(Answers(answers))
});

/// The first of a list of regions: the primary one. The others are passed over.
pub(super) struct Primary(pub(super) Option<RawRegion>);

list!(Primary, "a list of regions", |seq| {
    let first = seq.next_element::<RawRegion>()?;
    while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
    Ok(Primary(first))
});

/// Names of hosts.
#[derive(Default)]
pub(super) struct HostNames(pub(super) Vec<String>);

list!(HostNames, "a list of hosts", |seq| {
    let mut names = Vec::new();
    while let Some(name) = seq.next_element::<String>()? {
        if names.len() == MAX_HOSTS {
            return Err(A::Error::custom("too many hosts"));
        }
        names.push(name);
    }
    Ok(HostNames(names))
});

/// Common prefixes.
#[derive(Default)]
pub(super) struct Texts(pub(super) Vec<Text>);

list!(Texts, "a list of texts", |seq| {
    let mut texts = Vec::new();
    while let Some(text) = seq.next_element::<Text>()? {
        if texts.len() == MAX_PREFIXES || text.0.len() > Key::MAX {
            return Err(A::Error::custom("too many or too long common prefixes"));
        }
        texts.push(text);
    }
    Ok(Texts(texts))
});

/// Part sizes, run-length; none where there are more than an upload can have.
#[derive(Default)]
pub(super) struct PartRuns(pub(super) Vec<(u64, u64)>);

list!(PartRuns, "a list of sizes", |seq| {
    let (mut runs, mut count) = (Vec::<(u64, u64)>::new(), 0u64);
    while let Some(size) = seq.next_element::<Size>()? {
        count += 1;
        match runs.last_mut() {
            _ if count > MAX_PARTS => runs = Vec::new(),
            Some((s, n)) if *s == size.0 => *n += 1,
            _ => runs.push((size.0, 1)),
        }
    }
    Ok(PartRuns(runs))
});

/// Custom metadata, names without the prefix that some answers show and others do not.
#[derive(Default)]
pub(super) struct MetaMap(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for MetaMap {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = MetaMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MetaMap, A::Error> {
                let mut meta = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<Text, Text>()? {
                    let name = name.lossy();
                    let bare = match name.get(..META_PREFIX.len()) {
                        Some(head) if head.eq_ignore_ascii_case(META_PREFIX) => &name[META_PREFIX.len()..],
                        _ => &name,
                    };
                    if meta.len() == MAX_META {
                        return Err(A::Error::custom("too much metadata"));
                    }
                    meta.insert(bare.to_owned(), value.lossy());
                }
                Ok(MetaMap(meta))
            }
        }
        d.deserialize_map(V)
    }
}

/// What names of custom metadata begin with in headers, paths and some answers.
const META_PREFIX: &str = "x-qn-meta-";
