//! Signatures, for the client that makes them and for the embedded service that checks them.
//!
//! All of them are HMAC-SHA1 under the secret key, in URL-safe base64; they differ in what is signed.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::encode::{b64u, from_b64u};
use crate::model::time::Timestamp;

/// The content type that every management call states, body or not: the one on which all readings of the signing
/// rules agree.
pub const FORM: &str = "application/x-www-form-urlencoded";
/// The content type of a body that is not signed.
pub const BINARY: &str = "application/octet-stream";
/// The header that dates a management call.
pub const DATE_HEADER: &str = "X-Qiniu-Date";

/// An access key and its secret. Only the access key is ever printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    access: String,
    secret: String,
}

/// Why a pair of texts cannot be credentials; it repeats neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCredentials {
    /// The access key is empty.
    #[error("the access key is empty")]
    NoAccessKey,
    /// The secret key is empty.
    #[error("the secret key is empty")]
    NoSecretKey,
    /// The access key holds something that no access key holds.
    #[error(
        "the access key holds a character that cannot be in one (a colon, a blank or a control character); are the two keys mixed up?"
    )]
    OddAccessKey,
    /// The secret key has blanks or control characters.
    #[error("the secret key holds a blank or a control character; was a line break copied with it?")]
    OddSecretKey,
}

impl Credentials {
    /// Credentials of these two keys.
    pub fn new(access: impl Into<String>, secret: impl Into<String>) -> Result<Self, BadCredentials> {
        let (access, secret) = (access.into(), secret.into());
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if access.is_empty() {
            Err(BadCredentials::NoAccessKey)
        } else if secret.is_empty() {
            Err(BadCredentials::NoSecretKey)
        } else if access.contains(|c: char| c == ':' || !c.is_ascii() || odd(c)) {
            Err(BadCredentials::OddAccessKey)
        } else if secret.contains(odd) {
            Err(BadCredentials::OddSecretKey)
        } else {
            Ok(Self { access, secret })
        }
    }

    /// The access key: a name, not a secret.
    pub fn access_key(&self) -> &str {
        &self.access
    }

    /// `AK:signature` of these bytes.
    pub fn sign(&self, data: &[u8]) -> String {
        // An HMAC key may have any length, so the error cannot happen; an empty signature would only be refused.
        let signature = Hmac::<Sha1>::new_from_slice(self.secret.as_bytes())
            .map(|mac| b64u(mac.chain_update(data).finalize().into_bytes()))
            .unwrap_or_default();
        format!("{}:{signature}", self.access)
    }

    /// `AK:signature:data`: the data travel with their signature, which is made over their base64.
    pub fn sign_with_data(&self, data: &[u8]) -> String {
        let text = b64u(data);
        format!("{}:{text}", self.sign(text.as_bytes()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access", &self.access).finish_non_exhaustive()
    }
}

/// The parts of a request that a management token covers, as they are on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Signable<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The raw path.
    pub path: &'a str,
    /// The raw query without its `?`; empty counts as none.
    pub query: Option<&'a str>,
    /// The Host header, with its port if it has one.
    pub host: &'a str,
    /// All headers; `Content-Type` and the `X-Qiniu-…` ones are looked at. Names in any case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

impl Signable<'_> {
    fn content_type(&self) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case("content-type"));
        found.map(|(_, v)| *v).filter(|v| !v.is_empty())
    }

    fn target(&self) -> String {
        match self.query {
            Some(q) if !q.is_empty() => format!("{}?{q}", self.path),
            _ => self.path.to_owned(),
        }
    }

    /// What the older scheme (`QBox`) signs: the target and a form body. Neither method nor host are covered.
    pub fn qbox_text(&self) -> Vec<u8> {
        let mut text = self.target().into_bytes();
        text.push(b'\n');
        if self.content_type() == Some(FORM) {
            text.extend_from_slice(self.body);
        }
        text
    }

    /// What the present scheme (`Qiniu`) signs: method, target, host, content type, `X-Qiniu-…` headers, body.
    pub fn qiniu_text(&self) -> Vec<u8> {
        let mut text = format!("{} {}\nHost: {}", self.method, self.target(), self.host);
        let content_type = self.content_type();
        if let Some(value) = content_type {
            text.push_str("\nContent-Type: ");
            text.push_str(value);
        }
        let mut extra: Vec<(String, &str)> = self
            .headers
            .iter()
            .map(|(n, v)| (canonical(n), *v))
            .filter(|(n, _)| n.len() > "X-Qiniu-".len() && n.starts_with("X-Qiniu-"))
            .collect();
        extra.sort();
        for (name, value) in extra {
            text.push_str(&format!("\n{name}: {value}"));
        }
        text.push_str("\n\n");
        let mut text = text.into_bytes();
        if content_type.is_some_and(|t| t != BINARY) {
            text.extend_from_slice(self.body);
        }
        text
    }

    /// The `Authorization` header of the older scheme.
    pub fn qbox_token(&self, credentials: &Credentials) -> String {
        format!("QBox {}", credentials.sign(&self.qbox_text()))
    }

    /// The `Authorization` header of the present scheme.
    pub fn qiniu_token(&self, credentials: &Credentials) -> String {
        format!("Qiniu {}", credentials.sign(&self.qiniu_text()))
    }
}

