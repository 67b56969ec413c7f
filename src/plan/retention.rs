//! Which snapshots stay. Contract: `docs/cli.md`, *prune* and *suspect*. What a person names goes first; the rules then count what is
//! left; what is protected stays whatever they say.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, NaiveDate, TimeZone};

use crate::control::{Control, off};
use crate::format::records::{Completeness, SnapshotRecord};
use crate::model::duration::CalendarDuration;
use crate::model::name::RunName;
use crate::model::time::Timestamp;
use crate::model::zone;

/// What the choice needs to know of a finished snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name: the moment it began.
    pub name: RunName,
    /// Its place in the order of runs: *newest* goes by it, never by a clock.
    pub sequence: u64,
    /// Its group.
    pub group: RunName,
    /// Whether every object was read.
    pub complete: bool,
    /// Whether it looks wrong and nobody has accepted it.
    pub suspect: bool,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Its labels.
    pub tags: Vec<String>,
}

impl Snapshot {
    /// From its record, and from what was said about snapshots since.
    pub fn of(record: &SnapshotRecord, accepted: &BTreeSet<RunName>, pins: &BTreeSet<RunName>) -> Self {
        Self {
            name: record.name,
            sequence: record.sequence,
            group: record.group,
            complete: record.state == Completeness::Complete,
            suspect: record.suspect.is_some() && !accepted.contains(&record.name),
            pinned: pins.contains(&record.name),
            tags: record.tags.clone(),
        }
    }
}

/// The rules: what any of them keeps is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// The N newest that are not suspect.
    pub keep: Option<u32>,
    /// The N newest groups, each whole.
    pub keep_groups: Option<u32>,
    /// The newest of each of the last N days that have one that is not suspect.
    pub keep_daily: Option<u32>,
    /// Likewise of weeks, which begin on Monday.
    pub keep_weekly: Option<u32>,
    /// Likewise of months.
    pub keep_monthly: Option<u32>,
    /// Likewise of years.
    pub keep_yearly: Option<u32>,
    /// Everything as young as this.
    pub keep_within: Option<CalendarDuration>,
    /// Everything with one of these labels.
    pub keep_tags: Vec<String>,
}

impl Rules {
    /// There is no rule: none says that anything is to go.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// The rules.
    pub rules: Rules,
    /// Snapshots to remove whatever the rules say.
    pub remove: BTreeSet<RunName>,
    /// Drop what unfinished runs left.
    pub drop_incomplete: bool,
}

/// What becomes of one snapshot, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot, or the unfinished run.
    pub snapshot: RunName,
    /// Whether it stays.
    pub keep: bool,
    /// Why; never empty.
    pub reasons: Vec<String>,
}

/// What becomes of them all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// One each, oldest first.
    pub decisions: Vec<Decision>,
    /// So many would go by the rules and are held back, because a newer one looks wrong (exit 6).
    pub held_back: usize,
    /// What was to be removed by name and was not, and why (exit 6).
    pub refused: Vec<String>,
}

/// Why nothing was decided: the way it was asked is at fault (exit 2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// Neither rules nor names.
    #[error(
        "nothing says what to keep: give --keep N (or another --keep rule), --remove DATE or --drop-incomplete, or put rules under [retention] into qbak.toml"
    )]
    NoRule,
    /// A name that no snapshot has.
    #[error("there is no snapshot {0} to remove")]
    Unknown(RunName),
}

/// Decides. `now` and `zone` matter only to the rules that go by time.
pub fn decide<Z: TimeZone>(
    snapshots: &[Snapshot],
    wish: &Wish,
    now: Timestamp,
    zone: &Z,
) -> Result<Outcome, Unclear> {
    if wish.rules.is_empty() && wish.remove.is_empty() && !wish.drop_incomplete {
        return Err(Unclear::NoRule);
    }
    if let Some(name) = wish.remove.iter().find(|n| !snapshots.iter().any(|s| s.name == **n)) {
        return Err(Unclear::Unknown(*name));
    }
    let mut all: Vec<&Snapshot> = snapshots.iter().collect();
    all.sort_by_key(|s| (if off(Control::NoSequence) { 0 } else { s.sequence }, s.name));
    let mut reasons: BTreeMap<RunName, Vec<String>> = BTreeMap::new();
    let mut outcome = Outcome::default();
    let gone = named(&all, wish, &mut reasons, &mut outcome.refused);
    let rest: Vec<&Snapshot> = all.iter().copied().filter(|s| !gone.contains(&s.name)).collect();
    if wish.rules.is_empty() {
        for s in &rest {
            reasons.entry(s.name).or_insert_with(|| vec!["not named, and no rule was given".into()]);
        }
    } else {
        by_rules(&rest, &wish.rules, now, zone, &mut reasons);
        protected(&rest, &mut reasons);
        outcome.held_back = hold_back(&rest, &mut reasons);
    }
    outcome.decisions = all
        .iter()
        .map(|s| match reasons.remove(&s.name) {
            Some(reasons) => Decision { snapshot: s.name, keep: true, reasons },
            None => Decision { snapshot: s.name, keep: false, reasons: vec![why_not(s, wish)] },
        })
        .collect();
    Ok(outcome)
}

