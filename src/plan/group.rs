//! Full or incremental, and into which group. Design, section 4.

use crate::format::records::{RunKind, RunRecord, SnapshotRecord};
use crate::model::name::RunName;
use crate::model::size::human;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// `--full` or `--incremental`; `None`: as the configuration says.
    pub kind: Option<RunKind>,
    /// `--redownload`.
    pub redownload: bool,
    /// `groups.full_every`: runs in a group; 0: full only when asked.
    pub full_every: u32,
    /// `groups.share`.
    pub share: bool,
}

/// What there is.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Finished snapshots, by sequence.
    pub finished: &'a [SnapshotRecord],
    /// Runs that were cut off, by name.
    pub open: &'a [RunRecord],
    /// Bytes a full copy is expected to take, and bytes free; `None` where that cannot be known.
    pub space: Option<(u64, u64)>,
}

/// What the run will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Full or incremental.
    pub kind: RunKind,
    /// The group to write into; `None` opens one.
    pub group: Option<RunName>,
    /// A full was due but would not fit.
    pub postponed: bool,
    /// Why, for the report.
    pub reason: String,
}

/// Decides.
pub fn choose(wish: Wish, now: &Situation<'_>) -> Choice {
    let Some(latest) = now.finished.last() else {
        let reason = "the first run of a store is full".to_owned();
        return Choice { kind: RunKind::Full, group: begun_full(wish, now, None), postponed: false, reason };
    };
    let due = if wish.redownload && wish.kind.is_none() {
        Some("--redownload".to_owned())
    } else {
        match wish.kind {
            Some(RunKind::Full) => Some("--full".to_owned()),
            Some(RunKind::Incremental) => None,
            None => due(wish, now.finished, latest),
        }
    };
    let Some(reason) = due else {
        let reason = format!("adds to the group of {}", latest.group);
        return Choice { kind: RunKind::Incremental, group: Some(latest.group), postponed: false, reason };
    };
    let asked = wish.kind.is_some() || wish.redownload;
    if let Some((need, free)) = now.space
        && !asked
        && need > free
    {
        let reason = format!(
            "a full run is due ({reason}), but it needs about {} and {} are free",
            human(need),
            human(free)
        );
        return Choice { kind: RunKind::Incremental, group: Some(latest.group), postponed: true, reason };
    }
    Choice { kind: RunKind::Full, group: begun_full(wish, now, Some(latest)), postponed: false, reason }
}

fn due(wish: Wish, finished: &[SnapshotRecord], latest: &SnapshotRecord) -> Option<String> {
    if !wish.share && !latest.needs.is_empty() {
        return Some("groups.share was switched off, and the last snapshot needs other groups".into());
    }
    let runs = finished.iter().filter(|s| s.group == latest.group).count();
    (wish.full_every > 0 && runs >= wish.full_every as usize).then(|| {
        format!(
            "groups.full_every is {}, and the group of {} has that many runs",
            wish.full_every, latest.group
        )
    })
}

