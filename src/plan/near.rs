//! Keys that may have been meant where there is none of the name given.

use crate::model::key::Key;

/// How many are suggested.
const SUGGESTED: usize = 3;
/// Longer keys are compared by their first so many bytes, so that time stays bounded.
const COMPARED: usize = 256;

/// The folders to look in, the deepest first.
pub fn folders(key: &Key) -> Vec<Key> {
    let bytes = key.bytes();
    // A path as one would type it: a key begins with neither.
    let bytes = bytes.strip_prefix(b"./").or(bytes.strip_prefix(b"/")).unwrap_or(bytes);
    let inner = bytes.strip_suffix(b"/").unwrap_or(bytes);
    let slashes = inner.iter().enumerate().rev().filter(|(_, b)| **b == b'/').map(|(i, _)| i + 1);
    slashes.take(8).chain([0]).map(|end| Key::new(&bytes[..end])).collect()
}

/// Those of `keys` that are nearest to `key`, the nearest first; none that is nothing like it.
pub fn nearest<'k>(key: &Key, keys: &'k [Key]) -> Vec<&'k Key> {
    let wanted = plain(key);
    let mut found: Vec<(usize, &Key)> = keys
        .iter()
        .filter_map(|k| {
            let other = plain(k);
            let far = distance(&wanted, &other);
            let cut = wanted.len() > 2 && other.starts_with(&wanted);
            (cut || far <= wanted.len() / 3 + 1).then_some((far, k))
        })
        .collect();
    found.sort();
    found.into_iter().take(SUGGESTED).map(|(_, k)| k).collect()
}

/// Without what is most often wrong: case, and slashes at the ends.
fn plain(key: &Key) -> Vec<u8> {
    let text = key.lossy().to_lowercase();
    let text = text.trim_start_matches("./").trim_matches('/');
    text.bytes().take(COMPARED).collect()
}

/// How many bytes must be added, taken away or changed.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_go_up() {
        let of = |k: &str| folders(&k.into()).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("a/b/c"), ["a/b/", "a/", ""]);
        assert_eq!(of("/a/b/"), ["a/", ""]);
        assert_eq!(of(""), [""]);
    }

    #[test]
    fn suggestions() {
        let keys: Vec<Key> =
            ["photos/Cat.jpg", "photos/cat2.jpg", "photos/dog.png", "other"].map(Key::from).into();
        let of = |k: &str| nearest(&k.into(), &keys).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            of("photos/cat.jpg"),
            ["photos/Cat.jpg", "photos/cat2.jpg", "photos/dog.png"][..of("photos/cat.jpg").len()]
        );
        assert_eq!(of("/photos/cat2.jpg")[0], "photos/cat2.jpg");
        assert_eq!(of("photos/do"), ["photos/dog.png"]);
        assert_eq!(of("zzzzzzzzzz"), [""; 0]);
    }
}
