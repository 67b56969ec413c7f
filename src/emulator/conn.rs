//! One connection: request in, reply out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::body::{Body, response};
use super::inject::{self, Before};
use super::log::Record;
use super::reply::Reply;
use super::request::{Received, Request};
use super::route::{Kind, Role};
use super::rules::{Action, Seen};
use super::state::State;
use super::{batch, download, list, list_v2, ops, uc, upload_form, upload_v1, upload_v2};
use crate::kodo::encode;

/// The largest body of a management call: a batch of 1,000 operations on the longest keys fits.
const MANAGEMENT_BODY: usize = 8 << 20;

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("dropped on purpose")]
struct Dropped;

/// Takes connections until it is aborted; its connections end with it.
pub(super) async fn accept(listener: TcpListener, role: Role, state: Arc<State>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(open.spawn(serve(stream, role, Arc::clone(&state)))),
                // Out of file descriptors, most likely: those of finished connections come back.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            },
            Some(_) = open.join_next(), if !open.is_empty() => {}
        }
    }
}

async fn serve(stream: TcpStream, role: Role, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { answer(state, role, request).await }
    });
    // A connection that breaks is the client's business, or was broken on purpose.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Counts a request as being answered for as long as it lives.
struct InFlight<'a>(&'a State);

impl<'a> InFlight<'a> {
    fn new(state: &'a State) -> Self {
        state.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(state)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn answer(
    state: Arc<State>,
    role: Role,
    request: http::Request<Incoming>,
) -> Result<http::Response<Body>, Dropped> {
    let in_flight = InFlight::new(&state);
    let (parts, body) = request.into_parts();
    let request = Arc::new(Request::new(role, &parts));
    let kind = Kind::of(&request, state.addresses.domain.is_none());
    let seen = Seen {
        number: state.numbers.fetch_add(1, Ordering::Relaxed),
        kind,
        role,
        method: request.method.to_string(),
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        key: key(kind, &request),
        range: request.header("range").map(str::to_owned),
    };
    let actions = state.faults.take(&seen);
    let mut body = Received::new(body);
    let reply = match inject::before(&actions, &seen).await {
        Before::Drop => {
            state.record(record(&seen, 0));
            return Err(Dropped);
        }
        Before::Answer(reply) => {
            body.drain().await;
            reply
        }
        Before::Go => match carry_out(&state, &request, kind, &actions, body).await {
            Ok(reply) | Err(reply) => reply,
        },
    };
    let mut reply = reply;
    let id = format!("emulated{:016x}", seen.number);
    reply.set(HeaderName::from_static("x-reqid"), &id);
    reply.headers.insert("x-log", HeaderValue::from_static("qbak-emulator"));
    let (reply, twist) = inject::after(&actions, reply);
    state.record(record(&seen, reply.status));
    let mut response = response(reply, request.method == Method::HEAD, &twist);
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(http::header::CONTENT_LENGTH);
    }
    drop(in_flight);
    Ok(response)
}

fn record(seen: &Seen, status: u16) -> Record {
    Record {
        number: seen.number,
        kind: seen.kind,
        role: seen.role,
        method: seen.method.clone(),
        target: seen.target.clone(),
        key: seen.key.clone(),
        range: seen.range.clone(),
        status,
    }
}

/// The key that a request names, for rules and log.
fn key(kind: Kind, request: &Request) -> Option<String> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match kind {
        Kind::Download => Some(text(request.key())),
        Kind::List => Some(request.param("prefix").unwrap_or_default()),
        Kind::Stat | Kind::Change | Kind::Delete => {
            encode::decode_entry(request.segments().get(1)?)?.1.map(text)
        }
        Kind::Upload => match *request.segments().as_slice() {
            ["buckets", _, "objects", "~", ..] => None,
            ["buckets", _, "objects", key, ..] => encode::from_b64u(key).map(text),
            ["mkfile", _, ref rest @ ..] => {
                let at = rest.iter().position(|s| *s == "key")?;
                encode::from_b64u(rest.get(at + 1)?).map(text)
            }
            _ => None,
        },
        _ => None,
    }
}

async fn carry_out(
    state: &Arc<State>,
    request: &Arc<Request>,
    kind: Kind,
    actions: &[Action],
    mut body: Received,
) -> Result<Reply, Reply> {
    state.settle_deletes()?;
    let result = match kind {
        Kind::Download => download::serve(state, request, actions).await,
        Kind::Query if request.path != "/regions" => Ok(uc::query(state, request)),
        Kind::Upload => return upload(state, request, body).await,
        Kind::Unknown => Err(Reply::error(404, "no such method")),
        _ => {
            let bytes = body.all(MANAGEMENT_BODY).await?;
            super::auth::management(state, request, &bytes)?;
            match kind {
                Kind::Query => Ok(uc::regions(state, request)),
                Kind::Domains => uc::domains(state, request),
                Kind::Bucket => uc::bucket(state, request),
                Kind::List if request.path == "/list" => list::serve(state, request, actions).await,
                Kind::List => list_v2::serve(state, request, actions).await,
                Kind::Batch => batch::serve(state, &bytes).await,
                Kind::Stat | Kind::Change | Kind::Delete => ops::serve(state, request).await,
                Kind::Download | Kind::Upload | Kind::Unknown => Err(Reply::error(404, "no such method")),
            }
        }
    };
    body.drain().await;
    result
}

async fn upload(state: &Arc<State>, request: &Request, mut body: Received) -> Result<Reply, Reply> {
    if request.segments() == [""] {
        return upload_form::serve(state, request, body).await;
    }
    let result = match request.segments().first() {
        Some(&"buckets") => upload_v2::serve(state, request, &mut body).await,
        _ => upload_v1::serve(state, request, &mut body).await,
    };
    body.drain().await;
    result
}