fn why_not(s: &Snapshot, wish: &Wish) -> String {
    if wish.remove.contains(&s.name) {
        "--remove names it".into()
    } else if s.suspect {
        "no rule keeps it; it is suspect, and a healthy one came after it".into()
    } else {
        "no rule keeps it".into()
    }
}

/// What `--remove` takes: all it names but pinned ones, and never the last there is.
fn named(
    all: &[&Snapshot],
    wish: &Wish,
    reasons: &mut BTreeMap<RunName, Vec<String>>,
    refused: &mut Vec<String>,
) -> BTreeSet<RunName> {
    let mut gone = wish.remove.clone();
    for s in all.iter().filter(|s| s.pinned && wish.remove.contains(&s.name)) {
        gone.remove(&s.name);
        reasons.entry(s.name).or_default().push("pinned: --remove does not go over a pin".into());
        refused.push(format!("{} is pinned, so it was not removed", s.name));
    }
    if !gone.is_empty() && all.iter().all(|s| gone.contains(&s.name)) {
        // The one that is worth most.
        let best = all.iter().rev().find(|s| s.complete && !s.suspect).or(all.last());
        if let Some(s) = best {
            gone.remove(&s.name);
            reasons.entry(s.name).or_default().push("--remove never takes the last snapshot".into());
            refused.push(format!("{} would be the last snapshot to go, so it was not removed", s.name));
        }
    }
    gone
}

fn by_rules<Z: TimeZone>(
    rest: &[&Snapshot],
    rules: &Rules,
    now: Timestamp,
    zone: &Z,
    reasons: &mut BTreeMap<RunName, Vec<String>>,
) {
    let mut keep = |s: &Snapshot, why: String| reasons.entry(s.name).or_default().push(why);
    let sane = || rest.iter().rev().filter(|s| !s.suspect);
    if let Some(n) = rules.keep {
        for s in sane().take(n as usize) {
            keep(s, format!("one of the {n} newest that are not suspect"));
        }
    }
    if let Some(n) = rules.keep_groups {
        let mut newest: Vec<RunName> = Vec::new();
        for s in rest.iter().rev() {
            if !newest.contains(&s.group) && newest.len() < n as usize {
                newest.push(s.group);
            }
        }
        for s in rest.iter().filter(|s| newest.contains(&s.group)) {
            keep(s, format!("in one of the {n} newest groups"));
        }
    }
    type Stretch = fn(NaiveDate) -> (i32, u32);
    let stretches: [(Option<u32>, &str, Stretch); 4] = [
        (rules.keep_daily, "day", |d| (d.year(), d.ordinal())),
        (rules.keep_weekly, "week", |d| (d.iso_week().year(), d.iso_week().week())),
        (rules.keep_monthly, "month", |d| (d.year(), d.month())),
        (rules.keep_yearly, "year", |d| (d.year(), 0)),
    ];
    for (n, word, stretch) in stretches {
        let Some(n) = n else { continue };
        let mut seen = BTreeSet::new();
        for s in sane() {
            if seen.len() >= n as usize {
                break;
            }
            if seen.insert(stretch(zone::day(s.name.time(), zone))) {
                keep(s, format!("the newest of one of the last {n} {word}s"));
            }
        }
    }
    if let Some(within) = &rules.keep_within {
        let since = within.before(now, zone);
        for s in rest.iter().filter(|s| s.name.time() >= since) {
            keep(s, "younger than keep_within".into());
        }
    }
    for tag in &rules.keep_tags {
        for s in rest.iter().filter(|s| s.tags.contains(tag)) {
            keep(s, format!("has the tag {tag}"));
        }
    }
}

fn protected(rest: &[&Snapshot], reasons: &mut BTreeMap<RunName, Vec<String>>) {
    let mut keep = |s: &Snapshot, why: &str| reasons.entry(s.name).or_default().push(why.into());
    if let Some(newest) = rest.last() {
        keep(newest, "the newest");
    }
    if let Some(s) = rest.iter().rev().find(|s| s.complete && !s.suspect) {
        keep(s, "the newest that is complete and not suspect");
    }
    for s in rest.iter().filter(|s| s.pinned) {
        keep(s, "pinned");
    }
}

/// While the newest snapshot is suspect, everything older may be the last good state: nothing goes.
fn hold_back(rest: &[&Snapshot], reasons: &mut BTreeMap<RunName, Vec<String>>) -> usize {
    let Some((newest, older)) = rest.split_last() else { return 0 };
    if !newest.suspect {
        return 0;
    }
    let held: Vec<&&Snapshot> = older.iter().filter(|s| !reasons.contains_key(&s.name)).collect();
    for s in &held {
        let why = format!("held back: {} is suspect, and no healthy one came after it", newest.name);
        reasons.entry(s.name).or_default().push(why);
    }
    held.len()
}

#[cfg(test)]
mod tests;
