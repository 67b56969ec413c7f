//! How much at once: a gate whose width follows what the service bears, rates, and the budget for retries.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The limits that a person sets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitSettings {
    /// Requests at a time.
    pub concurrency: usize,
    /// Bytes of downloads a second.
    pub download_rate: Option<u64>,
    /// Requests a second.
    pub requests_per_second: Option<f64>,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { concurrency: 16, download_rate: None, requests_per_second: None }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets a number of requests through at a time. The number halves when the service asks to slow down, at most once
/// in a while, and grows back by about one for each round of successes.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<Width>,
    freed: Notify,
}

#[derive(Debug)]
struct Width {
    most: f64,
    now: f64,
    used: usize,
    /// When it was last lowered.
    lowered: Option<Instant>,
    /// Nothing passes before this.
    closed_until: Option<Instant>,
}

/// Requests that were under way when the width was lowered fail for the same reason; they lower it no further.
const SAME_CAUSE: Duration = Duration::from_secs(1);

impl Gate {
    /// A gate for at most `most` at a time.
    pub fn new(most: usize) -> Self {
        let most = most.clamp(1, 1 << 16) as f64;
        let state = Width { most, now: most, used: 0, lowered: None, closed_until: None };
        Self { state: Mutex::new(state), freed: Notify::new() }
    }

    /// Waits for a place.
    pub async fn enter(&self) -> Place<'_> {
        loop {
            let freed = self.freed.notified();
            let closed = {
                let mut s = lock(&self.state);
                let closed = s.closed_until.filter(|t| *t > Instant::now());
                if closed.is_none() && (s.used as f64) < s.now.floor() {
                    s.used += 1;
                    // Several places may have become free on one call: whoever enters passes it on.
                    if (s.used as f64) < s.now.floor() {
                        self.freed.notify_one();
                    }
                    return Place { gate: self };
                }
                closed
            };
            match closed {
                Some(until) => sleep_until(until).await,
                None => freed.await,
            }
        }
    }

    /// How many may pass at a time now.
    pub fn width(&self) -> usize {
        lock(&self.state).now as usize
    }

    /// A request went well.
    pub fn widen(&self) {
        let mut s = lock(&self.state);
        s.now = (s.now + 1.0 / s.now).min(s.most);
        drop(s);
        self.freed.notify_one();
    }

    /// The service asks to slow down, and perhaps for how long nothing should come at all.
    pub fn narrow(&self, wait: Option<Duration>) {
        let mut s = lock(&self.state);
        let now = Instant::now();
        if s.lowered.is_none_or(|t| now.duration_since(t) >= SAME_CAUSE) {
            s.now = (s.now / 2.0).max(1.0);
            s.lowered = Some(now);
        }
        if let Some(wait) = wait {
            s.closed_until = s.closed_until.max(now.checked_add(wait));
        }
    }
}

/// A place inside a [`Gate`]; dropping it makes room.
#[derive(Debug)]
pub struct Place<'g> {
    gate: &'g Gate,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut s = lock(&self.gate.state);
        s.used = s.used.saturating_sub(1);
        drop(s);
        self.gate.freed.notify_one();
    }
}

/// Units a second (bytes, requests), shared by all tasks. What was saved up is at most a quarter of a second's worth.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    next: Mutex<Option<Instant>>,
}

const SAVED: Duration = Duration::from_millis(250);

impl Rate {
    /// A rate; `None`: that is none.
    pub fn new(per_second: f64) -> Option<Self> {
        (per_second.is_finite() && per_second > 0.0).then(|| Self { per_second, next: Mutex::new(None) })
    }

    /// Waits until `count` more units are due. Tasks get their turn in the order they ask.
    pub async fn take(&self, count: f64) {
        // A day at the longest, so that no arithmetic overflows.
        let cost = Duration::from_secs_f64((count / self.per_second).clamp(0.0, 86_400.0));
        let turn = {
            let mut next = lock(&self.next);
            let now = Instant::now();
            let earliest = now.checked_sub(SAVED).unwrap_or(now);
            let turn = next.map_or(earliest, |n| n.max(earliest));
            *next = Some(turn + cost);
            turn
        };
        if turn > Instant::now() {
            sleep_until(turn).await;
        }
    }
}

/// What may be spent on retries beyond the sure ones: a fifth of a try for each request, saved up to a hundred.
#[derive(Debug)]
pub struct Budget(Mutex<f64>);

const SHARE: f64 = 0.2;
const FIRST: f64 = 10.0;
const MOST: f64 = 100.0;

impl Default for Budget {
    fn default() -> Self {
        Self(Mutex::new(FIRST))
    }
}

impl Budget {
    /// A new request earns its share.
    pub fn earn(&self) {
        let mut left = lock(&self.0);
        *left = (*left + SHARE).min(MOST);
    }

    /// Whether one more retry can be paid.
    pub fn has(&self) -> bool {
        *lock(&self.0) >= 1.0
    }

    /// Pays for a retry. Sure ones are paid for too, if there is something left, so that they use up the rest's.
    pub fn pay(&self) {
        let mut left = lock(&self.0);
        *left = (*left - 1.0).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn the_gate_narrows_and_grows_back() {
        let gate = Gate::new(16);
        gate.narrow(None);
        gate.narrow(None);
        assert_eq!(gate.width(), 8, "one cause, one step");
        for left in [4, 2, 1, 1] {
            tokio::time::advance(Duration::from_secs(2)).await;
            gate.narrow(None);
            assert_eq!(gate.width(), left);
        }
        let mut successes = 0;
        while gate.width() < 16 {
            gate.widen();
            successes += 1;
        }
        assert!((100..200).contains(&successes), "about one wider a round: {successes}");
        gate.widen();
        assert_eq!(gate.width(), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_its_width_pass() {
        let gate = Arc::new(Gate::new(3));
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..30)
            .map(|n| {
                let (gate, inside, most) = (gate.clone(), inside.clone(), most.clone());
                tokio::spawn(async move {
                    let _place = gate.enter().await;
                    let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(n)).await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    if n % 7 == 0 { gate.narrow(None) } else { gate.widen() }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_the_server_asked_for_holds_for_all() {
        let gate = Gate::new(4);
        let begun = Instant::now();
        gate.narrow(Some(Duration::from_secs(5)));
        drop(gate.enter().await);
        assert_eq!(begun.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_waiter_does_not_take_the_place_with_it() {
        let gate = Gate::new(1);
        let first = gate.enter().await;
        {
            let waiting = gate.enter();
            tokio::pin!(waiting);
            assert!(futures::poll!(waiting.as_mut()).is_pending());
            drop(first);
        }
        tokio::time::timeout(Duration::from_secs(1), gate.enter()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn rates_hold_over_time() {
        let rate = Rate::new(1000.0).unwrap();
        let begun = Instant::now();
        for _ in 0..100 {
            rate.take(100.0).await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        assert!((9.0..=10.0).contains(&seconds), "10,000 units at 1,000 a second took {seconds}");
        assert!(Rate::new(0.0).is_none() && Rate::new(f64::NAN).is_none() && Rate::new(-1.0).is_none());
    }

    #[test]
    fn the_budget_is_a_fifth_of_the_requests() {
        let budget = Budget::default();
        let (mut requests, mut retries) = (0, 0);
        for _ in 0..10_000 {
            budget.earn();
            requests += 1;
            while budget.has() {
                budget.pay();
                retries += 1;
            }
        }
        assert!((2000..=2010).contains(&retries), "{retries} of {requests}");
    }
}
