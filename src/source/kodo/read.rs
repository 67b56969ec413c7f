//! Reading one block: tried again where that helps, resumed where that is safe, and never spliced of two versions.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::{HeaderValue, IF_RANGE, RANGE, REFERER};

use super::answer::{Ask, Head, Take, is_strong, judge};
use super::route::Way;
use super::{KodoSource, convert, words};
use crate::kodo::client::Count;
use crate::kodo::failure::{Failure, Refusal};
use crate::kodo::fault::Fault;
use crate::kodo::host::{Base, Service};
use crate::kodo::http::Outgoing;
use crate::model::content::BLOCK;
use crate::model::listed::Listed;
use crate::source::{ErrorKind, ReadError, Route, SourceError};

/// What a try must bring for the count of tries to begin again: a long way in small steps is still a way.
const PROGRESS: usize = 256 << 10;

/// What is there of a block.
#[derive(Default)]
struct Partial {
    bytes: BytesMut,
    /// The ETag that its bytes came with.
    pin: Option<String>,
}

impl Partial {
    fn can_go_on(&self) -> bool {
        self.pin.as_deref().is_some_and(is_strong) && !self.bytes.is_empty()
    }

    /// Keeps only what a next try can go on from: that takes an ETag to name the version by.
    fn prepare(&mut self) {
        if !self.can_go_on() {
            self.bytes.clear();
            self.pin = None;
        }
    }
}

/// Why a try ended without the block.
enum Stop {
    Changed,
    /// Perhaps changed; twice in a row counts as such.
    Odd(Failure),
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(e: E) -> Self {
        Self::Failed(e.into())
    }
}

impl KodoSource {
    /// The bytes of a block.
    pub(super) async fn read_block(
        &self,
        object: &Listed,
        range: Range<u64>,
        route: Route,
    ) -> Result<Bytes, ReadError> {
        let length = range.end.checked_sub(range.start).filter(|n| *n <= BLOCK as u64);
        if length.is_none() || range.end > object.size {
            let message = format!("bytes {} to {} are not a block of it", range.start, range.end);
            return Err(SourceError { kind: ErrorKind::Other, message }.into());
        }
        let way = self.routes.way(route);
        let bases = match (way, self.routes.domain()) {
            (Way::Domain, Some(domain)) => Ok(vec![domain.clone()]),
            _ => self.client.bases(Service::Source).await,
        };
        let bases = bases.map_err(|f| self.explain(&f, "it cannot be downloaded"))?;
        let mut partial = Partial::default();
        let mut tries = self.client.pace().tries();
        let (mut odd_before, mut furthest) = (false, 0);
        loop {
            let turn = tries.begin().await;
            partial.prepare();
            let base = &bases[tries.failed_so_far() as usize % bases.len()];
            let (odd, failure) = match self.attempt(object, &range, way, base, &mut partial).await {
                Ok(()) => {
                    turn.done();
                    return Ok(partial.bytes.freeze());
                }
                Err(Stop::Changed) => return Err(ReadError::Changed),
                Err(Stop::Odd(_)) if odd_before => return Err(ReadError::Changed),
                Err(Stop::Odd(failure)) => (true, failure),
                Err(Stop::Failed(failure)) => (false, failure),
            };
            odd_before = odd;
            // Only a way that can be gone on counts, and each stretch of it once.
            if partial.can_go_on() && partial.bytes.len() >= furthest + PROGRESS {
                furthest = partial.bytes.len();
                tries.progress();
            }
            if let Err(failure) = tries.failed(turn, failure).await {
                return Err(self.why_not(object, way, failure).await);
            }
        }
    }

