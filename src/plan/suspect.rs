//! Does a new snapshot look like a disaster at the source? Contract: `docs/cli.md`, *suspect*.

use crate::model::share::Share;

/// `[guard]`: when a run looks wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// More than this share gone: suspect.
    pub max_removed: Share,
    /// More than this share overwritten: suspect.
    pub max_changed: Share,
    /// More than this share failing: the run stops.
    pub max_failed: Share,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            max_removed: Share::percent(30),
            max_changed: Share::percent(80),
            max_failed: Share::percent(10),
        }
    }
}

/// How the new snapshot differs from the newest finished one that is not suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Difference {
    /// Objects the baseline had.
    pub had: u64,
    /// Of these, gone now (renamed ones apart).
    pub gone: u64,
    /// Of these, with other content now.
    pub overwritten: u64,
}

/// Fewer are never suspicious, unless they are all there was.
const FEW: u64 = 10;

/// Why the snapshot is suspect, if it is.
pub fn judge(guard: &Guard, d: &Difference) -> Option<String> {
    if d.had > 0 && d.gone == d.had {
        return Some(format!("all {} objects are gone", d.had));
    }
    if d.gone >= FEW && guard.max_removed.is_exceeded(d.gone, d.had) {
        return Some(format!("{} of {} objects are gone", d.gone, d.had));
    }
    if d.overwritten >= FEW && guard.max_changed.is_exceeded(d.overwritten, d.had) {
        return Some(format!("{} of {} objects are overwritten", d.overwritten, d.had));
    }
    None
}

/// Whether so many failures mean that the run is worth nothing: more than the allowed part, and at least ten.
pub fn too_many_failed(guard: &Guard, failed: u64, of: u64) -> bool {
    failed >= FEW && guard.max_failed.is_exceeded(failed, of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let g = Guard::default();
        let d = |had, gone, overwritten| judge(&g, &Difference { had, gone, overwritten }).is_some();
        assert!(d(1, 1, 0) && d(9, 9, 0), "all it had");
        assert!(!d(20, 9, 0), "fewer than ten");
        assert!(!d(100, 30, 0) && d(100, 31, 0));
        assert!(!d(100, 0, 80) && d(100, 0, 81));
        assert!(!d(0, 0, 0));
        assert!(!too_many_failed(&g, 9, 10) && too_many_failed(&g, 10, 99) && !too_many_failed(&g, 10, 100));
    }
}
