//! What can go wrong between a request and a usable answer, in words that hold no secret.

use std::error::Error;

/// Why there is no answer, or not a whole one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection came about.
    #[error("cannot connect to {host}: {why}")]
    Connect {
        /// Where to.
        host: String,
        /// What the system says.
        why: String,
    },
    /// The other side cannot prove who it is, or speaks no TLS that is good enough.
    #[error("no secure connection to {host}: {why}")]
    Tls {
        /// Where to.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// Nothing came for too long.
    #[error("{host} did not send {what} in time")]
    Timeout {
        /// Who.
        host: String,
        /// What was waited for.
        what: &'static str,
    },
    /// The connection broke in the middle.
    #[error("the connection to {host} broke: {why}")]
    Broken {
        /// Who.
        host: String,
        /// What the system says.
        why: String,
    },
    /// The body is larger than anything this call can have as its answer.
    #[error("{host} sent an answer of more than {bound} bytes")]
    TooLarge {
        /// Who.
        host: String,
        /// The bound.
        bound: usize,
    },
    /// The body is compressed although that was ruled out.
    #[error("{host} sent the bytes encoded as {encoding}, though only plain ones were asked for")]
    Encoded {
        /// Who.
        host: String,
        /// How.
        encoding: String,
    },
    /// A redirect, which is never followed: a signature does not hold elsewhere, and nothing goes where it was not told to.
    #[error("{host} redirects to {to}, and redirects are not followed")]
    Redirect {
        /// Who.
        host: String,
        /// Where to, without the query.
        to: String,
    },
    /// An address that is none.
    #[error("{0} is not an address to ask")]
    BadUrl(String),
}

impl Fault {
    /// From a request that got no answer.
    pub(super) fn of_request(host: &str, error: &hyper_util::client::legacy::Error) -> Self {
        let host = host.to_owned();
        if let Some(why) = tls_error(error) {
            Self::Tls { host, why }
        } else if error.is_connect() {
            Self::Connect { host, why: root_cause(error) }
        } else {
            Self::Broken { host, why: root_cause(error) }
        }
    }

    /// From a body that broke off.
    pub(super) fn of_body(host: &str, error: &hyper::Error) -> Self {
        Self::Broken { host: host.to_owned(), why: root_cause(error) }
    }
}

/// The innermost cause: what the system said, without the layers in between.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    clean(&last.to_string())
}

/// The words for a TLS failure that trying again cannot mend.
fn tls_error(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(e) = next {
        match e.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(why)) => {
                return Some(format!("its certificate is not valid here ({})", clean(&why.to_string())));
            }
            Some(rustls::Error::InvalidMessage(_)) => {
                return Some("it does not speak TLS; is it an http:// address?".into());
            }
            Some(other @ (rustls::Error::PeerIncompatible(_) | rustls::Error::AlertReceived(_))) => {
                return Some(clean(&other.to_string()));
            }
            _ => {}
        }
        // An io::Error hides what it wraps from `source`.
        next = match e.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
            Some(inner) => Some(inner),
            None => e.source(),
        };
    }
    None
}

/// A URL without its query, shortened: queries hold tokens.
pub(super) fn shown(url: &str) -> String {
    clean(url.split(['?', '#']).next().unwrap_or_default())
}

/// Text of the other side made fit for a line of output: no control characters, at most 200 characters, and
/// nothing from a token on (some error pages repeat the request).
pub fn clean(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let marks = ["token=", "authorization", "qiniu ", "qbox ", "uptoken "];
    let end = marks.iter().filter_map(|m| lower.find(m)).min().unwrap_or(text.len());
    let plain = |c: char| {
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') { ' ' } else { c }
    };
    let cut: String = text[..end].chars().take(200).map(plain).collect();
    cut.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_token_is_shown() {
        assert_eq!(shown("http://h/a?e=1&token=ak:canary"), "http://h/a");
        assert_eq!(clean("bad url http://h/a?e=1&token=ak:canary"), "bad url http://h/a?e=1&");
        assert_eq!(clean("got Authorization: Qiniu ak:canary"), "got");
        assert_eq!(clean("QBox ak:canary refused"), "");
        assert_eq!(clean(" a\r\nb\x1b[2J "), "a  b [2J");
        assert_eq!(clean(&"x".repeat(500)).len(), 200);
        assert_eq!(clean("bad token"), "bad token");
    }
}
