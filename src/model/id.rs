//! Ids that do not convert into each other: a blob's, a content's, a digest.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

/// A text that is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("“{text}” is not {what}")]
pub struct BadId {
    /// What was found.
    pub text: String,
    /// What it should have been.
    pub what: &'static str,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// How many bytes the id has.
            pub const LENGTH: usize = $bytes;

            /// The id's bytes.
            pub const fn bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(s: &str) -> Result<Self, BadId> {
                let mut out = [0u8; $bytes];
                let lower = s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if lower && hex::decode_to_slice(s, &mut out).is_ok() {
                    Ok(Self(out))
                } else {
                    Err(BadId { text: s.into(), what: $what })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;

            fn try_from(s: String) -> Result<Self, BadId> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

hex_id!(
    /// The SHA-1 of a blob's bytes. A blob is at most 4 MiB of content, or a piece of metadata.
    BlobId, 20, "a blob id (40 hex digits)"
);
hex_id!(
    /// A BLAKE3 digest, 32 bytes.
    Digest, 32, "a BLAKE3 digest (64 hex digits)"
);
hex_id!(
    /// The BLAKE3 of a whole pack file, which is its name.
    PackId, 32, "a pack id (64 hex digits)"
);
hex_id!(
    /// The BLAKE3 of a whole index file, which is its name.
    IndexId, 32, "an index id (64 hex digits)"
);
hex_id!(
    /// A store's random identity, made by `init`.
    StoreId, 16, "a store id (32 hex digits)"
);

hex_id!(
    /// What tells a prune's mark from any other: random.
    MarkNonce, 8, "a mark's nonce (16 hex digits)"
);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// A content's name: Kodo's etag over the 4 MiB grid, 21 bytes, 28 characters.
///
/// The first byte says how the other twenty were made; see [`ContentKind`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentId([u8; 21]);

/// The prefix byte of a content of at most 4 MiB.
const SMALL: u8 = 0x16;
/// The prefix byte of a content of more than 4 MiB.
const LARGE: u8 = 0x96;

/// What a content id leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentKind {
    /// At most 4 MiB: the content is this one blob.
    Blob(BlobId),
    /// More than 4 MiB: this blob of kind *block list* holds the ids of its 4 MiB blobs in a row.
    List(BlobId),
}

impl ContentId {
    /// The id of a content that is one blob.
    pub fn small(blob: BlobId) -> Self {
        Self::with(SMALL, blob)
    }

    /// The id of a content that has a block list.
    pub fn large(list: BlobId) -> Self {
        Self::with(LARGE, list)
    }

    fn with(prefix: u8, id: BlobId) -> Self {
        let mut out = [prefix; 21];
        out[1..].copy_from_slice(&id.0);
        Self(out)
    }

    /// What the id leads to.
    pub fn kind(&self) -> ContentKind {
        let mut payload = [0u8; 20];
        payload.copy_from_slice(&self.0[1..]);
        if self.0[0] == SMALL {
            ContentKind::Blob(BlobId(payload))
        } else {
            ContentKind::List(BlobId(payload))
        }
    }

    /// Whether the prefix byte fits a content of `size` bytes.
    pub fn fits(&self, size: u64) -> bool {
        (self.0[0] == SMALL) == (size <= super::content::BLOCK as u64)
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE.encode(self.0))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentId({self})")
    }
}

impl FromStr for ContentId {
    type Err = BadId;

    fn from_str(s: &str) -> Result<Self, BadId> {
        let bad = || BadId { text: s.into(), what: "an etag over the 4 MiB grid (28 characters)" };
        if s.len() != 28 {
            return Err(bad());
        }
        let bytes = URL_SAFE.decode(s).map_err(|_| bad())?;
        match <[u8; 21]>::try_from(bytes) {
            Ok(b) if b[0] == SMALL || b[0] == LARGE => Ok(Self(b)),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for ContentId {
    type Error = BadId;

    fn try_from(s: String) -> Result<Self, BadId> {
        s.parse()
    }
}

impl From<ContentId> for String {
    fn from(id: ContentId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_parse_and_print() {
        let small: ContentId = "Fto5o-5ea0sNMlW_75VgGJCv2AcJ".parse().unwrap();
        assert!(matches!(small.kind(), ContentKind::Blob(_)) && small.fits(0) && !small.fits(4 << 21));
        let large: ContentId = "lgV4TNEnA2AXSRVyDqVW4bohMKad".parse().unwrap();
        assert!(
            matches!(large.kind(), ContentKind::List(_)) && large.fits((4 << 20) + 1) && !large.fits(4 << 20)
        );
        assert_eq!(large.to_string(), "lgV4TNEnA2AXSRVyDqVW4bohMKad");
        for bad in ["nuWFLt2tvBrRmcgAeh2MWmeXZd9v", "", "Fto5o", "Fto5o-5ea0sNMlW_75VgGJCv2Ac!"] {
            assert!(bad.parse::<ContentId>().is_err(), "{bad}");
        }
        assert!("AB".repeat(20).parse::<BlobId>().is_err(), "one spelling an id: lower case");
    }
}
