//! The HTTP client, on hyper itself: request targets go out exactly as they are written, dot segments and all.
//!
//! It follows no redirect, asks for no compression, bounds every body and waits for nothing without a limit.
//! No error repeats a query, because tokens are in there.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{self, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout};

use super::fault::{Fault, shown};
use crate::control::{Control, off};

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the head of the answer, once connected.
    pub headers: Duration,
    /// For any progress of a body worth the name (16 KiB, or its end).
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            headers: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        }
    }
}

/// What must arrive within [`Timeouts::idle`], so that a byte now and then does not count as progress.
const PROGRESS: usize = 16 << 10;

/// A proxy that opens tunnels (CONNECT), and the hosts that are reached without it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Where it is: `http://[user:password@]host:port`.
    pub url: String,
    /// Hosts, or ends of host names, that are asked directly; loopback addresses always are.
    pub except: Vec<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.debug_struct("Proxy").field("except", &self.except).finish_non_exhaustive()
    }
}

type Direct = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;
type Tunnelled = legacy::Client<HttpsConnector<Tunnel<HttpConnector>>, Full<Bytes>>;

/// The client. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Http {
    direct: Direct,
    tunnelled: Option<(Tunnelled, Vec<String>)>,
    timeouts: Timeouts,
    /// Why there can be no https, if so.
    no_tls: Option<String>,
}

/// A request to send.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// The complete URL, already encoded.
    pub url: String,
    /// Headers beside `Host`, `User-Agent` and `Accept-Encoding`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

impl Http {
    /// A client.
    pub fn new(timeouts: Timeouts, proxy: Option<&Proxy>) -> Result<Self, Fault> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeouts.connect));
        let (tls, no_tls) = tls()?;
        let builder = || {
            let mut builder = legacy::Client::builder(TokioExecutor::new());
            builder.timer(TokioTimer::new());
            builder.pool_timer(TokioTimer::new());
            builder.pool_idle_timeout(Duration::from_secs(30));
            builder
        };
        let https = |tls| HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let tunnelled = match proxy {
            Some(proxy) => {
                let tunnel = tunnel(&proxy.url, tcp.clone())?;
                let client = builder().build(https(tls.clone()).wrap_connector(tunnel));
                Some((client, proxy.except.clone()))
            }
            None => None,
        };
        let direct = builder().build(https(tls).wrap_connector(tcp));
        Ok(Self { direct, tunnelled, timeouts, no_tls })
    }

    fn start(&self, host: &str, mut request: Request<Full<Bytes>>) -> ResponseFuture {
        match &self.tunnelled {
            Some((client, except)) if !is_direct(host, except) => {
                // A tunnel is opened to a port, and one that is not named would be taken for 443.
                let uri = request.uri();
                if uri.port().is_none() && uri.scheme_str() == Some("http") {
                    let target = uri.path_and_query().map_or("/", |t| t.as_str());
                    if let Ok(explicit) = format!("http://{host}:80{target}").parse() {
                        *request.uri_mut() = explicit;
                    }
                }
                client.request(request)
            }
            _ => self.direct.request(request),
        }
    }

    /// Sends a request and waits for the head of the answer. Any status but a redirect is an answer.
    pub async fn send(&self, out: &Outgoing) -> Result<Answer, Fault> {
        let bad = || Fault::BadUrl(shown(&out.url));
        let uri: Uri = out.url.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?.as_str().to_owned();
        let host = uri.host().ok_or_else(bad)?.to_owned();
        match (uri.scheme_str(), &self.no_tls) {
            (Some("https"), Some(why)) => return Err(Fault::Tls { host, why: why.clone() }),
            (Some("http" | "https"), _) if !authority.contains('@') => {}
            _ => return Err(bad()),
        }
        let mut request = Request::new(Full::new(out.body.clone()));
        *request.method_mut() = out.method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        // The signature covers the host as it is written here, so it is not left to be derived.
        headers.insert(HOST, HeaderValue::from_str(&authority).map_err(|_| bad())?);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("qbak/", env!("CARGO_PKG_VERSION"))));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in &out.headers {
            headers.insert(name.clone(), value.clone());
        }

        let wait = self.timeouts.connect + self.timeouts.headers;
        let response = match timeout(wait, self.start(&host, request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Fault::of_request(&host, &error)),
            Err(_) => return Err(Fault::Timeout { host, what: "an answer" }),
        };
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        if (300..400).contains(&status) && status != 304 && !off(Control::NoRedirectCheck) {
            let to = head.headers.get(LOCATION).and_then(|v| v.to_str().ok()).unwrap_or("nowhere");
            return Err(Fault::Redirect { host, to: shown(to) });
        }
        let encoding = head.headers.get(CONTENT_ENCODING).map(|v| String::from_utf8_lossy(v.as_bytes()));
        if let Some(encoding) = encoding.filter(|e| !e.is_empty() && !e.eq_ignore_ascii_case("identity")) {
            return Err(Fault::Encoded { host, encoding: super::fault::clean(&encoding) });
        }
        let idle = self.timeouts.idle;
        Ok(Answer { status, headers: head.headers, body, host, idle, waited: Duration::ZERO, since: 0 })
    }
}

