//! What came of each key: counted, told, and the first few failures kept by name.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::event::{Event, Observer};
use crate::model::key::Key;
use crate::op::OpError;
use crate::plan::restore::{Action, Step};

/// How many failures are kept by name; all of them are told as events, and counted.
const NAMED: usize = 1_000;

/// Why something did not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Its bytes in the store are lost or wrong.
    Damaged,
    /// The snapshot only names it.
    Absent,
    /// It could not be written to the target, or deleted there.
    Target,
}

/// Something that did not come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which object; none where a piece of the list of objects itself is lost, or a folder of the target is meant.
    pub key: Option<Key>,
    /// Whose fault it is.
    pub cause: Cause,
    /// Why, one clear sentence.
    pub reason: String,
}

/// The counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) written: u64,
    pub(super) unchanged: u64,
    pub(super) deleted: u64,
    pub(super) damaged: u64,
    pub(super) absent: u64,
    pub(super) target: u64,
    /// Pieces of the manifest that could not be read.
    pub(super) lost_pieces: u64,
    pub(super) problems: Vec<Problem>,
}

/// Takes each line of the plan, in no particular order.
pub type OnAction = Arc<dyn Fn(&Action) + Send + Sync>;

/// Shared by all who work on a restore.
pub(super) struct Ledger {
    observer: Arc<dyn Observer>,
    on_action: Option<OnAction>,
    totals: Mutex<Totals>,
    fatal: Mutex<Option<OpError>>,
}

impl Ledger {
    pub(super) fn new(observer: Arc<dyn Observer>, on_action: Option<OnAction>) -> Self {
        Self { observer, on_action, totals: Mutex::default(), fatal: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry that was asked for.
    pub(super) fn asked(&self, size: u64) {
        let mut totals = self.lock();
        totals.objects += 1;
        totals.bytes = totals.bytes.saturating_add(size);
    }

    /// A key was dealt with.
    pub(super) fn done(&self, key: &Key, path: Option<&[u8]>, size: u64, step: Step) {
        {
            let mut totals = self.lock();
            match step {
                Step::Write | Step::Replace | Step::Metadata => totals.written += 1,
                Step::Unchanged => totals.unchanged += 1,
                Step::Delete => totals.deleted += 1,
                Step::Skip => {}
            }
        }
        if step != Step::Delete {
            self.observer.event(Event::Advance { objects: 1, bytes: size });
        }
        self.act(step, key, path, size, None);
    }

    /// A key did not come back.
    pub(super) fn failed(&self, key: &Key, cause: Cause, reason: String) {
        self.observer.event(Event::Failed { key: key.clone(), reason: reason.clone() });
        self.act(Step::Skip, key, None, 0, Some(reason.clone()));
        self.problem(Some(key.clone()), cause, reason);
        self.observer.event(Event::Advance { objects: 1, bytes: 0 });
    }

    /// A piece of the list of objects is lost.
    pub(super) fn lost_piece(&self, reason: String) {
        self.observer.event(Event::Warning(format!("some objects cannot be named: {reason}")));
        self.lock().lost_pieces += 1;
        self.problem(None, Cause::Damaged, reason);
    }

    /// Something of the target that is no object's.
    pub(super) fn target_failed(&self, reason: String) {
        self.observer.event(Event::Warning(reason.clone()));
        self.problem(None, Cause::Target, reason);
    }

    fn problem(&self, key: Option<Key>, cause: Cause, reason: String) {
        let mut totals = self.lock();
        match cause {
            Cause::Damaged => totals.damaged += 1,
            Cause::Absent => totals.absent += 1,
            Cause::Target => totals.target += 1,
        }
        if totals.problems.len() < NAMED {
            totals.problems.push(Problem { key, cause, reason });
        }
    }

    fn act(&self, step: Step, key: &Key, path: Option<&[u8]>, size: u64, reason: Option<String>) {
        if let Some(on_action) = &self.on_action {
            let path = path.filter(|p| *p != key.bytes()).map(|p| Key::new(p.to_vec()));
            on_action(&Action { step, key: key.clone(), path, size, reason });
        }
    }

    pub(super) fn warn(&self, text: String) {
        self.observer.event(Event::Warning(text));
    }

    pub(super) fn note(&self, text: String) {
        self.observer.event(Event::Note(text));
    }

    /// So many things of the target were deleted.
    pub(super) fn deleted(&self, number: u64) {
        self.lock().deleted += number;
    }

    /// Nothing more is to be begun, because of this.
    pub(super) fn stop(&self, error: OpError) {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn take_fatal(&self) -> Option<OpError> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn totals(&self) -> Totals {
        self.lock().clone()
    }

    /// Adds objects of which nothing but their number is known.
    pub(super) fn add_lost(&self, more: u64) {
        self.lock().damaged += more;
    }
}
