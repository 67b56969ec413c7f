//! A Kodo bucket as a source.

// These two are pure and judge what nobody vouches for: public for the fuzzing targets, and for nobody else.
#[doc(hidden)]
pub mod answer;
#[doc(hidden)]
pub mod convert;
mod read;
mod route;
mod words;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use crate::kodo::client::{Client, ClientSettings};
use crate::kodo::failure::Failure;
use crate::kodo::fault::Fault;
use crate::kodo::host::Overrides;
use crate::kodo::http::{Proxy, Timeouts};
use crate::kodo::limits::LimitSettings;
use crate::kodo::list::{PAGE, Pager};
use crate::kodo::retry::{Backoff, Jitter};
use crate::kodo::sign::Credentials;
use crate::kodo::stat::{BATCH, Looked};
use crate::model::clock::Clock;
use crate::model::event::Observer;
use crate::model::key::Key;
use crate::model::listed::Listed;
use crate::source::{ErrorKind, Identity, ReadError, Requests, Route, Source, SourceError, Verdict};

use route::Routes;
use words::{About, explain};

/// What a [`KodoSource`] is made from.
#[derive(Clone)]
pub struct KodoSettings {
    /// The bucket.
    pub bucket: String,
    /// Only keys that begin with this; empty: all.
    pub prefix: String,
    /// Where objects are downloaded; https without a scheme. None: the bucket's source host.
    pub domain: Option<String>,
    /// Sign download URLs of the domain. (Those of the source host always are.)
    pub private: bool,
    /// The Referer header for the domain.
    pub referer: Option<String>,
    /// Where the region query goes (empty: Kodo's own), and what stands in for its answers.
    pub overrides: Overrides,
    /// What to sign with.
    pub credentials: Option<Credentials>,
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

/// A Kodo bucket.
pub struct KodoSource {
    identity: Identity,
    client: Client,
    routes: Routes,
    observer: Arc<dyn Observer>,
}

/// Batch calls under way at a time; they are heavy for the service.
const BATCHES: usize = 4;

impl KodoSource {
    /// A source; nothing is asked yet.
    pub fn new(settings: KodoSettings, observer: Arc<dyn Observer>) -> Result<Self, SourceError> {
        let config = |message: String| SourceError { kind: ErrorKind::Config, message };
        let bucket = settings.bucket;
        if bucket.is_empty()
            || bucket.contains(|c: char| c.is_control() || c.is_whitespace() || "/:?#".contains(c))
        {
            return Err(config(format!("“{}” is not the name of a bucket", bucket.escape_debug())));
        }
        let routes = Routes::new(settings.domain.as_deref(), settings.private, settings.referer.as_deref())?;
        if settings.private && settings.domain.is_some() && settings.credentials.is_none() {
            return Err(config(
                "kodo.private asks for signed downloads, but the Kodo access key and secret key are missing"
                    .into(),
            ));
        }
        let mut url = format!("kodo://{bucket}");
        if !settings.prefix.is_empty() {
            url = format!("{url}/{}", settings.prefix);
        }
        let client = Client::new(ClientSettings {
            bucket,
            credentials: settings.credentials,
            overrides: settings.overrides,
            limits: settings.limits,
            timeouts: settings.timeouts,
            backoff: settings.backoff,
            proxy: settings.proxy,
            clock: settings.clock,
            jitter: settings.jitter,
        })
        .map_err(|fault: Fault| config(format!("the Kodo settings are wrong: {fault}")))?;
        let identity = Identity { url, scope: Key::from(settings.prefix) };
        Ok(Self { identity, client, routes, observer })
    }

    /// The words for a failed call.
    fn explain(&self, failure: &Failure, what: &str) -> SourceError {
        let bucket = self.client.bucket();
        explain(failure, About { what, bucket, credentials: self.client.credentials().ok() })
    }

    async fn page(&self, pager: &mut Pager, limit: usize) -> Result<Option<Vec<Listed>>, SourceError> {
        let Some(query) = pager.query(self.client.bucket(), limit) else { return Ok(None) };
        let number = pager.page();
        let page = self.client.list_page(&query).await.map_err(|failure| {
            let page = if number > 1 { format!(" (page {number})") } else { String::new() };
            self.explain(&failure, &format!("the bucket “{}” cannot be listed{page}", self.client.bucket()))
        })?;
        let objects = pager
            .take(page)
            .map_err(|fault| SourceError { kind: ErrorKind::Protocol, message: fault.to_string() })?;
        Ok(Some(objects.into_iter().map(convert::listed).collect()))
    }
}

#[async_trait]
impl Source for KodoSource {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn check(&self) -> Result<(), SourceError> {
        let mut pager = Pager::new(self.identity.scope.clone());
        self.page(&mut pager, 1).await.map(drop)
    }

    fn list(&self) -> BoxStream<'_, Result<Vec<Listed>, SourceError>> {
        let pager = Pager::new(self.identity.scope.clone());
        stream::try_unfold(pager, move |mut pager| async move {
            Ok(self.page(&mut pager, PAGE).await?.map(|page| (page, pager)))
        })
        .boxed()
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, SourceError> {
        let found = self.client.stat(key).await;
        let found = found.map_err(|f| self.explain(&f, &format!("“{key}” cannot be looked up")))?;
        Ok(found.map(convert::listed))
    }

    async fn details(&self, objects: &mut [Listed]) -> Result<(), SourceError> {
        let batches: Vec<Vec<Key>> =
            objects.chunks(BATCH).map(|c| c.iter().map(|o| o.key.clone()).collect()).collect();
        let looked: Vec<Vec<Looked>> = stream::iter(batches)
            .map(|keys| async move { self.client.stat_many(&keys.iter().collect::<Vec<_>>()).await })
            .buffered(BATCHES)
            .try_collect()
            .await
            .map_err(|f| self.explain(&f, "the objects' metadata cannot be looked up"))?;
        for (object, looked) in objects.iter_mut().zip(looked.into_iter().flatten()) {
            if let Looked::Found(now) = looked {
                convert::complete(object, convert::listed(*now));
            }
        }
        Ok(())
    }

    async fn read(
        &self,
        object: &Listed,
        range: std::ops::Range<u64>,
        route: Route,
    ) -> Result<Bytes, ReadError> {
        self.read_block(object, range, route).await
    }

    async fn judge(&self, object: &Listed, route: Route) -> Result<Verdict, SourceError> {
        let Some(now) = self.stat(&object.key).await? else { return Ok(Verdict::Gone) };
        if !convert::same(object, &now) {
            return Ok(Verdict::Changed(Box::new(now)));
        }
        if let (Route::Usual, Some(domain)) = (route, self.routes.domain()) {
            if self.routes.altered() {
                self.observer.event(crate::model::event::Event::Warning(words::domain_alters(domain)));
            }
            return Ok(Verdict::TryOrigin);
        }
        Ok(Verdict::Altered(words::ALTERED.to_owned()))
    }

    fn requests(&self) -> Requests {
        let [listings, reads, others] = self.client.counts();
        Requests { listings, reads, others }
    }
}
