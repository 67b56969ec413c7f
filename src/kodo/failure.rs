//! Why a call to Kodo failed, whatever the level: network, refusal, or an answer that makes no sense.

use std::time::Duration;

use super::fault::Fault;
use super::http::Answer;
use super::wire;
use crate::model::clock::Clock;
use crate::model::time::Timestamp;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There was no answer, or not a whole one.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The service said no.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// The answer is not what this call answers.
    #[error("{host} sent an answer that makes no sense: {why}")]
    Nonsense {
        /// Who.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// A call that must be signed, and nothing to sign with.
    #[error("the Kodo access key and secret key are missing")]
    NoCredentials,
}

/// The service said no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} answers {code}{}{}", self.said(), self.id())]
pub struct Refusal {
    /// Its code: HTTP's, or one of Kodo's own.
    pub code: u16,
    /// What it said, cleaned; may be empty.
    pub text: String,
    /// Who.
    pub host: String,
    /// The request's id, for the service's support.
    pub request: Option<String>,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// How many seconds its clock is ahead of ours.
    pub skew: Option<i64>,
}

impl Refusal {
    fn said(&self) -> String {
        if self.text.is_empty() { String::new() } else { format!(" “{}”", self.text) }
    }

    fn id(&self) -> String {
        self.request.as_ref().map(|r| format!(" (request {r})")).unwrap_or_default()
    }

    /// Takes what an answer says beside its code. Its body is read up to 64 KiB.
    pub async fn of(mut answer: Answer, clock: &dyn Clock) -> Box<Self> {
        let date = answer.header("date").and_then(http_date);
        let retry_after = answer.header("retry-after").and_then(|v| wait(v, date));
        let skew = date.map(|d| d.seconds() - clock.now().seconds());
        let request = answer.header("x-reqid").map(str::to_owned).filter(|r| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.=".contains(&b);
            r.len() <= 64 && !r.is_empty() && r.bytes().all(plain)
        });
        let body = answer.read_some(64 << 10).await;
        let text = wire::parse_error(&body).unwrap_or_default();
        Box::new(Self { code: answer.status, text, host: answer.host, request, retry_after, skew })
    }

    /// Whether the service's clock and ours differ so much that signatures may be refused for it; in words.
    pub fn clock_trouble(&self) -> Option<String> {
        let skew = self.skew.filter(|s| s.abs() >= 60)?;
        let (by, way) = (skew.unsigned_abs(), if skew < 0 { "ahead of" } else { "behind" });
        let by = match by {
            0..120 => format!("{by} seconds"),
            120..7200 => format!("{} minutes", by / 60),
            7200..172_800 => format!("{} hours", by / 3600),
            _ => format!("{} days", by / 86_400),
        };
        Some(format!("this machine's clock is {by} {way} Kodo's"))
    }
}

/// The moment of an HTTP date.
pub fn http_date(text: &str) -> Option<Timestamp> {
    chrono::DateTime::parse_from_rfc2822(text).ok().map(|t| Timestamp::from_seconds(t.timestamp()))
}

/// How long a `Retry-After` asks to wait: seconds, or a date measured from the answer's own date.
#[doc(hidden)]
pub fn wait(text: &str, date: Option<Timestamp>) -> Option<Duration> {
    let seconds = match text.trim().parse::<u64>() {
        Ok(n) => n,
        Err(_) => u64::try_from(http_date(text)?.seconds() - date?.seconds()).ok()?,
    };
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_waits() {
        let date = http_date("Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(date, Some(Timestamp::from_seconds(1_700_000_000)));
        assert_eq!(wait("7", None), Some(Duration::from_secs(7)));
        assert_eq!(wait("Tue, 14 Nov 2023 22:13:29 GMT", date), Some(Duration::from_secs(9)));
        assert_eq!(wait("Tue, 14 Nov 2023 22:13:19 GMT", date), None);
        assert_eq!(wait("soon", date), None);
    }

    #[test]
    fn words() {
        let mut r = Refusal {
            code: 401,
            text: "bad token".into(),
            host: "rs".into(),
            request: Some("abc".into()),
            retry_after: None,
            skew: Some(-1200),
        };
        assert_eq!(r.to_string(), "rs answers 401 “bad token” (request abc)");
        assert_eq!(r.clock_trouble().unwrap(), "this machine's clock is 20 minutes ahead of Kodo's");
        r.skew = Some(59);
        assert_eq!(r.clock_trouble(), None);
    }
}