/// The head of an answer, and its body yet to be read.
#[derive(Debug)]
pub struct Answer {
    /// The status; Kodo's own go beyond 599.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// Who answered.
    pub host: String,
    body: Incoming,
    idle: Duration,
    waited: Duration,
    since: usize,
}

impl Answer {
    /// A header's text, if it has one.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The length that the answer states.
    pub fn length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// More of the body; `None`: it is complete.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let stalled = || Fault::Timeout { host: self.host.clone(), what: "more of an answer" };
            let left = self.idle.checked_sub(self.waited).filter(|d| !d.is_zero()).ok_or_else(stalled)?;
            let begun = Instant::now();
            let frame = match timeout(left, self.body.frame()).await {
                Err(_) => return Err(stalled()),
                Ok(None) => return Ok(None),
                Ok(Some(Err(e))) => return Err(Fault::of_body(&self.host, &e)),
                Ok(Some(Ok(frame))) => frame,
            };
            self.waited += begun.elapsed();
            let Ok(data) = frame.into_data() else { continue };
            self.since += data.len();
            if self.since >= PROGRESS {
                (self.since, self.waited) = (0, Duration::ZERO);
            }
            return Ok(Some(data));
        }
    }

    /// The whole body, if it has no more than `bound` bytes.
    pub async fn read(&mut self, bound: usize) -> Result<Bytes, Fault> {
        let bound = if off(Control::NoBounds) { usize::MAX } else { bound };
        let too_large = |host: &str| Fault::TooLarge { host: host.to_owned(), bound };
        if self.length().is_some_and(|n| n > bound as u64) {
            return Err(too_large(&self.host));
        }
        let mut all = BytesMut::new();
        while let Some(data) = self.chunk().await? {
            if all.len() + data.len() > bound {
                return Err(too_large(&self.host));
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }

    /// As much of the body as `bound` allows; for error texts, where half is better than nothing.
    pub async fn read_some(&mut self, bound: usize) -> Bytes {
        let mut all = BytesMut::new();
        while let Ok(Some(data)) = self.chunk().await {
            all.extend_from_slice(&data[..data.len().min(bound - all.len())]);
            if all.len() == bound {
                break;
            }
        }
        all.freeze()
    }
}

/// The TLS settings, and why there can be no https, if so: the machine's own root certificates and nothing else.
/// They are read once; without any, plain http still works.
fn tls() -> Result<(rustls::ClientConfig, Option<String>), Fault> {
    static ONCE: OnceLock<Result<(rustls::ClientConfig, Option<String>), rustls::Error>> = OnceLock::new();
    let read = ONCE.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = || {
            let builder = rustls::ClientConfig::builder_with_provider(provider.clone());
            builder.with_safe_default_protocol_versions()
        };
        Ok(match builder()?.with_native_roots() {
            Ok(config) => (config.with_no_client_auth(), None),
            Err(error) => {
                let none = builder()?.with_root_certificates(rustls::RootCertStore::empty());
                let why =
                    format!("this machine has no root certificates ({error}); install its ca-certificates");
                (none.with_no_client_auth(), Some(why))
            }
        })
    });
    read.clone().map_err(|e| Fault::BadUrl(format!("(no TLS: {e})")))
}

fn tunnel(url: &str, tcp: HttpConnector) -> Result<Tunnel<HttpConnector>, Fault> {
    let bad = || Fault::BadUrl("the proxy's address (http://host:port is wanted)".into());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(bad)?;
    let (user, place) =
        authority.as_str().rsplit_once('@').map_or((None, authority.as_str()), |(u, p)| (Some(u), p));
    let tunnel = Tunnel::new(format!("http://{place}").parse().map_err(|_| bad())?, tcp);
    Ok(match user {
        None => tunnel,
        Some(user) => {
            use base64::Engine as _;
            let plain = super::encode::decode_path(user);
            let basic = base64::engine::general_purpose::STANDARD.encode(plain);
            tunnel.with_auth(HeaderValue::from_str(&format!("Basic {basic}")).map_err(|_| bad())?)
        }
    })
}

/// Whether a host is asked without the proxy.
fn is_direct(host: &str, except: &[String]) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback());
    loopback
        || except.iter().map(|e| e.trim_start_matches(['*', '.'])).any(|e| {
            !e.is_empty() && (bare == e || bare.strip_suffix(e).is_some_and(|head| head.ends_with('.')))
        })
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
