//! The client against a server that misbehaves.

use super::*;
use crate::kodo::testserver::{Reply, Server};

fn quick() -> Http {
    let t = Duration::from_millis(300);
    Http::new(Timeouts { connect: t, headers: t, idle: t }, None).unwrap()
}

fn get(url: impl Into<String>) -> Outgoing {
    Outgoing { method: Method::GET, url: url.into(), headers: vec![], body: Bytes::new() }
}

#[tokio::test]
async fn targets_go_out_as_written() {
    let server = Server::start(|r| Reply::ok(r.target.clone())).await;
    for target in
        ["/a/../b", "/a/%2e%2E/b", "/a//b/", "//lead", "/%2F", "/..", "/.", "/a%5Cb%00%0A", "/?x=%20+"]
    {
        let mut answer = quick().send(&get(format!("{}{target}", server.url))).await.unwrap();
        assert_eq!(answer.read(100).await.unwrap(), target.as_bytes());
    }
    let seen = server.seen();
    assert!(seen.iter().all(|r| r.header("accept-encoding") == Some("identity")));
    assert!(seen.iter().all(|r| r.header("user-agent").unwrap().starts_with("qbak/")));
    assert!(seen.iter().all(|r| r.header("host") == Some(server.authority())));
}

#[tokio::test]
async fn statuses_beyond_http_are_answers() {
    let server = Server::start(|_| Reply::status(612).body("{}")).await;
    assert_eq!(quick().send(&get(&server.url)).await.unwrap().status, 612);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = Server::start(|_| Reply::ok("secret")).await;
    let to = format!("{}/x?token=canary", other.url);
    let server = Server::start(move |_| Reply::status(302).header("Location", &to)).await;
    let fault = quick().send(&get(&server.url)).await.unwrap_err();
    assert!(matches!(&fault, Fault::Redirect { to, .. } if *to == format!("{}/x", other.url)), "{fault}");
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn encoded_bodies_are_refused() {
    let server = Server::start(|_| Reply::ok("x").header("Content-Encoding", "gzip")).await;
    assert!(
        matches!(quick().send(&get(&server.url)).await, Err(Fault::Encoded { encoding, .. }) if encoding == "gzip")
    );
    let server = Server::start(|_| Reply::ok("x").header("Content-Encoding", "identity")).await;
    assert!(quick().send(&get(&server.url)).await.is_ok());
}

#[tokio::test]
async fn bodies_are_bounded() {
    let server = Server::start(|_| Reply::ok("12345")).await;
    let http = quick();
    assert_eq!(http.send(&get(&server.url)).await.unwrap().read(5).await.unwrap(), "12345");
    assert!(matches!(http.send(&get(&server.url)).await.unwrap().read(4).await, Err(Fault::TooLarge { .. })));
    assert_eq!(http.send(&get(&server.url)).await.unwrap().read_some(2).await, "12");
    let endless =
        Server::start(|_| Reply::raw("HTTP/1.1 200 OK\r\n\r\n".to_owned() + &"x".repeat(100_000))).await;
    assert!(matches!(
        http.send(&get(&endless.url)).await.unwrap().read(50_000).await,
        Err(Fault::TooLarge { .. })
    ));
}

#[tokio::test]
async fn short_and_silent_answers() {
    let http = quick();
    let short = Server::start(|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234")).await;
    let fault = http.send(&get(&short.url)).await.unwrap().read(100).await.unwrap_err();
    assert!(matches!(fault, Fault::Broken { .. }), "{fault}");
    let stalled =
        Server::start(|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234").hold()).await;
    let fault = http.send(&get(&stalled.url)).await.unwrap().read(100).await.unwrap_err();
    assert!(matches!(fault, Fault::Timeout { .. }), "{fault}");
    let silent = Server::start(|_| Reply::raw("").hold()).await;
    assert!(matches!(http.send(&get(&silent.url)).await, Err(Fault::Timeout { .. })));
    let closed = Server::start(|_| Reply::raw("")).await;
    assert!(matches!(http.send(&get(&closed.url)).await, Err(Fault::Broken { .. })));
    let nobody = "http://127.0.0.1:1/";
    let fault = http.send(&get(nobody)).await.unwrap_err();
    assert!(fault.to_string().contains("refused"), "{fault}");
}

#[tokio::test]
async fn odd_addresses_are_refused() {
    for url in
        ["", "a", "/a", "file:///etc/passwd", "http://user:pw@h/", "ftp://h/", "http:///a", "http://h/a b"]
    {
        let fault = quick().send(&get(url)).await.unwrap_err();
        assert!(matches!(fault, Fault::BadUrl(_)), "{url}: {fault}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let server = crate::kodo::testserver::tls_server().await;
    let fault = quick().send(&get(format!("https://{server}/"))).await.unwrap_err();
    assert!(matches!(&fault, Fault::Tls { .. }), "{fault}");
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad\r\n\r\n").await;
        std::future::pending::<()>().await;
    });
    let fault = quick().send(&get(format!("https://{address}/"))).await.unwrap_err();
    assert!(fault.to_string().contains("does not speak TLS"), "{fault}");
}

#[tokio::test]
async fn a_proxy_is_asked_for_tunnels() {
    let server = Server::start(|_| Reply::status(407)).await;
    let proxy =
        Proxy { url: server.url.replace("//", "//me:p%40ss@"), except: vec![".direct.example".into()] };
    assert!(!format!("{proxy:?}").contains("p%40ss"));
    let t = Duration::from_millis(500);
    let http = Http::new(Timeouts { connect: t, headers: t, idle: t }, Some(&proxy)).unwrap();
    assert!(http.send(&get("http://far.example/x")).await.is_err());
    let seen = server.seen();
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("CONNECT", "far.example:80"));
    assert_eq!(seen[0].header("proxy-authorization"), Some("Basic bWU6cEBzcw=="));
    assert!(Http::new(Timeouts::default(), Some(&Proxy { url: "ftp://x".into(), except: vec![] })).is_err());
    for (host, direct) in [
        ("127.0.0.1", true),
        ("[::1]", true),
        ("localhost", true),
        ("a.direct.example", true),
        ("direct.example", true),
        ("notdirect.example", false),
        ("8.8.8.8", false),
    ] {
        assert_eq!(is_direct(host, &proxy.except), direct, "{host}");
    }
}
