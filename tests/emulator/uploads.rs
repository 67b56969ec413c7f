//! Uploads: form, resumable v1, multipart v2; what the policy allows.

use md5::{Digest as _, Md5};
use qbak::emulator::{EtagReading, Service};
use qbak::kodo::encode::b64u;
use qbak::kodo::sign::upload_token;
use serde_json::{Value, json};

use crate::raw::{Answer, Calls, credentials, memory, now, request};

/// A token for this scope and these fields more.
fn token(scope: &str, more: Value) -> String {
    let mut policy = json!({ "scope": scope, "deadline": now() + 3600 });
    policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    upload_token(&credentials(), policy.to_string().as_bytes())
}

fn form(
    s: &Service,
    token: &str,
    key: Option<&str>,
    extra: &[(&str, &str)],
    mime: &str,
    bytes: &[u8],
) -> Answer {
    let mut body = Vec::new();
    let mut field = |name: &str, value: &str| {
        let text = format!("--BOUND\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(text.as_bytes());
    };
    field("token", token);
    if let Some(key) = key {
        field("key", key);
    }
    for (name, value) in extra {
        field(name, value);
    }
    body.extend_from_slice(
        format!("--BOUND\r\nContent-Disposition: form-data; name=\"file\"; filename=\"文 件.txt\"\r\nContent-Type: {mime}\r\n\r\n")
            .as_bytes(),
    );
    body.extend_from_slice(bytes);
    body.extend_from_slice(b"\r\n--BOUND--\r\n");
    request(&s.main(), "POST", "/", &[("Content-Type", "multipart/form-data; boundary=BOUND")], &body)
        .unwrap()
}

fn put(s: &Service, scope: &str, more: Value, key: &str, bytes: &[u8]) -> Answer {
    form(s, &token(scope, more), Some(key), &[], "text/plain", bytes)
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i % 251) as u8).collect()
}

#[test]
fn forms() {
    let s = memory(|_| {});
    let answer = form(
        &s,
        &token("bkt", json!({})),
        Some("目录/😀"),
        &[("x-qn-meta-a", "值"), ("crc32", "1219131554")],
        "x/y",
        b"hi",
    );
    assert_eq!(answer.status, 406, "wrong crc32");
    let crc = crc32fast::hash(b"hi").to_string();
    let extra = [("x-qn-meta-a", "值"), ("crc32", crc.as_str())];
    let answer = form(&s, &token("bkt", json!({})), Some("目录/😀"), &extra, "x/y", b"hi");
    assert_eq!((answer.status, &answer.json()["key"]), (200, &json!("目录/😀")));
    let stat = s.op("stat", "目录/😀", "").json();
    assert_eq!(stat["md5"], hex::encode(Md5::digest(b"hi")));
    assert_eq!((&stat["mimeType"], &stat["x-qn-meta"]["a"]), (&json!("x/y"), &json!("值")));
    let empty = form(&s, &token("bkt", json!({})), Some(""), &[], "text/plain", b"");
    assert_eq!(empty.json(), json!({ "key": "", "hash": "Fto5o-5ea0sNMlW_75VgGJCv2AcJ" }));
    let unnamed = form(&s, &token("bkt", json!({})), None, &[], "text/plain", b"x");
    assert_eq!(unnamed.json()["key"], unnamed.json()["hash"]);
    let saved = json!({
        "saveKey": "$(year)/$(fname)$(x:v)", "returnBody": r#"{"k":"$(key)","n":$(fsize),"v":$(x:v)}"#,
    });
    let named = form(&s, &token("bkt", saved.clone()), None, &[("x:v", "\"")], "text/plain", b"x").json();
    assert!(named["k"].as_str().unwrap().ends_with("/文 件.txt\""), "{named}");
    assert_eq!((&named["n"], &named["v"]), (&json!(1), &json!("\"")));
    let mut forced = saved;
    forced["forceSaveKey"] = true.into();
    let named = form(&s, &token("bkt", forced), Some("mine"), &[("x:v", "2")], "text/plain", b"x").json();
    assert!(named["k"].as_str().unwrap().ends_with("/文 件.txt2"));
    assert_eq!(put(&s, "bkt", json!({}), &"k".repeat(751), b"").error().0, 400);
    assert_eq!(form(&s, "ak:x:y", Some("k"), &[], "text/plain", b"").error(), (401, "bad token".into()));
    let garbage =
        request(&s.main(), "POST", "/", &[("Content-Type", "multipart/form-data; boundary=B")], b"garbage");
    assert_eq!(garbage.unwrap().error().0, 400);
}

