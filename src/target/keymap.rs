//! Which path a key restores to. Pure: the same snapshot gives the same paths, in whatever order and however often
//! it is asked, and memory does not grow with the number of keys. `docs/keys.md` says the rules in full.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::same_name::fold;
use crate::control::{Control, off};
use crate::format::keyfile::{self, is_path};
use crate::model::entry::Kind;
use crate::model::key::Key;

/// How the names of files begin that are not finished.
pub const TEMPORARY: &str = ".qbak-tmp-";

/// The longest name a file system takes.
const LONGEST: usize = 255;
/// How much of a longer name is kept.
const CUT: usize = 180;
/// How often another name is tried. Each is a hash of the key, so the second is hardly ever needed.
const TRIES: u32 = 64;

/// The keys of the whole snapshot, also when only some of them are restored.
pub trait KeySpace {
    /// Whether there is this key.
    fn contains(&self, key: &[u8]) -> bool;
    /// Whether a key begins with these bytes, which end in `/`.
    fn has_key_under(&self, prefix: &[u8]) -> bool;
}

impl KeySpace for BTreeSet<Vec<u8>> {
    fn contains(&self, key: &[u8]) -> bool {
        BTreeSet::contains(self, key)
    }

    fn has_key_under(&self, prefix: &[u8]) -> bool {
        let mut from = self.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        from.next().is_some_and(|key| key.starts_with(prefix))
    }
}

/// What decides which names are ordinary.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The snapshot is one of a folder: control bytes and the side file's name are names like any other.
    pub of_folder: bool,
    /// The target takes only UTF-8.
    pub utf8_only: bool,
    /// The paths that must have another name because the target holds them to be the same as others:
    /// [`SameNames`](super::same_name::SameNames) finds them, given the paths without this.
    pub same: BTreeSet<Vec<u8>>,
}

/// Where a key restores to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The path below the target, without a `/` at its end.
    pub path: Vec<u8>,
    /// The path is not the key: the side file must say so.
    pub recorded: bool,
}

/// A key for which there is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoPlace(pub String);

/// The mapping of one snapshot's keys.
pub struct KeyMap<'a> {
    space: &'a dyn KeySpace,
    rules: Rules,
}

impl<'a> KeyMap<'a> {
    /// For the snapshot that has these keys.
    pub fn new(space: &'a dyn KeySpace, rules: Rules) -> Self {
        Self { space, rules }
    }

    /// Where an entry restores to. `next` is the snapshot's next key, where it is known: it saves most questions to
    /// the [`KeySpace`].
    pub fn place(&self, key: &[u8], kind: Kind, next: Option<&[u8]>) -> Result<Place, NoPlace> {
        let refuse = |why: &str| Err(NoPlace(format!("“{}” is not restored: {why}", Key::new(key))));
        let own = match kind {
            Kind::Folder => match key.strip_suffix(b"/") {
                Some(own) => own,
                None => return refuse("the key of a folder ends in a slash"),
            },
            Kind::Object | Kind::Link => key,
        };
        let ordinary = self.is_ordinary(own);
        let path = match kind {
            Kind::Folder if ordinary => own.to_vec(),
            Kind::Link if ordinary && !self.needed_as_folder(own, next) => own.to_vec(),
            Kind::Folder | Kind::Link => return refuse("it is no name that a folder can have had"),
            Kind::Object => {
                let needed = self.needed_as_folder(own, next);
                if ordinary && !needed {
                    own.to_vec()
                } else if self.rules.of_folder && self.space.contains(keyfile::NAME.as_bytes()) {
                    return refuse(
                        "its name must be changed, but the file that would say so is one of the snapshot's",
                    );
                } else {
                    match self.encode(key, needed) {
                        Some(path) => path,
                        None => return refuse("no name for it is free"),
                    }
                }
            }
        };
        let path = match self.apart(path) {
            Some(path) => path,
            None => return refuse("no name for it is free"),
        };
        Ok(Place { recorded: path != own, path })
    }

