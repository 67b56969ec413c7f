//! The JSON that Kodo answers with: tolerant of what is missing, strict on what makes no sense, bounded throughout.
//!
//! Every `parse_…` takes bytes that nobody vouches for; none of them panics or allocates more than a small multiple
//! of what it was given.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fault::clean;
use super::wire_types::{Answers, HostNames, Items, MetaMap, PartRuns, Primary, Size, Text};
use crate::model::key::Key;

/// The largest listing page.
pub const MAX_PAGE: usize = 64 << 20;
/// The largest answer to anything but a listing.
pub const MAX_ANSWER: usize = 16 << 20;

/// An answer that is not what it should be; a short reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(pub String);

impl From<serde_json::Error> for WireError {
    fn from(error: serde_json::Error) -> Self {
        Self(clean(&error.to_string()))
    }
}

/// What a listing or `stat` says of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Object {
    /// Its key; empty in answers that do not repeat it.
    pub key: Vec<u8>,
    /// Its hash, as shown; empty if there is none.
    pub hash: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was put, in 100 ns since 1970.
    pub put_time: Option<i64>,
    /// Its content type.
    pub mime: Option<String>,
    /// Its storage class.
    pub class: i64,
    /// 0: enabled; 1: disabled.
    pub status: i64,
    /// Who uploaded it, if that was said.
    pub end_user: Option<String>,
    /// Custom metadata, names without their prefix.
    pub meta: BTreeMap<String, String>,
    /// Sizes of its parts, run-length; empty if unknown or if they do not add up to the size.
    pub parts: Vec<(u64, u64)>,
    /// Of an archived object: 1 is being thawed, 2 is thawed.
    pub restore: Option<i64>,
    /// When it will be deleted, Unix seconds.
    pub expiration: Option<i64>,
    /// When it will change its storage class: name → Unix seconds.
    pub transitions: BTreeMap<String, i64>,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    /// Where the next page begins; empty: this was the last.
    pub marker: String,
    /// Its objects; none does not mean the end.
    pub items: Vec<Object>,
    /// Common prefixes, where a delimiter was asked for.
    pub prefixes: Vec<Key>,
    /// It has a marker, items or prefixes, be they null: an answer that says nothing at all is not the end of a listing.
    pub stated: bool,
}

/// One answer of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchAnswer {
    /// Its code, of the same table as the calls'.
    pub code: u16,
    /// What a `stat` found.
    pub object: Option<Object>,
    /// What was said of a failure.
    pub error: String,
}

/// The hosts of a bucket's region, as named by the region query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Region {
    /// The region's id.
    pub id: String,
    /// For how many seconds this holds.
    pub ttl: u64,
    /// Hosts of management calls.
    pub rs: Vec<String>,
    /// Hosts of listings.
    pub rsf: Vec<String>,
    /// Hosts of uploads.
    pub up: Vec<String>,
    /// Hosts of downloads.
    pub io: Vec<String>,
    /// The bucket's own source hosts; may be empty.
    pub io_src: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RawObject {
    pub(super) key: Option<Text>,
    pub(super) hash: Option<Text>,
    fsize: Option<Size>,
    #[serde(rename = "putTime")]
    put_time: Option<i64>,
    #[serde(rename = "mimeType")]
    mime: Option<Text>,
    #[serde(rename = "type")]
    class: Option<i64>,
    status: Option<i64>,
    #[serde(rename = "endUser")]
    end_user: Option<Text>,
    #[serde(rename = "x-qn-meta")]
    meta: Option<MetaMap>,
    pub(super) parts: Option<PartRuns>,
    #[serde(rename = "restoreStatus")]
    restore: Option<i64>,
    expiration: Option<i64>,
    #[serde(rename = "transitionToIA")]
    to_ia: Option<i64>,
    #[serde(rename = "transitionToArchiveIR")]
    to_archive_ir: Option<i64>,
    #[serde(rename = "transitionToARCHIVE", alias = "transitionToArchive")]
    to_archive: Option<i64>,
    #[serde(rename = "transitionToDeepArchive")]
    to_deep_archive: Option<i64>,
    #[serde(rename = "transitionToIntelligentTiering")]
    to_tiering: Option<i64>,
    error: Option<Text>,
}

impl RawObject {
    /// Servers are known to list records in which nothing is set.
    pub(super) fn is_empty(&self) -> bool {
        let no = |t: &Option<Text>| t.as_ref().is_none_or(|t| t.0.is_empty());
        no(&self.key) && no(&self.hash)
    }

    pub(super) fn object(self) -> Object {
        let size = self.fsize.unwrap_or_default().0;
        let some = |t: Option<Text>| t.map(Text::lossy).filter(|t| !t.is_empty());
        let transitions = [
            ("IA", self.to_ia),
            ("ArchiveIR", self.to_archive_ir),
            ("Archive", self.to_archive),
            ("DeepArchive", self.to_deep_archive),
            ("IntelligentTiering", self.to_tiering),
        ];
        let parts = self.parts.map(|p| p.0).unwrap_or_default();
        let total = parts.iter().try_fold(0u64, |sum, (s, n)| sum.checked_add(s.checked_mul(*n)?));
        Object {
            key: self.key.map(|k| k.0).unwrap_or_default(),
            hash: self.hash.map(Text::lossy).unwrap_or_default(),
            size,
            put_time: self.put_time,
            mime: some(self.mime),
            class: self.class.unwrap_or(0),
            status: self.status.unwrap_or(0),
            end_user: some(self.end_user),
            meta: self.meta.map(|m| m.0).unwrap_or_default(),
            parts: if total == Some(size) { parts } else { Vec::new() },
            restore: self.restore,
            expiration: self.expiration.filter(|t| *t > 0),
            transitions: transitions
                .into_iter()
                .filter_map(|(n, t)| t.filter(|t| *t > 0).map(|t| (n.to_owned(), t)))
                .collect(),
        }
    }
}

