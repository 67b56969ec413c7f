//! A run against the embedded service whose client waits and pauses for milliseconds: the same run as the program's, in this process,
//! so that faults which are only noticed by waiting cost no time.

use std::sync::Arc;
use std::time::Duration;

use qbak::kodo::host::Overrides;
use qbak::kodo::http::Timeouts;
use qbak::kodo::limits::LimitSettings;
use qbak::kodo::retry::{Backoff, FixedJitter};
use qbak::kodo::sign::Credentials;
use qbak::model::clock::SystemClock;
use qbak::model::event::Event;
use qbak::op::Cancel;
use qbak::op::snapshot::{Options, Report, snapshot};
use qbak::render::words::Problem;
use qbak::source::Source;
use qbak::source::kodo::{KodoSettings, KodoSource};

use crate::common::bucket::{ACCESS, Bucket, SECRET};
use crate::common::weeks::held;
use crate::common::{Recorder, options};

/// How a run is made.
#[derive(Clone)]
pub(crate) struct Quick {
    /// How long the client waits for a connection, the head of an answer, or more of a body.
    pub(crate) wait: Duration,
    /// By the bucket's domain, not the source host.
    pub(crate) domain: bool,
    /// Only these keys.
    pub(crate) prefix: &'static str,
    /// Objects and requests at a time.
    pub(crate) at_once: usize,
}

impl Default for Quick {
    fn default() -> Self {
        Self { wait: Duration::from_secs(5), domain: false, prefix: "", at_once: 16 }
    }
}

/// What a run came to, as the program would say it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: u8,
    /// Why it failed; empty if it did not.
    pub(crate) message: String,
    pub(crate) report: Option<Report>,
    /// Objects that could not be read, and why.
    pub(crate) failed: Vec<(String, String)>,
    pub(crate) warnings: Vec<String>,
    /// Requests of the source: listings, reads, others.
    pub(crate) requests: [u64; 3],
}

impl Told {
    #[track_caller]
    pub(crate) fn exits(self, code: u8) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    pub(crate) fn report(&self) -> &Report {
        self.report.as_ref().unwrap_or_else(|| panic!("{self:#?}"))
    }
}

impl Quick {
    pub(crate) fn source(&self, bucket: &Bucket) -> Arc<KodoSource> {
        let pause = Duration::from_millis(2);
        let settings = KodoSettings {
            bucket: "bkt".into(),
            prefix: self.prefix.into(),
            domain: self.domain.then(|| bucket.service.domain_url()),
            private: false,
            referer: None,
            overrides: Overrides { uc: bucket.service.uc_url(), ..Overrides::default() },
            credentials: Some(Credentials::new(ACCESS, SECRET).unwrap()),
            limits: LimitSettings { concurrency: self.at_once, ..LimitSettings::default() },
            timeouts: Timeouts { connect: self.wait, headers: self.wait, idle: self.wait },
            backoff: Backoff { base: pause, throttled: pause, cap: 4 * pause },
            proxy: None,
            clock: Arc::new(SystemClock),
            jitter: Arc::new(FixedJitter(0.5)),
        };
        Arc::new(KodoSource::new(settings, Arc::new(Recorder::default())).unwrap())
    }

    pub(crate) async fn run(&self, bucket: &Bucket) -> Told {
        self.run_with(bucket, options()).await
    }

    pub(crate) async fn run_with(&self, bucket: &Bucket, options: Options) -> Told {
        let source = self.source(bucket);
        told(bucket, source, Options { concurrency: self.at_once, ..options }).await
    }
}

/// A run of any source into the bucket's store.
pub(crate) async fn told(bucket: &Bucket, source: Arc<dyn Source>, options: Options) -> Told {
    let recorder = Arc::new(Recorder::default());
    let context = qbak::op::snapshot::Context {
        repo: bucket.repo().await,
        source: Arc::clone(&source),
        clock: Arc::new(SystemClock),
        observer: recorder.clone(),
        cancel: Cancel::never(),
    };
    let result = snapshot(&context, options).await;
    let (code, message, report) = match result {
        Ok(report) => (code_of(&report), String::new(), Some(report)),
        Err(e) => {
            let problem = Problem::from(e);
            (problem.code, problem.message, None)
        }
    };
    let requests = source.requests();
    let mut told = Told {
        code,
        message,
        report,
        failed: Vec::new(),
        warnings: Vec::new(),
        requests: [requests.listings, requests.reads, requests.others],
    };
    for event in recorder.0.lock().unwrap().drain(..) {
        match event {
            Event::Failed { key, reason } => told.failed.push((key.to_string(), reason)),
            Event::Warning(text) => told.warnings.push(text),
            _ => {}
        }
    }
    assert!(!format!("{told:?}").contains(SECRET), "a secret was said");
    told
}

fn code_of(report: &Report) -> u8 {
    use qbak::format::records::Completeness;
    match (&report.suspect, report.state) {
        (Some(_), _) => 6,
        (None, Completeness::Partial) => 3,
        (None, Completeness::Complete) => 0,
    }
}

/// How many finished snapshots there are. Every byte of the first and of the last two can be read.
pub(crate) async fn intact(bucket: &Bucket) -> usize {
    let repo = bucket.repo().await;
    let snapshots = repo.snapshots().await.unwrap();
    assert!(snapshots.unreadable.is_empty());
    let all = &snapshots.finished;
    for s in all.iter().take(1).chain(all.iter().skip(1).rev().take(2)) {
        if s.counts.failed + s.counts.vanished + s.counts.unavailable == 0 {
            held(&repo, s).await.unwrap();
        }
    }
    snapshots.finished.len()
}

/// That an operation's error is one sentence for a person.
#[track_caller]
pub(crate) fn one_sentence(text: &str) {
    assert!(!text.is_empty() && !text.contains('\n') && !text.contains('\x1b') && text.len() < 600, "{text}");
    assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{text}");
}
