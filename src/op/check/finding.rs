//! What a check says: damage, or something worth knowing.

use std::fmt;

use super::harm::Hurt;
use crate::format::pack::BlobKind;
use crate::model::id::{BlobId, PackId};
use crate::model::key::Key;
use crate::model::name::RunName;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something is lost or wrong (exit 4).
    Damage,
    /// Nothing that anybody needs is hurt.
    Notice,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong, in a sentence that names the file.
    pub what: String,
    /// The file of the store that it is about.
    pub file: Option<String>,
    /// The pack.
    pub pack: Option<PackId>,
    /// The blob.
    pub blob: Option<(BlobKind, BlobId)>,
    /// Keys that it harms, the first hundred; of a piece of a manifest its first and last key.
    pub keys: Vec<Key>,
    /// How many entries of snapshots it harms; one key in two snapshots counts twice.
    pub entries: u64,
    /// The snapshots that it harms.
    pub snapshots: Vec<RunName>,
}

/// So many keys are named; the rest is counted.
pub(super) const MOST_KEYS: usize = 100;

/// So many findings are kept; more damage is only counted.
const MOST: usize = 10_000;

impl Finding {
    /// A finding about one file.
    pub fn new(severity: Severity, file: impl Into<String>, what: impl fmt::Display) -> Self {
        let file = file.into();
        Self {
            severity,
            what: format!("{file}: {what}"),
            file: Some(file),
            pack: None,
            blob: None,
            keys: Vec::new(),
            entries: 0,
            snapshots: Vec::new(),
        }
    }

    /// Damage of one file.
    pub fn damage(file: impl Into<String>, what: impl fmt::Display) -> Self {
        Self::new(Severity::Damage, file, what)
    }

    /// Something worth knowing about one file.
    pub fn notice(file: impl Into<String>, what: impl fmt::Display) -> Self {
        Self::new(Severity::Notice, file, what)
    }

    /// It is in this pack.
    #[must_use]
    pub fn pack(mut self, pack: PackId) -> Self {
        self.pack = Some(pack);
        self
    }

    /// It harms this snapshot.
    #[must_use]
    pub fn snapshot(mut self, name: RunName) -> Self {
        self.snapshots.push(name);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some(key) = self.keys.first() {
            write!(f, " ({} entries, {key} the first)", self.entries)?;
        }
        Ok(())
    }
}

/// Findings in the making: bounded.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    more: u64,
    hurt: Vec<Hurt>,
}

impl Findings {
    pub(super) fn push(&mut self, finding: Finding) {
        if self.list.len() < MOST {
            self.list.push(finding);
        } else if finding.severity == Severity::Damage {
            // Damage never gives way to what is only worth knowing.
            if let Some(at) = self.list.iter().position(|f| f.severity == Severity::Notice) {
                self.list[at] = finding;
            } else {
                self.more += 1;
            }
        }
    }

    pub(super) fn count(&mut self, more: u64) {
        self.more += more;
    }

    pub(super) fn hurt(&mut self, hurt: Hurt) {
        if self.hurt.len() < MOST {
            self.hurt.push(hurt);
        }
    }

    pub(super) fn finish(mut self) -> (Vec<Finding>, u64, Vec<Hurt>) {
        self.list.sort_by_key(|f| f.severity);
        (self.list, self.more, self.hurt)
    }
}
