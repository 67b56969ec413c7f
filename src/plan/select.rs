//! Which snapshot a DATE means. *latest* goes by sequence, only a date goes by time, so a wrong clock misleads
//! nobody but its own date.

use chrono::TimeZone;

use crate::model::date::{Bound, DateSpec};
use crate::model::name::RunName;
use crate::model::time::Timestamp;

/// How whole a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Completeness {
    /// Every object was read.
    Complete,
    /// Some objects are named without contents.
    Partial,
    /// A run that has not finished: its checkpoints.
    Incomplete,
}

/// What the choice needs to know of a snapshot or a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its name: the moment it began.
    pub name: RunName,
    /// Its place in the order of runs.
    pub sequence: u64,
    /// How whole it is.
    pub state: Completeness,
    /// Whether it looks wrong and nobody has accepted it.
    pub suspect: bool,
}

/// The snapshot that was meant, and what there is to say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The snapshot.
    pub snapshot: Candidate,
    /// What was asked for, when it was a date and no name or number.
    pub asked: Option<Bound>,
}

/// Why no snapshot was chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The store holds none at all.
    #[error("the store holds no finished snapshot yet")]
    None,
    /// Everything is younger than the date.
    #[error("there is no snapshot from that time or before; the oldest is {oldest}", oldest = .oldest.name)]
    TooOld {
        /// What was asked for.
        asked: Bound,
        /// The oldest by time.
        oldest: Candidate,
    },
    /// `latest~N` goes further back than there are snapshots.
    #[error(
        "latest~{back} goes back too far: there are {have} snapshots, the oldest is {oldest}", oldest = .oldest.name
    )]
    TooFew {
        /// The N asked for.
        back: u32,
        /// How many there are.
        have: usize,
        /// The oldest by sequence.
        oldest: Candidate,
    },
    /// No snapshot of that name, or none whose name begins so.
    #[error("no snapshot is called {wanted}; the nearest is {nearest}", nearest = .nearest.name)]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// The one nearest to it by time.
        nearest: Candidate,
    },
    /// Several names begin so.
    #[error("“{prefix}” could be {}; write more of the name", list(.candidates, *.more))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// The first few of them.
        candidates: Vec<RunName>,
        /// How many more there are.
        more: usize,
    },
    /// It is a run that never finished, and those are not wanted here.
    #[error("{0} is INCOMPLETE: that run has not finished, so it is no snapshot")]
    Incomplete(RunName),
}

/// How many names a message lists.
const SHOWN: usize = 8;

fn list(names: &[RunName], more: usize) -> String {
    let all: Vec<String> = names.iter().map(ToString::to_string).collect();
    match (all.split_last(), more) {
        (Some((last, [])), 0) => last.clone(),
        (Some((last, rest)), 0) => format!("{} or {last}", rest.join(", ")),
        _ => format!("{} or {more} more", all.join(", ")),
    }
}

impl Refusal {
    /// Whether the way it was asked is at fault (exit 2) rather than what the store holds (exit 1).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Ambiguous { .. })
    }
}

/// Chooses among `candidates` (in any order). Runs that never finished take part only where `incomplete` allows them.
pub fn select<Z: TimeZone>(
    candidates: &[Candidate],
    spec: &DateSpec,
    now: Timestamp,
    zone: &Z,
    incomplete: bool,
) -> Result<Choice, Refusal> {
    let wanted = |c: &&Candidate| incomplete || c.state != Completeness::Incomplete;
    let mut allowed: Vec<Candidate> = candidates.iter().filter(wanted).copied().collect();
    allowed.sort_by_key(|c| (c.sequence, c.name));
    let plain = |snapshot| Ok(Choice { snapshot, asked: None });
    match spec {
        DateSpec::Latest(back) => {
            let oldest = *allowed.first().ok_or(Refusal::None)?;
            let n = usize::try_from(*back).unwrap_or(usize::MAX);
            match allowed.iter().rev().nth(n) {
                Some(c) => plain(*c),
                None => Err(Refusal::TooFew { back: *back, have: allowed.len(), oldest }),
            }
        }
        DateSpec::Name(name) => match candidates.iter().find(|c| c.name == *name) {
            Some(c) if wanted(&c) => plain(*c),
            Some(c) => Err(Refusal::Incomplete(c.name)),
            None => Err(unknown(&allowed, name.to_string(), name.time())),
        },
        DateSpec::Prefix(prefix) => {
            let mut fits: Vec<Candidate> = candidates.to_vec();
            fits.retain(|c| c.name.to_string().starts_with(prefix.as_str()));
            fits.sort_by_key(|c| c.name);
            // A run that never finished must not make the start of a snapshot's name ambiguous.
            let finished = fits.iter().any(|c| wanted(&c));
            if finished {
                fits.retain(|c| wanted(&c));
            }
            match fits.as_slice() {
                [] => Err(unknown(&allowed, format!("{prefix}…"), start_of(prefix))),
                [one] if finished => plain(*one),
                [one] => Err(Refusal::Incomplete(one.name)),
                many => Err(Refusal::Ambiguous {
                    prefix: prefix.clone(),
                    candidates: many.iter().take(SHOWN).map(|c| c.name).collect(),
                    more: many.len().saturating_sub(SHOWN),
                }),
            }
        }
        DateSpec::Before(when) => {
            let asked = when.bound(now, zone);
            let oldest = *allowed.iter().min_by_key(|c| c.name).ok_or(Refusal::None)?;
            match allowed.iter().filter(|c| c.name.time() <= asked.at_or_before).max_by_key(|c| c.name) {
                Some(c) => Ok(Choice { snapshot: *c, asked: Some(asked) }),
                None => Err(Refusal::TooOld { asked, oldest }),
            }
        }
    }
}

