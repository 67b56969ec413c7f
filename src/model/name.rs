//! The name of a run and of the snapshot it makes: its start in UTC, to the second.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// `2026-11-21T22-48-21Z`: fixed width, so names sort as times do, and legal in every store and file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunName(i64);

const LAYOUT: &str = "%Y-%m-%dT%H-%M-%SZ";
const LENGTH: usize = 20;

/// What a text that should have been a run's name is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("“{0}” is not a snapshot's name such as 2026-11-21T22-48-21Z")]
pub struct BadName(pub String);

impl RunName {
    /// The name of a run that starts at `t`. Times outside the years 1970 to 9999 are moved to the nearer end,
    /// so that a broken clock cannot make a name that does not sort.
    pub fn at(t: Timestamp) -> Self {
        Self(t.seconds().clamp(0, 253_402_300_799))
    }

    /// The next second's name.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The moment the name says.
    pub fn time(self) -> Timestamp {
        Timestamp::from_seconds(self.0)
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t: DateTime<Utc> = DateTime::from_timestamp(self.0, 0).unwrap_or_default();
        write!(f, "{}", t.format(LAYOUT))
    }
}

impl FromStr for RunName {
    type Err = BadName;

    fn from_str(s: &str) -> Result<Self, BadName> {
        if s.len() != LENGTH {
            return Err(BadName(s.into()));
        }
        let t = NaiveDateTime::parse_from_str(s, LAYOUT).map_err(|_| BadName(s.into()))?;
        let name = Self(t.and_utc().timestamp());
        // One spelling a moment: what chrono would also take (a leap second, say) is not a name.
        if name.0 >= 0 && name.to_string() == s { Ok(name) } else { Err(BadName(s.into())) }
    }
}

impl TryFrom<String> for RunName {
    type Error = BadName;

    fn try_from(s: String) -> Result<Self, BadName> {
        s.parse()
    }
}

impl From<RunName> for String {
    fn from(n: RunName) -> Self {
        n.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_order() {
        let a: RunName = "2026-11-21T22-48-21Z".parse().unwrap();
        assert_eq!(a.to_string(), "2026-11-21T22-48-21Z");
        assert!(a < a.next() && a.to_string() < a.next().to_string());
        assert_eq!(RunName::at(Timestamp::from_seconds(-5)).to_string(), "1970-01-01T00-00-00Z");
        for bad in [
            "2026-11-21T22-48-21",
            "2026-11-21T22:48:21Z",
            "2026-13-21T22-48-21Z",
            "2026-06-30T23-59-60Z",
            "",
        ] {
            assert!(bad.parse::<RunName>().is_err(), "{bad}");
        }
    }
}