    /// One request; on success `partial` holds the whole block.
    async fn attempt(
        &self,
        object: &Listed,
        range: &Range<u64>,
        way: Way,
        base: &Base,
        partial: &mut Partial,
    ) -> Result<(), Stop> {
        let wanted = (range.end - range.start) as usize;
        let whole = range.start == 0 && range.end == object.size;
        let start = range.start + partial.bytes.len() as u64;
        let ranged = !(whole && partial.bytes.is_empty());
        let out =
            self.outgoing(object, way, base, ranged.then_some(start..range.end), partial.pin.as_deref())?;
        self.client.count(Count::Read);
        let mut answer = self.client.http().send(&out).await?;

        let hash = object.hash.as_ref().map(|h| h.text());
        let etag = answer.header("etag").map(str::to_owned);
        let pin = partial.pin.take();
        let ask = Ask {
            size: object.size,
            start,
            end: range.end,
            ranged,
            whole,
            hash: hash.as_deref(),
            pin: pin.as_deref(),
        };
        let head = Head {
            status: answer.status,
            length: answer.length(),
            range: answer.header("content-range"),
            etag: etag.as_deref(),
        };
        match judge(ask, head) {
            Take::Onwards => {}
            Take::FromStart => partial.bytes.clear(),
            Take::Nothing => return Ok(()),
            Take::Changed => return Err(Stop::Changed),
            Take::Odd(why) => {
                partial.bytes.clear();
                return Err(Stop::Odd(Failure::Nonsense { host: answer.host, why }));
            }
            Take::Again(why) => {
                partial.bytes.clear();
                return Err(Failure::Nonsense { host: answer.host, why }.into());
            }
            Take::Refused => return Err(Refusal::of(answer, self.client.clock()).await.into()),
        }
        partial.pin = etag;
        partial.bytes.reserve(wanted - partial.bytes.len());
        while let Some(data) = answer.chunk().await? {
            if partial.bytes.len() + data.len() > wanted {
                partial.bytes.clear();
                let why = format!("it has more than the {wanted} bytes that were asked for");
                return Err(Failure::Nonsense { host: answer.host, why }.into());
            }
            self.client.pace().bytes(data.len()).await;
            partial.bytes.extend_from_slice(&data);
        }
        if partial.bytes.len() < wanted {
            let why = format!("only {} of {wanted} bytes came", partial.bytes.len());
            return Err(Fault::Broken { host: answer.host, why }.into());
        }
        Ok(())
    }

    fn outgoing(
        &self,
        object: &Listed,
        way: Way,
        base: &Base,
        range: Option<Range<u64>>,
        pin: Option<&str>,
    ) -> Result<Outgoing, Failure> {
        let signer = match self.routes.signs(way) {
            true => Some(self.client.credentials()?),
            false => None,
        };
        let url = self.routes.url(way, base, &object.key, signer, self.client.clock().now());
        let odd = |_| Failure::Fault(Fault::BadUrl("(a header that cannot be sent)".into()));
        let mut headers = Vec::new();
        if let Some(range) = range {
            let value = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
            headers.push((RANGE, HeaderValue::from_str(&value).map_err(odd)?));
        }
        if let Some(pin) = pin {
            headers.push((IF_RANGE, HeaderValue::from_str(pin).map_err(odd)?));
        }
        if let Some(referer) = self.routes.referer(way) {
            headers.push((REFERER, referer.clone()));
        }
        Ok(Outgoing { method: Method::GET, url, headers, body: Bytes::new() })
    }

    /// What a failed read means. Where the answer may be about the object, the bucket itself is asked about it.
    async fn why_not(&self, object: &Listed, way: Way, failure: Failure) -> ReadError {
        let about_it = matches!(&failure, Failure::Refused(r) if matches!(r.code, 403 | 404 | 612));
        if about_it && let Ok(now) = self.client.stat(&object.key).await {
            match now.map(convert::listed) {
                None => return ReadError::Vanished,
                Some(now) if !convert::same(object, &now) => return ReadError::Changed,
                Some(Listed { unavailable: Some(why), .. }) => return ReadError::Unavailable(why),
                Some(_) => {}
            }
        }
        let base = self.explain(&failure, "it cannot be downloaded");
        match (way, self.routes.domain()) {
            (Way::Domain, Some(domain)) => words::of_domain(&failure, base, domain, self.routes.signs(way)),
            _ => words::of_source_host(&failure, base),
        }
        .into()
    }
}
