//! Floor 1: bytes ↔ values, as `docs/format.md` says. No I/O here; every size read from bytes is bounded before it is used.

pub mod compress;
pub mod entry;
pub mod index;
pub mod keyfile;
pub mod manifest;
pub mod pack;
pub mod record;
pub mod records;
pub mod seal;

/// The format version this program writes, and the newest it reads.
pub const VERSION: u16 = 0;

/// Stored bytes that are not what the format says. The caller knows and adds the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes are damaged or not of this kind.
    #[error("{0}")]
    Damaged(String),
    /// Written by a newer program.
    #[error("it has format version {found}; this qbak reads versions up to {}: use a newer qbak", VERSION)]
    Newer {
        /// The version found.
        found: u64,
    },
}

impl FormatError {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(short(what.into()))
    }
}

/// At most 300 characters of a reason. Those of the JSON reader repeat what they stumble over, however long it is.
pub(crate) fn short(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(300) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Takes `N` bytes at `at`; the caller has checked the length, so a miss is damage like any other.
pub(crate) fn take<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], FormatError> {
    bytes
        .get(at..at.saturating_add(N))
        .and_then(|s| s.try_into().ok())
        .ok_or_else(|| FormatError::damaged("it ends too early"))
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, FormatError> {
    take(bytes, at).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, FormatError> {
    take(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Result<u64, FormatError> {
    take(bytes, at).map(u64::from_le_bytes)
}