/// A header's name with the first letter of each piece in upper case and the rest in lower case.
fn canonical(name: &str) -> String {
    let mut start = true;
    name.chars()
        .map(|c| {
            let out = if start { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            start = c == '-';
            out
        })
        .collect()
}

/// The value of [`DATE_HEADER`] for a moment: `20231114T221320Z`.
pub fn date_value(t: Timestamp) -> String {
    t.utc().format("%Y%m%dT%H%M%SZ").to_string()
}

/// The moment of a [`DATE_HEADER`] value.
pub fn parse_date(text: &str) -> Option<Timestamp> {
    let t = chrono::NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%SZ").ok()?;
    Some(Timestamp::from_seconds(t.and_utc().timestamp()))
}

/// A complete download URL, signed until `expires` (Unix seconds): the token is its last parameter.
pub fn sign_url(credentials: &Credentials, url: &str, expires: i64) -> String {
    let url = format!("{url}{}e={expires}", if url.contains('?') { '&' } else { '?' });
    let token = credentials.sign(url.as_bytes());
    format!("{url}&token={token}")
}

/// Why a download URL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// It has no token.
    #[error("the download URL has no token")]
    Missing,
    /// The token is malformed, of another key, or not of this URL.
    #[error("the token of the download URL is wrong")]
    Wrong,
    /// The token is right, but too old.
    #[error("the token of the download URL has expired")]
    Expired,
}

/// Checks a signed download URL as it was received (scheme, Host, raw path and query) at `now` (Unix seconds).
/// What follows the token is not looked at. `credentials` finds the credentials of an access key.
pub fn check_url<'c>(
    url: &str,
    now: i64,
    credentials: impl FnOnce(&str) -> Option<&'c Credentials>,
) -> Result<(), UrlFault> {
    let at = ["?token=", "&token="].iter().filter_map(|p| url.find(p)).min().ok_or(UrlFault::Missing)?;
    let (signed, rest) = (&url[..at], &url[at + "?token=".len()..]);
    let token = rest.split('&').next().unwrap_or_default();
    let token = String::from_utf8(super::encode::decode_path(token)).map_err(|_| UrlFault::Wrong)?;
    let (access, _) = token.split_once(':').ok_or(UrlFault::Wrong)?;
    let credentials = credentials(access).ok_or(UrlFault::Wrong)?;
    if credentials.sign(signed.as_bytes()) != token {
        return Err(UrlFault::Wrong);
    }
    let query = signed.split_once('?').map_or("", |(_, q)| q);
    let expires = query.rsplit('&').find_map(|p| p.strip_prefix("e=")).and_then(|e| e.parse::<i64>().ok());
    match expires {
        Some(e) if e >= now => Ok(()),
        Some(_) => Err(UrlFault::Expired),
        None => Err(UrlFault::Wrong),
    }
}

/// The upload token of a put policy's JSON, as it stands.
pub fn upload_token(credentials: &Credentials, policy: &[u8]) -> String {
    credentials.sign_with_data(policy)
}

/// An upload token taken apart. The signature is over the base64 text as received, because a policy's JSON has no
/// canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadToken {
    /// The access key that claims to have signed it.
    pub access: String,
    /// The policy's JSON, not to be trusted before [`UploadToken::verify`].
    pub policy: Vec<u8>,
    text: String,
}

impl UploadToken {
    /// Takes a token apart; `None`: it is none.
    pub fn parse(token: &str) -> Option<Self> {
        let mut pieces = token.splitn(3, ':');
        let (access, _, data) = (pieces.next()?, pieces.next()?, pieces.next()?);
        Some(Self { access: access.to_owned(), policy: from_b64u(data)?, text: token.to_owned() })
    }

    /// Whether these credentials signed it.
    pub fn verify(&self, credentials: &Credentials) -> bool {
        let Some((signed, data)) = self.text.rsplit_once(':') else { return false };
        credentials.sign(data.as_bytes()) == signed
    }
}

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;
