//! What a failure means to a person: the kind, and one sentence that says what to do about it.

use crate::kodo::failure::{Failure, Refusal};
use crate::kodo::fault::Fault;
use crate::kodo::host::Base;
use crate::kodo::sign::Credentials;
use crate::source::{ErrorKind, SourceError};

/// Whom and what a failure is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    /// What could not be done: “the bucket “b” cannot be listed”.
    pub(super) what: &'a str,
    /// The bucket.
    pub(super) bucket: &'a str,
    /// What was signed with.
    pub(super) credentials: Option<&'a Credentials>,
}

/// The words for a failed management call.
pub(super) fn explain(failure: &Failure, about: About<'_>) -> SourceError {
    let (kind, hint) = match failure {
        Failure::NoCredentials => (
            ErrorKind::Config,
            "set QINIU_ACCESS_KEY and QINIU_SECRET_KEY, or kodo.credentials in the configuration".to_owned(),
        ),
        Failure::Nonsense { .. } => (ErrorKind::Protocol, String::new()),
        Failure::Fault(fault) => of_fault(fault),
        Failure::Refused(refusal) => of_refusal(refusal, about),
    };
    let colon = if hint.is_empty() { "" } else { "; " };
    SourceError { kind, message: format!("{}: {failure}{colon}{hint}", about.what) }
}

fn of_fault(fault: &Fault) -> (ErrorKind, String) {
    match fault {
        Fault::Connect { .. } | Fault::Timeout { .. } | Fault::Broken { .. } => {
            (ErrorKind::Unreachable, "check the network, and run again".into())
        }
        Fault::Tls { .. } => {
            (ErrorKind::Unreachable, "nothing is sent to a host that cannot prove its name".into())
        }
        Fault::Redirect { .. } => (ErrorKind::Config, "put the address itself into the configuration".into()),
        Fault::BadUrl(_) => (ErrorKind::Config, "correct it in the configuration".into()),
        Fault::TooLarge { .. } | Fault::Encoded { .. } => (ErrorKind::Protocol, String::new()),
    }
}

fn of_refusal(refusal: &Refusal, about: About<'_>) -> (ErrorKind, String) {
    let text = refusal.text.to_ascii_lowercase();
    let dated = ["skew", "out of date", "request time"].iter().any(|w| text.contains(w));
    let clock = match refusal.clock_trouble() {
        Some(trouble) => Some(format!("{trouble}, and signatures are dated; set it right")),
        None if dated => Some("signatures are dated: is this machine's clock right?".into()),
        None => None,
    };
    match refusal.code {
        _ if text.contains("accesskey") || text.contains("app is not found") => {
            (ErrorKind::Denied, format!("Kodo does not know {}; check it", whose(about)))
        }
        _ if text.contains("no such bucket") => missing(about),
        612 if text.contains("no such entry") => missing(about),
        631 => missing(about),
        401 => (
            ErrorKind::Denied,
            clock.unwrap_or_else(|| format!("the secret key does not belong to {}", whose(about))),
        ),
        403 => (
            ErrorKind::Denied,
            clock.unwrap_or_else(|| format!("{} has no permission for this", whose(about))),
        ),
        400 if text.contains("region") || text.contains("zone") => (
            ErrorKind::Config,
            "the bucket is in another region; remove rs, rsf, up and io from the configuration".into(),
        ),
        478 => (ErrorKind::Unreachable, "the bucket's mirror origin failed to deliver it".into()),
        419 => (ErrorKind::Denied, "the account is frozen".into()),
        429 | 503 | 509 | 573 => (
            ErrorKind::Unreachable,
            "it kept asking to slow down; lower limits.concurrency or limits.requests_per_second".into(),
        ),
        500.. if crate::kodo::retry::by_code(refusal.code) == crate::kodo::retry::Next::Retry => {
            (ErrorKind::Unreachable, "it kept failing; run again later".into())
        }
        640 => (ErrorKind::Protocol, "it refuses its own page marker; run again".into()),
        _ => (ErrorKind::Other, String::new()),
    }
}

/// Why bytes that do not have the listed hash cannot be had otherwise.
pub(super) const ALTERED: &str = "the bytes do not have the hash that the bucket lists for them, and its own source \
    host sent them: either they are altered on the way, by a proxy perhaps, or the stored object is damaged";

/// What is said when a domain is given up.
pub(super) fn domain_alters(domain: &Base) -> String {
    format!(
        "20 objects came from {domain} with other bytes than the bucket holds, so the rest is read from the bucket's \
         source host; switch off image slimming for the domain, purge its cache, or remove kodo.domain"
    )
}

