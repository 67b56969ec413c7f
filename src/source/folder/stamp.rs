//! What the file system says of a file, and the fingerprint made of it.

use rustix::fs::{FileType, Stat};

use crate::model::entry::Kind;
use crate::model::key::Key;
use crate::model::listed::{Listed, ListedHash};
use crate::model::time::Timestamp;

/// A file whose ctime is younger than this could change once more without its times showing it.
const UNSETTLED: i128 = 2_000_000_000;

/// What must stay the same for a file to be the same: nothing writes to a file without moving its ctime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    mtime: i128,
    ctime: i128,
    inode: i128,
    device: i128,
}

impl Stamp {
    /// Of what `stat` said.
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanos(i128::from(stat.st_mtime), i128::from(stat.st_mtime_nsec)),
            ctime: nanos(i128::from(stat.st_ctime), i128::from(stat.st_ctime_nsec)),
            inode: i128::from(stat.st_ino),
            device: i128::from(stat.st_dev),
        }
    }

    /// The fingerprint: size, mtime, ctime and inode in hexadecimal. The device is left out, since its number may
    /// be another after a restart.
    pub(crate) fn text(&self) -> String {
        format!("{:x}-{:x}-{:x}-{:x}", self.size, self.mtime, self.ctime, self.inode)
    }

    /// The time of the last change of contents, moved to the nearer end of what can be kept.
    pub(crate) fn put_time(&self) -> Timestamp {
        let clamped = self.mtime.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Timestamp::from_nanos(i64::try_from(clamped).unwrap_or_default())
    }

    /// Whether a later change is sure to show in the times.
    fn settled(&self, now: Timestamp) -> bool {
        i128::from(now.nanos()) - self.ctime >= UNSETTLED
    }

    /// Whether the file is still the one that was listed. Without a fingerprint only size and mtime can tell.
    pub(crate) fn is(&self, listed: &Listed) -> bool {
        self.size == listed.size
            && match &listed.hash {
                Some(hash) => hash.text() == self.text(),
                None => listed.put_time == Some(self.put_time()),
            }
    }

    /// Whether two looks saw the same inode.
    pub(crate) fn same_inode(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

fn nanos(seconds: i128, nanos: i128) -> i128 {
    seconds * 1_000_000_000 + nanos
}

/// The permission bits, `0o7777` at most.
#[allow(clippy::useless_conversion, reason = "the raw mode has 16 bits on some systems")]
pub(crate) fn permissions(stat: &Stat) -> u32 {
    u32::from(stat.st_mode) & 0o7777
}

/// The type of file.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// A file, folder or link as a listing shows it.
pub(crate) fn listed(key: Key, kind: Kind, stat: &Stat, now: Timestamp) -> Listed {
    let stamp = Stamp::of(stat);
    let mut out = Listed::new(key, kind);
    out.put_time = Some(stamp.put_time());
    out.attributes.mode = Some(permissions(stat));
    if kind == Kind::Object {
        out.size = stamp.size;
        out.hash = stamp.settled(now).then(|| ListedHash::Opaque(stamp.text()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_and_future_files_have_no_fingerprint() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let ctime = i64::try_from(Stamp::of(&stat).ctime).unwrap();
        let at = |offset: i64| {
            listed(Key::from("f"), Kind::Object, &stat, Timestamp::from_nanos(ctime + offset)).hash.is_some()
        };
        assert!(!at(0) && !at(1_999_999_999) && at(2_000_000_000));
        assert!(!at(-5_000_000_000), "a ctime in the future proves nothing");
    }
}
