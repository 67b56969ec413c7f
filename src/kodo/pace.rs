//! Limits, retries and pauses put together: every request of the client goes through here.

use std::sync::Arc;

use super::failure::Failure;
use super::limits::{Budget, Gate, LimitSettings, Place, Rate};
use super::retry::{Backoff, Jitter, Next, again, next};

/// What all requests of a source share.
pub struct Pace {
    gate: Gate,
    bytes: Option<Rate>,
    requests: Option<Rate>,
    budget: Budget,
    backoff: Backoff,
    jitter: Arc<dyn Jitter>,
}

impl Pace {
    /// With these limits.
    pub fn new(limits: LimitSettings, backoff: Backoff, jitter: Arc<dyn Jitter>) -> Self {
        Self {
            gate: Gate::new(limits.concurrency),
            bytes: limits.download_rate.and_then(|r| Rate::new(r as f64)),
            requests: limits.requests_per_second.and_then(Rate::new),
            budget: Budget::default(),
            backoff,
            jitter,
        }
    }

    /// The tries of one new request.
    pub fn tries(&self) -> Tries<'_> {
        self.budget.earn();
        Tries { pace: self, failed: 0 }
    }

    /// Waits until so many more bytes may come in.
    pub async fn bytes(&self, count: usize) {
        if let Some(rate) = &self.bytes {
            rate.take(count as f64).await;
        }
    }

    /// How many requests may be under way at a time now.
    pub fn width(&self) -> usize {
        self.gate.width()
    }
}

/// The tries of one request.
pub struct Tries<'p> {
    pace: &'p Pace,
    failed: u32,
}

/// A try that may be under way.
pub struct Turn<'p> {
    pace: &'p Pace,
    _place: Place<'p>,
}

impl Turn<'_> {
    /// It went well.
    pub fn done(self) {
        self.pace.gate.widen();
    }
}

impl<'p> Tries<'p> {
    /// Waits for the next try's turn.
    pub async fn begin(&self) -> Turn<'p> {
        let place = self.pace.gate.enter().await;
        if let Some(rate) = &self.pace.requests {
            rate.take(1.0).await;
        }
        Turn { pace: self.pace, _place: place }
    }

    /// How many tries have failed, since the last progress.
    pub fn failed_so_far(&self) -> u32 {
        self.failed
    }

    /// The request got further than before, so it starts afresh.
    pub fn progress(&mut self) {
        self.failed = 0;
    }

    /// A try failed: pauses and returns when there is to be another one, else gives the failure back.
    pub async fn failed(&mut self, turn: Turn<'p>, failure: Failure) -> Result<(), Failure> {
        self.failed += 1;
        let (next, asked) = (next(&failure), asked(&failure));
        if next == Next::Throttled {
            self.pace.gate.narrow(asked.map(|a| a.min(super::retry::LONGEST_WAIT)));
        }
        drop(turn);
        if !again(next, self.failed, self.pace.budget.has()) {
            return Err(failure);
        }
        self.pace.budget.pay();
        let pause = self.pace.backoff.pause(next, self.failed, asked, self.pace.jitter.draw());
        tracing::debug!(failure = %failure, tries = self.failed, ?pause, "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

fn asked(failure: &Failure) -> Option<std::time::Duration> {
    match failure {
        Failure::Refused(r) => r.retry_after,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kodo::failure::Refusal;
    use crate::kodo::retry::FixedJitter;
    use std::time::Duration;
    use tokio::time::Instant;

    fn pace(concurrency: usize) -> Pace {
        let limits = LimitSettings { concurrency, ..LimitSettings::default() };
        Pace::new(limits, Backoff::default(), Arc::new(FixedJitter(0.5)))
    }

    fn refused(code: u16, retry_after: Option<Duration>) -> Failure {
        let (text, host) = (String::new(), "h".into());
        Failure::Refused(Box::new(Refusal { code, text, host, request: None, retry_after, skew: None }))
    }

    async fn until_it_gives_up(pace: &Pace, code: u16) -> u32 {
        let mut tries = pace.tries();
        let mut sent = 0;
        loop {
            let turn = tries.begin().await;
            sent += 1;
            if tries.failed(turn, refused(code, None)).await.is_err() {
                return sent;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_runs_out_and_four_tries_stay() {
        let pace = pace(4);
        let sent = futures::future::join_all((0..50).map(|_| until_it_gives_up(&pace, 502))).await;
        assert!(sent.iter().all(|n| (4..=8).contains(n)), "{sent:?}");
        assert!(sent.iter().filter(|n| **n == 4).count() > 25, "{sent:?}");
        assert_eq!(until_it_gives_up(&pace, 612).await, 1);
        assert_eq!(until_it_gives_up(&pace, 401).await, 2);
        assert_eq!(pace.width(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_narrows_and_waits_as_asked() {
        let pace = pace(8);
        let mut tries = pace.tries();
        let turn = tries.begin().await;
        let begun = Instant::now();
        tries.failed(turn, refused(573, Some(Duration::from_secs(20)))).await.unwrap();
        assert_eq!((begun.elapsed().as_secs(), pace.width()), (20, 4));
        for _ in 0..40 {
            tries.begin().await.done();
        }
        assert_eq!(pace.width(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn three_in_ten_failing_cost_less_than_half_again() {
        let pace = pace(16);
        let (mut sent, mut lost) = (0u32, 0);
        for request in 0..5000u32 {
            let mut tries = pace.tries();
            loop {
                let turn = tries.begin().await;
                sent += 1;
                // A fixed, well mixed sequence in which three of ten fail.
                let fails =
                    blake3::hash(&[request.to_le_bytes(), sent.to_le_bytes()].concat()).as_bytes()[0] < 77;
                if !fails {
                    turn.done();
                    break;
                }
                if tries.failed(turn, refused(500, None)).await.is_err() {
                    lost += 1;
                    break;
                }
            }
        }
        assert!(sent < 7300, "{sent}");
        assert!(lost < 60, "four tries fail together in less than one of a hundred: {lost}");
    }
}
