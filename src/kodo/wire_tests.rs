//! Answers as published, answers with holes in them, and answers that make no sense.

use super::*;
use proptest::prelude::*;

#[test]
fn a_page_as_published() {
    let page = parse_list_page(
        br#"{"marker":"eyJjIjowLCJrIjoiYmlnLmJpbiJ9","items":[
 {"key":"a.txt","hash":"FlupPJ2wz_k_UrUh10IOQ_btonhP","fsize":1,"putTime":17000000000000000,"mimeType":"text/plain","type":0,"status":0,"md5":"93b885adfe0da089cdf634904fd59f71"},
 {"key":"big.bin","hash":"nhHnsUwLnuctv9nI6j1RdbXZf7tN","fsize":10485767,"putTime":17000000000000001,"mimeType":"application/octet-stream","type":2,"status":0,"parts":[5242880,5242887]}]}"#,
    )
    .unwrap();
    assert_eq!(page.marker, "eyJjIjowLCJrIjoiYmlnLmJpbiJ9");
    let [a, big] = &page.items[..] else { panic!() };
    assert_eq!((a.key.as_slice(), a.size, a.class), (b"a.txt".as_slice(), 1, 0));
    assert_eq!((a.put_time, a.mime.as_deref()), (Some(17_000_000_000_000_000), Some("text/plain")));
    assert_eq!((big.class, big.parts.as_slice()), (2, [(5_242_880, 1), (5_242_887, 1)].as_slice()));
}

#[test]
fn holes_are_tolerated() {
    for body in ["{}", r#"{"items":null}"#, r#"{"marker":null,"items":[],"commonPrefixes":null}"#] {
        let page = ListPage { stated: body != "{}", ..ListPage::default() };
        assert_eq!(parse_list_page(body.as_bytes()).unwrap(), page, "{body}");
    }
    let page = parse_list_page(
        br#"{"new":{"deep":[[]]},"items":[null,{},{"key":"","hash":"","fsize":0,"putTime":0},{"key":"","hash":"F"},{"key":"z","hash":"F","type":9,
            "endUser":"","mimeType":null,"x-qn-meta":{"x-qn-meta-A":"1","X-Qn-Meta-b":"2","c":"3"},"parts":[1]}],"commonPrefixes":["a/","b/"]}"#,
    )
    .unwrap();
    let [empty, z] = &page.items[..] else { panic!("{page:?}") };
    assert_eq!((empty.key.as_slice(), empty.size), (b"".as_slice(), 0), "an empty key is a key");
    assert_eq!((z.class, &z.end_user, &z.mime), (9, &None, &None), "unknown classes are kept");
    assert!(z.parts.is_empty(), "parts that do not add up are no parts");
    let meta: Vec<_> = z.meta.iter().map(|(n, v)| format!("{n}{v}")).collect();
    assert_eq!(meta, ["A1", "b2", "c3"]);
    assert_eq!(page.prefixes, [Key::from("a/"), Key::from("b/")]);
}

#[test]
fn keys_are_bytes() {
    let body = b"{\"items\":[{\"key\":\"a\\u0000\\n\\\"\\\\\xff\",\"hash\":\"F\"},{\"key\":\"\\ud83d\\ude00\",\"hash\":\"F\"}]}";
    let page = parse_list_page(body).unwrap();
    assert_eq!(page.items[0].key, b"a\0\n\"\\\xff");
    assert_eq!(page.items[1].key, "😀".as_bytes());
    assert!(parse_list_page(b"{\"marker\":\"\xff\"}").is_err(), "a marker is sent back, so it must be text");
}

