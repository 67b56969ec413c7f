//! The management client of one bucket: finds the hosts, signs, sends, tries again, parses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};

use super::failure::{Failure, Refusal};
use super::fault::Fault;
use super::host::{Base, Hosts, Overrides, Service};
use super::http::{Http, Outgoing, Proxy, Timeouts};
use super::limits::LimitSettings;
use super::pace::Pace;
use super::retry::{Backoff, Jitter};
use super::sign::{Credentials, DATE_HEADER, FORM, Signable, date_value};
use super::wire::{MAX_ANSWER, WireError};
use crate::model::clock::Clock;

/// What a client is made from.
#[derive(Clone)]
pub struct ClientSettings {
    /// The bucket.
    pub bucket: String,
    /// What to sign with.
    pub credentials: Option<Credentials>,
    /// Where the region query goes, and what stands in for its answers.
    pub overrides: Overrides,
    /// What to do at a time and a second.
    pub limits: LimitSettings,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How long to pause between tries.
    pub backoff: Backoff,
    /// A proxy.
    pub proxy: Option<Proxy>,
    /// The wall clock, for signatures.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for pauses.
    pub jitter: Arc<dyn Jitter>,
}

/// How a call proves who makes it.
#[derive(Debug, Clone, Copy)]
pub enum Auth<'a> {
    /// Not at all.
    None,
    /// By a management token over the request.
    Management,
    /// By an upload token.
    Upload(&'a str),
}

/// What a call is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// A page of a listing.
    Listing,
    /// The bytes of an object.
    Read,
    /// Anything else.
    Other,
}

/// A call to one of the services.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// Which service.
    pub service: Service,
    /// The method.
    pub method: Method,
    /// The raw path.
    pub path: &'a str,
    /// The raw query.
    pub query: Option<&'a str>,
    /// The content type; management calls state one even without a body.
    pub content_type: &'a str,
    /// The body.
    pub body: Bytes,
    /// Who calls.
    pub auth: Auth<'a>,
    /// The largest answer.
    pub bound: usize,
    /// What it is counted as.
    pub count: Count,
}

impl<'a> Call<'a> {
    /// A signed management call without a body.
    pub fn get(service: Service, path: &'a str) -> Self {
        Self {
            service,
            method: Method::GET,
            path,
            query: None,
            content_type: FORM,
            body: Bytes::new(),
            auth: Auth::Management,
            bound: MAX_ANSWER,
            count: Count::Other,
        }
    }

    /// A signed management call with a form as its body.
    pub fn post(service: Service, path: &'a str, form: String) -> Self {
        Self { method: Method::POST, body: form.into(), ..Self::get(service, path) }
    }
}

/// The client. Cheap to share behind an `Arc`.
pub struct Client {
    pub(super) settings: ClientSettings,
    pub(super) hosts: Hosts,
    http: Http,
    pace: Pace,
    counts: [AtomicU64; 3],
}

impl Client {
    /// A client; nothing is asked yet.
    pub fn new(settings: ClientSettings) -> Result<Self, Fault> {
        let http = Http::new(settings.timeouts, settings.proxy.as_ref())?;
        let pace = Pace::new(settings.limits, settings.backoff, settings.jitter.clone());
        let hosts = Hosts::new(&settings.overrides)?;
        Ok(Self { settings, hosts, http, pace, counts: Default::default() })
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.settings.bucket
    }

    /// What calls are signed with.
    pub fn credentials(&self) -> Result<&Credentials, Failure> {
        self.settings.credentials.as_ref().ok_or(Failure::NoCredentials)
    }

    /// The wall clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.settings.clock
    }

    /// Limits and retries.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The HTTP client.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Counts a request that is about to be sent.
    pub fn count(&self, what: Count) {
        self.counts[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The requests sent so far: listings, reads, others.
    pub fn counts(&self) -> [u64; 3] {
        self.counts.each_ref().map(|c| c.load(Ordering::Relaxed))
    }

    /// Makes a call and parses its answer, with as many tries as it gets.
    pub async fn call<T>(
        &self,
        call: &Call<'_>,
        parse: impl Fn(&[u8]) -> Result<T, WireError> + Send,
    ) -> Result<T, Failure>
    where
        T: Send,
    {
        let bases = self.bases(call.service).await?;
        self.call_at(&bases, call, parse).await
    }

    /// The same at given hosts, which take turns.
    pub(super) async fn call_at<T>(
        &self,
        bases: &[Base],
        call: &Call<'_>,
        parse: impl Fn(&[u8]) -> Result<T, WireError> + Send,
    ) -> Result<T, Failure>
    where
        T: Send,
    {
        let mut tries = self.pace.tries();
        loop {
            let turn = tries.begin().await;
            let nowhere = || Fault::BadUrl("(no host)".into());
            let at = tries.failed_so_far() as usize % bases.len().max(1);
            let base = bases.get(at).ok_or_else(nowhere)?;
            let tried = self.once(base, call).await.and_then(|body| {
                parse(&body).map_err(|e| Failure::Nonsense { host: base.host().to_owned(), why: e.0 })
            });
            match tried {
                Ok(value) => {
                    turn.done();
                    return Ok(value);
                }
                Err(failure) => tries.failed(turn, failure).await?,
            }
        }
    }

    async fn once(&self, base: &Base, call: &Call<'_>) -> Result<Bytes, Failure> {
        self.count(call.count);
        let mut answer = self.http.send(&self.outgoing(base, call)?).await?;
        if !(200..300).contains(&answer.status) {
            return Err(Refusal::of(answer, self.clock()).await.into());
        }
        // Kodo's management hosts number every answer; what comes without a number is some gateway's own page.
        if call.service != Service::Uc
            && !["x-reqid", "x-log"].iter().any(|h| answer.headers.contains_key(*h))
        {
            let why = "it is not from Kodo (no X-Reqid); does this network intercept requests?".into();
            return Err(Failure::Nonsense { host: answer.host, why });
        }
        Ok(answer.read(call.bound).await?)
    }

    /// The request of a call, signed for this moment.
    fn outgoing(&self, base: &Base, call: &Call<'_>) -> Result<Outgoing, Failure> {
        let odd = |_| Failure::Fault(Fault::BadUrl("(a header that cannot be sent)".into()));
        let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_str(call.content_type).map_err(odd)?)];
        let mut authorize = |token: &str| -> Result<(), Failure> {
            let mut value = HeaderValue::from_str(token).map_err(odd)?;
            value.set_sensitive(true);
            headers.push((AUTHORIZATION, value));
            Ok(())
        };
        match call.auth {
            Auth::None => {}
            Auth::Upload(token) => authorize(&format!("UpToken {token}"))?,
            Auth::Management => {
                let date = date_value(self.clock().now());
                let request = Signable {
                    method: call.method.as_str(),
                    path: call.path,
                    query: call.query,
                    host: base.authority(),
                    headers: &[("Content-Type", call.content_type), (DATE_HEADER, &date)],
                    body: &call.body,
                };
                authorize(&request.qiniu_token(self.credentials()?))?;
                headers.push((
                    HeaderName::from_static("x-qiniu-date"),
                    HeaderValue::from_str(&date).map_err(odd)?,
                ));
            }
        }
        let query = call.query.filter(|q| !q.is_empty()).map(|q| format!("?{q}")).unwrap_or_default();
        let url = format!("{base}{}{query}", call.path);
        Ok(Outgoing { method: call.method.clone(), url, headers, body: call.body.clone() })
    }
}
