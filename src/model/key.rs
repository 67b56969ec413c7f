//! An object's key: opaque bytes. No path library ever touches one.

use std::borrow::Cow;
use std::fmt;

/// A key, up to [`Key::MAX`] bytes, in any encoding or none; ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<[u8]>);

impl Key {
    /// The longest key that is kept: Kodo allows 750 bytes, S3 1,024, file systems 4,096.
    pub const MAX: usize = 8192;

    /// A key of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into().into_boxed_slice())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, when the bytes are UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Text for logs and stable comparisons: bytes that are no UTF-8 become U+FFFD.
    pub fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&str> for Key {
    fn from(s: &str) -> Self {
        Self::new(s.as_bytes())
    }
}

impl From<String> for Key {
    fn from(s: String) -> Self {
        Self::new(s.into_bytes())
    }
}

/// For people: UTF-8 as it is, control characters and stray bytes as `\x..`, so that a key can neither
/// break a line nor move a terminal's cursor.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                // U+202A…U+202E and U+2066…U+2069 turn the direction of what follows.
                if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
                    let mut buffer = [0u8; 4];
                    for b in c.encode_utf8(&mut buffer).bytes() {
                        write!(f, "\\x{b:02x}")?;
                    }
                } else {
                    write!(f, "{c}")?;
                }
            }
            for b in chunk.invalid() {
                write!(f, "\\x{b:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_safely() {
        assert_eq!(Key::from("目录/a b").to_string(), "目录/a b");
        assert_eq!(Key::new(b"a\n\x1b[2J\xff".to_vec()).to_string(), "a\\x0a\\x1b[2J\\xff");
    }
}
