//! The source against a scripted bucket that can lie in every way there is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;

use super::*;
use crate::kodo::encode::{decode_entry, decode_path, decode_query};
use crate::kodo::etag::etag;
use crate::kodo::retry::FixedJitter;
use crate::kodo::sign::check_url;
use crate::kodo::testserver::{Reply, Seen, Server};
use crate::model::clock::FixedClock;
use crate::model::content::{BLOCK, block_range};
use crate::model::event::Event;
use crate::model::time::Timestamp;

const NOW: i64 = 1_700_000_000;
const M: usize = 1 << 20;

fn ak() -> Credentials {
    Credentials::new("ak", "sk-canary").unwrap()
}

/// What happened, for tests to look at.
#[derive(Default)]
struct Log(Mutex<Vec<Event>>);

impl Observer for Log {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

fn settings(uc: &str) -> KodoSettings {
    let wait = Duration::from_millis(500);
    let quick = Duration::from_millis(2);
    KodoSettings {
        bucket: "bkt".into(),
        prefix: String::new(),
        domain: None,
        private: false,
        referer: None,
        overrides: Overrides { uc: uc.into(), ..Overrides::default() },
        credentials: Some(ak()),
        limits: LimitSettings::default(),
        timeouts: Timeouts { connect: wait, headers: wait, idle: wait },
        backoff: Backoff { base: quick, throttled: quick, cap: quick },
        proxy: None,
        clock: Arc::new(FixedClock(Timestamp::from_seconds(NOW))),
        jitter: Arc::new(FixedJitter(0.5)),
    }
}

fn source(server: &Server) -> KodoSource {
    KodoSource::new(settings(&server.url), Arc::new(Log::default())).unwrap()
}

/// Objects in memory, served as Kodo would.
#[derive(Clone, Default)]
struct Bucket(BTreeMap<Vec<u8>, (Vec<u8>, String)>);

impl Bucket {
    fn with(mut self, key: impl AsRef<[u8]>, bytes: impl Into<Vec<u8>>, extra: &str) -> Self {
        self.0.insert(key.as_ref().to_vec(), (bytes.into(), extra.to_owned()));
        self
    }

    fn json(&self, key: &[u8]) -> Option<Vec<u8>> {
        let (bytes, extra) = self.0.get(key)?;
        let mut out = b"{\"key\":\"".to_vec();
        for &b in key {
            match b {
                b'"' | b'\\' => out.extend([b'\\', b]),
                0..32 => out.extend(format!("\\u{b:04x}").bytes()),
                _ => out.push(b),
            }
        }
        let rest = format!(
            r#"","hash":"{}","fsize":{},"putTime":17000000000000000,"mimeType":"a/b"{extra}}}"#,
            etag(bytes),
            bytes.len()
        );
        out.extend(rest.bytes());
        Some(out)
    }

