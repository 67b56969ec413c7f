//! The names in one folder, packed tightly and in the order of their keys.

use std::cmp::Ordering;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::{Errno, Result};

use super::stamp::file_type;

/// Where a name lies among the bytes.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    length: u16,
    is_folder: bool,
}

/// The names that are still to be looked at.
#[derive(Default)]
pub(crate) struct Names {
    /// Each name with the NUL that ends it.
    bytes: Vec<u8>,
    spans: Vec<Span>,
    next: usize,
    too_long: usize,
}

impl Names {
    fn push(&mut self, name: &CStr, is_folder: bool) -> Result<()> {
        let start = u32::try_from(self.bytes.len()).map_err(|_| Errno::OVERFLOW)?;
        let length = u16::try_from(name.to_bytes().len()).map_err(|_| Errno::NAMETOOLONG)?;
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
        self.spans.push(Span { start, length, is_folder });
        Ok(())
    }

    /// Whether there are no more.
    pub(crate) fn is_done(&self) -> bool {
        self.next == self.spans.len()
    }

    /// The next name, and whether it is a folder's.
    pub(crate) fn next(&mut self) -> Option<(&CStr, bool)> {
        let span = *self.spans.get(self.next)?;
        self.next += 1;
        Some((CStr::from_bytes_until_nul(&self.bytes[span.start as usize..]).ok()?, span.is_folder))
    }

    /// What [`Names::next`] gave last is a folder by now: it comes once more in a folder's place, which is behind.
    pub(crate) fn again_as_folder(&mut self) {
        let span = Span { is_folder: true, ..self.spans[self.next - 1] };
        let (bytes, rest) = (&self.bytes, &self.spans[self.next..]);
        let place = rest.partition_point(|other| compare(bytes, other, &span).is_lt());
        self.spans.insert(self.next + place, span);
    }

    /// What of the folder cannot be listed.
    pub(crate) fn problem(&self) -> Option<String> {
        let n = self.too_long;
        (n > 0).then(|| format!("{n} of its entries cannot be kept: their paths are too long"))
    }
}

/// The order of two names' keys: byte order, with `/` behind a folder's name.
fn compare(bytes: &[u8], a: &Span, b: &Span) -> Ordering {
    let of = |s: &Span| {
        let name = &bytes[s.start as usize..s.start as usize + usize::from(s.length)];
        name.iter().copied().chain(s.is_folder.then_some(b'/'))
    };
    let plain = |s: &Span| &bytes[s.start as usize..s.start as usize + usize::from(s.length)];
    let (x, y) = (plain(a), plain(b));
    let common = x.len().min(y.len());
    match x[..common].cmp(&y[..common]) {
        Ordering::Equal => of(a).skip(common).cmp(of(b).skip(common)),
        different => different,
    }
}

/// Reads and sorts the names in a folder; those that are longer than `longest` are counted only.
pub(crate) fn read_names(folder: BorrowedFd<'_>, longest: usize) -> Result<Names> {
    let mut names = Names::default();
    let mut dir = Dir::read_from(folder)?;
    while let Some(entry) = dir.read() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_folder = match entry.file_type() {
            FileType::Directory => true,
            // Not every file system tells; what cannot be examined here fails when it is looked at.
            FileType::Unknown => rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| file_type(&stat) == FileType::Directory),
            _ => false,
        };
        if name.to_bytes().len() + usize::from(is_folder) > longest {
            names.too_long += 1;
        } else {
            names.push(name, is_folder)?;
        }
    }
    let bytes = &names.bytes;
    names.spans.sort_unstable_by(|a, b| compare(bytes, a, b));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(names: &mut Names) -> Vec<String> {
        std::iter::from_fn(|| {
            names.next().map(|(n, d)| format!("{}{}", n.to_str().unwrap(), if d { "/" } else { "" }))
        })
        .collect()
    }

    #[test]
    fn folders_sort_with_their_slash() {
        let mut names = Names::default();
        for (name, is_folder) in
            [(c"a0", false), (c"a", true), (c"a-", false), (c"a", false), (c"a-", true), (c"b", false)]
        {
            names.push(name, is_folder).unwrap();
        }
        let bytes = &names.bytes;
        names.spans.sort_unstable_by(|a, b| compare(bytes, a, b));
        let got = all(&mut names);
        let mut sorted = got.clone();
        sorted.sort();
        assert_eq!(got, sorted);
        assert_eq!(got, ["a", "a-", "a-/", "a/", "a0", "b"]);
    }

    #[test]
    fn a_file_that_became_a_folder_comes_again_in_its_place() {
        let mut names = Names::default();
        for name in [c"a", c"a-", c"a0"] {
            names.push(name, false).unwrap();
        }
        assert_eq!(names.next().unwrap().0, c"a");
        names.again_as_folder();
        assert_eq!(all(&mut names), ["a-", "a/", "a0"]);
    }
}