#[test]
fn policies_are_enforced() {
    let s = memory(|_| {});
    let none = json!({});
    assert_eq!(put(&s, "bkt:a", none.clone(), "a", b"one").status, 200);
    assert_eq!(put(&s, "bkt:a", none.clone(), "a", b"two").status, 200, "a scope with the key overwrites");
    assert_eq!(put(&s, "bkt:a", none.clone(), "b", b"x").error(), (403, "key doesn't match scope".into()));
    assert_eq!(put(&s, "bkt", none.clone(), "a", b"x").error(), (614, "file exists".into()));
    assert_eq!(put(&s, "bkt", none.clone(), "a", b"two").status, 200, "the same content is no conflict");
    assert_eq!(put(&s, "bkt:a", json!({ "insertOnly": 1 }), "a", b"x").error().0, 614);
    assert_eq!(put(&s, "bkt:p/", json!({ "isPrefixalScope": 1 }), "p/x", b"x").status, 200);
    assert_eq!(put(&s, "bkt:p/", json!({ "isPrefixalScope": 1 }), "p/x", b"y").error().0, 614);
    assert_eq!(put(&s, "bkt:p/", json!({ "isPrefixalScope": 1 }), "q/x", b"y").error().0, 403);
    assert_eq!(put(&s, "other", none, "a", b"x").error().0, 631);
    assert_eq!(
        put(&s, "bkt", json!({ "deadline": now() - 5 }), "c", b"x").error(),
        (401, "token out of date".into())
    );
    assert_eq!(put(&s, "bkt", json!({ "fsizeMin": 2 }), "c", b"x").error().0, 403);
    assert_eq!(put(&s, "bkt", json!({ "fsizeLimit": 2 }), "c", b"xxx").error().0, 413);
    assert_eq!(put(&s, "bkt", json!({ "mimeLimit": "!text/*" }), "c", b"x").error().0, 403);
    assert_eq!(put(&s, "bkt", json!({ "keylimit": ["d"] }), "c", b"x").error().0, 403);
    assert_eq!(put(&s, "bkt", json!({ "trafficLimit": 5 }), "c", b"x").error().0, 400);
    let more = json!({ "fileType": 2, "deleteAfterDays": 3, "endUser": "me", "detectMime": 1 });
    assert_eq!(put(&s, "bkt", more, "c", b"%PDF-1").status, 200);
    let stat = s.op("stat", "c", "").json();
    assert_eq!(
        (&stat["type"], &stat["endUser"], &stat["mimeType"]),
        (&json!(2), &json!("me"), &json!("application/pdf"))
    );
    assert!(stat["expiration"].as_i64().unwrap() > now() + 3 * 86_400);
    assert_eq!(put(&s, "bkt", json!({ "callbackUrl": "http://x/" }), "d", b"x").error().0, 579);
    assert_eq!(s.get("/d").status, 200, "579: stored all the same");
    let back = put(&s, "bkt", json!({ "returnUrl": "http://x/?a=1" }), "e", b"x");
    assert_eq!(back.status, 303);
    assert!(back.header("location").unwrap().starts_with("http://x/?a=1&upload_ret="));
    // Another secret, a changed policy.
    let good = token("bkt", json!({}));
    let (head, data) = good.rsplit_once(':').unwrap();
    assert_eq!(
        form(&s, &format!("{head}:{}", data.replacen('e', "f", 1)), Some("f"), &[], "x/y", b"").error().0,
        401
    );
}

fn up(s: &Service, token: &str, method: &str, target: &str, extra: &[(&str, &str)], body: &[u8]) -> Answer {
    let token = format!("UpToken {token}");
    let mut headers = vec![("Authorization", token.as_str()), ("Content-Type", "application/octet-stream")];
    headers.extend_from_slice(extra);
    request(&s.main(), method, target, &headers, body).unwrap()
}

