//! What a source's listing says of one object, before anything of it was read.

use super::entry::{Attributes, Kind};
use super::id::ContentId;
use super::key::Key;
use super::time::Timestamp;

/// The hash that a listing gives for an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedHash {
    /// Kodo's etag over the 4 MiB grid: it names the content.
    Etag(ContentId),
    /// Kodo's etag of an object made of other parts (prefix byte 0x9e): checks the content when the sizes of the
    /// parts are known (they are in [`Attributes::parts`]), and is a fingerprint in any case.
    Parts(String),
    /// The MD5 of the content, with the text the service showed.
    Md5([u8; 16], String),
    /// Only a fingerprint: the same text means the same object, no more.
    Opaque(String),
}

impl ListedHash {
    /// The text as the source showed it.
    pub fn text(&self) -> String {
        match self {
            Self::Etag(id) => id.to_string(),
            Self::Parts(s) | Self::Md5(_, s) | Self::Opaque(s) => s.clone(),
        }
    }
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes; 0 for folders and links.
    pub size: u64,
    /// Its hash; none where the source gives nothing that can be trusted (a file changed within two seconds).
    pub hash: Option<ListedHash>,
    /// When it was put, or a file's mtime.
    pub put_time: Option<Timestamp>,
    /// Where a symbolic link points.
    pub target: Option<Vec<u8>>,
    /// Known to be unreadable for now, and why.
    pub unavailable: Option<String>,
    /// Could not be examined at all (a folder without permission, say), and why: the object counts as failed.
    pub failed: Option<String>,
    /// Its metadata, as far as the listing shows it.
    pub attributes: Attributes,
}

impl Listed {
    /// A listed object of which nothing but its key is known.
    pub fn new(key: Key, kind: Kind) -> Self {
        Self {
            key,
            kind,
            size: 0,
            hash: None,
            put_time: None,
            target: None,
            unavailable: None,
            failed: None,
            attributes: Attributes::default(),
        }
    }
}
