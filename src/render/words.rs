//! The one place where failures become words: what failed, why, and what to do.

use std::fmt;

use serde::Serialize;

use super::human::clean;
use super::json::KeyField;
use super::output::{Output, OutputError, Paint};
use crate::format::FormatError;
use crate::model::key::Key;
use crate::op::OpError;
use crate::plan::select::Refusal;
use crate::repo::{RepoError, names};
use crate::source::{ErrorKind, SourceError};
use crate::store::StoreErrorKind;

/// A failure, ready to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The exit code that it leads to.
    pub code: u8,
    /// What sort of failure: a word that scripts can rely on.
    pub kind: &'static str,
    /// What failed and why: one sentence.
    pub message: String,
    /// The object that it is about.
    pub object: Option<Key>,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A failure without an object or hint.
    pub fn new(code: u8, kind: &'static str, message: impl fmt::Display) -> Self {
        Self { code, kind, message: message.to_string(), object: None, hint: None }
    }

    /// Wrong usage or configuration: exit 2.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(2, "usage", message)
    }

    /// With the object that it is about.
    #[must_use]
    pub fn object(mut self, key: Key) -> Self {
        self.object = Some(key);
        self
    }

    /// With what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Says it: JSON on standard output as the last line, text on standard error.
    pub fn say(&self, out: &Output) -> Result<(), OutputError> {
        if out.is_json() {
            return out.json("error", &Line::from(self));
        }
        let head = out.paint_aside(Paint::Red, "error:");
        // Lines of our own (clap's usage) may stand; what moves a cursor may not.
        let message: Vec<String> = self.message.lines().map(clean).collect();
        let object = self.object.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
        out.aside(format_args!("{head} {object}{}", message.join("\n  ")));
        if let Some(hint) = &self.hint {
            out.aside(format_args!("  {} {}", out.paint_aside(Paint::Bold, "hint:"), clean(hint)));
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Line<'a> {
    code: u8,
    kind: &'static str,
    message: &'a str,
    object: Option<Object<'a>>,
    hint: Option<&'a str>,
}

/// An object that failed, as JSON: text where it can be.
#[derive(Serialize)]
#[serde(untagged)]
enum Object<'a> {
    Text(&'a str),
    Bytes(KeyField<'a>),
}

impl<'a> From<&'a Problem> for Line<'a> {
    fn from(p: &'a Problem) -> Self {
        let object = |key: &'a Key| key.text().map_or(Object::Bytes(KeyField(key)), Object::Text);
        Self {
            code: p.code,
            kind: p.kind,
            message: &p.message,
            object: p.object.as_ref().map(object),
            hint: p.hint.as_deref(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let hint = match &refusal {
            Refusal::None => "make one with `qbak snapshot`",
            Refusal::Ambiguous { .. }
            | Refusal::TooOld { .. }
            | Refusal::TooFew { .. }
            | Refusal::Unknown { .. } => "`qbak list` shows what there is",
            Refusal::Incomplete(_) => "the next `qbak snapshot` goes on from it",
        };
        let code = if refusal.is_usage() { 2 } else { 1 };
        Self::new(code, "no_such_snapshot", &refusal).hint(hint)
    }
}

impl From<SourceError> for Problem {
    fn from(e: SourceError) -> Self {
        let (code, kind, hint) = match e.kind {
            ErrorKind::Denied => (1, "denied", Some("check the keys and what they are allowed to do")),
            ErrorKind::Missing => {
                (1, "source_missing", Some("check the name after --source, and whether it is mounted"))
            }
            ErrorKind::Unreachable => (
                1,
                "unreachable",
                Some("what was stored serves the next run: try again when the network is back"),
            ),
            ErrorKind::Protocol => (1, "protocol", None),
            ErrorKind::Config => (2, "config", None),
            ErrorKind::Other => (1, "source", None),
        };
        let problem = Self::new(code, kind, &e);
        match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

/// The kind of an operation that was told to stop; its exit code is the signal's.
pub const INTERRUPTED: &str = "interrupted";

impl From<OpError> for Problem {
    fn from(e: OpError) -> Self {
        match e {
            OpError::Repo(e) => e.into(),
            OpError::Source(e) => e.into(),
            OpError::InUse(_) => {
                Self::new(5, "in_use", &e).hint("wait until it ends; nothing needs to be unlocked")
            }
            OpError::Interrupted => Self::new(130, INTERRUPTED, &e),
            OpError::Output(_) => Self::new(1, "output", &e),
            OpError::Usage(_) => Self::usage(&e),
            OpError::Failed(_) => Self::new(1, "failed", &e),
            OpError::Damage(_) => Self::new(4, "damage", &e),
            OpError::Refused(_) => Self::new(6, "refused", &e),
        }
    }
}

impl From<RepoError> for Problem {
    fn from(e: RepoError) -> Self {
        let (code, kind, hint) = match &e {
            RepoError::NoStore(_) => (1, "no_store", Some("run `qbak init`; or is the disk not mounted?")),
            RepoError::StoreExists(_) => (1, "store_exists", None),
            RepoError::Store(s) => match s.kind {
                StoreErrorKind::Full => (
                    1,
                    "disk_full",
                    Some("make room (`qbak prune` can) and run it again; earlier snapshots are as they were"),
                ),
                StoreErrorKind::Denied => {
                    (1, "store_denied", Some("check the folder's owner and whether it is mounted read-only"))
                }
                StoreErrorKind::Exhausted => {
                    (1, "system", Some("raise the limits of this process (`ulimit -a`) and run it again"))
                }
                _ => (1, "store", None),
            },
            RepoError::File { error: FormatError::Newer { .. }, .. } => (1, "newer_format", None),
            RepoError::File { name, .. } if name == names::STORE => (
                4,
                "damage",
                Some(
                    "its copy cannot be read either. The snapshots are as they were: rescue.py, which lies in the store, restores them without these files",
                ),
            ),
            RepoError::Fenced(_) => (1, "fenced", None),
            RepoError::Spool(_) => (1, "temporary_files", Some("TMPDIR names another folder for them")),
            RepoError::System(_) => (1, "system", None),
            RepoError::Collision { .. } => (1, "collision", None),
            _ => (
                4,
                "damage",
                Some(
                    "`qbak verify --data` names what is harmed; `qbak heal` brings back what other groups or the source still have",
                ),
            ),
        };
        let problem = Self::new(code, kind, &e);
        match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::kept::output;
    use super::super::output::{Color, Options};
    use super::*;

    #[test]
    fn text_goes_to_stderr_without_control_bytes() {
        let (out, stdout, stderr) = output(Options::default());
        let problem =
            Problem::new(1, "x", "the server said \x1b[2J\rno").object("a\tb".into()).hint("try\x07");
        problem.say(&out).unwrap();
        assert_eq!(stderr.text(), "error: a\\x09b: the server said \\x1b[2J\\x0dno\n  hint: try\\x07\n");
        out.flush().unwrap();
        assert_eq!(stdout.text(), "");
        let (out, _, stderr) = output(Options { color: Color::Always, ..Options::default() });
        Problem::usage("no").say(&out).unwrap();
        assert_eq!(stderr.text(), "\x1b[31merror:\x1b[0m no\n");
    }

    #[test]
    fn json_goes_to_stdout() {
        let (out, stdout, stderr) = output(Options { json: true, ..Options::default() });
        Problem::new(4, "damage", "a\nb").object(Key::new(*b"\xff")).say(&out).unwrap();
        Problem::usage("no").object("k".into()).hint("h").say(&out).unwrap();
        out.flush().unwrap();
        assert_eq!(
            stdout.text(),
            "{\"type\":\"error\",\"code\":4,\"kind\":\"damage\",\"message\":\"a\\nb\",\"object\":{\"key_b64\":\"/w==\"},\"hint\":null}\n\
             {\"type\":\"error\",\"code\":2,\"kind\":\"usage\",\"message\":\"no\",\"object\":\"k\",\"hint\":\"h\"}\n"
        );
        assert_eq!(stderr.text(), "");
    }

    #[test]
    fn refusals_have_their_codes() {
        let none: Problem = Refusal::None.into();
        assert_eq!((none.code, none.hint.as_deref()), (1, Some("make one with `qbak snapshot`")));
        let several: Problem = Refusal::Ambiguous { prefix: "x".into(), candidates: vec![], more: 2 }.into();
        assert_eq!(several.code, 2);
        let config = SourceError { kind: ErrorKind::Config, message: "m".into() };
        assert_eq!(Problem::from(config).code, 2);
    }
}
