//! Does a new snapshot look like a disaster at the source? Contract: `docs/cli.md`, *suspect*.

/// The limits of `[guard]`, as fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// More than this part of the objects gone.
    pub max_removed: f64,
    /// More than this part overwritten.
    pub max_changed: f64,
    /// More than this part failing stops the run.
    pub max_failed: f64,
}

impl Default for Guard {
    fn default() -> Self {
        Self { max_removed: 0.3, max_changed: 0.8, max_failed: 0.1 }
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
    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
    let above = |n: u64, limit: f64| n as f64 > d.had as f64 * limit;
    if d.had > 0 && d.gone == d.had {
        return Some(format!("all {} objects are gone", d.had));
    }
    if d.gone >= FEW && above(d.gone, guard.max_removed) {
        return Some(format!("{} of {} objects are gone", d.gone, d.had));
    }
    if d.overwritten >= FEW && above(d.overwritten, guard.max_changed) {
        return Some(format!("{} of {} objects are overwritten", d.overwritten, d.had));
    }
    None
}

/// Whether so many failures mean that the run is worth nothing: more than the allowed part, and at least ten.
pub fn too_many_failed(guard: &Guard, failed: u64, of: u64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
    let above = failed as f64 > of as f64 * guard.max_failed;
    failed >= FEW && above
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