    fn answer(&self, seen: &Seen) -> Reply {
        let host = seen.header("host").unwrap();
        let path = seen.path();
        let query = seen.target.split_once('?').map_or("", |(_, q)| q);
        let gone = r#"{"error":"no such file or directory"}"#;
        if path == "/v4/query" {
            let services = ["rs", "rsf", "up", "io", "io_src"];
            let hosts: Vec<String> =
                services.iter().map(|s| format!(r#""{s}":{{"domains":["{host}"]}}"#)).collect();
            Reply::json(format!(r#"{{"hosts":[{{"ttl":3600,{}}}]}}"#, hosts.join(",")))
        } else if path == "/list" {
            let prefix = decode_query(query).into_iter().find(|(n, _)| n == "prefix").map(|(_, v)| v);
            let prefix = prefix.unwrap_or_default();
            let items: Vec<Vec<u8>> =
                self.0.keys().filter(|k| k.starts_with(&prefix)).filter_map(|k| self.json(k)).collect();
            Reply::json([b"{\"items\":[".to_vec(), items.join(&b','), b"]}".to_vec()].concat())
        } else if let Some(entry) = path.strip_prefix("/stat/") {
            let key = decode_entry(entry).unwrap().1.unwrap();
            self.json(&key).map_or(Reply::status(612).kodo().body(gone), Reply::json)
        } else if path == "/batch" {
            let body = String::from_utf8(seen.body.clone()).unwrap();
            let answers = decode_query(&body).into_iter().map(|(_, op)| {
                let op = String::from_utf8(op).unwrap();
                let key = decode_entry(op.split('/').nth(2).unwrap()).unwrap().1.unwrap();
                match self.json(&key) {
                    Some(json) => [b"{\"code\":200,\"data\":".to_vec(), json, b"}".to_vec()].concat(),
                    None => format!(r#"{{"code":612,"data":{gone}}}"#).into_bytes(),
                }
            });
            Reply::json([b"[".to_vec(), answers.collect::<Vec<_>>().join(&b','), b"]".to_vec()].concat())
        } else {
            match self.0.get(&decode_path(&path[1..])) {
                Some((bytes, _)) => download(seen, bytes, &format!("\"{}\"", etag(bytes))),
                None => Reply::status(404).body(r#"{"error":"Document not found"}"#),
            }
        }
    }
}

/// Bytes as a good server sends them.
fn download(seen: &Seen, bytes: &[u8], tag: &str) -> Reply {
    let Some(range) = seen.header("range") else { return Reply::ok(bytes).header("ETag", tag) };
    if seen.header("if-range").is_some_and(|t| t != tag) {
        return Reply::ok(bytes).header("ETag", tag);
    }
    let (a, b) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (a, b): (usize, usize) = (a.parse().unwrap(), b.parse().unwrap());
    Reply::status(206)
        .body(&bytes[a..=b])
        .header("Content-Range", &format!("bytes {a}-{b}/{}", bytes.len()))
        .header("ETag", tag)
}

fn pattern(size: usize) -> Vec<u8> {
    let mut bytes = (0..=250).collect::<Vec<u8>>().repeat(size / 251 + 1);
    bytes.truncate(size);
    bytes
}

async fn listing(source: &KodoSource) -> Result<Vec<Listed>, SourceError> {
    source.list().try_concat().await
}

/// Downloads of the bytes, not what was asked about them.
fn reads(server: &Server) -> Vec<Seen> {
    let other = ["/v4/query", "/list", "/batch"];
    server
        .seen()
        .into_iter()
        .filter(|s| !other.contains(&s.path()) && !s.path().starts_with("/stat/"))
        .collect()
}

#[tokio::test]
async fn every_key_is_listed_and_downloaded() {
    let keys: Vec<&[u8]> = vec![
        b"",
        b" ",
        b"#",
        b"%",
        b"%2F",
        b"&",
        b"+",
        b".",
        b"..",
        b"...",
        b"/",
        b"//",
        b"/lead",
        b"=",
        b"?x=1",
        b"@",
        b"CON",
        b"\0",
        b"\xff\xfe",
        b"\\",
        b"..\\b",
        b"\t\r\n",
        b"\x1b[2J",
        b"a",
        b"a ",
        b"a.",
        b"a/",
        b"a//b",
        b"a/../b",
        b"a/./b",
        b"a/b",
        b"a:b",
        b"a;b",
        b"a%41",
        b"it's(1)!*~",
        b"dir/.",
        b"dir/..",
        b"v4/query",
        "目录/文件.txt".as_bytes(),
        "😀".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{e9}".as_bytes(),
        &[b'k'; 750],
    ];
    let bucket = keys.iter().fold(Bucket::default(), |b, k| b.with(k, [b"content of ", *k].concat(), ""));
    let server = Server::start(move |seen| {
        // The source host wants a token for every download, made for this very URL.
        let token = seen.target.contains("token=") && seen.path() != "/list";
        if token {
            let url = format!("http://{}{}", seen.header("host").unwrap(), seen.target);
            let known = ak();
            assert_eq!(check_url(&url, NOW, |_| Some(&known)), Ok(()), "{url}");
            assert!(seen.target.contains(&format!("e={}", NOW + 180)));
        }
        match seen.path() {
            "/v4/query" if token => download(seen, b"content of v4/query", "\"x\""),
            _ => bucket.answer(seen),
        }
    })
    .await;
    let source = source(&server);
    let listed = listing(&source).await.unwrap();
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(listed.iter().map(|o| o.key.bytes()).collect::<Vec<_>>(), sorted);
    for object in &listed {
        for route in [Route::Usual, Route::Origin] {
            let bytes = source.read(object, 0..object.size, route).await.unwrap();
            assert_eq!(bytes, [b"content of ", object.key.bytes()].concat(), "{}", object.key);
        }
    }
    assert!(reads(&server).iter().all(|r| r.header("range").is_none() && r.target.contains("&token=ak:")));
    let requests = source.requests();
    assert_eq!((requests.listings, requests.reads, requests.others), (1, keys.len() as u64 * 2, 1));
}

#[tokio::test]
async fn listings_end_and_fail_as_they_should() {
    let page = |marker: &str, items: &str| Reply::json(format!(r#"{{"marker":"{marker}","items":{items}}}"#));
    let item = |key: &str| format!(r#"[null,{{}},{{"key":"{key}","hash":"F"}}]"#);
    let server = Server::start(move |seen| {
        let marker = decode_query(&seen.target).into_iter().find(|(n, _)| n == "marker").map(|(_, v)| v);
        match (seen.path(), marker.as_deref()) {
            ("/v4/query", _) => Bucket::default().answer(seen),
            (_, None) => page("m1", &item("b")),
            (_, Some(b"m1")) => page("m2", "[]"),
            (_, Some(b"m2")) => page("m3", "null"),
            (_, Some(b"m3")) => page("", &item("a")),
            _ => Reply::status(640),
        }
    })
    .await;
    let keys: Vec<Key> = listing(&source(&server)).await.unwrap().into_iter().map(|o| o.key).collect();
    assert_eq!(keys, [Key::from("b"), Key::from("a")]);
    assert_eq!(source(&server).identity().url, "kodo://bkt");

    for (body, words) in [
        (r#"{"marker":"same","items":[]}"#, "page 2 of the listing leads back"),
        (r#"{"items":[{"key":"a","hash":"F","fsize":-1}]}"#, "the size -1 is impossible"),
        ("<html>", "makes no sense"),
    ] {
        let server = Server::start(move |seen| match seen.path() {
            "/v4/query" => Bucket::default().answer(seen),
            _ => Reply::json(body),
        })
        .await;
        let error = listing(&source(&server)).await.unwrap_err();
        assert!(error.kind == ErrorKind::Protocol && error.message.contains(words), "{error}");
    }
    let server = Server::start(|seen| match seen.path() {
        "/v4/query" => Bucket::default().answer(seen),
        _ if seen.target.contains("marker") => Reply::status(403).kodo(),
        _ => Reply::json(r#"{"marker":"m","items":[]}"#),
    })
    .await;
    let error = listing(&source(&server)).await.unwrap_err();
    assert!(error.kind == ErrorKind::Denied && error.message.contains("(page 2)"), "{error}");
}

#[tokio::test]
async fn a_prefix_is_a_scope() {
    let bucket = Bucket::default().with("a/1", "x", "").with("b/1", "x", "");
    let server = Server::start(move |seen| bucket.answer(seen)).await;
    let settings = KodoSettings { prefix: "a/".into(), ..settings(&server.url) };
    let source = KodoSource::new(settings, Arc::new(Log::default())).unwrap();
    assert_eq!(
        (source.identity().url.as_str(), &source.identity().scope),
        ("kodo://bkt/a/", &Key::from("a/"))
    );
    let keys: Vec<Key> = listing(&source).await.unwrap().into_iter().map(|o| o.key).collect();
    assert_eq!(keys, [Key::from("a/1")]);
}

#[tokio::test]
async fn checks_say_what_is_wrong() {
    let date = "Tue, 14 Nov 2023 23:13:20 GMT";
    for (at, code, body, kind, words) in [
        (
            "/v4/query",
            612,
            r#"{"error":"app/accesskey is not found"}"#,
            ErrorKind::Denied,
            "does not know the access key",
        ),
        ("/v4/query", 631, r#"{"error":"no such bucket"}"#, ErrorKind::Missing, "no bucket named “bkt”"),
        ("/list", 401, r#"{"error":"bad token"}"#, ErrorKind::Denied, "60 minutes behind"),
        ("/list", 400, r#"{"error":"incorrect region"}"#, ErrorKind::Config, "another region"),
    ] {
        let server = Server::start(move |seen| match seen.path() {
            p if p == at => Reply::status(code).kodo().header("Date", date).body(body),
            _ => Bucket::default().answer(seen),
        })
        .await;
        let error = source(&server).check().await.unwrap_err();
        assert!(error.kind == kind && error.message.contains(words), "{error}");
        assert!(!error.message.contains("canary") && !error.message.contains('\n'), "{error}");
    }
    let server = Server::start(|seen| Bucket::default().answer(seen)).await;
    source(&server).check().await.unwrap();
    assert!(server.seen()[1].target.contains("limit=1&"));
    let none = KodoSettings { credentials: None, ..settings(&server.url) };
    let error = KodoSource::new(none, Arc::new(Log::default())).unwrap().check().await.unwrap_err();
    assert!(error.kind == ErrorKind::Config && error.message.contains("QINIU_ACCESS_KEY"), "{error}");
    for bucket in ["", "a/b", "a:b", "a b"] {
        let odd = KodoSettings { bucket: bucket.into(), ..settings(&server.url) };
        assert!(KodoSource::new(odd, Arc::new(Log::default())).is_err(), "{bucket}");
    }
}

#[tokio::test]
async fn large_objects_come_in_blocks() {
    let bytes = pattern(2 * BLOCK + 5);
    let bucket = Bucket::default().with("big", bytes.clone(), "").with("empty", "", "");
    let server = Server::start(move |seen| bucket.answer(seen)).await;
    let source = source(&server);
    let listed = listing(&source).await.unwrap();
    for n in 0..3 {
        let range = block_range(n, listed[0].size);
        let got = source.read(&listed[0], range.clone(), Route::Usual).await.unwrap();
        assert_eq!(got, bytes[range.start as usize..range.end as usize]);
    }
    let ranges: Vec<String> = reads(&server).iter().map(|r| r.header("range").unwrap().to_owned()).collect();
    assert_eq!(ranges, ["bytes=0-4194303", "bytes=4194304-8388607", "bytes=8388608-8388612"]);
    assert!(source.read(&listed[1], 0..0, Route::Usual).await.unwrap().is_empty());
    for range in [0..listed[0].size, std::ops::Range { start: 5, end: 4 }, 8_388_608..8_388_614] {
        assert!(matches!(source.read(&listed[0], range, Route::Usual).await, Err(ReadError::Failed(_))));
    }
}

/// Serves `bytes` under the key `o`; the n-th read is answered by `fault`, where it has an answer.
async fn faulty(
    bytes: Vec<u8>,
    fault: impl Fn(usize, &Seen, &[u8]) -> Option<Reply> + Send + Sync + 'static,
) -> (Server, KodoSource, Listed) {
    let bucket = Bucket::default().with("o", bytes.clone(), "");
    let count = AtomicUsize::new(0);
    let server = Server::start(move |seen| match seen.path() {
        "/o" => {
            fault(count.fetch_add(1, Ordering::SeqCst), seen, &bytes).unwrap_or_else(|| bucket.answer(seen))
        }
        _ => bucket.answer(seen),
    })
    .await;
    let source = source(&server);
    let listed = listing(&source).await.unwrap().remove(0);
    (server, source, listed)
}

#[tokio::test]
async fn a_broken_connection_resumes_inside_the_block() {
    let bytes = pattern(BLOCK + M);
    let (server, source, object) = faulty(bytes.clone(), |n, seen, bytes| {
        let tag = format!("\"{}\"", etag(bytes));
        (n < 3).then(|| download(seen, bytes, &tag).cut(M + n))
    })
    .await;
    assert_eq!(source.read(&object, 0..BLOCK as u64, Route::Usual).await.unwrap(), bytes[..BLOCK]);
    let seen = reads(&server);
    let from = |n: usize| {
        seen[n].header("range").unwrap().split('-').next().unwrap()["bytes=".len()..].parse::<usize>()
    };
    assert_eq!(seen.len(), 4);
    assert_eq!([from(1), from(2), from(3)].map(Result::unwrap), [M, 2 * M + 1, 3 * M + 3]);
    assert!(seen[1..].iter().all(|s| s.header("if-range") == Some(&format!("\"{}\"", etag(&bytes)))));
    assert!(seen[0].header("if-range").is_none());
}

#[tokio::test]
async fn many_small_steps_are_still_a_way() {
    let bytes = pattern(BLOCK);
    let (server, source, object) = faulty(bytes.clone(), |_, seen, bytes| {
        let reply = download(seen, bytes, &format!("\"{}\"", etag(bytes)));
        let left = seen.header("range").map_or(BLOCK, |r| {
            BLOCK - r["bytes=".len()..].split('-').next().unwrap().parse::<usize>().unwrap()
        });
        (left > 300_000).then(|| reply.cut(300_000))
    })
    .await;
    assert_eq!(source.read(&object, 0..BLOCK as u64, Route::Usual).await.unwrap(), bytes);
    assert_eq!(reads(&server).len(), 14);
}

#[tokio::test]
async fn a_way_that_cannot_be_gone_on_is_no_way() {
    for tag in [None, Some("W/\"weak\""), Some("\"strong\"")] {
        let (server, source, object) = faulty(pattern(BLOCK), move |_, _, bytes| {
            let reply = Reply::ok(bytes);
            Some(tag.map_or(reply.clone(), |t| reply.header("ETag", t)).cut(M))
        })
        .await;
        assert!(source.read(&object, 0..BLOCK as u64, Route::Usual).await.is_err());
        assert!((4..=9).contains(&reads(&server).len()), "{tag:?}: {}", reads(&server).len());
    }
}

#[tokio::test]
async fn without_an_etag_it_starts_again() {
    for tag in [None, Some("W/\"weak\"")] {
        let bytes = pattern(M);
        let (server, source, object) = faulty(bytes.clone(), move |n, _, bytes| {
            let reply = Reply::ok(bytes);
            let reply = tag.map_or(reply.clone(), |t| reply.header("ETag", t));
            Some(if n == 0 { reply.cut(1000) } else { reply })
        })
        .await;
        assert_eq!(source.read(&object, 0..M as u64, Route::Usual).await.unwrap(), bytes);
        assert!(reads(&server).iter().all(|r| r.header("range").is_none() && r.header("if-range").is_none()));
    }
}

#[tokio::test]
async fn a_new_version_in_the_middle_is_never_spliced() {
    let bytes = pattern(M);
    let other: Vec<u8> = bytes.iter().rev().copied().collect();
    let (_, source, object) = faulty(bytes, move |n, seen, bytes| {
        Some(match n {
            0 => download(seen, bytes, &format!("\"{}\"", etag(bytes))).cut(5000),
            _ => download(seen, &other, &format!("\"{}\"", etag(&other))),
        })
    })
    .await;
    assert_eq!(source.read(&object, 0..M as u64, Route::Usual).await, Err(ReadError::Changed));
}

#[tokio::test]
async fn broken_answers_are_tried_again_and_then_fail() {
    type Fault = fn(&Seen, &[u8]) -> Reply;
    let faults: [(&str, Fault); 11] = [
        ("a head without end", |_, _| {
            Reply::raw("HTTP/1.1 200 OK\r\nX-Long: ".to_owned() + &"x".repeat(2 << 20))
        }),
        ("a head of many lines", |_, _| {
            Reply::raw("HTTP/1.1 200 OK\r\n".to_owned() + &"X-More: x\r\n".repeat(100_000))
        }),
        ("short", |_, b| Reply::ok(&b[..b.len() - 1]).header("ETag", &format!("\"{}\"", etag(b)))),
        ("cut without a length", |_, b| {
            Reply::raw(
                [
                    b"HTTP/1.1 206 X\r\nContent-Range: bytes 0-4194303/4194309\r\n\r\n".to_vec(),
                    b[..9].to_vec(),
                ]
                .concat(),
            )
        }),
        ("too long", |_, b| {
            Reply::raw([b"HTTP/1.1 206 X\r\nContent-Range: bytes 0-4194303/4194309\r\n\r\n", b].concat())
        }),
        ("another range", |_, b| {
            Reply::status(206).body(&b[1..=BLOCK]).header("Content-Range", "bytes 1-4194304/4194309")
        }),
        ("no range", |_, b| Reply::status(206).body(&b[..BLOCK])),
        ("whole for a block", |s, b| {
            let _ = s;
            Reply::ok(b).header("ETag", &format!("\"{}\"", etag(b)))
        }),
        ("gzip", |s, b| download(s, b, "\"x\"").header("Content-Encoding", "gzip")),
        ("chunked, ended early", |_, _| {
            Reply::raw(
                "HTTP/1.1 206 X\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 0-4194303/4194309\r\n\r\n5\r\nhello\r\n",
            )
        }),
        ("throttled", |_, _| Reply::status(573).kodo().body(r#"{"error":"slow down"}"#)),
    ];
    for (name, fault) in faults {
        for lasting in [false, true] {
            let bytes = pattern(BLOCK + 5);
            let (server, source, object) =
                faulty(bytes.clone(), move |n, s, b| (n < 2 || lasting).then(|| fault(s, b))).await;
            let got = source.read(&object, 0..BLOCK as u64, Route::Usual).await;
            match (lasting, got) {
                (false, got) => assert_eq!(got.unwrap(), bytes[..BLOCK], "{name}"),
                (true, Err(ReadError::Failed(e))) => {
                    assert!(e.message.starts_with("it cannot be downloaded: "), "{name}: {e}");
                    assert!((4..=8).contains(&reads(&server).len()), "{name}");
                }
                (true, other) => panic!("{name}: {other:?}"),
            }
        }
    }
}

/// A second answer behind the first, before anything was asked: it is not taken for the answer to what is asked next.
#[tokio::test]
async fn what_was_not_asked_for_is_not_taken() {
    let bytes = pattern(1000);
    let (server, source, object) = faulty(bytes.clone(), |n, seen, bytes| {
        let forged = vec![b'!'; bytes.len()];
        let both = [
            download(seen, bytes, "\"t\"").cut(bytes.len()).into_raw(),
            download(seen, &forged, "\"t\"").cut(forged.len()).into_raw(),
        ];
        (n % 2 == 0).then(|| Reply::raw(both.concat()).hold())
    })
    .await;
    for _ in 0..4 {
        assert_eq!(source.read(&object, 0..1000, Route::Usual).await.unwrap(), bytes);
    }
    assert_eq!(reads(&server).len(), 4);
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let (_, source, object) = faulty(pattern(100), |n, seen, bytes| {
        (n < 1).then(|| Reply::raw(download(seen, bytes, "\"t\"").cut(10).into_raw()).hold())
    })
    .await;
    assert_eq!(source.read(&object, 0..100, Route::Usual).await.unwrap(), pattern(100));
}

#[tokio::test]
async fn what_became_of_an_object() {
    // Gone, changed, archived in the meantime, disabled, and there though the host denies it.
    for (now, wanted) in [
        (Bucket::default(), Err(ReadError::Vanished)),
        (Bucket::default().with("o", "other", ""), Err(ReadError::Changed)),
        (Bucket::default().with("o", "x", r#","type":2"#), Err(ReadError::Unavailable("archived".into()))),
        (Bucket::default().with("o", "x", r#","status":1"#), Err(ReadError::Unavailable("disabled".into()))),
        (Bucket::default().with("o", "x", ""), Ok(())),
    ] {
        for code in [404, 403, 612] {
            let now = now.clone();
            let server = Server::start(move |seen| match seen.path() {
                "/o" => Reply::status(code).kodo().body(r#"{"error":"no"}"#),
                "/list" => Bucket::default().with("o", "x", "").answer(seen),
                _ => now.answer(seen),
            })
            .await;
            let source = source(&server);
            let object = listing(&source).await.unwrap().remove(0);
            let got = source.read(&object, 0..1, Route::Usual).await.unwrap_err();
            match (&wanted, &got) {
                (Err(ReadError::Unavailable(w)), ReadError::Unavailable(g)) => {
                    assert!(g.contains(w.as_str()), "{g}")
                }
                (Err(w), g) => assert_eq!(w, g),
                (Ok(()), ReadError::Failed(e)) => assert!(e.message.contains(&code.to_string()), "{e}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A bucket behind one server and a domain behind another.
async fn behind(
    domain: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    private: bool,
) -> (Server, Server, KodoSource, Arc<Log>) {
    let bucket = (0..30).fold(Bucket::default(), |b, n| b.with(format!("{n:02}"), "genuine", ""));
    let server = Server::start(move |seen| bucket.answer(seen)).await;
    let domain = Server::start(domain).await;
    let log = Arc::new(Log::default());
    let settings = KodoSettings {
        domain: Some(domain.url.clone()),
        private,
        referer: Some("https://me.example/".into()),
        ..settings(&server.url)
    };
    let source = KodoSource::new(settings, log.clone()).unwrap();
    (server, domain, source, log)
}

#[tokio::test]
async fn a_domain_is_unsigned_unless_private() {
    for private in [false, true] {
        let (server, domain, source, _) = behind(|s| download(s, b"genuine", "\"cdn\""), private).await;
        let object = listing(&source).await.unwrap().remove(0);
        assert_eq!(source.read(&object, 0..7, Route::Usual).await.unwrap(), "genuine");
        assert_eq!(reads(&server).len(), 0);
        let seen = &domain.seen()[0];
        assert_eq!(
            (seen.target.contains("token="), seen.header("referer")),
            (private, Some("https://me.example/"))
        );
        source.read(&object, 0..7, Route::Origin).await.unwrap();
        assert_eq!((domain.seen().len(), reads(&server).len()), (1, 1));
        assert!(reads(&server)[0].target.contains("token=") && reads(&server)[0].header("referer").is_none());
    }
}

#[tokio::test]
async fn a_domain_that_alters_bytes_is_given_up_after_twenty() {
    let (server, domain, source, log) = behind(|s| download(s, b"slimmer", "\"cdn\""), false).await;
    let objects = listing(&source).await.unwrap();
    for (n, object) in objects.iter().enumerate() {
        let bytes = source.read(object, 0..7, Route::Usual).await.unwrap();
        if n < 20 {
            assert_eq!(bytes, "slimmer");
            assert_eq!(source.judge(object, Route::Usual).await.unwrap(), Verdict::TryOrigin);
            assert_eq!(source.read(object, 0..7, Route::Origin).await.unwrap(), "genuine");
        } else {
            assert_eq!(bytes, "genuine");
        }
    }
    assert_eq!((domain.seen().len(), reads(&server).len()), (20, 30));
    let events = std::mem::take(&mut *log.0.lock().unwrap());
    let [Event::Warning(words)] = &events[..] else { panic!("{events:?}") };
    assert!(words.contains(&domain.url) && words.contains("image slimming"), "{words}");
    assert!(matches!(source.judge(&objects[0], Route::Origin).await.unwrap(), Verdict::Altered(_)));
}

#[tokio::test]
async fn an_etag_of_other_content_is_a_change_to_be_judged() {
    let (_, _, source, _) =
        behind(|s| download(s, b"another", &format!("\"{}\"", etag(b"another"))), false).await;
    let object = listing(&source).await.unwrap().remove(0);
    assert_eq!(source.read(&object, 0..7, Route::Usual).await, Err(ReadError::Changed));
    assert_eq!(source.judge(&object, Route::Usual).await.unwrap(), Verdict::TryOrigin);
    let mut old = object.clone();
    old.size = 3;
    assert_eq!(source.judge(&old, Route::Usual).await.unwrap(), Verdict::Changed(Box::new(object.clone())));
    let gone = Listed { key: Key::from("gone"), ..object };
    assert_eq!(source.judge(&gone, Route::Usual).await.unwrap(), Verdict::Gone);
    assert_eq!(source.stat(&gone.key).await.unwrap(), None);
}

#[tokio::test]
async fn a_domain_that_refuses_says_which_setting_is_wrong() {
    for (code, private, words) in [
        (404, false, "not this bucket's domain"),
        (401, false, "kodo.private = true"),
        (403, false, "kodo.referer"),
        (403, true, "frozen"),
        (401, true, "secret key does not belong"),
        (301, false, "put that address as kodo.domain"),
    ] {
        let (_, domain, source, _) = behind(
            move |_| Reply::status(code).header("Location", "https://elsewhere.example/x?token=canary"),
            private,
        )
        .await;
        let object = listing(&source).await.unwrap().remove(0);
        let Err(ReadError::Failed(error)) = source.read(&object, 0..7, Route::Usual).await else {
            panic!("{code}")
        };
        assert!(error.message.contains(words) && !error.message.contains("canary"), "{code}: {error}");
        assert!(domain.seen().len() <= 2);
    }
}

#[tokio::test]
async fn details_fill_in_what_listings_leave_out() {
    let extra = r#","type":2,"restoreStatus":2,"expiration":1700006400,"endUser":"u","x-qn-meta":{"x-qn-meta-a":"1"}"#;
    let bucket = (0..600).fold(Bucket::default(), |b, n| b.with(format!("{n:03}"), "x", extra));
    let server = Server::start(move |seen| bucket.answer(seen)).await;
    let source = source(&server);
    let mut objects = listing(&source).await.unwrap();
    for object in &mut objects {
        object.unavailable = Some("archived".into());
        object.attributes = Default::default();
    }
    objects[1].size = 2;
    objects[2].key = Key::from("gone");
    let before = objects.clone();
    source.details(&mut objects).await.unwrap();
    assert_eq!(objects[1..3], before[1..3], "what is another object now, or none, stays as it was");
    for object in objects.iter().skip(3) {
        let a = &object.attributes;
        assert_eq!(
            (object.unavailable.as_ref(), a.expiry, a.end_user.as_deref()),
            (None, Some(1_700_006_400), Some("u"))
        );
        assert_eq!((a.meta["a"].as_str(), a.class.as_deref()), ("1", Some("2")));
    }
    assert_eq!(server.seen().iter().filter(|s| s.path() == "/batch").count(), 3);
}
