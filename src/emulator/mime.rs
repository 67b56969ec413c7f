//! Content types: by a name's ending, or by what the bytes look like.

const BY_ENDING: [(&str, &str); 42] = [
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("bz2", "application/x-bzip2"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ico", "image/x-icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "application/javascript"),
    ("json", "application/json"),
    ("m4a", "audio/mp4"),
    ("md", "text/markdown"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ogg", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("ppt", "application/vnd.ms-powerpoint"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("rtf", "application/rtf"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain"),
    ("wasm", "application/wasm"),
    ("wav", "audio/x-wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("woff2", "font/woff2"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("xml", "application/xml"),
    ("zip", "application/zip"),
];

const BY_BYTES: [(&[u8], &str); 9] = [
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"<!DOCTYPE html", "text/html"),
    (b"<html", "text/html"),
    (b"<?xml", "application/xml"),
];

/// What is not known to be anything else.
pub(super) const UNKNOWN: &str = "application/octet-stream";

/// The type that the ending of a name tells.
pub(super) fn by_name(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit('/').next()?.rsplit_once('.')?;
    let ending = ending.to_ascii_lowercase();
    BY_ENDING.iter().find(|(e, _)| *e == ending).map(|(_, t)| *t)
}

/// The type that the first bytes of a content tell.
pub(super) fn sniff(head: &[u8]) -> &'static str {
    if let Some((_, t)) = BY_BYTES.iter().find(|(magic, _)| head.starts_with(magic)) {
        return t;
    }
    let text = match std::str::from_utf8(head) {
        Ok(_) => true,
        // The head may end within a character.
        Err(e) => e.error_len().is_none(),
    };
    let printable = head.iter().all(|b| *b >= 0x20 || matches!(b, b'\n' | b'\r' | b'\t'));
    if !head.is_empty() && text && printable { "text/plain" } else { UNKNOWN }
}

/// Whether `mime` is allowed by a policy's list such as `image/*;text/plain` or `!application/json`.
pub(super) fn allowed(limit: &str, mime: &str) -> bool {
    let mime = mime.split(';').next().unwrap_or_default().trim();
    let (negated, list) = limit.strip_prefix('!').map_or((false, limit), |l| (true, l));
    let listed = list.split(';').map(str::trim).any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => mime.starts_with(start),
        None => mime == pattern,
    });
    listed != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_bytes_and_limits() {
        assert_eq!(by_name("a.b/c.JPG"), Some("image/jpeg"));
        assert_eq!(by_name("a.txt/c"), None);
        assert_eq!(sniff(b"\xff\xd8\xff\xe0"), "image/jpeg");
        assert_eq!(sniff("目".as_bytes().split_last().unwrap().1), "text/plain");
        assert_eq!(sniff(b"\0"), UNKNOWN);
        assert_eq!(sniff(b""), UNKNOWN);
        assert!(allowed("image/*;text/plain", "image/png") && !allowed("image/*", "text/plain"));
        assert!(
            allowed("!image/*", "text/plain; charset=utf-8") && !allowed("!text/plain", "text/plain; x=y")
        );
    }
}
