//! The client against a scripted server: hosts, signatures, retries, pages, batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::client::{Client, ClientSettings};
use super::failure::Failure;
use super::host::{Base, Overrides, Service};
use super::http::Timeouts;
use super::limits::LimitSettings;
use super::retry::{Backoff, FixedJitter};
use super::sign::{Credentials, Signable};
use super::stat::Looked;
use super::testserver::{Reply, Seen, Server};
use crate::model::clock::FixedClock;
use crate::model::key::Key;
use crate::model::time::Timestamp;

fn client(uc: &str) -> Client {
    let second = Duration::from_secs(1);
    let quick = Duration::from_millis(2);
    Client::new(ClientSettings {
        bucket: "bkt".into(),
        credentials: Some(Credentials::new("ak", "sk").unwrap()),
        overrides: Overrides { uc: uc.into(), ..Overrides::default() },
        limits: LimitSettings::default(),
        timeouts: Timeouts { connect: second, headers: second, idle: second },
        backoff: Backoff { base: quick, throttled: quick, cap: quick },
        proxy: None,
        clock: Arc::new(FixedClock(Timestamp::from_seconds(1_700_000_000))),
        jitter: Arc::new(FixedJitter(0.5)),
    })
    .unwrap()
}

/// The answer to the region query that names the server itself for everything.
fn region(seen: &Seen) -> Reply {
    let me = seen.header("host").unwrap();
    let hosts: Vec<String> =
        ["rs", "rsf", "up", "io"].iter().map(|s| format!(r#""{s}":{{"domains":["{me}"]}}"#)).collect();
    Reply::json(format!(r#"{{"hosts":[{{"region":"z0","ttl":3600,{}}}]}}"#, hosts.join(",")))
}

#[tokio::test]
async fn a_call_finds_its_host_and_is_signed() {
    let server = Server::start(|seen| match seen.path() {
        "/v4/query" => region(seen),
        _ => Reply::json(r#"{"fsize":1,"hash":"F","putTime":5}"#),
    })
    .await;
    let client = client(&server.url);
    for _ in 0..2 {
        assert_eq!(client.stat(&Key::from("a.txt")).await.unwrap().unwrap().size, 1);
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 3, "the region is asked once");
    assert_eq!(seen[0].target, "/v4/query?ak=ak&bucket=bkt");
    assert_eq!(seen[0].header("authorization"), None);
    assert_eq!(seen[1].target, "/stat/Ymt0OmEudHh0?needparts=true");
    assert_eq!(seen[1].header("x-qiniu-date"), Some("20231114T221320Z"));
    let headers: Vec<(&str, &str)> = seen[1].headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let (path, query) = seen[1].target.split_once('?').unwrap();
    let host = server.authority();
    let signed = Signable { method: "GET", path, query: Some(query), host, headers: &headers, body: b"" };
    let token = signed.qiniu_token(&Credentials::new("ak", "sk").unwrap());
    assert_eq!(seen[1].header("authorization"), Some(token.as_str()));
    assert_eq!(client.counts(), [0, 0, 3]);
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    for (code, tries) in [(502, 8), (573, 8), (599, 8), (401, 2), (400, 1), (640, 1), (631, 1)] {
        let server = Server::start(move |seen| match seen.path() {
            "/v4/query" => region(seen),
            _ => Reply::status(code).kodo().body(r#"{"error":"x"}"#),
        })
        .await;
        let failure = client(&server.url).list_page("bucket=bkt").await.unwrap_err();
        assert!(matches!(&failure, Failure::Refused(r) if r.code == code && r.text == "x"), "{failure}");
        assert_eq!(server.seen().len() - 1, tries, "{code}");
    }
    let count = AtomicU32::new(0);
    let server = Server::start(move |seen| match (seen.path(), count.fetch_add(1, Ordering::SeqCst)) {
        ("/v4/query", _) => region(seen),
        (_, 1) => Reply::raw(""),
        (_, 2) => Reply::ok("{}"),
        (_, 3) => Reply::json("{").cut(1),
        _ => Reply::json(r#"{"items":[{"key":"a","hash":"F"}]}"#),
    })
    .await;
    assert_eq!(client(&server.url).list_page("bucket=bkt").await.unwrap().items.len(), 1);
    assert_eq!(
        server.seen().len(),
        5,
        "a broken connection, a stranger's answer, half an answer, the answer"
    );
}

#[tokio::test]
async fn an_old_region_is_better_than_none() {
    let count = AtomicU32::new(0);
    let server = Server::start(move |seen| match count.fetch_add(1, Ordering::SeqCst) {
        0 => region(seen),
        _ => Reply::status(612).kodo().body(r#"{"error":"app/accesskey is not found"}"#),
    })
    .await;
    let client = client(&server.url);
    let first = client.region().await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3601)).await;
    tokio::time::resume();
    assert_eq!(client.region().await.unwrap(), first);
    assert_eq!(server.seen().len(), 2);
    assert_eq!(client.bases(Service::Source).await.unwrap()[0].to_string(), server.url, "io for io_src");
}

#[tokio::test]
async fn settings_stand_in_for_the_region() {
    let overrides = Overrides {
        uc: "http://127.0.0.1:1".into(),
        rs: Some("127.0.0.1:2".into()),
        rsf: Some("https://rsf.example/".into()),
        io: Some(String::new()),
        up: None,
    };
    let settings = ClientSettings { overrides, ..client("http://h").settings };
    let client = Client::new(settings).unwrap();
    assert_eq!(client.bases(Service::Rs).await.unwrap()[0].to_string(), "http://127.0.0.1:2");
    assert_eq!(client.bases(Service::Rsf).await.unwrap()[0].to_string(), "https://rsf.example");
    assert!(client.bases(Service::Up).await.is_err(), "nobody is there to be asked");
    for (uc, hosts) in [("", 3), ("https://uc.qiniuapi.com/", 3), ("https://uc.example", 1)] {
        assert_eq!(self::client(uc).bases(Service::Uc).await.unwrap().len(), hosts, "{uc}");
    }
    for odd in ["ftp://h", "http://u:p@h", "h/path", "http://", ""] {
        assert!(Base::parse(odd, true).is_err(), "{odd}");
    }
}

#[tokio::test]
async fn batches_try_single_operations_again() {
    let count = AtomicU32::new(0);
    let server = Server::start(move |seen| {
        if seen.path() == "/v4/query" {
            return region(seen);
        }
        let found = r#"{"code":200,"data":{"fsize":1,"hash":"F","putTime":5}}"#;
        Reply::status(298).kodo().body(match count.fetch_add(1, Ordering::SeqCst) {
            0 => format!(r#"[{found},{{"code":599,"data":{{"error":"later"}}}},{{"code":612}},{{"code":400,"data":{{"error":"no"}}}}]"#),
            _ => format!("[{found}]"),
        })
    })
    .await;
    let keys = ["a", "b", "c", "d"].map(Key::from);
    let found = client(&server.url).stat_many(&keys.each_ref()).await.unwrap();
    let [Looked::Found(a), Looked::Found(b), Looked::Gone, Looked::Failed(400, why)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((a.key.as_slice(), b.key.as_slice(), why.as_str()), (b"a".as_slice(), b"b".as_slice(), "no"));
    let bodies: Vec<String> =
        server.seen().iter().map(|s| String::from_utf8(s.body.clone()).unwrap()).collect();
    assert_eq!(bodies[1].matches("op=%2Fstat%2F").count(), 4);
    assert_eq!(bodies[2], "op=%2Fstat%2FYmt0OmI%3D%2Fneedparts%2Ftrue");
}