#[test]
fn nonsense_is_refused() {
    let deep = format!(r#"{{"x":{}"#, "[".repeat(1_000_000));
    let deep_item = format!(r#"{{"items":{}"#, "[".repeat(1_000_000));
    let many = format!(r#"{{"items":[{}]}}"#, vec![r#"{"key":"a","hash":"F"}"#; 6000].join(","));
    let long = format!(r#"{{"items":[{{"key":"{}","hash":"F"}}]}}"#, "k".repeat(8193));
    let meta: Vec<String> = (0..1000).map(|n| format!(r#""{n}":"""#)).collect();
    let meta = format!(r#"{{"items":[{{"key":"a","x-qn-meta":{{{}}}}}]}}"#, meta.join(","));
    for (body, why) in [
        ("", "not a JSON object"),
        ("<html>", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{", "EOF"),
        ("{} x", "trailing"),
        (r#"{"items":[{"key":"a","hash":"F","fsize":-5}]}"#, "the size -5 is impossible"),
        (r#"{"items":[{"key":"a","hash":"F","fsize":9223372036854775808}]}"#, "is impossible"),
        (r#"{"items":[{"key":"a","hash":"F","fsize":1e300}]}"#, "size"),
        (r#"{"items":[{"key":5}]}"#, "a text"),
        (r#"{"items":{}}"#, "a list of objects"),
        (r#"{"items":[],"items":[]}"#, "duplicate field"),
        (r#"{"error":"internal token=ak:canary","items":[]}"#, "an error instead: “internal”"),
        (&deep, "EOF"),
        (&deep_item, ""),
        (&many, "more than was asked for"),
        (&long, "a key of 8193 bytes is impossible"),
        (&meta, "too much metadata"),
    ] {
        let found = parse_list_page(body.as_bytes()).unwrap_err().to_string();
        assert!(found.contains(why), "{} → {found}", &body[..body.len().min(60)]);
    }
    let parts = format!(r#"{{"hash":"F","parts":[{}1]}}"#, "1,2,".repeat(6000));
    assert!(parse_stat(parts.as_bytes()).unwrap().parts.is_empty(), "no upload has so many parts");
}

#[test]
fn stats() {
    let object = parse_stat(
        br#"{"fsize":3,"hash":"F","mimeType":"a/b","type":3,"putTime":5,"endUser":"u","status":1,"restoreStatus":2,"expiration":1700006400,
            "transitionToIA":1700000000,"transitionToARCHIVE":1700000001,"transitionToDeepArchive":0,"x-qn-meta":{"k":"v"}}"#,
    )
    .unwrap();
    assert_eq!((object.status, object.class, object.restore), (1, 3, Some(2)));
    assert_eq!((object.expiration, object.end_user.as_deref()), (Some(1_700_006_400), Some("u")));
    let transitions: Vec<_> = object.transitions.into_iter().collect();
    assert_eq!(transitions, [("Archive".into(), 1_700_000_001), ("IA".into(), 1_700_000_000)]);
    for bad in ["{}", "[]", "", r#"{"fsize":1}"#] {
        assert!(parse_stat(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn batches() {
    let body = br#"[{"code":200,"data":{"fsize":1,"hash":"F","mimeType":"text/plain","putTime":17000000000000000,"type":0}},{"code":612,"data":{"error":"no such file or directory"}},{"code":200}]"#;
    let answers = parse_batch(body, 3).unwrap();
    assert_eq!(answers[0].object.as_ref().unwrap().size, 1);
    assert_eq!((answers[1].code, answers[1].error.as_str()), (612, "no such file or directory"));
    assert_eq!((&answers[1].object, &answers[2].object), (&None, &None));
    assert!(parse_batch(body, 2).unwrap_err().to_string().contains("3 answers to 2"));
    assert!(parse_batch(b"{}", 0).is_err());
    // Sixteen megabytes of answers are not read only to be counted: each would take thirty times its own room.
    let many = format!("[{}]", vec![r#"{"code":1}"#; 2000].join(","));
    assert!(parse_batch(many.as_bytes(), 2000).unwrap_err().to_string().contains("more answers than any"));
    let most = format!("[{}]", vec![r#"{"code":1}"#; 1000].join(","));
    assert_eq!(parse_batch(most.as_bytes(), 1000).unwrap().len(), 1000);
}

#[test]
fn errors() {
    assert_eq!(parse_error(br#"{"error":"bad token"}"#).unwrap(), "bad token");
    assert_eq!(parse_error(br#"{"error":"x token=canary"}"#).unwrap(), "x");
    assert_eq!(parse_error(b"<html>"), None);
}

#[test]
fn regions() {
    let region = parse_region(br#"{"hosts":[{"region":"z0","ttl":86400,"up":{"domains":["127.0.0.1:9000"]},"io":{"domains":["a.b-c.com"],"old":["old.com"]},
 "io_src":{"domains":["127.0.0.1:9000"]},"rs":{"domains":["127.0.0.1:9000"]},"rsf":{"domains":["[::1]:9000"]},
 "api":{"domains":["127.0.0.1:9000"]},"uc":{"domains":["127.0.0.1:9000"]},"s3":{"domains":["127.0.0.1:9000"],"region_alias":"cn-east-1"}}]}"#).unwrap();
    assert_eq!((region.id.as_str(), region.ttl), ("z0", 86_400));
    assert_eq!(region.io, ["a.b-c.com", "old.com"]);
    assert_eq!(region.rsf, ["[::1]:9000"]);
    let minimal = parse_region(br#"{"hosts":[{"rs":{"domains":["a"]},"rsf":{"domains":["b"]}}]}"#).unwrap();
    assert_eq!((minimal.ttl, minimal.io_src.is_empty()), (86_400, true));
    let good = r#"{"rs":{"domains":["a"]},"rsf":{"domains":["b"]}}"#;
    let others = format!(r#"{{"hosts":[{good}{}]}}"#, r#",{"ttl":[]}"#.repeat(5000));
    assert_eq!(parse_region(others.as_bytes()).unwrap(), minimal, "the first counts, the rest is not kept");
    let many = good.replace(r#"["a"]"#, &format!("[{}]", vec![r#""a""#; 101].join(",")));
    assert!(parse_region(format!(r#"{{"hosts":[{many}]}}"#).as_bytes()).is_err());
    for bad in [
        r#"{"hosts":[]}"#,
        "{}",
        r#"{"hosts":[{"ttl":1}]}"#,
        r#"{"hosts":[{"rs":{"domains":["a/b"]},"rsf":{"domains":["b"]}}]}"#,
        r#"{"hosts":[{"rs":{"domains":["u@a"]},"rsf":{"domains":["b"]}}]}"#,
        r#"{"hosts":[{"rs":{"domains":[""]},"rsf":{"domains":["b"]}}]}"#,
        r#"{"hosts":[{"ttl":-1,"rs":{"domains":["a"]},"rsf":{"domains":["b"]}}]}"#,
    ] {
        assert!(parse_region(bad.as_bytes()).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}:,\"a-z0-9eE.\\\\-]{0,200}") {
        for body in [bytes.as_slice(), text.as_bytes()] {
            let _ = parse_list_page(body);
            let _ = parse_stat(body);
            let _ = parse_batch(body, 1);
            let _ = parse_error(body);
            let _ = parse_region(body);
        }
    }
}