#[test]
fn resumable_version_1() {
    let s = memory(|_| {});
    let bytes = pattern((4 << 20) + 100);
    let t = token("bkt", json!({}));
    let post = |target: &str, body: &[u8]| up(&s, &t, "POST", target, &[], body);
    let first = post(&format!("/mkblk/{}", 4 << 20), &bytes[..1000]).json();
    assert_eq!(first["offset"], 1000);
    assert_eq!(first["crc32"], crc32fast::hash(&bytes[..1000]));
    assert_eq!(first["host"], s.uc_url());
    let ctx = |v: &Value| v["ctx"].as_str().unwrap().to_owned();
    let next = post(&format!("/bput/{}/1000", ctx(&first)), &bytes[1000..4 << 20]).json();
    assert_eq!(next["offset"], 4 << 20);
    assert_eq!(next["crc32"], crc32fast::hash(&bytes[1000..4 << 20]), "of this request's body");
    assert_eq!(post(&format!("/bput/{}/1000", ctx(&first)), b"x").error(), (701, "invalid ctx".into()));
    let last = post("/mkblk/100", &bytes[4 << 20..]).json();
    let target = format!(
        "/mkfile/{}/mimeType/{}/key/{}/x-qn-meta-a/{}",
        bytes.len(),
        b64u("x/y"),
        b64u("v1"),
        b64u("值")
    );
    let made = post(&target, format!("{},{}", ctx(&next), ctx(&last)).as_bytes());
    assert_eq!(made.status, 200, "{}", made.text());
    let expected = s.put("same", &bytes).unwrap().hash.clone();
    assert_eq!(made.json(), json!({ "hash": expected, "key": "v1" }));
    let stat = s.op("stat", "v1", "?needparts=true").json();
    assert_eq!((&stat["mimeType"], &stat["x-qn-meta"]["a"]), (&json!("x/y"), &json!("值")));
    assert!(stat.get("parts").is_none());
    assert!(s.get("/v1").body == bytes);
    // A plain bucket scope overwrites here; insertOnly does not.
    let whole = |t: &str, content: &[u8]| {
        let block = up(&s, t, "POST", &format!("/mkblk/{}", content.len()), &[], content).json();
        up(
            &s,
            t,
            "POST",
            &format!("/mkfile/{}/key/{}", content.len(), b64u("v1")),
            &[],
            ctx(&block).as_bytes(),
        )
    };
    assert_eq!(whole(&t, b"new").status, 200);
    assert_eq!(whole(&token("bkt", json!({ "insertOnly": 1 })), b"newer").error().0, 614);
    assert_eq!(s.get("/v1").body, b"new");
    // Contexts end: forgotten, or their time is over; the token's time counts only at the end.
    let block = post("/mkblk/3", b"abc").json();
    s.expire_uploads();
    assert_eq!(post("/mkfile/3", ctx(&block).as_bytes()).error().0, 701);
    let block = post("/mkblk/3", b"abc").json();
    s.faults().set_clock_offset(8 * 86_400);
    let late = upload_token(
        &credentials(),
        json!({ "scope": "bkt", "deadline": now() + 9 * 86_400 }).to_string().as_bytes(),
    );
    assert_eq!(up(&s, &late, "POST", "/mkfile/3", &[], ctx(&block).as_bytes()).error().0, 701);
    assert_eq!(post("/mkblk/3", b"abc").status, 200, "an old token may still bring blocks");
    assert_eq!(post("/mkfile/3", b"").error().0, 401);
    assert_eq!(post("/mkblk/4194305", b"x").error().0, 400);
    assert_eq!(post("/mkblk/1", b"xx").error().0, 400);
}

/// Uploads parts of these sizes; the answer to the last call.
fn multipart(s: &Service, key: &str, sizes: &[usize]) -> Answer {
    let t = token("bkt", json!({}));
    let base = format!("/buckets/bkt/objects/{}/uploads", b64u(key));
    let id = up(s, &t, "POST", &base, &[], b"").json()["uploadId"].as_str().unwrap().to_owned();
    let bytes = pattern(sizes.iter().sum());
    let (mut at, mut parts) = (0, Vec::new());
    for (i, size) in sizes.iter().enumerate() {
        let number = 2 * i + 1;
        let part = up(s, &t, "PUT", &format!("{base}/{id}/{number}"), &[], &bytes[at..at + size]);
        assert_eq!(part.status, 200, "{}", part.text());
        parts.push(json!({ "partNumber": number, "etag": part.json()["etag"] }));
        at += size;
    }
    let body = json!({ "parts": parts, "mimeType": "x/y", "metadata": { "x-qn-meta-a": "b" } }).to_string();
    up(s, &t, "POST", &format!("{base}/{id}"), &[("X-Other", "1")], body.as_bytes())
}

