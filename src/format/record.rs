//! Records: the store's JSON files, each behind a line that names kind, version and BLAKE3. See `docs/format.md`, section 2.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{FormatError, VERSION};
use crate::control::{Control, off};
use crate::model::id::Digest;

/// No record is longer, but for checkpoints.
pub const MAX_RECORD: usize = 1 << 20;
/// No checkpoint is longer.
pub const MAX_CHECKPOINT: usize = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Header {
    qbak: String,
    version: u64,
    blake3: Digest,
}

/// A value that is stored as a record.
pub trait Record: Serialize + DeserializeOwned {
    /// Its kind, the header's `qbak`.
    const KIND: &'static str;
    /// The longest file of the kind.
    const MAX: usize = MAX_RECORD;
}

/// The file's bytes.
///
/// # Errors
/// The value is too long for a record.
pub fn encode<R: Record>(value: &R) -> Result<Vec<u8>, FormatError> {
    let cannot =
        |e: serde_json::Error| FormatError::damaged(format!("a {} record cannot be written: {e}", R::KIND));
    let mut body = serde_json::to_vec(value).map_err(cannot)?;
    body.push(b'\n');
    let header = Header { qbak: R::KIND.into(), version: VERSION.into(), blake3: Digest::of(&body) };
    let mut out = serde_json::to_vec(&header).map_err(cannot)?;
    out.push(b'\n');
    out.append(&mut body);
    if out.len() > R::MAX {
        return Err(FormatError::damaged(format!("a {} record of {} bytes is too long", R::KIND, out.len())));
    }
    Ok(out)
}

/// The kind that a record's bytes claim.
///
/// # Errors
/// They do not begin as a record does.
pub fn kind(bytes: &[u8]) -> Result<String, FormatError> {
    header(bytes).map(|(h, _)| h.qbak)
}

fn header(bytes: &[u8]) -> Result<(Header, &[u8]), FormatError> {
    let end = bytes.iter().take(256).position(|b| *b == b'\n');
    let (line, rest) = match end {
        Some(n) => (&bytes[..n], &bytes[n + 1..]),
        None => return Err(FormatError::damaged("it does not begin with a record's header line")),
    };
    let header: Header = serde_json::from_slice(line)
        .map_err(|_| FormatError::damaged("its first line is not a record's header"))?;
    if header.version > VERSION.into() && !off(Control::NoVersionCheck) {
        return Err(FormatError::Newer { found: header.version });
    }
    Ok((header, rest))
}

/// The value.
///
/// # Errors
/// The bytes are damaged, of another kind or of a newer version.
pub fn decode<R: Record>(bytes: &[u8]) -> Result<R, FormatError> {
    if bytes.len() > R::MAX {
        return Err(FormatError::damaged(format!(
            "a {} record of {} bytes is too long",
            R::KIND,
            bytes.len()
        )));
    }
    let (header, body) = header(bytes)?;
    if header.qbak != R::KIND {
        return Err(FormatError::damaged(format!("it is a {:?} record, not a {} one", header.qbak, R::KIND)));
    }
    if Digest::of(body) != header.blake3 && !off(Control::NoRecordCheck) {
        return Err(FormatError::damaged("its bytes do not match its check sum"));
    }
    serde_json::from_slice(body)
        .map_err(|e| FormatError::damaged(format!("its JSON is not a {}: {e}", R::KIND)))
}

/// Longer bodies are not searched for a flipped bit: the search takes the square of the length.
const MAX_SEARCHED: usize = 32 << 10;
/// So many wrong bytes of a header line can be told from a header that is another record's.
const MOST_WRONG: usize = 4;

/// The bytes of a damaged record of this kind as they were: when its header line is hurt and the rest has the digest that is still
/// to be recognised in it, or when one flipped bit makes the rest fit the header. The digest proves it either way.
pub fn mend(bytes: &[u8], kind: &str) -> Option<Vec<u8>> {
    let line = |body: &[u8]| {
        let header = Header { qbak: kind.into(), version: VERSION.into(), blake3: Digest::of(body) };
        let mut line = serde_json::to_vec(&header).ok()?;
        line.push(b'\n');
        Some(line)
    };
    let length = line(&[])?.len();
    let (head, body) = bytes.split_at_checked(length)?;
    let wrong = |line: &[u8]| line.iter().zip(head).filter(|(a, b)| a != b).count();
    let should = line(body)?;
    if wrong(&should) <= MOST_WRONG {
        return Some([&should, body].concat());
    }
    let (header, _) = header(bytes).ok()?;
    if header.qbak != kind || body.len() > MAX_SEARCHED {
        return None;
    }
    let mut body = body.to_vec();
    for at in 0..body.len() {
        for bit in 0..8 {
            body[at] ^= 1 << bit;
            if Digest::of(&body) == header.blake3 {
                return Some([head, &body].concat());
            }
            body[at] ^= 1 << bit;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        n: u32,
    }
    impl Record for Thing {
        const KIND: &'static str = "thing";
    }

    #[test]
    fn round_trip_and_flips() {
        let bytes = encode(&Thing { n: 7 }).unwrap();
        assert_eq!(decode::<Thing>(&bytes).unwrap(), Thing { n: 7 });
        assert_eq!(kind(&bytes).unwrap(), "thing");
        for i in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[i] ^= 1 << bit;
                // A flip may turn white space or the case of a hex digit; the value must never change silently.
                if let Ok(thing) = decode::<Thing>(&bad) {
                    assert_eq!(thing, Thing { n: 7 }, "flip of bit {bit} at {i}");
                }
            }
            assert!(decode::<Thing>(&bytes[..i]).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_a_sentence() {
        let body = format!("{{\"n\":\"{}\"}}\n", "x".repeat(100_000));
        let digest = Digest::of(body.as_bytes());
        let bytes = format!("{{\"qbak\":\"thing\",\"version\":0,\"blake3\":\"{digest}\"}}\n{body}");
        let said = decode::<Thing>(bytes.as_bytes()).unwrap_err().to_string();
        assert!(said.starts_with("its JSON is not a thing: invalid type") && said.len() < 400, "{said}");
    }

    #[test]
    fn one_flipped_bit_anywhere_is_found_out() {
        let bytes = encode(&Thing { n: 7 }).unwrap();
        for i in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[i] ^= 1 << bit;
                assert_eq!(mend(&bad, "thing").unwrap(), bytes, "bit {bit} at {i}");
            }
        }
        let mut two = bytes.clone();
        let end = bytes.len();
        (two[end - 2], two[end - 3]) = (b'x', b'y');
        assert_eq!(mend(&two, "thing"), None);
        assert_eq!(mend(&bytes, "other"), None, "a sound record of another kind is not bent into this one");
        assert_eq!(mend(&bytes[..20], "thing"), None);
        assert_eq!(mend(b"", "thing"), None);
    }

    #[test]
    fn newer_is_said() {
        let text = String::from_utf8(encode(&Thing { n: 7 }).unwrap())
            .unwrap()
            .replace("\"version\":0", "\"version\":3");
        assert_eq!(decode::<Thing>(text.as_bytes()).unwrap_err(), FormatError::Newer { found: 3 });
    }
}