/// The words for a read by the domain.
pub(super) fn of_domain(failure: &Failure, base: SourceError, domain: &Base, signed: bool) -> SourceError {
    let Failure::Refused(refusal) = failure else {
        return match failure {
            Failure::Fault(Fault::Redirect { .. }) => SourceError {
                message: base.message.replace("the address itself", "that address as kodo.domain"),
                ..base
            },
            _ => base,
        };
    };
    let (kind, hint) = match refusal.code {
        404 | 612 => (
            ErrorKind::Config,
            format!("the bucket has the object, so {domain} is not this bucket's domain, or is bound to another one; correct or remove kodo.domain"),
        ),
        401 if !signed => (ErrorKind::Denied, "the domain wants signed URLs; set kodo.private = true".into()),
        403 if !signed => (
            ErrorKind::Denied,
            "the domain refuses unsigned or foreign requests; set kodo.referer or kodo.private, or remove kodo.domain".into(),
        ),
        403 => (
            ErrorKind::Denied,
            "the domain refuses these requests (a referer list, or it is frozen); set kodo.referer, or remove kodo.domain".into(),
        ),
        _ => return base,
    };
    SourceError { kind, message: format!("it cannot be downloaded: {refusal}; {hint}") }
}

/// The words for a read from the source host.
pub(super) fn of_source_host(failure: &Failure, base: SourceError) -> SourceError {
    match failure {
        Failure::Refused(refusal) if matches!(refusal.code, 404 | 612) => SourceError {
            kind: ErrorKind::Config,
            message: format!(
                "it cannot be downloaded: {refusal}; the bucket has the object, so that is not this bucket's source host; check kodo.io"
            ),
        },
        _ => base,
    }
}

fn missing(about: About<'_>) -> (ErrorKind, String) {
    (ErrorKind::Missing, format!("{} sees no bucket named “{}”; check the name", whose(about), about.bucket))
}

/// The access key by its first letters: enough to tell two of them apart.
fn whose(about: About<'_>) -> String {
    match about.credentials {
        Some(c) => format!("the access key {}…", c.access_key().chars().take(4).collect::<String>()),
        None => "the access key".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(code: u16, text: &str, skew: Option<i64>) -> SourceError {
        let credentials = Credentials::new("AKAK-visible", "canary").unwrap();
        let about = About { what: "cannot list", bucket: "bkt", credentials: Some(&credentials) };
        let (host, text) = ("h".to_owned(), text.to_owned());
        let refusal = Refusal { code, text, host, request: None, retry_after: None, skew };
        let said = explain(&Box::new(refusal).into(), about);
        assert!(!said.message.contains("canary") && !said.message.contains("visible"), "{said}");
        said
    }

    #[test]
    fn every_usual_refusal_says_what_to_do() {
        for (code, text, skew, kind, words) in [
            (
                612,
                "app/accesskey is not found",
                None,
                ErrorKind::Denied,
                "does not know the access key AKAK…",
            ),
            (631, "no such bucket", None, ErrorKind::Missing, "sees no bucket named “bkt”"),
            (612, "no such bucket", None, ErrorKind::Missing, "sees no bucket named “bkt”"),
            (612, "no such entry", None, ErrorKind::Missing, "sees no bucket named “bkt”"),
            (
                401,
                "bad token",
                None,
                ErrorKind::Denied,
                "the secret key does not belong to the access key AKAK…",
            ),
            (401, "bad token", Some(-3600), ErrorKind::Denied, "clock is 60 minutes ahead of Kodo's"),
            (403, "", Some(86_400 * 3), ErrorKind::Denied, "clock is 3 days behind Kodo's"),
            (403, "request time is too skewed", None, ErrorKind::Denied, "is this machine's clock right"),
            (403, "not allowed", Some(2), ErrorKind::Denied, "has no permission"),
            (400, "incorrect region", None, ErrorKind::Config, "another region"),
            (573, "", None, ErrorKind::Unreachable, "slow down"),
            (502, "", None, ErrorKind::Unreachable, "run again later"),
            (640, "", None, ErrorKind::Protocol, "marker"),
            (419, "", None, ErrorKind::Denied, "frozen"),
        ] {
            let said = say(code, text, skew);
            assert_eq!(said.kind, kind, "{said}");
            assert!(
                said.message.contains(words) && said.message.starts_with("cannot list: h answers"),
                "{said}"
            );
        }
        let about = About { what: "cannot list", bucket: "b", credentials: None };
        assert_eq!(explain(&Failure::NoCredentials, about).kind, ErrorKind::Config);
        let redirect = Fault::Redirect { host: "h".into(), to: "https://x/".into() };
        assert_eq!(explain(&redirect.into(), about).kind, ErrorKind::Config);
    }
}
