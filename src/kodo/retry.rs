//! Whether to try again, and when: pure decisions by the table of codes.

use std::time::Duration;

use super::failure::Failure;
use super::fault::Fault;

/// What a failure means for the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It may pass: try again after a short pause.
    Retry,
    /// Too much at once: pause longer, and do less at a time from now on.
    Throttled,
    /// It should not be, but is seen to pass: one more try.
    Once,
    /// It will not pass.
    Fatal,
}

/// Tries that every request gets before the budget has a say.
pub const SURE_TRIES: u32 = 4;
/// Tries that no request gets more of without progress.
pub const MOST_TRIES: u32 = 8;
/// The longest wait that a server can ask for.
pub const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// What a code means.
pub fn by_code(code: u16) -> Next {
    match code {
        429 | 503 | 509 | 573 => Next::Throttled,
        401 => Next::Once,
        408 => Next::Retry,
        501 | 579 | 608 | 612 | 614 | 616 | 618 | 630 | 631 | 632 | 640 | 701 => Next::Fatal,
        500.. => Next::Retry,
        _ => Next::Fatal,
    }
}

/// What a failure means.
pub fn next(failure: &Failure) -> Next {
    match failure {
        Failure::Refused(refusal) => by_code(refusal.code),
        Failure::Fault(Fault::Connect { .. } | Fault::Timeout { .. } | Fault::Broken { .. }) => Next::Retry,
        // A cache on the way may have a compressed copy today; the next one it asks may not.
        Failure::Fault(Fault::Encoded { .. }) | Failure::Nonsense { .. } => Next::Retry,
        Failure::Fault(
            Fault::Tls { .. } | Fault::TooLarge { .. } | Fault::Redirect { .. } | Fault::BadUrl(_),
        ) => Next::Fatal,
        Failure::NoCredentials => Next::Fatal,
    }
}

/// Whether a request that has failed `tries` times in a row may be sent again; `budget` tells whether there is
/// something left of the common budget.
pub fn again(next: Next, tries: u32, budget: bool) -> bool {
    match next {
        Next::Fatal => false,
        Next::Once => tries < 2,
        Next::Retry | Next::Throttled => tries < SURE_TRIES || (tries < MOST_TRIES && budget),
    }
}

/// How long to pause between tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause after an ordinary failure; doubled each time.
    pub base: Duration,
    /// The first pause when asked to slow down; doubled each time.
    pub throttled: Duration,
    /// The longest pause.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(300),
            throttled: Duration::from_secs(2),
            cap: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The pause after the `tries`-th failure. `random` (0 to 1) spreads it from half to one and a half of the
    /// nominal pause; it is never shorter than what the server asked for, within reason.
    pub fn pause(&self, next: Next, tries: u32, asked: Option<Duration>, random: f64) -> Duration {
        let first = if next == Next::Throttled { self.throttled } else { self.base };
        let nominal = first.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(self.cap);
        let spread = nominal.mul_f64(0.5 + random.clamp(0.0, 1.0));
        spread.max(asked.unwrap_or_default().min(LONGEST_WAIT))
    }
}

/// Where randomness comes from.
pub trait Jitter: Send + Sync {
    /// A number from 0 to 1.
    fn draw(&self) -> f64;
}

/// The system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemJitter;

impl Jitter for SystemJitter {
    fn draw(&self) -> f64 {
        // Without randomness there is no spread, which is no reason to fail.
        getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX))
    }
}

/// Always the same number; for tests.
#[derive(Debug, Clone, Copy)]
pub struct FixedJitter(pub f64);

impl Jitter for FixedJitter {
    fn draw(&self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_codes() {
        for code in [429, 503, 509, 573] {
            assert_eq!(by_code(code), Next::Throttled, "{code}");
        }
        for code in [408, 500, 502, 504, 571, 599] {
            assert_eq!(by_code(code), Next::Retry, "{code}");
        }
        for code in [
            400, 403, 404, 405, 406, 413, 416, 419, 478, 501, 579, 608, 612, 614, 616, 618, 630, 631, 632,
            640, 701,
        ] {
            assert_eq!(by_code(code), Next::Fatal, "{code}");
        }
        assert_eq!(by_code(401), Next::Once);
    }

    #[test]
    fn four_tries_are_sure_and_eight_the_most() {
        for next in [Next::Retry, Next::Throttled] {
            let count = |budget| (1..100).take_while(|&n| again(next, n, budget)).count() + 1;
            assert_eq!((count(false), count(true)), (4, 8));
        }
        assert!(!again(Next::Fatal, 1, true));
        assert!(again(Next::Once, 1, false) && !again(Next::Once, 2, true));
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let b = Backoff::default();
        let s = Duration::from_secs_f64;
        assert_eq!(b.pause(Next::Retry, 1, None, 0.5), s(0.3));
        assert_eq!(b.pause(Next::Retry, 3, None, 0.5), s(1.2));
        assert_eq!(b.pause(Next::Retry, 1, None, 0.0), s(0.15));
        assert_eq!(b.pause(Next::Throttled, 2, None, 1.0), s(6.0));
        assert_eq!(b.pause(Next::Throttled, u32::MAX, None, 0.5), s(60.0));
        assert_eq!(b.pause(Next::Retry, 1, Some(s(5.0)), 0.5), s(5.0));
        assert_eq!(b.pause(Next::Retry, 1, Some(s(1e9)), 0.5), LONGEST_WAIT);
        let drawn = SystemJitter.draw();
        assert!((0.0..=1.0).contains(&drawn));
    }
}
