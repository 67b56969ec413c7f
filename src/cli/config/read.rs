//! Takes settings out of a file's fields by name. Every name that is asked for is thereby known, so a field that
//! nobody asked for is an error, and its neighbours are at hand.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{Field, Fields, Name};
use super::near::nearest;
use super::value::{Read, Value};
use super::{Origin, Setting};

/// What is wrong, and on which line.
pub(super) type Fault = (usize, String);

pub(super) struct Reader<'a> {
    fields: &'a Fields,
    known: BTreeSet<Name>,
    pub(super) settings: BTreeMap<String, Setting>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(fields: &'a Fields) -> Self {
        Self { fields, known: BTreeSet::new(), settings: BTreeMap::new(), faults: Vec::new() }
    }

    fn field(&mut self, name: &Name) -> Option<&'a Field> {
        self.known.insert(name.clone());
        self.fields.leaves.get(name)
    }

    /// Records a fault at a field.
    pub(super) fn fault(&mut self, name: &Name, sentence: &str) {
        let line = self.fields.leaves.get(name).map_or(1, |f| f.line);
        self.faults.push((line, format!("{} {sentence}", dotted(name))));
    }

    /// The setting `key` of the first of `sections` that has it, else the default, whose text is `shown` ("": none).
    pub(super) fn get<T>(
        &mut self,
        sections: &[&[&str]],
        key: &str,
        (default, shown): (T, &str),
        read: impl Fn(&Value) -> Read<T>,
    ) -> T {
        let names: Vec<Name> = sections.iter().map(|s| name(s, key)).collect();
        let mut found = None;
        for name in &names {
            let field = self.field(name);
            found = found.or(field.map(|f| (name, f)));
        }
        let label = names.first().map(|n| dotted(n)).unwrap_or_default();
        let Some((name, field)) = found else {
            if !shown.is_empty() && sections.len() == 1 {
                let setting = Setting { value: shown.to_owned(), origin: Origin::Default };
                self.settings.insert(label, setting);
            }
            return default;
        };
        match read(&field.value) {
            Ok(value) => {
                let origin = Origin::File { line: field.line, profile: field.profile };
                self.settings.insert(label, Setting { value: field.value.shown(), origin });
                value
            }
            Err(sentence) => {
                self.fault(name, &sentence);
                default
            }
        }
    }

    /// The names of the sections right below `section`: the buckets.
    pub(super) fn names_below(&self, section: &[&str]) -> Vec<String> {
        let below = |n: &Name| {
            let (last, parent) = n.split_last()?;
            (parent == section).then(|| last.clone())
        };
        self.fields.sections.keys().filter_map(below).collect()
    }

    /// Everything that is wrong, by line: what was read and does not fit, and what nobody asked for.
    pub(super) fn finish(mut self) -> (BTreeMap<String, Setting>, Vec<Fault>) {
        let unknown: Vec<&Name> = self.fields.leaves.keys().filter(|n| !self.known.contains(*n)).collect();
        for name in unknown {
            let line = self.fields.leaves[name].line;
            self.faults.push((line, self.unknown(name)));
        }
        for (section, line) in &self.fields.sections {
            let leads = |n: &Name| n.len() > section.len() && n.starts_with(section);
            let empty_table =
                matches!(section.as_slice(), [a, b] if b == "buckets" && (a == "kodo" || a == "s3"));
            // A section with fields in it has had them reported one by one.
            if !self.known.iter().any(leads) && !empty_table && !self.fields.leaves.keys().any(leads) {
                self.faults.push((*line, self.unknown_section(section)));
            }
        }
        self.faults.sort();
        (self.settings, self.faults)
    }

    fn unknown(&self, name: &Name) -> String {
        let Some((key, section)) = name.split_last() else { return String::new() };
        if is_secret(key) {
            return format!(
                "“{}” is not a setting: secrets do not belong into this file; put them into the environment or a \
                 credentials file that only you can read",
                dotted(name)
            );
        }
        let is_section = self.known.iter().any(|k| k.len() > name.len() && k.starts_with(name));
        if is_section {
            return format!("{0} is a section: write [{0}] and its settings below", dotted(name));
        }
        let siblings: Vec<&str> =
            self.known.iter().filter(|k| k.len() == name.len() && k.starts_with(section)).map(last).collect();
        let place =
            if section.is_empty() { "at the top level".into() } else { format!("in [{}]", dotted(section)) };
        if siblings.is_empty() {
            return self.unknown_section(section);
        }
        let near = nearest(key, siblings.iter().copied());
        if !near.is_empty() {
            return format!("“{}” is not a setting {place}; did you mean {}?", printable(key), or(&near));
        }
        let elsewhere: Vec<String> = self
            .known
            .iter()
            .filter(|k| last(k) == key && !k.iter().any(|part| part == "buckets"))
            .map(|k| {
                if k.len() == 1 { "the top level".into() } else { format!("[{}]", dotted(&k[..k.len() - 1])) }
            })
            .collect();
        match elsewhere.first() {
            Some(other) => format!("“{}” is not a setting {place}; it belongs into {other}", printable(key)),
            None => {
                format!(
                    "“{}” is not a setting {place}; known there are {}",
                    printable(key),
                    siblings.join(", ")
                )
            }
        }
    }

    fn unknown_section(&self, section: &[String]) -> String {
        let mut known: Vec<&str> = self
            .known
            .iter()
            .filter(|k| k.len() > 1)
            .filter_map(|k| k.first().map(String::as_str))
            .chain(["profile"])
            .collect();
        known.sort_unstable();
        known.dedup();
        if section.first().is_some_and(|s| s == "profile") {
            return format!(
                "[{}] is not a section: a profile cannot stand inside a profile",
                dotted(section)
            );
        }
        let near = nearest(section.first().map_or("", String::as_str), known.iter().copied());
        // The first part may be right and a later one wrong, as in [kodo.bucket.x].
        match near.as_slice() {
            [only] if section.first().is_some_and(|s| s == only) && section.len() > 1 => {
                format!(
                    "[{}] is not a section; below [{only}] there is [{only}.buckets.NAME]",
                    dotted(section)
                )
            }
            [] => format!("[{}] is not a section; known are {}", dotted(section), known.join(", ")),
            near => {
                format!("[{}] is not a section; did you mean [{}]?", dotted(section), near.join("] or ["))
            }
        }
    }
}

fn name(section: &[&str], key: &str) -> Name {
    section.iter().copied().chain([key]).map(str::to_owned).collect()
}

fn last(name: &Name) -> &str {
    name.last().map_or("", String::as_str)
}

fn or(words: &[&str]) -> String {
    match words {
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
        [] => String::new(),
    }
}

/// A key as text that cannot move a cursor or fill a screen.
fn printable(key: &str) -> String {
    key.chars().take(60).flat_map(char::escape_debug).collect()
}

pub(super) fn dotted(name: &[String]) -> String {
    name.iter().map(|part| printable(part)).collect::<Vec<_>>().join(".")
}

fn is_secret(key: &str) -> bool {
    let plain: String =
        key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    [
        "accesskey",
        "accesskeyid",
        "secretkey",
        "secretaccesskey",
        "secret",
        "password",
        "passphrase",
        "token",
        "ak",
        "sk",
    ]
    .contains(&plain.as_str())
}
