//! A plain HTTP client that sends exactly what it is given and shows exactly what came back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use qbak::emulator::{Backing, Config, Memory, Service};
use qbak::kodo::encode::{entry, query};
use qbak::kodo::sign::{self, Credentials, FORM, Signable};
use qbak::model::clock::{Clock, SystemClock};
use serde_json::Value;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) version: String,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body ended where its framing said it would.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The `error` text of an error, which must be JSON.
    pub(crate) fn error(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/json"));
        (self.status, self.json()["error"].as_str().unwrap().to_owned())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// Sends bytes, reads to the end of the connection; `None`: it was closed without an answer.
pub(crate) fn exchange(addr: &str, bytes: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut all = Vec::new();
    // A reset counts as an end: what came before it is what a client has.
    let _ = stream.read_to_end(&mut all);
    let end = all.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().splitn(3, ' ');
    let version = first.next().unwrap().to_owned();
    let status = first.next().unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|l| {
            let (n, v) = l.split_once(':').unwrap();
            (n.to_owned(), v.trim().to_owned())
        })
        .collect();
    let mut answer = Answer { version, status, headers, body: all[end + 4..].to_vec(), whole: true };
    if answer.header("transfer-encoding") == Some("chunked") {
        (answer.body, answer.whole) = unchunk(&answer.body);
    } else if let Some(n) = answer.header("content-length") {
        answer.whole = answer.body.len() == n.parse::<usize>().unwrap();
    }
    Some(answer)
}

fn unchunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    loop {
        let Some(end) = raw.windows(2).position(|w| w == b"\r\n") else { return (out, false) };
        let n = usize::from_str_radix(std::str::from_utf8(&raw[..end]).unwrap(), 16).unwrap();
        raw = &raw[end + 2..];
        if n == 0 {
            return (out, true);
        }
        if raw.len() < n + 2 {
            out.extend_from_slice(&raw[..raw.len().min(n)]);
            return (out, false);
        }
        out.extend_from_slice(&raw[..n]);
        raw = &raw[n + 2..];
    }
}

/// A request with these headers besides Host and Connection.
pub(crate) fn request(
    addr: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Answer> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n");
    for (n, v) in headers {
        text += &format!("{n}: {v}\r\n");
    }
    if !body.is_empty() || method != "GET" {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    exchange(addr, &bytes)
}

pub(crate) fn credentials() -> Credentials {
    Credentials::new("ak", "sk").unwrap()
}

pub(crate) fn now() -> i64 {
    SystemClock.now().seconds()
}

/// A bucket `bkt` in memory, with changes to its configuration.
pub(crate) fn memory(change: impl FnOnce(&mut Config)) -> Service {
    let catalog = std::sync::Arc::new(Memory::new());
    let mut config = Config::new(Backing::Catalog(catalog), "bkt", credentials());
    change(&mut config);
    Service::start_apart(config).unwrap()
}

/// A bucket `bkt` over a folder.
pub(crate) fn folder(path: &std::path::Path) -> Service {
    Service::start_apart(Config::new(Backing::Folder(path.to_owned()), "bkt", credentials())).unwrap()
}

/// Every way to call a service that the tests need.
pub(crate) trait Calls {
    fn main(&self) -> String;
    fn domain(&self) -> String;
    fn source(&self) -> String;

    /// A management call with the current scheme.
    fn signed(&self, method: &str, target: &str, body: &str) -> Answer {
        self.signed_with(method, target, body, &[])
    }

    fn signed_with(&self, method: &str, target: &str, body: &str, extra: &[(&str, &str)]) -> Answer {
        let host = self.main();
        let mut headers = vec![("Content-Type", FORM)];
        headers.extend_from_slice(extra);
        let (path, q) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        let signable =
            Signable { method, path, query: q, host: &host, headers: &headers, body: body.as_bytes() };
        let token = signable.qiniu_token(&credentials());
        headers.push(("Authorization", &token));
        request(&host, method, target, &headers, body.as_bytes()).unwrap()
    }

    /// An operation on an object: `stat` → `/stat/<entry>`, with what follows.
    fn op(&self, name: &str, key: &str, rest: &str) -> Answer {
        self.signed("POST", &format!("/{name}/{}{rest}", entry("bkt", Some(key.as_bytes()))), "")
    }

    fn list(&self, pairs: &[(&str, &str)]) -> Answer {
        let mut all = vec![("bucket", b"bkt".as_slice())];
        all.extend(pairs.iter().map(|(n, v)| (*n, v.as_bytes())));
        self.signed("GET", &format!("/list?{}", query(all)), "")
    }

    fn get(&self, target: &str) -> Answer {
        request(&self.domain(), "GET", target, &[], b"").unwrap()
    }

    fn get_range(&self, target: &str, range: &str) -> Answer {
        request(&self.domain(), "GET", target, &[("Range", range)], b"").unwrap()
    }

    /// A target of a download host, signed for an hour.
    fn sign_target(&self, host: &str, target: &str) -> String {
        let url = sign::sign_url(&credentials(), &format!("http://{host}{target}"), now() + 3600);
        url.strip_prefix(&format!("http://{host}")).unwrap().to_owned()
    }
}

impl Calls for Service {
    fn main(&self) -> String {
        self.addr().to_string()
    }

    fn domain(&self) -> String {
        self.domain_url().strip_prefix("http://").unwrap().to_owned()
    }

    fn source(&self) -> String {
        self.source_url().strip_prefix("http://").unwrap().to_owned()
    }
}

/// The keys of a listing page.
pub(crate) fn keys(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|i| i["key"].as_str().unwrap().to_owned()).collect()
}
