//! Downloads: keys in paths, Range, tokens.

use qbak::kodo::encode::{component, path};

use crate::raw::{Calls, credentials, memory, now, request};

#[test]
fn paths_are_decoded_once_and_never_tidied() {
    let s = memory(|_| {});
    let all = [
        "",
        "a",
        "/",
        "/a",
        "//a",
        "a/",
        "a//b",
        "a/./b",
        "a/../b",
        ".",
        "..",
        "../a",
        "a b",
        "a+b",
        "a%b",
        "a%2Fb",
        "a?b",
        "a#b",
        "a&b=c",
        "目录/😀",
        "a\\b",
        "\t",
        "stat/x",
        "a;b",
    ];
    for key in all {
        s.put(key, format!("<{key}>").as_bytes()).unwrap();
    }
    for key in all {
        assert_eq!(
            s.get(&format!("/{}", path(key.as_bytes()))).body,
            format!("<{key}>").as_bytes(),
            "{key:?}"
        );
        let every: String = key.bytes().map(|b| format!("%{b:02x}")).collect();
        assert_eq!(s.get(&format!("/{every}")).body, format!("<{key}>").as_bytes(), "{key:?}");
    }
    // As written: a literal plus is no space, slashes and dots stay.
    for (target, key) in [
        ("/a+b", "a+b"),
        ("//a", "/a"),
        ("///a", "//a"),
        ("/a/../b", "a/../b"),
        ("/a/./b", "a/./b"),
        ("/..", ".."),
        ("/a//b?x=1", "a//b"),
        ("/a%252Fb", "a%2Fb"),
    ] {
        assert_eq!(s.get(target).text(), format!("<{key}>"), "{target}");
    }
    let missing = s.get("/none");
    assert_eq!(missing.error(), (404, "Document not found".into()));
    assert_eq!(s.get("/%ff").error(), (400, "key must be utf8 encoding".into()));
    assert_eq!(
        s.get("/a?attname=x%20y").header("content-disposition"),
        Some("attachment; filename*=utf-8''x%20y")
    );
}

#[test]
fn ranges_heads_and_headers() {
    let s = memory(|_| {});
    let object = s.put("a.txt", b"0123456789").unwrap();
    s.put("empty", b"").unwrap();
    let tag = format!("\"{}\"", object.hash);
    let whole = s.get("/a.txt");
    assert_eq!((whole.status, whole.body.as_slice()), (200, b"0123456789".as_slice()));
    assert_eq!(whole.header("etag"), Some(tag.as_str()));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(whole.header("content-type"), Some("text/plain"));
    assert_eq!(whole.header("content-length"), Some("10"));
    assert!(whole.header("last-modified").unwrap().ends_with(" GMT"));
    assert!(whole.header("x-reqid").is_some() && whole.header("content-encoding").is_none());
    for (range, body, shown) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=3-5", "345", "bytes 3-5/10"),
        ("bytes=8-", "89", "bytes 8-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
    ] {
        let part = s.get_range("/a.txt", range);
        assert_eq!((part.status, part.text().as_str()), (206, body), "{range}");
        assert_eq!(part.header("content-range"), Some(shown));
        assert_eq!(part.header("etag"), Some(tag.as_str()));
    }
    for (target, range) in [("/a.txt", "bytes=10-"), ("/empty", "bytes=0-0")] {
        let none = s.get_range(target, range);
        assert_eq!(none.status, 416, "{target}");
        assert!(
            none.header("etag").is_some() && none.header("content-range").unwrap().starts_with("bytes */")
        );
        assert!(none.body.is_empty());
    }
    let head = request(&s.domain(), "HEAD", "/a.txt", &[], b"").unwrap();
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("10"), 0));
    assert_eq!(head.header("etag"), Some(tag.as_str()));
    let same = request(&s.domain(), "GET", "/a.txt", &[("If-None-Match", &tag)], b"").unwrap();
    assert_eq!((same.status, same.body.len()), (304, 0));
    let posted = request(&s.main(), "DELETE", "/a.txt", &[], b"").unwrap();
    assert_eq!(posted.status, 404, "no call of that name");
    let apart = memory(|c| c.separate_domain_host = true);
    assert_eq!(request(&apart.domain(), "POST", "/a.txt", &[], b"").unwrap().error().0, 405);
}

