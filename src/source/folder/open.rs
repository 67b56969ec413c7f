//! Opening what a path names below a folder's handle. No link is followed, wherever on the way it stands, and no
//! path is too long: where the system's own call will not do, the way is gone part by part.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};

/// How a folder is opened that is only passed through.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PASS: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const PASS: OFlags = OFlags::RDONLY;

/// What is opened is never a link, and not inherited by other programs.
const ALWAYS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// Opens one name in a folder.
pub(crate) fn open_name(
    folder: BorrowedFd<'_>,
    name: impl rustix::path::Arg,
    flags: OFlags,
) -> Result<OwnedFd> {
    rustix::fs::openat(folder, name, flags | ALWAYS, Mode::empty())
}

/// Opens what a relative path of ordinary parts names. A link in the place of a folder on the way fails with
/// `ELOOP` or `ENOTDIR`, one in the place of the file with `ELOOP`.
pub(crate) fn open_path(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    match at_once(root, path, flags) {
        // Too old a system, a sandbox that forbids the call, a path that it does not take.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::NAMETOOLONG) => {
            part_by_part(root, path, flags)
        }
        other => other,
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn at_once(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags | ALWAYS, Mode::empty(), resolve)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn at_once(_: BorrowedFd<'_>, _: &[u8], _: OFlags) -> Result<OwnedFd> {
    Err(Errno::NOSYS)
}

fn part_by_part(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let mut here: Option<OwnedFd> = None;
    let mut parts = path.split(|&b| b == b'/').peekable();
    while let Some(part) = parts.next() {
        if part.is_empty() || part == b"." || part == b".." {
            return Err(Errno::INVAL);
        }
        let folder = here.as_ref().map_or(root, AsFd::as_fd);
        if parts.peek().is_none() {
            return open_name(folder, part, flags);
        }
        here = Some(open_name(folder, part, PASS | OFlags::DIRECTORY)?);
    }
    Err(Errno::NOENT)
}

/// Runs `f` with a handle of the folder that a path's last part stands in, and that part.
pub(crate) fn in_parent<T>(
    root: BorrowedFd<'_>,
    path: &[u8],
    f: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<T>,
) -> Result<T> {
    match path.iter().rposition(|&b| b == b'/') {
        None => f(root, path),
        Some(slash) => {
            let parent = open_path(root, &path[..slash], PASS | OFlags::DIRECTORY)?;
            f(parent.as_fd(), &path[slash + 1..])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/f"), "x").unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("l")).unwrap();
        std::os::unix::fs::symlink("f", dir.path().join("a/b/lf")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        for open in [open_path, part_by_part] {
            assert!(open(root.as_fd(), b"a/b/f", OFlags::RDONLY).is_ok());
            assert!(open(root.as_fd(), b"l/b/f", OFlags::RDONLY).is_err());
            assert_eq!(open(root.as_fd(), b"a/b/lf", OFlags::RDONLY).unwrap_err(), Errno::LOOP);
            assert!(open(root.as_fd(), b"../f", OFlags::RDONLY).is_err());
            assert!(open(root.as_fd(), b"/etc/hostname", OFlags::RDONLY).is_err());
        }
    }
}
