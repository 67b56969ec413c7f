//! `.qbak-keys.jsonl`: which file of a folder stands for which key, where the two differ. One JSON object a line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::model::key::Key;

/// The side file's name, at the root of the folder.
pub const NAME: &str = ".qbak-keys.jsonl";

/// The longest path that a line may hold: a key of the greatest length with every byte encoded.
pub const MAX_PATH: usize = 4 * Key::MAX;

/// The longest line, its end included: JSON writes a control byte in six characters.
pub const MAX_LINE: usize = 6 * (MAX_PATH + Key::MAX) + 64;

/// One line; a name that is not UTF-8 is in the field that ends in `_b64`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_b64: Option<String>,
}

/// The line for a file, with its line feed.
pub fn line(path: &[u8], key: &[u8]) -> Vec<u8> {
    let (path, path_b64) = split(path);
    let (key, key_b64) = split(key);
    // Four optional strings cannot fail to serialise.
    let mut out = serde_json::to_vec(&Line { path, path_b64, key, key_b64 }).unwrap_or_default();
    out.push(b'\n');
    out
}

fn split(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.into()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// The path and the key that a line holds; the error says what is wrong with it.
pub fn parse(line: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
    read(line).map_err(super::short)
}

fn read(line: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
    let line: Line = serde_json::from_slice(line).map_err(|e| format!("it is not such a line: {e}"))?;
    let path = join("path", line.path, line.path_b64)?;
    let key = join("key", line.key, line.key_b64)?;
    if !is_path(&path) {
        return Err(format!("“{}” is not a path inside the folder", Key::new(path)));
    }
    if key.len() > Key::MAX {
        return Err(format!("its key is longer than {} bytes", Key::MAX));
    }
    Ok((path, key))
}

fn join(name: &str, text: Option<String>, b64: Option<String>) -> Result<Vec<u8>, String> {
    match (text, b64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(b64)) => STANDARD.decode(b64).map_err(|_| format!("{name}_b64 is not base64")),
        _ => Err(format!("it needs one of {name} and {name}_b64")),
    }
}

/// Whether these bytes name something below a folder: a relative path without empty parts, `.`, `..` or NUL.
pub fn is_path(path: &[u8]) -> bool {
    path.len() <= MAX_PATH
        && path.split(|&b| b == b'/').all(|part| {
            !part.is_empty() && part.len() <= 255 && part != b"." && part != b".." && !part.contains(&0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_round_trip() {
        for (path, key) in
            [(&b"a%2F"[..], &b"a/"[..]), (b"x\xff", b"\xfe\x00\n"), (b"%61", b""), ("é".as_bytes(), b"\"")]
        {
            let line = line(path, key);
            assert_eq!(line.iter().filter(|&&b| b == b'\n').count(), 1);
            assert_eq!(parse(&line).unwrap(), (path.to_vec(), key.to_vec()));
        }
        assert_eq!(line(b"a%2F", b"a/"), b"{\"path\":\"a%2F\",\"key\":\"a/\"}\n");
    }

    #[test]
    fn bad_lines_are_refused() {
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"path":"a"}"#,
            r#"{"path":"../a","key":"a"}"#,
            r#"{"path":"/a","key":"a"}"#,
            r#"{"path":"a//b","key":"a"}"#,
            r#"{"path":"a/.","key":"a"}"#,
            r#"{"path":"a\u0000","key":"a"}"#,
            r#"{"path":"a","path_b64":"YQ==","key":"a"}"#,
            r#"{"path":"a","key":"a","more":1}"#,
            r#"{"path_b64":"!","key":"a"}"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