    /// Whether a key is a path that can be used as it is.
    fn is_ordinary(&self, key: &[u8]) -> bool {
        if off(Control::NoKeyEscape) {
            return true;
        }
        if !is_path(key) || (self.rules.utf8_only && std::str::from_utf8(key).is_err()) {
            return false;
        }
        self.rules.of_folder
            || !(key.iter().any(u8::is_ascii_control)
                || key.split(|&b| b == b'/').enumerate().any(|(i, part)| is_ours(part, i == 0)))
    }

    /// Whether another key begins with this one and a `/`. Behind another `/` or nothing that is no folder's end.
    fn needed_as_folder(&self, key: &[u8], next: Option<&[u8]>) -> bool {
        if matches!(key.last(), None | Some(b'/')) {
            return false;
        }
        if let Some(rest) = next.and_then(|next| next.strip_prefix(key)) {
            match rest.first() {
                Some(b'/') => return true,
                // Between `a` and `a/…` lie such keys as `a-…`; behind them anything may come.
                Some(b) if *b < b'/' => {}
                _ => return false,
            }
        } else if next.is_some_and(|next| next > key) {
            return false;
        }
        self.space.has_key_under(&slashed(key))
    }

    /// The path of a key that is no ordinary one.
    fn encode(&self, key: &[u8], needed: bool) -> Option<Vec<u8>> {
        let mut parts: Vec<Part> =
            split(key).into_iter().enumerate().map(|(i, raw)| Part::of(raw, i == 0)).collect();
        let last = parts.last_mut()?;
        // A name that is only in the way of a folder is told from it by its last character.
        let distinct = !needed || last.escape_end();
        let natural: Vec<&[u8]> = parts.iter().map(|p| p.name.as_slice()).collect();
        if distinct {
            let path = natural.join(&b'/');
            if self.parents_free(&path, key) && self.is_free(&path) {
                return Some(path);
            }
        }
        let (last, parents) = natural.split_last()?;
        (0..TRIES).find_map(|attempt| {
            let mark = mark(&[&attempt.to_le_bytes(), key]);
            let mut beside = parents.to_vec();
            let name = marked(last, &mark);
            beside.push(&name);
            let beside = beside.join(&b'/');
            let path = if self.parents_free(&beside, key) {
                beside
            } else {
                marked(&natural.join(&b"%2F"[..]), &mark)
            };
            (self.parents_free(&path, key) && self.is_free(&path)).then_some(path)
        })
    }

    /// Whether no key is this path or lies in a folder of this name.
    fn is_free(&self, path: &[u8]) -> bool {
        !self.space.contains(path) && !self.space.has_key_under(&slashed(path))
    }

    /// Whether none of the folders that a path needs is a file. Those that the key itself begins with are not: being
    /// needed, a file of that name has another path.
    fn parents_free(&self, path: &[u8], key: &[u8]) -> bool {
        let slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i);
        slashes.into_iter().all(|i| key.starts_with(&path[..=i]) || !self.space.contains(&path[..i]))
    }

    /// The path with other names for those parts that the target would hold to be the same as others.
    fn apart(&self, path: Vec<u8>) -> Option<Vec<u8>> {
        if self.rules.same.is_empty() {
            return Some(path);
        }
        let mut out: Vec<u8> = Vec::with_capacity(path.len());
        let mut start = 0;
        for part in path.split(|&b| b == b'/') {
            let prefix = &path[..start + part.len()];
            if start > 0 {
                out.push(b'/');
            }
            if self.rules.same.contains(prefix) {
                let length = out.len();
                // The same for every path below this folder, since only the folder's own path is hashed.
                let found = (0..TRIES).any(|attempt| {
                    out.truncate(length);
                    out.extend_from_slice(&marked(part, &mark(&[&attempt.to_le_bytes(), prefix])));
                    self.is_free(&out)
                });
                if !found {
                    return None;
                }
            } else {
                out.extend_from_slice(part);
            }
            start += part.len() + 1;
        }
        Some(out)
    }
}

