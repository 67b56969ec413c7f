//! Which snapshot was chosen, in words.

use chrono::TimeZone;
use serde::Serialize;

use super::human;
use super::json;
use super::output::Output;
use crate::model::date::Bound;
use crate::model::time::Timestamp;
use crate::model::zone;
use crate::plan::select::{Choice, Completeness};

/// One line: name, local time, distance from what was asked, partial or suspect, a date in the future.
pub fn sentence<Z: TimeZone>(choice: &Choice, zone: &Z) -> String {
    let snapshot = &choice.snapshot;
    let mut notes = vec![human::local_time(snapshot.name.time(), zone)];
    if let Some(asked) = &choice.asked {
        notes.push(distance(snapshot.name.time(), asked, zone));
        if asked.future {
            notes.push("that date lies in the future".into());
        }
    }
    match snapshot.state {
        Completeness::Complete => {}
        Completeness::Partial => notes.push("PARTIAL: some objects could not be read".into()),
        Completeness::Incomplete => notes.push("INCOMPLETE: that run has not finished".into()),
    }
    if snapshot.suspect {
        notes.push("SUSPECT: it looks wrong and nobody has accepted it".into());
    }
    format!("{} ({})", snapshot.name, notes.join("; "))
}

/// Says which snapshot was chosen, beside the result. A person who wants only problems hears of it only where it is one.
pub fn say<Z: TimeZone>(choice: &Choice, zone: &Z, out: &Output) {
    let snapshot = &choice.snapshot;
    if out.options().quiet && snapshot.state == Completeness::Complete && !snapshot.suspect {
        return;
    }
    if out.is_json() {
        if let Ok(line) = json::line("choice", &ChoiceLine::from(choice)) {
            out.aside(line);
        }
    } else {
        out.aside(format_args!("snapshot {}", sentence(choice, zone)));
    }
}

/// Days are counted by the calendar where a day was asked for, else by the clock.
fn distance<Z: TimeZone>(t: Timestamp, asked: &Bound, zone: &Z) -> String {
    let Some(day) = asked.day else {
        return match human::distance(t, asked.at_or_before) {
            exact if exact == "at that moment" => exact,
            distance => format!("{distance} that moment"),
        };
    };
    match (day - zone::day(t, zone)).num_days() {
        0 => format!("the newest of {day}"),
        1 => format!("1 day before {day}"),
        n => format!("{} days before {day}", human::count(n.unsigned_abs())),
    }
}

/// The same for scripts.
#[derive(Debug, Clone, Serialize)]
pub struct ChoiceLine {
    /// The snapshot's name.
    pub snapshot: String,
    /// How whole it is.
    pub state: Completeness,
    /// Whether it is suspect.
    pub suspect: bool,
    /// The last moment that was asked for, when it was a date.
    #[serde(serialize_with = "json::time_or_null")]
    pub asked: Option<Timestamp>,
    /// Whether that lies in the future.
    pub future: bool,
}

impl From<&Choice> for ChoiceLine {
    fn from(choice: &Choice) -> Self {
        Self {
            snapshot: choice.snapshot.name.to_string(),
            state: choice.snapshot.state,
            suspect: choice.snapshot.suspect,
            asked: choice.asked.map(|a| a.at_or_before),
            future: choice.asked.is_some_and(|a| a.future),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::zone::tests::{Berlin, at};
    use crate::plan::select::{Candidate, select};

    fn said(spec: &str, state: Completeness, suspect: bool) -> String {
        let name = "2026-11-21T22-48-21Z".parse().unwrap();
        let all = [Candidate { name, sequence: 1, state, suspect }];
        let now = at("2026-11-30T12:00:00+01:00");
        sentence(&select(&all, &spec.parse().unwrap(), now, &Berlin, true).unwrap(), &Berlin)
    }

    #[test]
    fn sentences() {
        use Completeness::{Complete, Incomplete, Partial};
        for (spec, state, suspect, expected) in [
            ("latest", Complete, false, "2026-11-21 23:48:21"),
            ("2026-11-21", Complete, false, "2026-11-21 23:48:21; the newest of 2026-11-21"),
            ("2026-11-22", Complete, false, "2026-11-21 23:48:21; 1 day before 2026-11-22"),
            (
                "2 days ago",
                Partial,
                false,
                "2026-11-21 23:48:21; 7 days before 2026-11-28; PARTIAL: some objects could not be read",
            ),
            (
                "2026-12-24",
                Complete,
                true,
                "2026-11-21 23:48:21; 33 days before 2026-12-24; that date lies in the future; SUSPECT: it looks wrong \
                 and nobody has accepted it",
            ),
            (
                "2026-11-22T06:00",
                Incomplete,
                false,
                "2026-11-21 23:48:21; 6 h before that moment; INCOMPLETE: that run has not finished",
            ),
            ("2026-11-21T22:48:21Z", Complete, false, "2026-11-21 23:48:21; at that moment"),
        ] {
            assert_eq!(said(spec, state, suspect), format!("2026-11-21T22-48-21Z ({expected})"), "{spec}");
        }
    }
}