/// A page of `list`.
pub fn parse_list_page(body: &[u8]) -> Result<ListPage, WireError> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default, deserialize_with = "there")]
        marker: Option<Option<Text>>,
        #[serde(default, deserialize_with = "there")]
        items: Option<Option<Items>>,
        #[serde(default, rename = "commonPrefixes", deserialize_with = "there")]
        prefixes: Option<Option<super::wire_types::Texts>>,
        #[serde(default)]
        error: Option<Text>,
    }
    let raw: Raw = from_object(body)?;
    if let Some(error) = raw.error.map(Text::lossy).filter(|e| !e.is_empty()) {
        return Err(WireError(format!("a page of the listing is an error instead: “{}”", clean(&error))));
    }
    let stated = raw.marker.is_some() || raw.items.is_some() || raw.prefixes.is_some();
    let prefixes = raw.prefixes.flatten().map(|p| p.0).unwrap_or_default();
    Ok(ListPage {
        marker: raw.marker.flatten().map(Text::strict).transpose()?.unwrap_or_default(),
        items: raw.items.flatten().map(|i| i.0).unwrap_or_default(),
        prefixes: prefixes.into_iter().map(|p| Key::new(p.0)).collect(),
        stated,
    })
}

/// A field that is there, be it null; one that is missing stays the outer `None`.
fn there<'de, T, D>(field: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::<T>::deserialize(field).map(Some)
}

/// The answer to `stat`.
pub fn parse_stat(body: &[u8]) -> Result<Object, WireError> {
    let raw: RawObject = from_object(body)?;
    if raw.hash.is_none() && raw.put_time.is_none() {
        return Err(WireError("it has neither a hash nor a put time".into()));
    }
    Ok(raw.object())
}

#[derive(Deserialize)]
pub(super) struct RawAnswer {
    code: u16,
    #[serde(default)]
    data: Option<RawObject>,
}

/// The answer to a batch of `expected` operations.
pub fn parse_batch(body: &[u8], expected: usize) -> Result<Vec<BatchAnswer>, WireError> {
    let Answers(raw) = serde_json::from_slice(body)?;
    if raw.len() != expected {
        return Err(WireError(format!("it has {} answers to {expected} operations", raw.len())));
    }
    Ok(raw
        .into_iter()
        .map(|mut r| BatchAnswer {
            code: r.code,
            error: r
                .data
                .as_mut()
                .and_then(|d| d.error.take())
                .map(|e| clean(&e.lossy()))
                .unwrap_or_default(),
            object: r.data.map(RawObject::object).filter(|_| r.code == 200),
        })
        .collect())
}

/// The text of an error answer; `None`: there is none that can be read.
pub fn parse_error(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Raw {
        error: Text,
    }
    let raw: Raw = from_object(body).ok()?;
    Some(clean(&raw.error.lossy()))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawService {
    domains: Option<HostNames>,
    old: Option<HostNames>,
}

#[derive(Deserialize)]
pub(super) struct RawRegion {
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    ttl: Option<u64>,
    rs: Option<RawService>,
    rsf: Option<RawService>,
    up: Option<RawService>,
    io: Option<RawService>,
    io_src: Option<RawService>,
}

/// The answer to the region query: the primary region.
pub fn parse_region(body: &[u8]) -> Result<Region, WireError> {
    #[derive(Deserialize)]
    struct All {
        hosts: Primary,
    }
    let all: All = from_object(body)?;
    let raw = all.hosts.0.ok_or_else(|| WireError("it names no region".into()))?;
    let names = |service: Option<RawService>| -> Result<Vec<String>, WireError> {
        let service = service.unwrap_or_default();
        let names = [service.domains.unwrap_or_default().0, service.old.unwrap_or_default().0].concat();
        match names.iter().find(|n| !is_host(n)) {
            Some(odd) => Err(WireError(format!("“{}” is not a host", clean(odd)))),
            None => Ok(names.into_iter().take(16).collect()),
        }
    };
    let region = Region {
        id: raw.region.unwrap_or_default(),
        ttl: raw.ttl.unwrap_or(86_400),
        rs: names(raw.rs)?,
        rsf: names(raw.rsf)?,
        up: names(raw.up)?,
        io: names(raw.io)?,
        io_src: names(raw.io_src)?,
    };
    if region.rs.is_empty() || region.rsf.is_empty() {
        return Err(WireError("it names no host to list at".into()));
    }
    Ok(region)
}

/// Whether a text is a host, perhaps with a port, and nothing else.
pub fn is_host(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    (1..=255).contains(&text.len())
        && text.bytes().all(plain)
        && text.parse::<http::uri::Authority>().is_ok_and(|a| !a.host().is_empty())
}

/// Parses an object, and not a list that serde would read as one.
fn from_object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, WireError> {
    match body.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => Ok(serde_json::from_slice(body)?),
        _ => Err(WireError("it is not a JSON object".into())),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