fn slashed(key: &[u8]) -> Vec<u8> {
    [key, b"/"].concat()
}

/// Whether a name is one that this program gives to files of its own, whatever its case.
fn is_ours(part: &[u8], at_root: bool) -> bool {
    if part.first() != Some(&b'.') {
        return false;
    }
    let folded = fold(part);
    folded.starts_with(TEMPORARY.as_bytes()) || (at_root && folded == keyfile::NAME.as_bytes())
}

/// Cuts a key at those slashes that stand between two names; the others are part of the name that follows, or of the
/// last one.
fn split(key: &[u8]) -> Vec<&[u8]> {
    let end = key.iter().rposition(|&b| b != b'/').map_or(0, |i| i + 1);
    let (mut out, mut start, mut named) = (Vec::new(), 0, false);
    for (i, &b) in key[..end].iter().enumerate() {
        if b != b'/' {
            named = true;
        } else if named {
            out.push(&key[start..i]);
            (start, named) = (i + 1, false);
        }
    }
    out.push(&key[start..]);
    out
}

/// A part of a key and its name.
struct Part<'k> {
    raw: &'k [u8],
    name: Vec<u8>,
    whole: bool,
}

impl<'k> Part<'k> {
    fn of(raw: &'k [u8], at_root: bool) -> Self {
        let mut name = Vec::with_capacity(raw.len());
        // The name of the empty key: a percent sign with nothing behind it is nobody else's.
        if raw.is_empty() {
            name.push(b'%');
        }
        let all = matches!(raw, b"." | b"..");
        let first = is_ours(raw, at_root);
        for (n, chunk) in raw.utf8_chunks().enumerate() {
            for (i, &b) in chunk.valid().as_bytes().iter().enumerate() {
                let plain = !b.is_ascii_control() && !matches!(b, b'%' | b'~' | b'/');
                if plain && !all && !(first && n == 0 && i == 0) {
                    name.push(b)
                } else {
                    escape(b, &mut name)
                }
            }
            for &b in chunk.invalid() {
                escape(b, &mut name);
            }
        }
        let whole = name.len() <= LONGEST;
        if !whole {
            name = marked(&name, &mark(&[raw]));
        }
        Self { raw, name, whole }
    }

    /// Escapes the last character, if it is not one that is escaped in any case.
    fn escape_end(&mut self) -> bool {
        let Some(tail) = self.raw.utf8_chunks().last() else { return false };
        let Some(c) = tail.valid().chars().next_back().filter(|_| tail.invalid().is_empty()) else {
            return false;
        };
        let (mut buffer, mut escaped) = ([0; 4], Vec::new());
        let bytes = c.encode_utf8(&mut buffer).as_bytes();
        bytes.iter().for_each(|&b| escape(b, &mut escaped));
        let kept = self.name.len().saturating_sub(bytes.len());
        if !self.whole || !self.name.ends_with(bytes) || kept + escaped.len() > LONGEST {
            return false;
        }
        self.name.truncate(kept);
        self.name.extend_from_slice(&escaped);
        true
    }
}

fn escape(b: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
}

/// Sixteen hexadecimal digits of the hash of these bytes.
fn mark(of: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for bytes in of {
        hasher.update(bytes);
    }
    hex::encode(&hasher.finalize().as_bytes()[..8])
}

/// At most 180 bytes of a name, `~`, and the mark. No character and no escape is cut in two.
fn marked(name: &[u8], mark: &str) -> Vec<u8> {
    let mut end = name.len().min(CUT);
    if end < name.len() {
        for _ in 0..3 {
            // 10xxxxxx goes on with a character.
            end -= usize::from(name[end] & 0xc0 == 0x80);
        }
        if let Some(percent) = name[end.saturating_sub(2)..end].iter().position(|&b| b == b'%') {
            end = end.saturating_sub(2) + percent;
        }
    }
    [&name[..end], b"~", mark.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
