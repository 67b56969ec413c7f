//! The region query, the domains, and listings v1 and v2.

use std::sync::Arc;

use bytes::Bytes;
use qbak::emulator::{MarkerReading, Memory, Object, Role, Service};
use qbak::kodo::encode::{b64u, from_b64u};
use qbak::kodo::sign::{FORM, Signable};
use serde_json::{Value, json};

use crate::raw::{Answer, Calls, credentials, folder, keys, memory, request};

/// All keys and common prefixes of a listing, page by page, and the number of pages.
fn walk(s: &Service, pairs: &[(&str, &str)]) -> (Vec<String>, Vec<String>, usize) {
    let (mut marker, mut all, mut prefixes, mut pages) = (String::new(), Vec::new(), Vec::new(), 0);
    loop {
        let mut pairs = pairs.to_vec();
        pairs.push(("marker", &marker));
        let page = s.list(&pairs);
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        all.extend(keys(&page));
        let folded = page["commonPrefixes"].as_array().cloned().unwrap_or_default();
        prefixes.extend(folded.iter().map(|p| p.as_str().unwrap().to_owned()));
        pages += 1;
        marker = page["marker"].as_str().unwrap().to_owned();
        if marker.is_empty() {
            return (all, prefixes, pages);
        }
    }
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn the_query_names_every_address() {
    let s = memory(|c| {
        c.separate_source_host = true;
        c.separate_domain_host = true;
    });
    let ask = |target: &str| request(&s.main(), "GET", target, &[], b"").unwrap();
    let hosts = ask("/v4/query?ak=ak&bucket=bkt").json()["hosts"][0].clone();
    assert_eq!(hosts["region"], "z0");
    for service in ["up", "rs", "rsf", "api", "uc", "s3"] {
        assert_eq!(hosts[service]["domains"], json!([s.main()]), "{service}");
    }
    assert_eq!(hosts["io"]["domains"], json!([s.domain()]));
    assert_eq!(hosts["io_src"]["domains"], json!([s.source()]));
    assert_ne!(s.source(), s.domain());
    let old = ask("/v2/query?ak=ak&bucket=bkt").json();
    assert_eq!(old["io_src"]["src"]["main"][0], s.source());
    assert_eq!(ask("/v4/query?ak=no&bucket=bkt").error(), (612, "app/accesskey is not found".into()));
    assert_eq!(ask("/v4/query?ak=ak&bucket=no").error(), (631, "no such bucket".into()));
    assert_eq!(s.signed("GET", "/regions", "").json()["regions"][0]["id"], "z0");
    assert_eq!(s.signed("GET", "/v2/domains?tbl=bkt", "").json(), json!([s.domain()]));
    assert_eq!(s.signed("GET", "/v3/domains?tbl=bkt", "").json()[0]["domain"], s.domain());
    assert_eq!(s.signed("GET", "/v2/domains?tbl=no", "").error().0, 631);
    assert_eq!(s.signed("GET", "/buckets", "").json(), json!(["bkt"]));
    assert_eq!(s.signed("GET", "/buckets?apiVersion=v4", "").json()["buckets"][0]["name"], "bkt");
    assert_eq!(s.signed("POST", "/v2/bucketInfo?bucket=bkt", "").json()["private"], 0);
    // Addresses for downloads serve nothing else, and know every path as a key.
    s.put("list", b"an object").unwrap();
    assert_eq!(s.get("/list").body, b"an object");
    assert_eq!(ask("/list?bucket=bkt").error().0, 401);
    assert_eq!(ask("/none").error().0, 404);
    assert_eq!(s.requests().iter().filter(|r| r.role == Role::Domain).count(), 1);
}

#[test]
fn bound_to_every_interface_it_goes_by_the_name_it_is_called() {
    let s = memory(|c| c.addr = "0.0.0.0:0".parse().unwrap());
    let port = s.addr().port();
    let at = format!("127.0.0.1:{port}");
    let text = "GET /v4/query?ak=ak&bucket=bkt HTTP/1.1\r\nHost: some.name:1\r\nConnection: close\r\n\r\n";
    let answer = crate::raw::exchange(&at, text.as_bytes()).unwrap();
    assert_eq!(answer.json()["hosts"][0]["io_src"]["domains"], json!([format!("some.name:{port}")]));
}

#[test]
fn one_address_still_downloads_objects_named_like_calls() {
    let s = memory(|_| {});
    assert_eq!(s.get("/list?bucket=bkt").error().0, 401, "no such object: the call without its signature");
    s.put("list", b"an object").unwrap();
    assert_eq!(s.get("/list?bucket=bkt").body, b"an object");
    assert_eq!(keys(&s.list(&[]).json()), ["list"]);
}

#[test]
fn pages_follow_each_other_in_both_readings_of_the_marker() {
    for reading in [MarkerReading::LastReturned, MarkerReading::NextKey] {
        let s = memory(|c| c.markers = reading);
        let all = [
            "", "/", "/a", "a", "a/", "a/b", "a/b/c", "a/c", "a0", "b//", "b//x", "z", "\u{ffff}", "😀",
            "😀/x",
        ];
        for key in all {
            s.put(key, b"x").unwrap();
        }
        for limit in ["1", "2", "4", "15", "16", "1000"] {
            let (found, prefixes, pages) = walk(&s, &[("limit", limit)]);
            assert_eq!(found, all, "{reading:?} {limit}");
            assert!(prefixes.is_empty());
            assert_eq!(pages, all.len().div_ceil(limit.parse().unwrap()), "{reading:?} {limit}");
            let (found, prefixes, _) = walk(&s, &[("limit", limit), ("delimiter", "/")]);
            assert_eq!(found, ["", "a", "a0", "z", "\u{ffff}", "😀"], "{reading:?} {limit}");
            assert_eq!(prefixes, ["/", "a/", "b/", "😀/"], "{reading:?} {limit}");
            let (found, prefixes, _) = walk(&s, &[("limit", limit), ("delimiter", "/"), ("prefix", "a/")]);
            assert_eq!(
                (found, prefixes),
                (vec!["a/".into(), "a/b".into(), "a/c".into()], vec!["a/b/".into()])
            );
            assert_eq!(walk(&s, &[("limit", limit), ("prefix", "b/")]).0, ["b//", "b//x"]);
        }
        let first = s.list(&[("limit", "3")]).json();
        let marker: Value =
            serde_json::from_slice(&from_b64u(first["marker"].as_str().unwrap()).unwrap()).unwrap();
        let expected = if reading == MarkerReading::NextKey { "a" } else { "/a" };
        assert_eq!(marker, json!({ "c": 0, "k": expected }));
        // A key that is no object's means the same in both readings.
        let made_up = b64u(r#"{"c":0,"k":"a/b/zz"}"#);
        assert_eq!(keys(&s.list(&[("marker", &made_up), ("limit", "1")]).json()), ["a/c"]);
    }
}

#[test]
fn wrong_listing_requests_are_refused() {
    let s = memory(|_| {});
    s.put("a", b"x").unwrap();
    assert_eq!(s.list(&[("limit", "1001")]).error().0, 400);
    assert_eq!(s.list(&[("limit", "0")]).error().0, 400);
    assert_eq!(s.list(&[("limit", "x")]).error().0, 400);
    for marker in ["!", "bm8ganNvbg==", &b64u("{}"), &b64u(r#"{"c":0,"k":1}"#)] {
        assert_eq!(s.list(&[("marker", marker)]).error().0, 640, "{marker}");
    }
    assert_eq!(s.signed("GET", "/list?bucket=other", "").error(), (631, "no such bucket".into()));
    assert_eq!(s.signed("GET", "/list", "").error().0, 631);
    // POST is as good as GET, and a space is `+` or `%20`.
    s.put("目录/ a", b"x").unwrap();
    for query in ["%E7%9B%AE%E5%BD%95%2F+a", "%E7%9B%AE%E5%BD%95%2F%20a"] {
        for method in ["GET", "POST"] {
            let page = s.signed(method, &format!("/list?bucket=bkt&limit=10&prefix={query}"), "");
            assert_eq!(keys(&page.json()), ["目录/ a"]);
        }
    }
}

#[test]
fn both_signature_schemes_over_what_was_received() {
    let s = memory(|_| {});
    let host = s.main();
    let target = "/list?bucket=bkt&prefix=a%2Fb+c";
    let sent = |headers: &[(&str, &str)], token: &str, body: &[u8]| {
        let mut all = headers.to_vec();
        all.push(("Authorization", token));
        request(&host, "POST", target, &all, body).unwrap().status
    };
    let signable = |headers, body| Signable {
        method: "POST",
        path: "/list",
        query: Some("bucket=bkt&prefix=a%2Fb+c"),
        host: &host,
        headers,
        body,
    };
    let form = [("Content-Type", FORM)];
    let binary = [("Content-Type", "application/octet-stream")];
    let ours = credentials();
    let token = signable(&form, b"x=1").qiniu_token(&ours);
    assert_eq!(sent(&form, &token, b"x=1"), 200);
    assert_eq!(sent(&form, &token, b"x=2"), 401, "the body is covered");
    assert_eq!(sent(&binary, &token, b"x=1"), 401, "the content type is covered");
    let mut more = form.to_vec();
    more.push(("X-Qiniu-Extra", "1"));
    assert_eq!(sent(&more, &token, b"x=1"), 401, "X-Qiniu headers are covered");
    let token = signable(&binary, b"").qiniu_token(&ours);
    assert_eq!(sent(&binary, &token, b"anything"), 200, "a binary body is not signed");
    let token = signable(&[], b"").qiniu_token(&ours);
    assert_eq!(sent(&[], &token, b""), 200, "no content type at all");
    let token = signable(&form, b"x=1").qbox_token(&ours);
    assert_eq!(sent(&form, &token, b"x=1"), 200);
    assert_eq!(sent(&form, &token, b"x=2"), 401);
    let json = [("Content-Type", "application/json")];
    let token = signable(&json, b"").qbox_token(&ours);
    assert_eq!(sent(&json, &token, b"{}"), 200, "the older scheme signs only forms");
    let other = qbak::kodo::sign::Credentials::new("ak", "other").unwrap();
    assert_eq!(sent(&form, &signable(&form, b"").qiniu_token(&other), b""), 401);
    let stranger = qbak::kodo::sign::Credentials::new("other", "sk").unwrap();
    assert_eq!(sent(&form, &signable(&form, b"").qiniu_token(&stranger), b""), 401);
    assert_eq!(
        request(&host, "POST", target, &form, b"").unwrap().error(),
        (401, "token not specified".into())
    );
    // The date: signed, and not too far from now.
    let date = |offset: i64| {
        let t = qbak::model::time::Timestamp::from_seconds(crate::raw::now() + offset);
        qbak::kodo::sign::date_value(t)
    };
    for (text, status) in
        [(date(0), 200), (date(-800), 200), (date(-1000), 403), (date(1000), 403), ("x".into(), 403)]
    {
        assert_eq!(s.signed_with("GET", target, "", &[("X-Qiniu-Date", &text)]).status, status, "{text}");
    }
}

#[test]
fn version_2_is_a_stream_of_lines() {
    let s = memory(|_| {});
    for i in 0..2500 {
        s.put(&format!("d{}/k{i:04}", i % 2), b"").unwrap();
    }
    let all = lines(&s.signed("GET", "/v2/list?bucket=bkt&limit=3000", ""));
    assert_eq!(all.len(), 2500);
    assert_eq!(all[2499]["marker"], "");
    assert_eq!(all[1250]["item"]["key"], "d1/k0001");
    let marker = all[1249]["marker"].as_str().unwrap().replace('=', "%3D");
    let rest = lines(&s.signed("GET", &format!("/v2/list?bucket=bkt&limit=5&marker={marker}"), ""));
    assert_eq!(rest.len(), 5);
    assert_eq!(rest[0]["item"]["key"], "d1/k0001");
    assert_ne!(rest[4]["marker"], "");
    let dirs = lines(&s.signed("GET", "/v2/list?bucket=bkt&delimiter=/", ""));
    let shown: Vec<_> = dirs.iter().map(|l| (l["dir"].as_str().unwrap(), l["item"].is_null())).collect();
    assert_eq!(shown, [("d0/", true), ("d1/", true)]);
    let none = lines(&s.signed("POST", "/v2/list?bucket=bkt&prefix=none", ""));
    assert_eq!(none, [json!({ "marker": "", "item": null, "dir": "" })]);
    assert_eq!(s.signed("GET", "/v2/list?bucket=bkt&marker=x", "").error().0, 640);
}

#[test]
fn items_carry_what_is_known() {
    let s = memory(|_| {});
    let object = Object {
        size: 5,
        hash: "nhHnsUwLnuctv9nI6j1RdbXZf7tN".into(),
        put_time: 17_000_000_000_000_001,
        mime: "video/mp4".into(),
        class: 1,
        end_user: Some("me".into()),
        meta: [("name".to_owned(), "值".to_owned())].into(),
        parts: vec![2, 3],
        ..Object::default()
    };
    let m = Memory::new();
    m.insert_shared(["k"], &Arc::new(object), &Bytes::from_static(b"12345"));
    let s2 = memory(|c| {
        c.backing = qbak::emulator::Backing::Catalog(Arc::new(m));
        c.meta_prefix = true;
    });
    let item = s2.list(&[]).json()["items"][0].clone();
    assert_eq!(
        item,
        json!({
            "key": "k", "hash": "nhHnsUwLnuctv9nI6j1RdbXZf7tN", "fsize": 5, "putTime": 17_000_000_000_000_001_i64,
            "mimeType": "video/mp4", "type": 1, "status": 0, "endUser": "me", "x-qn-meta": { "x-qn-meta-name": "值" },
        })
    );
    assert_eq!(s2.list(&[("needparts", "true")]).json()["items"][0]["parts"], json!([2, 3]));
    assert!(keys(&s.list(&[]).json()).is_empty());
    assert_eq!(s.list(&[]).json()["marker"], "");
}

#[test]
fn a_folder_is_listed_as_it_is_now() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    for i in 0..2000 {
        std::fs::write(dir.path().join(format!("d/f{i:04}")), format!("{i}")).unwrap();
    }
    let s = folder(dir.path());
    let (found, _, pages) = walk(&s, &[]);
    assert_eq!((found.len(), pages), (2000, 2));
    std::fs::write(dir.path().join("new"), "x").unwrap();
    std::fs::remove_file(dir.path().join("d/f0000")).unwrap();
    let (found, _, _) = walk(&s, &[]);
    assert_eq!((found.len(), found[0].as_str(), found[1999].as_str()), (2000, "d/f0001", "new"));
}