/// The group of a full run that was cut off after the latest snapshot: what it stored serves this one. A run that is to
/// take every byte from the source again may only build on one that did so too.
fn begun_full(wish: Wish, now: &Situation<'_>, latest: Option<&SnapshotRecord>) -> Option<RunName> {
    now.open
        .iter()
        .rev()
        .find(|r| {
            r.kind == RunKind::Full
                && latest.is_none_or(|l| r.name > l.name)
                && (r.redownload || !wish.redownload)
                && !now.finished.iter().any(|s| s.group == r.group)
        })
        .map(|r| r.group)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::format::records::{Completeness, Counts, ManifestRecord, SourceRecord, Transfer};
    use crate::model::key::Key;
    use crate::model::time::Timestamp;

    pub(crate) fn name(n: i64) -> RunName {
        RunName::at(Timestamp::from_seconds(1_700_000_000 + n))
    }

    pub(crate) fn source() -> SourceRecord {
        SourceRecord { url: "kodo://b".into(), scope: Key::new(Vec::new()) }
    }

    pub(crate) fn snapshot(n: i64, group: i64) -> SnapshotRecord {
        SnapshotRecord {
            name: name(n),
            sequence: n.unsigned_abs(),
            kind: if n == group { RunKind::Full } else { RunKind::Incremental },
            group: name(group),
            needs: vec![],
            state: Completeness::Complete,
            suspect: None,
            baseline: None,
            tags: vec![],
            source: source(),
            started: name(n).time(),
            finished: name(n).time(),
            program: "qbak test".into(),
            parent: None,
            counts: Counts::default(),
            transfer: Transfer::default(),
            full_postponed: false,
            indexes: vec![],
            manifest: ManifestRecord::default(),
        }
    }

    fn run(n: i64, kind: RunKind, group: i64, redownload: bool) -> RunRecord {
        RunRecord {
            name: name(n),
            kind,
            group: name(group),
            redownload,
            source: source(),
            started: name(n).time(),
            host: String::new(),
            pid: 0,
            nonce: String::new(),
        }
    }

    const AUTO: Wish = Wish { kind: None, redownload: false, full_every: 3, share: false };

    fn pick(
        wish: Wish,
        finished: &[SnapshotRecord],
        open: &[RunRecord],
        space: Option<(u64, u64)>,
    ) -> Choice {
        choose(wish, &Situation { finished, open, space })
    }

    #[test]
    fn the_first_run_is_full_even_when_an_incremental_is_asked_for() {
        let wish = Wish { kind: Some(RunKind::Incremental), ..AUTO };
        assert_eq!(pick(wish, &[], &[], None).kind, RunKind::Full);
    }

    #[test]
    fn every_third_run_is_full() {
        let mut all = vec![snapshot(1, 1), snapshot(2, 1)];
        assert_eq!(pick(AUTO, &all, &[], None).group, Some(name(1)));
        all.push(snapshot(3, 1));
        let choice = pick(AUTO, &all, &[], None);
        assert_eq!((choice.kind, choice.group), (RunKind::Full, None));
        assert_eq!(pick(Wish { full_every: 0, ..AUTO }, &all, &[], None).kind, RunKind::Incremental);
        let tight = pick(AUTO, &all, &[], Some((10, 9)));
        assert!(tight.postponed && tight.kind == RunKind::Incremental && tight.group == Some(name(1)));
        let asked = pick(Wish { kind: Some(RunKind::Full), ..AUTO }, &all, &[], Some((10, 9)));
        assert!(!asked.postponed && asked.kind == RunKind::Full);
    }

    #[test]
    fn a_full_that_was_cut_off_is_continued() {
        let all = [snapshot(1, 1)];
        let open = [run(5, RunKind::Full, 5, false)];
        let full = Wish { kind: Some(RunKind::Full), ..AUTO };
        assert_eq!(pick(full, &all, &open, None).group, Some(name(5)));
        assert_eq!(pick(AUTO, &[], &open, None).group, Some(name(5)));
        let again = Wish { redownload: true, ..full };
        assert_eq!(pick(again, &all, &open, None).group, None, "its bytes did not all come from the source");
        assert_eq!(pick(again, &all, &[run(5, RunKind::Full, 5, true)], None).group, Some(name(5)));
        assert_eq!(
            pick(full, &[snapshot(1, 1), snapshot(6, 1)], &open, None).group,
            None,
            "it is older than the latest"
        );
    }

    #[test]
    fn switching_share_off_makes_a_full() {
        let mut shared = snapshot(1, 1);
        shared.needs = vec![name(0)];
        assert_eq!(pick(AUTO, &[shared.clone()], &[], None).kind, RunKind::Full);
        assert_eq!(pick(Wish { share: true, ..AUTO }, &[shared], &[], None).kind, RunKind::Incremental);
    }
}
