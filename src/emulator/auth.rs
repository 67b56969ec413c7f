//! Checks signatures over what was received.

use super::reply::Reply;
use super::request::Request;
use super::route::Role;
use super::state::State;
use crate::kodo::sign::{self, Signable, UploadToken, UrlFault};

/// Whether a management call is signed by the service's own keys, in either scheme.
pub(super) fn management(state: &State, request: &Request, body: &[u8]) -> Result<(), Reply> {
    let Some(given) = request.header("authorization") else {
        return Err(Reply::error(401, "token not specified"));
    };
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .filter_map(|(n, v)| Some((n.as_str(), std::str::from_utf8(v.as_bytes()).ok()?)))
        .collect();
    let signable = Signable {
        method: request.method.as_str(),
        path: &request.path,
        query: Some(&request.query),
        host: &request.host,
        headers: &headers,
        body,
    };
    let credentials = &state.config.credentials;
    // The current scheme also covers the date, so only there a wrong one means anything.
    let dated = given.starts_with("Qiniu ");
    let expected = if dated { signable.qiniu_token(credentials) } else { signable.qbox_token(credentials) };
    if given != expected {
        return Err(Reply::error(401, "bad token"));
    }
    match request.header(sign::DATE_HEADER).filter(|_| dated) {
        None => Ok(()),
        Some(text) => match sign::parse_date(text) {
            Some(date) if (date.seconds() - state.now()).abs() <= state.config.date_window => Ok(()),
            Some(_) => Err(Reply::error(403, "request time is too skewed")),
            None => Err(Reply::error(403, "invalid X-Qiniu-Date")),
        },
    }
}

/// Whether a download may go on: always with a token at the source host and for private buckets; elsewhere a token
/// is not needed, but a wrong one is refused.
pub(super) fn download(state: &State, request: &Request) -> Result<(), Reply> {
    let needed = state.config.private || request.role == Role::Source;
    let known = |access: &str| Some(&state.config.credentials).filter(|c| c.access_key() == access);
    let check = |scheme| sign::check_url(&request.url(scheme), state.now(), known);
    let mut found = check("http");
    if found == Err(UrlFault::Wrong) && state.config.https_tokens {
        found = check("https");
    }
    match found {
        Ok(()) => Ok(()),
        Err(UrlFault::Missing) if !needed => Ok(()),
        Err(UrlFault::Missing) => Err(Reply::error(401, "token not specified")),
        Err(UrlFault::Wrong) => Err(Reply::error(401, "download token auth failed")),
        Err(UrlFault::Expired) => Err(Reply::error(401, "token out of date")),
    }
}

/// The policy's JSON of an upload token whose signature is right.
pub(super) fn upload(state: &State, token: &str) -> Result<Vec<u8>, Reply> {
    let bad = || Reply::error(401, "bad token");
    let token = UploadToken::parse(token).ok_or_else(bad)?;
    if token.access != state.config.credentials.access_key() || !token.verify(&state.config.credentials) {
        return Err(bad());
    }
    Ok(token.policy)
}
