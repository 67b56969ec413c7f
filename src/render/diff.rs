//! What changed between two snapshots, line by line or by first folder.

use serde::Serialize;

use super::human::{count, size};
use super::json::{FromKeyField, KeyField};
use super::output::{Output, OutputError, Paint};
use super::table::Table;
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::op::diff::{Change, Sort, Summary};

#[derive(Serialize)]
struct Line<'a> {
    change: &'static str,
    #[serde(flatten)]
    key: KeyField<'a>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    from: Option<FromKeyField<'a>>,
    old_size: u64,
    new_size: u64,
}

#[derive(Serialize)]
struct FolderLine<'a> {
    #[serde(flatten)]
    key: KeyField<'a>,
    added: u64,
    removed: u64,
    changed: u64,
    renamed: u64,
    metadata: u64,
    old_bytes: u64,
    new_bytes: u64,
}

#[derive(Serialize)]
struct Sums {
    from: Option<RunName>,
    to: String,
    added: u64,
    removed: u64,
    changed: u64,
    renamed: u64,
    metadata: u64,
    unread: u64,
    old_bytes: u64,
    new_bytes: u64,
}

/// Says one change.
///
/// # Errors
/// Nothing can be printed any more.
pub fn change(change: &Change, out: &Output) -> Result<(), OutputError> {
    if out.is_json() {
        let line = Line {
            change: word(change.sort),
            key: KeyField(&change.key),
            from: change.from.as_ref().map(FromKeyField),
            old_size: change.old_size,
            new_size: change.new_size,
        };
        return out.json("change", &line);
    }
    let key = &change.key;
    out.line(match (change.sort, &change.from) {
        (Sort::Added, _) => out.paint(Paint::Green, format_args!("+ {key}")),
        (Sort::Removed, _) => out.paint(Paint::Red, format_args!("- {key}")),
        (Sort::Changed, _) => out.paint(Paint::Yellow, format_args!("~ {key}")),
        (Sort::Renamed, Some(from)) => out.paint(Paint::Blue, format_args!("> {from} -> {key}")),
        (Sort::Renamed, None) => out.paint(Paint::Blue, format_args!("> {key}")),
        (Sort::Metadata, _) => out.paint(Paint::Dim, format_args!("m {key}")),
    })
}

fn word(sort: Sort) -> &'static str {
    match sort {
        Sort::Added => "added",
        Sort::Removed => "removed",
        Sort::Changed => "changed",
        Sort::Renamed => "renamed",
        Sort::Metadata => "metadata",
    }
}

/// The differences by first folder, for `--stat`.
#[derive(Default)]
pub struct Folders(Vec<(Key, Summary)>);

/// More folders than this are told as one.
const MOST: usize = 10_000;

impl Folders {
    /// Counts a change. They come in the order of their keys, so those of one folder come together.
    pub fn add(&mut self, change: &Change) {
        let key = change.key.bytes();
        let folder = key.iter().position(|b| *b == b'/').map_or(&key[..0], |slash| &key[..=slash]);
        let known = match self.0.iter().rposition(|(k, _)| k.bytes() == folder) {
            Some(at) => at,
            None if self.0.len() >= MOST => self.0.len() - 1,
            None => {
                self.0.push((Key::new(folder), Summary::default()));
                self.0.len() - 1
            }
        };
        let Some((_, s)) = self.0.get_mut(known) else { return };
        match change.sort {
            Sort::Added => s.added += 1,
            Sort::Removed => s.removed += 1,
            Sort::Changed => s.changed += 1,
            Sort::Renamed => s.renamed += 1,
            Sort::Metadata => s.metadata += 1,
        }
        if matches!(change.sort, Sort::Added | Sort::Removed | Sort::Changed) {
            s.old_bytes = s.old_bytes.saturating_add(change.old_size);
            s.new_bytes = s.new_bytes.saturating_add(change.new_size);
        }
    }

    /// Shows them.
    ///
    /// # Errors
    /// Nothing can be printed any more.
    pub fn show(&self, out: &Output) -> Result<(), OutputError> {
        if out.is_json() {
            for (key, s) in &self.0 {
                let line = FolderLine {
                    key: KeyField(key),
                    added: s.added,
                    removed: s.removed,
                    changed: s.changed,
                    renamed: s.renamed,
                    metadata: s.metadata,
                    old_bytes: s.old_bytes,
                    new_bytes: s.new_bytes,
                };
                out.json("folder", &line)?;
            }
            return Ok(());
        }
        if self.0.is_empty() {
            return Ok(());
        }
        let mut table = Table::new().long("folder");
        for header in ["+", "-", "~", ">", "m", "bytes gone", "bytes new"] {
            table = table.right(header);
        }
        for (key, s) in &self.0 {
            let name = if key.bytes().is_empty() { "(no folder)".to_owned() } else { key.to_string() };
            let counts = [s.added, s.removed, s.changed, s.renamed, s.metadata].map(count);
            let sizes = [size(s.old_bytes), size(s.new_bytes)];
            table.row(std::iter::once(name).chain(counts).chain(sizes));
        }
        table.lines(out.options().stdout_width).into_iter().try_for_each(|line| out.line(line))
    }
}