#[test]
fn private_buckets_and_the_source_host_want_tokens() {
    let s = memory(|c| {
        c.private = true;
        c.separate_source_host = true;
        c.separate_domain_host = true;
    });
    s.put("a b.txt", b"secret").unwrap();
    for host in [s.domain(), s.source()] {
        let get = |target: &str| request(&host, "GET", target, &[], b"").unwrap();
        assert_eq!(get("/a%20b.txt").error(), (401, "token not specified".into()));
        let good = s.sign_target(&host, "/a%20b.txt");
        assert_eq!(get(&good).body, b"secret");
        assert_eq!(request(&host, "HEAD", &good, &[], b"").unwrap().status, 200);
        // Percent-encoded, as one client sends it; and nothing after the token counts.
        let (before, token) = good.split_once("&token=").unwrap();
        assert_eq!(get(&format!("{before}&token={}", component(token))).body, b"secret");
        assert_eq!(get(&format!("{good}&anything=1&token=x")).body, b"secret");
        // Anything before it does, to the letter.
        assert_eq!(get(&good.replace("%20", "+")).error().1, "download token auth failed");
        assert_eq!(get(&good.replace("?e=", "?x=1&e=")).error().0, 401);
        assert_eq!(get(&format!("{before}&token=ak:AAAA")).error().0, 401);
        let other = s.sign_target("127.0.0.1:1", "/a%20b.txt");
        assert_eq!(get(&other).error().0, 401, "made for another host");
        let url = qbak::kodo::sign::sign_url(&credentials(), &format!("http://{host}/a%20b.txt"), now() - 1);
        let late = url.strip_prefix(&format!("http://{host}")).unwrap();
        assert_eq!(get(late).error(), (401, "token out of date".into()));
        let fop = s.sign_target(&host, "/a%20b.txt?attname=x");
        assert_eq!(get(&fop).body, b"secret");
        let https =
            qbak::kodo::sign::sign_url(&credentials(), &format!("https://{host}/a%20b.txt"), now() + 60);
        assert_eq!(get(https.strip_prefix(&format!("https://{host}")).unwrap()).error().0, 401);
    }
}

#[test]
fn public_domains_need_no_token_but_refuse_a_wrong_one() {
    let s = memory(|c| {
        c.separate_source_host = true;
        c.https_tokens = true;
    });
    s.put("a", b"open").unwrap();
    assert_eq!(s.get("/a").body, b"open");
    assert_eq!(s.get("/a?e=1").body, b"open");
    assert_eq!(s.get("/a?e=9999999999&token=ak:AAAA").error().0, 401);
    assert_eq!(s.get(&s.sign_target(&s.domain(), "/a")).body, b"open");
    assert_eq!(
        request(&s.source(), "GET", "/a", &[], b"").unwrap().error().0,
        401,
        "the source host always asks"
    );
    let https = qbak::kodo::sign::sign_url(&credentials(), &format!("https://{}/a", s.source()), now() + 60);
    let target = https.strip_prefix(&format!("https://{}", s.source())).unwrap();
    assert_eq!(request(&s.source(), "GET", target, &[], b"").unwrap().body, b"open", "as behind a proxy");
}

#[test]
fn large_files_of_a_folder_come_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..3_000_001u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(dir.path().join("big"), &bytes).unwrap();
    let s = crate::raw::folder(dir.path());
    let whole = s.get("/big");
    assert!(whole.whole && whole.body == bytes);
    let part = s.get_range("/big", "bytes=1000000-2999999");
    assert!(part.whole && part.body == bytes[1_000_000..3_000_000]);
    let head = request(&s.domain(), "HEAD", "/big", &[], b"").unwrap();
    assert_eq!(head.header("content-length"), Some("3000001"));
}
