//! How Kodo writes bytes into text: URL-safe base64, entries (`bucket:key`), paths and queries. Keys are opaque bytes.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE};
use base64::engine::{DecodePaddingMode, general_purpose};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// Everything but RFC 3986's unreserved characters is escaped, so no two readings of a URL can differ.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same, with `/` as it is.
const ESCAPED_BUT_SLASH: &AsciiSet = &ESCAPED.remove(b'/');

/// Some clients leave the padding out, so both forms are read; only the padded one is written.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// URL-safe base64 with padding.
pub fn b64u(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE.encode(bytes)
}

/// The bytes of a URL-safe base64 text, padded or not; `None`: it is none.
pub fn from_b64u(text: &str) -> Option<Vec<u8>> {
    general_purpose::GeneralPurpose::decode(&LENIENT, text).ok()
}

/// An entry of a bucket and a key: what `stat` and its kin name an object by.
/// No key and an empty key are two different things.
pub fn entry(bucket: &str, key: Option<&[u8]>) -> String {
    let mut bytes = bucket.as_bytes().to_vec();
    if let Some(key) = key {
        bytes.push(b':');
        bytes.extend_from_slice(key);
    }
    b64u(bytes)
}

/// The bucket and the key of an entry; cut at the first colon, so that a key may hold more of them.
pub fn decode_entry(text: &str) -> Option<(String, Option<Vec<u8>>)> {
    let bytes = from_b64u(text)?;
    let (bucket, key) = match bytes.iter().position(|&b| b == b':') {
        Some(at) => (&bytes[..at], Some(bytes[at + 1..].to_vec())),
        None => (&bytes[..], None),
    };
    Some((String::from_utf8(bucket.to_vec()).ok()?, key))
}

/// A key as the path of a download URL, without the slash before it.
///
/// `/` stays as it is in ordinary keys. Where a proxy on the way might tidy the path up (a segment that is empty, `.`
/// or `..`; a slash at either end) every slash is escaped, so the key is one segment that nobody has a reason to
/// touch; and a key that is nothing but `.` or `..` has its dots escaped. The server decodes once either way.
pub fn path(key: &[u8]) -> String {
    if key == b"." || key == b".." {
        return "%2E".repeat(key.len());
    }
    let untidy = !key.is_empty() && key.split(|&b| b == b'/').any(|s| matches!(s, b"" | b"." | b".."));
    percent_encode(key, if untidy { ESCAPED } else { ESCAPED_BUT_SLASH }).to_string()
}

/// The key of a raw URL path (without the slash before it): decoded once; `+` is itself.
pub fn decode_path(raw: &str) -> Vec<u8> {
    percent_decode_str(raw).collect()
}

/// One name or value of a query or of a form, escaped.
pub fn component(bytes: impl AsRef<[u8]>) -> String {
    percent_encode(bytes.as_ref(), ESCAPED).to_string()
}

/// A query (or form body) of these pairs.
pub fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let pairs: Vec<String> =
        pairs.into_iter().map(|(n, v)| format!("{}={}", component(n), component(v))).collect();
    pairs.join("&")
}

/// The pairs of a raw query or form body, decoded once; here `+` is a space.
pub fn decode_query(raw: &str) -> Vec<(String, Vec<u8>)> {
    let decode = |s: &str| percent_decode_str(&s.replace('+', " ")).collect::<Vec<u8>>();
    raw.split('&')
        .filter(|p| !p.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (String::from_utf8_lossy(&decode(name)).into_owned(), decode(value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_as_published() {
        for (key, text) in [
            (Some("a.txt"), "Ymt0OmEudHh0"),
            (Some(""), "Ymt0Og=="),
            (None, "Ymt0"),
            (Some("a b.txt"), "Ymt0OmEgYi50eHQ="),
            (Some("目录/文件.txt"), "Ymt0OuebruW9lS_mlofku7YudHh0"),
            (Some("100%/x?y#z+w&v=1"), "Ymt0OjEwMCUveD95I3ordyZ2PTE="),
            (Some("😀.png"), "Ymt0OvCfmIAucG5n"),
            (Some("a:b"), "Ymt0OmE6Yg=="),
            (Some("//x//"), "Ymt0Oi8veC8v"),
            (Some("???>>>"), "Ymt0Oj8_Pz4-Pg=="),
        ] {
            assert_eq!(entry("bkt", key.map(str::as_bytes)), text);
            assert_eq!(decode_entry(text), Some(("bkt".into(), key.map(|k| k.as_bytes().to_vec()))));
            assert_eq!(decode_entry(text.trim_end_matches('=')), decode_entry(text), "padding is optional");
        }
        assert_eq!(decode_entry("Ymt0OmEu*"), None);
        assert_eq!(decode_entry(&b64u(b"\xff:a")), None, "a bucket's name is text");
        assert_eq!(b64u(r#"{"c":0,"k":"a.txt"}"#), "eyJjIjowLCJrIjoiYS50eHQifQ==", "a marker");
    }

    #[test]
    fn paths() {
        for (key, text) in [
            ("a.txt", "a.txt"),
            ("a b.txt", "a%20b.txt"),
            ("目录/文件.txt", "%E7%9B%AE%E5%BD%95/%E6%96%87%E4%BB%B6.txt"),
            ("100%.txt", "100%25.txt"),
            ("q?x=1", "q%3Fx%3D1"),
            ("h#frag", "h%23frag"),
            ("p+q.txt", "p%2Bq.txt"),
            ("😀.png", "%F0%9F%98%80.png"),
            ("it's(1)!*~&=@:;,$.txt", "it%27s%281%29%21%2A~%26%3D%40%3A%3B%2C%24.txt"),
            ("dir//x/", "dir%2F%2Fx%2F"),
            ("/lead", "%2Flead"),
            ("a/../b", "a%2F..%2Fb"),
            ("a/./b", "a%2F.%2Fb"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("...", "..."),
            ("/", "%2F"),
            ("", ""),
            ("a\\b\t\n\0", "a%5Cb%09%0A%00"),
            ("%2F", "%252F"),
            ("a/b", "a/b"),
        ] {
            assert_eq!(path(key.as_bytes()), text);
            assert_eq!(decode_path(text), key.as_bytes());
        }
        assert_eq!(path(b"\xff\xfe"), "%FF%FE");
    }

    #[test]
    fn queries() {
        let q = query([("bucket", b"bkt".as_slice()), ("prefix", "目录/ a".as_bytes()), ("m", b"+&=")]);
        assert_eq!(q, "bucket=bkt&prefix=%E7%9B%AE%E5%BD%95%2F%20a&m=%2B%26%3D");
        assert_eq!(decode_query(&q)[1], ("prefix".into(), "目录/ a".as_bytes().to_vec()));
        assert_eq!(
            decode_query("a=x+y&b&&c=%zz"),
            [("a".into(), b"x y".to_vec()), ("b".into(), b"".to_vec()), ("c".into(), b"%zz".to_vec())]
        );
    }

    proptest! {
        #[test]
        fn every_key_survives(key in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode_path(&path(&key)), key.clone());
            prop_assert_eq!(decode_entry(&entry("b", Some(&key))), Some(("b".into(), Some(key.clone()))));
            let pairs = decode_query(&query([("k", key.as_slice())]));
            prop_assert_eq!(pairs, vec![("k".to_owned(), key.clone())]);
            prop_assert!(path(&key).bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#'));
        }

        #[test]
        fn untidy_keys_are_one_segment(key in "[./a]{1,8}") {
            let p = path(key.as_bytes());
            prop_assert!(!p.split('/').any(|s| matches!(s, "" | "." | "..")), "{}", p);
        }
    }
}
