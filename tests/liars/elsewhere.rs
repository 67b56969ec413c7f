//! Answers that lead elsewhere, and hosts that are not who they say: nothing is followed, and nobody else hears of a key or a token.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use qbak::emulator::{Action, Kind, Rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::bucket::{ACCESS, Bucket};
use crate::common::noise;
use crate::quick::intact;
use crate::tls::{fixture, secure};

/// Listens, answers every request well, and keeps all it hears.
async fn stranger() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let all = Arc::clone(&all);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    all.lock().unwrap().extend_from_slice(&buffer[..n]);
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
                }
            });
        }
    });
    (address, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed() {
    let (other, heard) = stranger().await;
    let bucket = Bucket::with(|c| c.private = true).await;
    let private = |b: &Bucket| {
        b.configure_with(&format!("domain = \"{}\"\nprivate = true", b.service.domain_url()), "");
    };
    private(&bucket);
    bucket.put("old", noise(1, 100));
    bucket.snapshot(&[]).await.exits(0);
    for n in 0..30 {
        bucket.put(&format!("new-{n:02}"), noise(n, 100));
    }
    let main = bucket.service.uc_url();
    let targets = [
        (301, format!("http://{other}/list?token=canary")),
        (302, "http://169.254.169.254/latest/meta-data/".to_owned()),
        (303, "file:///etc/passwd".to_owned()),
        (307, format!("//{other}/")),
        (308, format!("{main}/list")),
        (300, "https://user:pw@elsewhere.example/".to_owned()),
    ];
    for kind in [Kind::Query, Kind::List, Kind::Batch, Kind::Download] {
        for (code, target) in &targets {
            let rule = Rule::on(kind).does(Action::Body(*code, Bytes::new()));
            let id =
                bucket.service.faults().add(rule.does(Action::Header("Location".into(), target.clone())));
            let said = bucket.snapshot(&[]).await;
            let reason = match kind {
                Kind::Download => said.lines("failed")[0]["reason"].as_str().unwrap().to_owned(),
                _ => said.summary()["message"].as_str().unwrap().to_owned(),
            };
            let code = if kind == Kind::Download { 1 } else { 2 };
            assert_eq!(said.code, code, "{kind:?} {target}: {said:#?}");
            assert!(
                reason.contains("redirects to ") && reason.contains("not followed"),
                "{kind:?}: {reason}"
            );
            assert!(!reason.contains("canary") && !said.stderr.contains("canary"), "{said:#?}");
            let fired = bucket.service.faults().fired(id);
            assert!(fired <= if kind == Kind::Download { 40 } else { 2 }, "{kind:?} {target}: {fired} times");
            bucket.service.faults().clear();
        }
    }
    assert_eq!(heard.lock().unwrap().len(), 0, "{}", String::from_utf8_lossy(&heard.lock().unwrap()));
    assert_eq!(intact(&bucket).await, 1);
    bucket.snapshot(&[]).await.exits(0);
    assert_eq!(bucket.newest().await.len(), 31);
}

/// The region query may name any host, and is asked without a secret; what goes to the hosts it names are tokens for them alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_region_query_is_told_no_secret_and_odd_hosts_are_refused() {
    let bucket = Bucket::new().await;
    bucket.put("a", "a");
    for odd in ["elsewhere.example/path", "user@elsewhere.example", "", "a b", "h:1:2", "h?x=1", "h#y"] {
        let region =
            format!(r#"{{"hosts":[{{"rs":{{"domains":["{odd}"]}},"rsf":{{"domains":["{odd}"]}}}}]}}"#);
        bucket.service.faults().add(Rule::on(Kind::Query).does(Action::Body(200, region.into())));
        let told = crate::quick::Quick::default().run(&bucket).await;
        assert!(told.code == 1 || told.code == 2, "{odd}: {told:#?}");
        assert!(
            told.message.contains("is not a host") || told.message.contains("makes no sense"),
            "{told:#?}"
        );
        bucket.service.faults().clear();
    }
    let (other, heard) = stranger().await;
    let region =
        format!(r#"{{"hosts":[{{"rs":{{"domains":["{other}"]}},"rsf":{{"domains":["{other}"]}}}}]}}"#);
    bucket.service.faults().add(Rule::on(Kind::Query).does(Action::Body(200, region.into())));
    let told = crate::quick::Quick::default().run(&bucket).await.exits(1);
    assert!(told.message.contains("intercept"), "it has no number of Kodo's: {}", told.message);
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    assert!(heard.contains(&format!("Qiniu {ACCESS}:")), "signed for that host: {heard}");
    assert!(!heard.contains(crate::common::bucket::SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_certificate_for_this_host_and_this_day_will_do() {
    let bucket = Bucket::with(|c| {
        (c.separate_source_host, c.separate_domain_host, c.https_tokens) = (false, false, true);
    })
    .await;
    bucket.put("a", noise(1, 5000));
    let to = bucket.service.addr();
    let own = fixture("ca.pem");
    let roots: [(&str, &str); 1] = [("SSL_CERT_FILE", own.to_str().unwrap())];
    let all = ["--json", "snapshot"];
    // The whole run over TLS, in each of its parts; without our authority among the roots, not one byte of it.
    for (certificate, trusts, words) in [
        ("good", false, "certificate is not valid here"),
        ("expired", true, "certificate is not valid here"),
        ("elsewhere", true, "certificate is not valid here"),
        ("good", true, ""),
    ] {
        let server = secure(certificate, to).await;
        bucket.service.clear_requests();
        let host = server.url.trim_start_matches("https://");
        let text = format!(
            "store = \"./store\"\nsource = \"kodo://bkt\"\n[kodo]\nuc = \"{}\"\nrs = \"{host}\"\nrsf = \"{host}\"\nio = \"{host}\"\n",
            server.url
        );
        std::fs::write(bucket.path("qbak.toml"), text).unwrap();
        let none = bucket.path("no-roots.pem");
        std::fs::copy(fixture("elsewhere.pem"), &none).unwrap();
        let foreign = [("SSL_CERT_FILE", none.to_str().unwrap())];
        let said = bucket.qbak_with(&all, if trusts { &roots } else { &foreign }).await;
        if words.is_empty() {
            said.exits(0);
            assert_eq!(bucket.newest().await[b"a".as_slice()], noise(1, 5000));
            assert!(server.trusted.load(Ordering::SeqCst) > 0);
            continue;
        }
        let said = said.exits(1);
        let message = said.summary()["message"].as_str().unwrap().to_owned();
        assert!(
            message.contains(words) && message.contains("no secure connection to 127.0.0.1"),
            "{message}"
        );
        assert_eq!(server.trusted.load(Ordering::SeqCst), 0, "{certificate}: the handshake came to its end");
        assert!(bucket.service.requests().is_empty());
        assert_eq!(intact(&bucket).await, 0);
    }
}

/// A server that speaks only what is no longer good enough, one that speaks none, and one that would rather speak without.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_less_than_tls_will_do() {
    let bucket = Bucket::with(|c| (c.separate_source_host, c.separate_domain_host) = (false, false)).await;
    bucket.put("a", "a");
    let own = fixture("ca.pem");
    let roots = [("SSL_CERT_FILE", own.to_str().unwrap())];
    let configure = |url: &str| {
        std::fs::write(
            bucket.path("qbak.toml"),
            format!("store = \"./store\"\nsource = \"kodo://bkt\"\n[kodo]\nuc = \"{url}\"\n"),
        )
        .unwrap();
    };
    // The alert of a server that has no version in common: fatal, 70.
    for (answer, words) in [
        (&b"\x15\x03\x01\x00\x02\x02\x46"[..], "ProtocolVersion"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        configure(&format!("https://{}", listener.local_addr().unwrap()));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut hello = [0; 1024];
                    let _ = stream.read(&mut hello).await;
                    let _ = stream.write_all(answer).await;
                    let _ = stream.read(&mut hello).await;
                });
            }
        });
        let said = bucket.qbak_with(&["--json", "snapshot"], &roots).await.exits(1);
        assert!(said.summary()["message"].as_str().unwrap().contains(words), "{said:#?}");
    }
    // Over good TLS, a redirect to plain http.
    let (other, heard) = stranger().await;
    let server = secure("good", bucket.service.addr()).await;
    configure(&server.url);
    let down = Rule::on(Kind::Query).does(Action::Redirect(format!("http://{other}/v4/query")));
    bucket.service.faults().add(down);
    let said = bucket.qbak_with(&["--json", "snapshot"], &roots).await.exits(2);
    assert!(said.summary()["message"].as_str().unwrap().contains("not followed"), "{said:#?}");
    assert!(heard.lock().unwrap().is_empty());
}
