//! What the demo's bucket holds, and what a week does to it. Kept beside the service, so that every restore can be compared
//! with what was really put there.

use std::collections::BTreeMap;

use super::problem;
use crate::cli::run::Failure;
use crate::emulator::Service;

/// Keys and their bytes.
pub(super) type Objects = BTreeMap<String, Vec<u8>>;

/// An object of three blocks, which do not compress.
pub(super) const FILM: &str = "film/lake.bin";
const FILM_SIZE: usize = 9_000_001;
/// Another, which goes within the week.
const OUTTAKES: &str = "film/outtakes.bin";
const OUTTAKES_SIZE: usize = 5_000_000;

const HILLS: &[u8] = include_bytes!("../../../fixtures/demo/hills.svg");
const LAKE: &[u8] = include_bytes!("../../../fixtures/demo/lake.svg");
const CHECKS: &[u8] = include_bytes!("../../../fixtures/demo/checks.png");
const FADE: &[u8] = include_bytes!("../../../fixtures/demo/fade.png");
const LETTER: &[u8] = include_bytes!("../../../fixtures/demo/letter.txt");
const TODO: &[u8] = include_bytes!("../../../fixtures/demo/todo.txt");
const CAT: &[u8] = include_bytes!("../../../fixtures/demo/cat.txt");

/// What the bucket begins with. Some keys are no paths: no folder could hold them as they are.
pub(super) fn first_week() -> Objects {
    let seeds: [(&str, &[u8]); 13] = [
        ("photos/hills.svg", HILLS),
        ("photos/checks.png", CHECKS),
        ("photos/fade.png", FADE),
        ("notes/letter.txt", LETTER),
        ("notes/todo.txt", TODO),
        ("notes/draft.txt", b"to be thrown away\n"),
        ("目录/猫.txt", CAT),
        ("photos", b"an object whose name is a folder of others\n"),
        ("notes//doubled.txt", b"two slashes in a row\n"),
        ("../outside.txt", b"a key that points out of the folder\n"),
        ("/rooted.txt", b"a key that begins with a slash\n"),
        ("-dash 100% & more", b"a key that looks like a flag\n"),
        ("empty", b""),
    ];
    let mut objects: Objects = seeds.into_iter().map(|(k, b)| (k.to_owned(), b.to_vec())).collect();
    objects.insert(FILM.into(), noise(b"lake", FILM_SIZE));
    objects.insert(OUTTAKES.into(), noise(b"outtakes", OUTTAKES_SIZE));
    objects
}

/// Noise, the same every time.
fn noise(seed: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(seed).finalize_xof().fill(&mut bytes);
    bytes
}

/// What happens in a week.
pub(super) struct Week {
    /// New objects.
    pub(super) added: Vec<(&'static str, Vec<u8>)>,
    /// Objects that get other bytes, as many as before: no size tells of it.
    pub(super) changed: Vec<(&'static str, Vec<u8>)>,
    /// Objects that get another name.
    pub(super) renamed: Vec<(&'static str, &'static str)>,
    /// Objects that go.
    pub(super) removed: Vec<&'static str>,
}

/// The week of the demo.
pub(super) fn week() -> Week {
    let done: Vec<u8> = String::from_utf8_lossy(TODO).replace("[ ] back", "[x] back").into_bytes();
    Week {
        added: vec![("photos/lake.svg", LAKE.to_vec()), ("目录/周报.txt", "第一周\n".as_bytes().to_vec())],
        changed: vec![("notes/todo.txt", done)],
        renamed: vec![(FILM, "film/2026/lake.bin"), ("photos/fade.png", "photos/old/fade.png")],
        removed: vec!["notes/draft.txt", OUTTAKES],
    }
}

impl Week {
    /// The bytes that nobody has seen before.
    pub(super) fn new_bytes(&self) -> u64 {
        self.added.iter().chain(&self.changed).map(|(_, b)| b.len() as u64).sum()
    }

    /// Lets it happen, in the bucket and in what is known of it.
    pub(super) fn happen(&self, service: &Service, objects: &mut Objects) -> Result<(), Failure> {
        for (key, bytes) in self.added.iter().chain(&self.changed) {
            put(service, key, bytes)?;
            objects.insert((*key).into(), bytes.clone());
        }
        for (from, to) in &self.renamed {
            let bytes =
                objects.remove(*from).ok_or_else(|| problem(format!("{from} is not in the bucket")))?;
            put(service, to, &bytes)?;
            delete(service, from)?;
            objects.insert((*to).into(), bytes);
        }
        for key in &self.removed {
            delete(service, key)?;
            objects.remove(*key);
        }
        Ok(())
    }
}

/// Puts an object into the bucket.
pub(super) fn put(service: &Service, key: &str, bytes: &[u8]) -> Result<(), Failure> {
    service.put(key, bytes).map(drop).map_err(|e| problem(format!("{key} cannot be put: {e}")))
}

fn delete(service: &Service, key: &str) -> Result<(), Failure> {
    match service.catalog().delete(key) {
        Ok(true) => Ok(()),
        Ok(false) => Err(problem(format!("{key} is not in the bucket"))),
        Err(e) => Err(problem(format!("{key} cannot be deleted: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_week_is_what_it_says() {
        let (before, week) = (first_week(), week());
        assert!(before[FILM].len() > 2 * (4 << 20));
        for (key, bytes) in &week.changed {
            assert!(before[*key] != *bytes && before[*key].len() == bytes.len(), "{key}");
        }
        assert!(week.added.iter().all(|(k, b)| !before.contains_key(*k) && !before.values().any(|o| o == b)));
        assert!(
            week.removed.iter().chain(week.renamed.iter().map(|(f, _)| f)).all(|k| before.contains_key(*k))
        );
    }
}
