//! Where an object's bytes are fetched from: the domain, or the bucket's source host; and when to give the domain up.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use http::HeaderValue;

use crate::kodo::encode::path;
use crate::kodo::host::Base;
use crate::kodo::sign::{Credentials, sign_url};
use crate::model::key::Key;
use crate::model::time::Timestamp;
use crate::source::{ErrorKind, Route, SourceError};

/// For how long a signed URL of the source host holds; it is made just before it is used.
const SOURCE_LIFETIME: i64 = 180;
/// And one of a domain: caches on the way may have clocks of their own.
const DOMAIN_LIFETIME: i64 = 3600;
/// After so many objects that a domain altered, it is not asked any more.
const PATIENCE: u32 = 20;

/// The ways to an object's bytes.
pub(super) struct Routes {
    domain: Option<Base>,
    signed: bool,
    referer: Option<HeaderValue>,
    altered: AtomicU32,
    given_up: AtomicBool,
}

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By the domain.
    Domain,
    /// From the source host.
    Source,
}

impl Routes {
    pub(super) fn new(
        domain: Option<&str>,
        signed: bool,
        referer: Option<&str>,
    ) -> Result<Self, SourceError> {
        let config = |message: String| SourceError { kind: ErrorKind::Config, message };
        let domain = domain.filter(|d| !d.is_empty()).map(|d| Base::parse(d, true)).transpose();
        let domain = domain
            .map_err(|f| config(format!("kodo.domain: {f} (a host, with http:// if need be, is wanted)")))?;
        let referer = referer.filter(|r| !r.is_empty()).map(HeaderValue::from_str).transpose();
        let referer =
            referer.map_err(|_| config("kodo.referer cannot be sent: it holds control characters".into()))?;
        Ok(Self { domain, signed, referer, altered: AtomicU32::new(0), given_up: AtomicBool::new(false) })
    }

    /// The domain, if there is one.
    pub(super) fn domain(&self) -> Option<&Base> {
        self.domain.as_ref()
    }

    /// Which way a route means now.
    pub(super) fn way(&self, route: Route) -> Way {
        match (route, &self.domain) {
            (Route::Usual, Some(_)) if !self.given_up.load(Ordering::Relaxed) => Way::Domain,
            _ => Way::Source,
        }
    }

    /// One more object came altered from the domain. True when that was the one too many.
    pub(super) fn altered(&self) -> bool {
        let last = self.altered.fetch_add(1, Ordering::Relaxed) + 1 == PATIENCE;
        if last {
            self.given_up.store(true, Ordering::Relaxed);
        }
        last
    }

    /// The Referer for a way.
    pub(super) fn referer(&self, way: Way) -> Option<&HeaderValue> {
        self.referer.as_ref().filter(|_| way == Way::Domain)
    }

    /// Whether URLs of this way are signed.
    pub(super) fn signs(&self, way: Way) -> bool {
        way == Way::Source || self.signed
    }

    /// The URL of an object, signed where it must be.
    pub(super) fn url(
        &self,
        way: Way,
        base: &Base,
        key: &Key,
        signer: Option<&Credentials>,
        now: Timestamp,
    ) -> String {
        let url = format!("{base}/{}", path(key.bytes()));
        let lifetime = if way == Way::Source { SOURCE_LIFETIME } else { DOMAIN_LIFETIME };
        match signer.filter(|_| self.signs(way)) {
            Some(credentials) => sign_url(credentials, &url, now.seconds() + lifetime),
            None => url,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_and_urls() {
        let ak = Credentials::new("ak", "sk").unwrap();
        let now = Timestamp::from_seconds(1_700_000_000);
        let key = Key::from("a b/.txt");
        let base = Base::parse("http://dl.example.com", true).unwrap();
        let routes = Routes::new(Some("dl.example.com"), false, Some("http://me/")).unwrap();
        assert_eq!(routes.domain().unwrap().to_string(), "https://dl.example.com");
        assert_eq!((routes.way(Route::Usual), routes.way(Route::Origin)), (Way::Domain, Way::Source));
        assert_eq!(routes.url(Way::Domain, &base, &key, Some(&ak), now), "http://dl.example.com/a%20b/.txt");
        let signed = routes.url(Way::Source, &base, &key, Some(&ak), now);
        assert!(signed.starts_with("http://dl.example.com/a%20b/.txt?e=1700000180&token=ak:"), "{signed}");
        assert!(routes.referer(Way::Domain).is_some() && routes.referer(Way::Source).is_none());
        let private = Routes::new(Some("dl.example.com"), true, None).unwrap();
        let signed = private.url(Way::Domain, &base, &Key::from("a.txt"), Some(&ak), now);
        assert!(signed.ends_with("?e=1700003600&token=ak:BgXA7Sh4ADv-rwEQ5uBfefUiB6Y="), "{signed}");
        assert_eq!(Routes::new(None, false, None).unwrap().way(Route::Usual), Way::Source);
        assert!(Routes::new(Some("dl.example.com/path"), false, None).is_err());
        assert!(Routes::new(None, false, Some("a\nb")).is_err());
    }

    #[test]
    fn a_domain_that_alters_is_given_up_once() {
        let routes = Routes::new(Some("d"), false, None).unwrap();
        let told: Vec<bool> = (0..50).map(|_| routes.altered()).collect();
        assert_eq!(told.iter().position(|t| *t), Some(19));
        assert_eq!(told.iter().filter(|t| **t).count(), 1);
        assert_eq!(routes.way(Route::Usual), Way::Source);
    }
}