fn unknown(allowed: &[Candidate], wanted: String, near: Timestamp) -> Refusal {
    let distance = |c: &&Candidate| c.name.time().nanos().abs_diff(near.nanos());
    match allowed.iter().min_by_key(distance) {
        Some(nearest) => Refusal::Unknown { wanted, nearest: *nearest },
        None => Refusal::None,
    }
}

/// The first moment whose name begins with `prefix`, nearly: only a suggestion hangs on it.
fn start_of(prefix: &str) -> Timestamp {
    const REST: &str = "0000-00-00T00-00-00Z";
    let full = format!("{prefix}{}", REST.get(prefix.len()..).unwrap_or_default());
    full.parse::<RunName>().map_or(Timestamp::from_seconds(0), RunName::time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::zone::tests::{Berlin, at};

    const NOW: &str = "2026-11-22T14:00:00+01:00";

    /// In order of sequence; `?` suspect, `/` partial, `…` incomplete.
    fn store(names: &[&str]) -> Vec<Candidate> {
        let one = |(i, text): (usize, &&str)| Candidate {
            name: text.trim_end_matches(['?', '/', '…']).parse().unwrap(),
            sequence: i as u64 + 1,
            state: match text.chars().last() {
                Some('/') => Completeness::Partial,
                Some('…') => Completeness::Incomplete,
                _ => Completeness::Complete,
            },
            suspect: text.ends_with('?'),
        };
        names.iter().enumerate().map(one).collect()
    }

    fn pick(names: &[&str], spec: &str) -> Result<Choice, Refusal> {
        select(&store(names), &spec.parse().unwrap(), at(NOW), &Berlin, false)
    }

    const WEEKLY: &[&str] = &[
        "2026-10-24T23-30-00Z",
        "2026-10-25T00-30-00Z",
        "2026-10-25T01-30-00Z",
        "2026-11-01T02-00-00Z/",
        "2026-11-08T02-00-00Z",
        "2026-11-15T02-00-00Z?",
        "2026-11-21T22-48-21Z",
        "2026-11-21T23-10-00Z",
        "2026-11-22T02-00-00Z…",
    ];

    #[test]
    fn what_is_chosen() {
        for (spec, expected) in [
            ("latest", "2026-11-21T23-10-00Z"),
            ("latest~1", "2026-11-21T22-48-21Z"),
            ("latest~7", "2026-10-24T23-30-00Z"),
            ("2026-11-15T02-00-00Z", "2026-11-15T02-00-00Z"),
            ("2026-11-21T22", "2026-11-21T22-48-21Z"),
            ("2026-11-15T", "2026-11-15T02-00-00Z"),
            // 23:10 UTC is already the next day in Berlin.
            ("2026-11-21", "2026-11-21T22-48-21Z"),
            ("yesterday", "2026-11-21T22-48-21Z"),
            ("2026-11-22", "2026-11-21T23-10-00Z"),
            ("2026-11-14", "2026-11-08T02-00-00Z"),
            ("1 week ago", "2026-11-15T02-00-00Z"),
            ("3 weeks ago", "2026-11-01T02-00-00Z"),
            ("14 hours ago", "2026-11-21T22-48-21Z"),
            ("1 hours ago", "2026-11-21T23-10-00Z"),
            // A local time; the same with the zone written out; one in UTC.
            ("2026-11-15T03:00", "2026-11-15T02-00-00Z"),
            ("2026-11-15T02:59:59", "2026-11-08T02-00-00Z"),
            ("2026-11-15 03:00+01:00", "2026-11-15T02-00-00Z"),
            ("2026-11-15T03:00+02:00", "2026-11-08T02-00-00Z"),
            ("2026-11-15T02:00Z", "2026-11-15T02-00-00Z"),
            // The hour that came twice on 25 October: both of its snapshots lie before its end.
            ("2026-10-25T02:30", "2026-10-25T01-30-00Z"),
            ("2026-10-25T02:29", "2026-10-25T00-30-00Z"),
            ("2026-10-25T02:30+02:00", "2026-10-25T00-30-00Z"),
            ("2026-10-25T01:59", "2026-10-24T23-30-00Z"),
            // The day began at 22:00 UTC of the day before.
            ("2026-10-25", "2026-10-25T01-30-00Z"),
            ("2026-12-24", "2026-11-21T23-10-00Z"),
        ] {
            let choice = pick(WEEKLY, spec).unwrap();
            assert_eq!(choice.snapshot.name.to_string(), expected, "{spec}");
        }
    }

    #[test]
    fn what_is_said_of_it() {
        let partial = pick(WEEKLY, "2026-11-03").unwrap();
        assert_eq!(partial.snapshot.state, Completeness::Partial);
        assert!(pick(WEEKLY, "2026-11-15").unwrap().snapshot.suspect);
        assert!(pick(WEEKLY, "2026-11-23").unwrap().asked.unwrap().future);
        assert!(!pick(WEEKLY, "2026-11-22").unwrap().asked.unwrap().future, "today is no future");
        assert_eq!(pick(WEEKLY, "latest").unwrap().asked, None);
    }

    #[test]
    fn latest_goes_by_sequence_and_dates_by_time() {
        // The second run's clock was a year ahead.
        let names = &["2026-11-01T00-00-00Z", "2027-11-08T00-00-00Z", "2026-11-15T00-00-00Z"];
        for (spec, expected) in [("latest", 2), ("latest~1", 1), ("2026-11-20", 2), ("2027-12-01", 1)] {
            assert_eq!(pick(names, spec).unwrap().snapshot.name.to_string(), names[expected], "{spec}");
        }
    }

    #[test]
    fn refusals_say_what_there_is() {
        for (names, spec, text) in [
            (&[][..], "latest", "the store holds no finished snapshot yet"),
            (&[], "2026-11-21", "the store holds no finished snapshot yet"),
            (&[], "2026-11-21T22", "the store holds no finished snapshot yet"),
            (&["2026-11-22T02-00-00Z…"], "latest", "the store holds no finished snapshot yet"),
            (
                WEEKLY,
                "2026-10-24",
                "there is no snapshot from that time or before; the oldest is 2026-10-24T23-30-00Z",
            ),
            (
                WEEKLY,
                "latest~8",
                "latest~8 goes back too far: there are 8 snapshots, the oldest is 2026-10-24T23-30-00Z",
            ),
            (
                WEEKLY,
                "2026-11-15T02-00-01Z",
                "no snapshot is called 2026-11-15T02-00-01Z; the nearest is 2026-11-15T02-00-00Z",
            ),
            (
                WEEKLY,
                "2026-11-09T1",
                "no snapshot is called 2026-11-09T1…; the nearest is 2026-11-08T02-00-00Z",
            ),
            (
                WEEKLY,
                "2026-11-21T2",
                "“2026-11-21T2” could be 2026-11-21T22-48-21Z or 2026-11-21T23-10-00Z; write more of the name",
            ),
            (
                WEEKLY,
                "2026-11-22T02-00-00Z",
                "2026-11-22T02-00-00Z is INCOMPLETE: that run has not finished, so it is no snapshot",
            ),
            (
                WEEKLY,
                "2026-11-22T",
                "2026-11-22T02-00-00Z is INCOMPLETE: that run has not finished, so it is no snapshot",
            ),
        ] {
            let refusal = pick(names, spec).unwrap_err();
            assert_eq!(refusal.to_string(), text, "{spec}");
            assert_eq!(refusal.is_usage(), spec == "2026-11-21T2", "{spec}");
        }
    }

    #[test]
    fn incomplete_runs_take_part_when_allowed() {
        let all = store(WEEKLY);
        for (spec, expected) in [
            ("latest", "2026-11-22T02-00-00Z"),
            ("latest~1", "2026-11-21T23-10-00Z"),
            ("2026-11-22T", "2026-11-22T02-00-00Z"),
            ("2026-11-22", "2026-11-22T02-00-00Z"),
        ] {
            let choice = select(&all, &spec.parse().unwrap(), at(NOW), &Berlin, true).unwrap();
            assert_eq!(choice.snapshot.name.to_string(), expected, "{spec}");
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (10..22).map(|i| format!("2026-11-21T{i}-00-00Z")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = pick(&names, "2026-11-21T").unwrap_err().to_string();
        assert!(text.ends_with("2026-11-21T17-00-00Z or 4 more; write more of the name"), "{text}");
    }
}
