//! One object of a snapshot: everything a bucket or folder needs to get it back as it was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::id::ContentId;
use super::key::Key;
use super::time::Timestamp;

/// What sort of thing an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An object of a bucket or a regular file.
    #[default]
    Object,
    /// A folder of a folder source; its key ends in `/`.
    Folder,
    /// A symbolic link of a folder source.
    Link,
}

/// How the run that wrote the entry found the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Read and stored. The only state that can be "unchanged" next time.
    #[default]
    Ok,
    /// Could not be read; the reason says why.
    Failed,
    /// Listed, but gone when it was to be read.
    Vanished,
    /// Known from the listing to be unreadable for now: archived and not thawed, or disabled.
    Unavailable,
}

/// The metadata of an object, apart from its content. Empty fields are left out of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// Content type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Storage class: Kodo's number (0 standard … 5), or S3's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Custom metadata, without the service's header prefix.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// Standard headers a bucket keeps with an object, by lower-case name: cache-control and its kin.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Kodo's end user, set at upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_user: Option<String>,
    /// Kodo's status; 1 is disabled, absent is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// When the service will delete the object: Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<i64>,
    /// Planned changes of storage class: name of the target → Unix seconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub transitions: BTreeMap<String, i64>,
    /// The sizes of the parts it was uploaded in, run-length: (size, how many).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<(u64, u64)>,
    /// A file's permission bits (`0o7777`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// One object of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// What it is.
    pub kind: Kind,
    /// How it was found.
    pub state: State,
    /// Why, when the state is not `ok`.
    pub reason: Option<String>,
    /// Its size in bytes; 0 for folders and links.
    pub size: u64,
    /// What its bytes are called; none for folders and links and where no content was read.
    pub content: Option<ContentId>,
    /// What the source showed as its hash, where that is not the content id.
    pub fingerprint: Option<String>,
    /// When it was put into the bucket, or a file's time of change (mtime).
    pub put_time: Option<Timestamp>,
    /// Where a symbolic link points.
    pub target: Option<Vec<u8>>,
    /// The source gave a hash that could not be checked against the bytes.
    pub unverified: bool,
    /// Its metadata.
    pub attributes: Attributes,
}

impl Entry {
    /// An entry in state `ok` without anything but a key.
    pub fn new(key: Key, kind: Kind) -> Self {
        Self {
            key,
            kind,
            state: State::Ok,
            reason: None,
            size: 0,
            content: None,
            fingerprint: None,
            put_time: None,
            target: None,
            unverified: false,
            attributes: Attributes::default(),
        }
    }

    /// What the source showed as this entry's hash: the fingerprint, else the content id's text.
    pub fn shown_hash(&self) -> Option<String> {
        self.fingerprint.clone().or_else(|| self.content.map(|c| c.to_string()))
    }
}

/// Packs a list of sizes run-length, as [`Attributes::parts`] keeps them.
pub fn run_length(sizes: &[u64]) -> Vec<(u64, u64)> {
    let mut out: Vec<(u64, u64)> = Vec::new();
    for &size in sizes {
        match out.last_mut() {
            Some((s, n)) if *s == size => *n += 1,
            _ => out.push((size, 1)),
        }
    }
    out
}

/// The sizes that [`run_length`] packed. The caller bounds the total first.
pub fn run_length_expand(runs: &[(u64, u64)]) -> impl Iterator<Item = u64> + '_ {
    runs.iter().flat_map(|&(size, n)| std::iter::repeat_n(size, usize::try_from(n).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_lengths() {
        let sizes = [4, 4, 4, 1];
        assert_eq!(run_length(&sizes), [(4, 3), (1, 1)]);
        assert_eq!(run_length_expand(&run_length(&sizes)).collect::<Vec<_>>(), sizes);
    }
}
