//! The requests a service has seen, so that tests can count them.

use std::collections::{BTreeMap, VecDeque};

use super::route::{Kind, Role};

/// One request and how it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Counts from 0 over the service's life.
    pub number: u64,
    /// What it was.
    pub kind: Kind,
    /// The address it came to.
    pub role: Role,
    /// The method.
    pub method: String,
    /// The raw path and query.
    pub target: String,
    /// The object's key (a listing's prefix), where the request names one; bytes that are no UTF-8 replaced.
    pub key: Option<String>,
    /// The Range header.
    pub range: Option<String>,
    /// The status of the answer; 0: none was sent.
    pub status: u16,
}

/// How many requests of each kind there were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// By kind.
    pub by_kind: BTreeMap<Kind, u64>,
    /// The most requests that were being answered at one time.
    pub peak: u64,
}

impl Counts {
    /// The number of requests of a kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.by_kind.get(&kind).copied().unwrap_or(0)
    }

    /// The number of all requests.
    pub fn total(&self) -> u64 {
        self.by_kind.values().sum()
    }
}

/// The log itself.
#[derive(Debug, Default)]
pub(super) struct Log {
    records: VecDeque<Record>,
    counts: Counts,
    limit: usize,
}

impl Log {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    pub(super) fn add(&mut self, record: Record, in_flight: u64) {
        *self.counts.by_kind.entry(record.kind).or_default() += 1;
        self.counts.peak = self.counts.peak.max(in_flight);
        if self.limit > 0 {
            if self.records.len() >= self.limit {
                self.records.pop_front();
            }
            self.records.push_back(record);
        }
    }

    pub(super) fn records(&self) -> Vec<Record> {
        self.records.iter().cloned().collect()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts.clone()
    }

    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.counts = Counts::default();
    }
}
