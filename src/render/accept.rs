//! What accepting a snapshot came to.

use serde::Serialize;

use super::human::clean;
use super::output::{Output, OutputError};
use crate::model::name::RunName;
use crate::op::accept::Accepted;

#[derive(Serialize)]
struct Summary<'a> {
    snapshot: RunName,
    accepted: bool,
    changed: bool,
    suspect_reason: Option<&'a str>,
    still_suspect: &'a [RunName],
}

/// Says what accepting came to.
///
/// # Errors
/// Nothing can be printed any more.
pub fn report(name: RunName, accepted: &Accepted, out: &Output) -> Result<(), OutputError> {
    if out.is_json() {
        let (reason, others): (_, &[RunName]) = match accepted {
            Accepted::Now { reason, others } => (Some(reason.as_str()), others),
            Accepted::Before | Accepted::NotSuspect => (None, &[]),
        };
        let summary = Summary {
            snapshot: name,
            accepted: !matches!(accepted, Accepted::NotSuspect),
            changed: matches!(accepted, Accepted::Now { .. }),
            suspect_reason: reason,
            still_suspect: others,
        };
        return out.json("summary", &summary);
    }
    match accepted {
        Accepted::Now { reason, others } => {
            out.line(format_args!("accepted {name}, which was suspect: {}", clean(reason)))?;
            let others: Vec<String> = others.iter().map(ToString::to_string).collect();
            if others.is_empty() {
                Ok(())
            } else {
                out.line(format_args!("still suspect: {}", others.join(", ")))
            }
        }
        Accepted::Before => out.line(format_args!("{name} had been accepted before")),
        Accepted::NotSuspect => out.line(format_args!("{name} is not suspect: there is nothing to accept")),
    }
}