#[test]
fn multipart_version_2_hashes_by_its_parts() {
    const M: usize = 1 << 20;
    let s = memory(|_| {});
    for (sizes, hash) in [
        (vec![M], "FsL8TLIPEwGmsN0hHBnmmhOSXb5A"),
        (vec![M, M], "nuWFLt2tvBrRmcgAeh2MWmeXZd9v"),
        (vec![4 * M, 4 * M, 2 * M + 7], "lstfskeYVVVtRQ2itANuz8O4aUqn"),
        (vec![5 * M, 5 * M + 7], "nhHnsUwLnuctv9nI6j1RdbXZf7tN"),
        (vec![4 * M, 5 * M], "njJtMapJqRarIbyG1Jx27AX7K9I8"),
    ] {
        let key = format!("{sizes:?}");
        let made = multipart(&s, &key, &sizes);
        assert_eq!(made.json(), json!({ "hash": hash, "key": key }));
        let stat = s.op("stat", &key, "?needparts=true").json();
        assert_eq!((&stat["parts"], &stat["mimeType"]), (&json!(sizes), &json!("x/y")));
        assert!(stat.get("md5").is_none() && s.op("stat", &key, "").json().get("parts").is_none());
        assert!(
            s.get(&format!("/{}", qbak::kodo::encode::path(key.as_bytes()))).body
                == pattern(sizes.iter().sum())
        );
    }
    let other = memory(|c| c.etags = EtagReading::LastPartMayBeLarge);
    assert_eq!(multipart(&other, "k", &[4 * M, 5 * M]).json()["hash"], "lv4Ew6JqZ47UmtoHTb4ntxxH-h5H");
    assert_eq!(multipart(&s, "small", &[M - 1, M]).error(), (400, "a part is too small".into()));
    let small = memory(|c| c.min_part = 1);
    assert_eq!(multipart(&small, "k", &[1, 1]).status, 200);
}

#[test]
fn multipart_version_2_step_by_step() {
    let s = memory(|c| c.min_part = 1);
    let t = token("bkt", json!({}));
    let base = "/buckets/bkt/objects/~/uploads";
    let call = |method: &str, target: &str, extra: &[(&str, &str)], body: &[u8]| {
        up(&s, &t, method, target, extra, body)
    };
    let begun = call("POST", base, &[], b"").json();
    assert!(begun["expireAt"].as_i64().unwrap() > now() + 6 * 86_400);
    let upload = format!("{base}/{}", begun["uploadId"].as_str().unwrap());
    let md5 = hex::encode(Md5::digest(b"one"));
    assert_eq!(
        call("PUT", &format!("{upload}/1"), &[("Content-MD5", &"0".repeat(32))], b"one").error().0,
        406
    );
    let part = call("PUT", &format!("{upload}/1"), &[("Content-MD5", &md5)], b"one").json();
    assert_eq!(part["md5"], md5);
    let again = call("PUT", &format!("{upload}/1"), &[], b"ONE").json();
    assert_ne!(part["etag"], again["etag"], "sent again: replaced");
    for n in [2, 5] {
        call("PUT", &format!("{upload}/{n}"), &[], b"x");
    }
    for n in ["0", "10001", "x"] {
        assert_eq!(call("PUT", &format!("{upload}/{n}"), &[], b"x").error().0, 400, "{n}");
    }
    let page = call("GET", &format!("{upload}?max-parts=2"), &[], b"").json();
    assert_eq!((page["partNumberMarker"].as_u64(), page["parts"].as_array().unwrap().len()), (Some(2), 2));
    let page = call("GET", &format!("{upload}?max-parts=2&part-number_marker=2"), &[], b"").json();
    assert_eq!((&page["partNumberMarker"], &page["parts"][0]["partNumber"]), (&json!(0), &json!(5)));
    let complete =
        |parts: Value| call("POST", &upload, &[], json!({ "parts": parts }).to_string().as_bytes());
    let p = |n: u32, etag: &Value| json!({ "partNumber": n, "etag": etag });
    let x = &page["parts"][0]["etag"];
    assert_eq!(complete(json!([p(1, &part["etag"])])).error().0, 400, "the replaced part's etag");
    assert_eq!(complete(json!([p(2, x), p(1, &again["etag"])])).error().0, 400, "not ascending");
    assert_eq!(complete(json!([])).error().0, 400);
    let done = complete(json!([p(1, &again["etag"]), p(5, x)]));
    assert_eq!(done.json()["key"], done.json()["hash"], "no key: its hash");
    assert_eq!(complete(json!([p(5, x)])).error(), (612, "no such uploadId".into()));
    let dropped = call("POST", base, &[], b"").json();
    let upload = format!("{base}/{}", dropped["uploadId"].as_str().unwrap());
    assert_eq!(call("DELETE", &upload, &[], b"").status, 200);
    assert_eq!(call("PUT", &format!("{upload}/1"), &[], b"x").error().0, 612);
    let lost = call("POST", base, &[], b"").json();
    s.expire_uploads();
    assert_eq!(
        call("GET", &format!("{base}/{}", lost["uploadId"].as_str().unwrap()), &[], b"").error().0,
        612
    );
    assert_eq!(call("POST", "/buckets/other/objects/~/uploads", &[], b"").error().0, 631);
    assert_eq!(request(&s.main(), "POST", base, &[], b"").unwrap().error().0, 401);
}