/// Says the sums; `to`: a snapshot's name, or `live`.
///
/// # Errors
/// Nothing can be printed any more.
pub fn report(
    from: Option<RunName>,
    to: &str,
    s: &Summary,
    stat: bool,
    out: &Output,
) -> Result<(), OutputError> {
    if out.is_json() {
        let sums = Sums {
            from,
            to: to.to_owned(),
            added: s.added,
            removed: s.removed,
            changed: s.changed,
            renamed: s.renamed,
            metadata: s.metadata,
            unread: s.unread,
            old_bytes: s.old_bytes,
            new_bytes: s.new_bytes,
        };
        return out.json("summary", &sums);
    }
    let mut text = if s.is_empty() {
        "no differences".to_owned()
    } else {
        format!(
            "{} added, {} removed, {} changed, {} renamed, {} with other metadata; {} gone, {} new",
            count(s.added),
            count(s.removed),
            count(s.changed),
            count(s.renamed),
            count(s.metadata),
            size(s.old_bytes),
            size(s.new_bytes)
        )
    };
    if s.unread > 0 {
        text = format!("{text}; {} could not be read, so nobody knows of them", count(s.unread));
    }
    // With --stat the sums are the result; behind a list of changes they are beside it.
    if stat {
        out.line(text)
    } else {
        if !out.options().quiet {
            out.aside(text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::Options;
    use super::super::output::kept::output;
    use super::*;

    fn sample() -> Vec<Change> {
        let one = |sort, key: &str, from: Option<&str>, old_size, new_size| Change {
            sort,
            key: key.into(),
            from: from.map(Into::into),
            old_size,
            new_size,
        };
        vec![
            one(Sort::Added, "a/new", None, 0, 5),
            one(Sort::Changed, "a/other", None, 5, 6),
            one(Sort::Metadata, "b", None, 1, 1),
            one(Sort::Removed, "c/gone\n", None, 7, 0),
            one(Sort::Renamed, "z", Some("c/x"), 3, 3),
        ]
    }

    fn said(json: bool, stat: bool) -> String {
        let (out, stdout, _) = output(Options { json, ..Options::default() });
        let mut folders = Folders::default();
        for c in sample() {
            if stat { folders.add(&c) } else { change(&c, &out).unwrap() }
        }
        folders.show(&out).unwrap();
        let summary = Summary {
            added: 1,
            removed: 1,
            changed: 1,
            renamed: 1,
            metadata: 1,
            unread: 0,
            new_bytes: 11,
            old_bytes: 12,
        };
        report(None, "live", &summary, stat, &out).unwrap();
        out.flush().unwrap();
        stdout.text()
    }

    #[test]
    fn for_people() {
        assert_eq!(said(false, false), "+ a/new\n~ a/other\nm b\n- c/gone\\x0a\n> c/x -> z\n");
        assert_eq!(
            said(false, true),
            "\
folder       +  -  ~  >  m  bytes gone  bytes new
a/           1  0  1  0  0         5 B       11 B
(no folder)  0  0  0  1  1         0 B        0 B
c/           0  1  0  0  0         7 B        0 B
1 added, 1 removed, 1 changed, 1 renamed, 1 with other metadata; 12 B gone, 11 B new
"
        );
    }

    #[test]
    fn for_scripts() {
        let text = said(true, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[4],
            "{\"type\":\"change\",\"change\":\"renamed\",\"key\":\"z\",\"from_key\":\"c/x\",\"old_size\":3,\"new_size\":3}"
        );
        assert_eq!(
            lines[5],
            "{\"type\":\"summary\",\"from\":null,\"to\":\"live\",\"added\":1,\"removed\":1,\"changed\":1,\"renamed\":1,\
             \"metadata\":1,\"unread\":0,\"old_bytes\":12,\"new_bytes\":11}"
        );
        assert!(said(true, true).starts_with("{\"type\":\"folder\",\"key\":\"a/\",\"added\":1,"));
    }
}
