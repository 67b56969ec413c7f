//! Bytes as a gzip file, uncompressed inside: enough to show a client a `Content-Encoding` it did not ask for.

/// A valid gzip file that holds `bytes` in stored blocks.
pub(super) fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut rest = bytes.chunks(0xffff).peekable();
    if bytes.is_empty() {
        out.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = rest.next() {
        // At most 0xffff bytes fit into a stored block.
        let n = block.len() as u16;
        out.push(u8::from(rest.peek().is_none()));
        out.extend_from_slice(&n.to_le_bytes());
        out.extend_from_slice(&(!n).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected bytes were unpacked by an independent gzip implementation when this test was written.
    #[test]
    fn layout() {
        assert_eq!(hex::encode(stored(b"hi")), "1f8b08000000000000ff010200fdff6869ac2a93d802000000");
        assert_eq!(hex::encode(stored(b"")), "1f8b08000000000000ff010000ffff0000000000000000");
        let big = stored(&[7; 70_000]);
        assert_eq!(big.len(), 10 + 5 + 5 + 70_000 + 8);
        assert_eq!(big[10], 0);
        assert_eq!(big[10 + 5 + 0xffff], 1);
    }
}
