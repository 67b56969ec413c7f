//! Listings that lie: they go in circles, break off, hold what cannot be, or are not listings at all. None becomes a snapshot, none looks
//! like deletions, and none takes more memory or time than it is worth.

use bytes::Bytes;
use qbak::emulator::{Action, Framing, Kind, NextMarker, Role, Rule};
use serde_json::json;

use crate::common::bucket::Bucket;
use crate::common::{noise, options};
use crate::quick::{Quick, intact, one_sentence};

const OBJECTS: u64 = 25;

/// Pages of ten, whatever was asked for.
fn short_pages(bucket: &Bucket) {
    bucket.service.faults().clear();
    bucket.service.faults().add(Rule::on(Kind::List).does(Action::Huge(10)));
}

/// Three pages of objects with one content, and a snapshot of them.
async fn listed() -> Bucket {
    let bucket = Bucket::new().await;
    for n in 0..OBJECTS {
        bucket.put(&format!("k{n:04}"), b"same");
    }
    short_pages(&bucket);
    quick().run(&bucket).await.exits(0);
    bucket
}

fn quick() -> Quick {
    Quick { prefix: "k", ..Quick::default() }
}

fn text(text: impl Into<String>) -> Action {
    Action::Body(200, Bytes::from(text.into()))
}

fn item(key: &str, size: &str) -> String {
    format!(
        r#"{{"items":[{{"key":"{key}","hash":"FtFw5Ue2ZRVzY1I1BXOmFiDFDa2d","fsize":{size},"putTime":1}}]}}"#
    )
}

/// What can be wrong with the second page, with the words that name it.
fn lies() -> Vec<(Action, &'static str)> {
    let extra = |key: &str| Action::Extra(vec![json!({"key": key, "hash": "F", "fsize": 1, "putTime": 1})]);
    let deep = |open: &str| format!(r#"{{"items":{}"#, open.repeat(1_000_000));
    let many: Vec<String> = (0..6000).map(|n| format!(r#"{{"key":"k{n}","hash":"F"}}"#)).collect();
    vec![
        (Action::Marker(NextMarker::Asked), "leads back"),
        (Action::Marker(NextMarker::Before), "leads back"),
        (Action::Marker(NextMarker::Here), "has come 3 times before"),
        (Action::Marker(NextMarker::Text("nonsense".into())), "640"),
        (extra("zzz"), "“zzz”"),
        (text(item("outside", "1")), "“outside”"),
        (text(item("k1", "-1")), "the size -1 is impossible"),
        (text(item("k1", "9223372036854775808")), "is impossible"),
        (text(item("k1", "1e300")), "size"),
        (text(item(&format!("k{}", "k".repeat(9000)), "1")), "a key of 9001 bytes is impossible"),
        (text(deep("[")), "makes no sense"),
        (text(deep(r#"[{"x":"#)), "makes no sense"),
        (text(format!(r#"{{"x":{}"#, "[".repeat(1_000_000))), "makes no sense"),
        (Action::Body(200, Bytes::from_static(b"{\"marker\":\"\xff\xfe\"}")), "not text"),
        (text(format!(r#"{{"items":[{}]}}"#, many.join(","))), "more than was asked for"),
        (Action::Pad(65 << 20), "more than 67108864 bytes"),
        (text("{}"), "neither items nor a marker"),
        (text(r#"{"error":"internal error"}"#), "an error instead: “internal error”"),
        (text("[]"), "not a JSON object"),
        (text("null"), "not a JSON object"),
        (text(""), "not a JSON object"),
        (text("<html>log in</html>"), "not a JSON object"),
        (Action::Header("X-Reqid".into(), String::new()), ""),
        (Action::Truncate(700, Framing::Length), "broke"),
        (Action::Truncate(700, Framing::Chunked), "makes no sense"),
        (Action::Truncate(700, Framing::Close), "makes no sense"),
        (Action::Truncate(700, Framing::Shorter), "makes no sense"),
        (Action::Gzip, "encoded as gzip"),
        (Action::Drop, "broke"),
        (Action::DoneButStatus(599, "late".into()), "late"),
        (Action::Status(403, "not allowed".into()), "no permission"),
        (Action::Status(401, "bad token".into()), "secret key does not belong"),
        (Action::Status(631, "no such bucket".into()), "no bucket named"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_lies_is_no_snapshot() {
    let bucket = listed().await;
    for (action, words) in lies() {
        let named = format!("{action:?} {words}");
        // A before B, and then A again: that takes one page more.
        let after = if matches!(action, Action::Marker(NextMarker::Before)) { 3 } else { 2 };
        let silent = matches!(&action, Action::Header(..));
        bucket.service.faults().add(Rule::on(Kind::List).after(after).does(action));
        if silent {
            // The emulator also signs its answers by a log line; without either they are a stranger's.
            let header = Action::Header("X-Log".into(), String::new());
            bucket.service.faults().add(Rule::on(Kind::List).after(after).does(header));
        }
        let told = quick().run(&bucket).await;
        if let Some(report) = told.report.as_ref().filter(|_| words.is_empty()) {
            // What is marked so may also be harmless: it must then be complete.
            assert_eq!(
                (told.code, report.counts.unchanged, report.counts.removed),
                (0, OBJECTS, 0),
                "{named}"
            );
        } else {
            assert_eq!(told.code, 1, "{named}: {told:#?}");
            one_sentence(&told.message);
            assert!(told.message.contains(words) && told.message.contains("page"), "{named}: {told:#?}");
        }
        assert!(told.requests[0] <= 4 + 8, "{named}: {told:?}");
        short_pages(&bucket);
    }
    let next = quick().run(&bucket).await.exits(0);
    let counts = next.report().counts;
    assert_eq!((counts.unchanged, counts.removed), (OBJECTS, 0));
    intact(&bucket).await;
}

/// Lies that nothing can tell from the truth but what was there before: kept, and suspect.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_is_short_in_silence_is_suspect() {
    for (action, after) in
        [(Action::Marker(NextMarker::Text(String::new())), 1), (Action::NullItems, 1), (text("{}"), 1)]
    {
        let named = format!("{action:?}");
        let bucket = Bucket::new().await;
        (0..OBJECTS).for_each(|n| bucket.put(&format!("k{n:04}"), b"same"));
        short_pages(&bucket);
        bucket.snapshot(&[]).await.exits(0);
        // The first request of a run only looks whether the bucket is there.
        bucket.service.faults().add(Rule::on(Kind::List).after(after).times(1).does(action));
        let said = bucket.snapshot(&[]).await.exits(6);
        assert!(said.number("removed") >= 10 && said.summary()["suspect"] == true, "{named}: {said:#?}");
        short_pages(&bucket);
        let back = bucket.snapshot(&[]).await.exits(0);
        assert_eq!(back.number("downloaded_objects"), 0, "{named}");
        assert_eq!(intact(&bucket).await, 3);
    }
}

/// Pages out of order, repeated, and keys that are listed twice: sorted, once, and said.
#[tokio::test(flavor = "multi_thread")]
async fn repeats_and_disorder_are_put_right() {
    let bucket = Bucket::new().await;
    // All of one content but a few, which are enough to show whose is whose.
    let content = |n: u64| if n.is_multiple_of(5) { noise(n, 8) } else { b"same".to_vec() };
    for n in 0..OBJECTS {
        bucket.put(&format!("k{n:04}"), content(n));
    }
    short_pages(&bucket);
    let stale = json!({"key": "k0003", "hash": "FtFw5Ue2ZRVzY1I1BXOmFiDFDa2d", "fsize": 4, "putTime": 1});
    for action in [
        Action::DuplicatePage,
        Action::Reverse,
        Action::Extra(vec![stale.clone(), stale]),
        Action::EmptyPage,
        Action::EmptyRecords(50),
    ] {
        let named = format!("{action:?}");
        // Of one key the last state listed counts, so what is stale comes on the first page, before the keys that follow.
        bucket.service.faults().add(Rule::on(Kind::List).after(2).times(1).does(action.clone()));
        bucket.service.faults().add(Rule::on(Kind::List).after(6).times(1).does(action));
        let told = quick().run(&bucket).await;
        assert_eq!((told.code, told.report().counts.objects), (0, OBJECTS), "{named}: {told:#?}");
        short_pages(&bucket);
    }
    let next = quick().run(&bucket).await.exits(0);
    assert_eq!((next.report().counts.objects, next.report().counts.removed), (OBJECTS, 0));
    let newest = bucket.newest().await;
    assert_eq!(newest.len() as u64, OBJECTS);
    assert!((0..OBJECTS).all(|n| newest[format!("k{n:04}").as_bytes()] == content(n)));
}

/// A key that is no text is a key like any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_text() {
    let bucket = Bucket::new().await;
    bucket.put("a", "same");
    let page = [
        &b"{\"items\":[{\"key\":\"a\",\"hash\":\""[..],
        qbak::kodo::etag::etag(b"same").to_string().as_bytes(),
        b"\",\"fsize\":4,\"putTime\":9223372036854775807},{\"key\":\"\xff\xfe/\xc3\",\"hash\":\"",
        qbak::kodo::etag::etag(b"same").to_string().as_bytes(),
        b"\",\"fsize\":4,\"putTime\":-9223372036854775808,\"type\":-5,\"status\":77}]}",
    ]
    .concat();
    bucket.service.faults().add(Rule::on(Kind::List).does(Action::Body(200, page.into())));
    bucket.snapshot(&[]).await.exits(0);
    let newest = bucket.newest().await;
    assert_eq!(newest.keys().collect::<Vec<_>>(), [&b"a"[..], b"\xff\xfe/\xc3"]);
    assert!(newest.values().all(|v| v == b"same"));
    let listed = bucket.qbak(&["--json", "ls", "latest"]).await.exits(0);
    assert!(listed.stdout.contains("key_b64"), "{listed:?}");
}

/// A page of more than a gigabyte on one line, and as much in the place of an object: the program has a fraction of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_takes_no_memory() {
    let bucket = Bucket::new().await;
    bucket.put("a", noise(1, 500));
    let all = ["--json", "snapshot"];
    bucket.qbak_within(700, &all).await.exits(0);
    for head in [r#"{"marker":""#, r#"{"items":[{"key":""#, r#"{"x":""#] {
        let flood = Action::Flood(Bytes::from_static(head.as_bytes()), 3 << 30);
        bucket.service.faults().add(Rule::on(Kind::List).does(flood));
        let said = bucket.qbak_within(700, &all).await.exits(1);
        let message = said.summary()["message"].as_str().unwrap().to_owned();
        one_sentence(&message);
        assert!(message.contains("more than 67108864 bytes"), "{message}");
        bucket.service.faults().clear();
    }
    bucket.put("b", noise(2, 500));
    let flood = Action::Flood(Bytes::new(), 3 << 30);
    bucket.service.faults().add(Rule::on(Kind::Download).key("b").times(1).does(flood));
    bucket.qbak_within(700, &all).await.exits(0);
    assert_eq!(bucket.newest().await[b"b".as_slice()], noise(2, 500));
}

/// The domain is not the bucket: what it says of an object that the bucket has is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_domain_makes_nothing_vanish() {
    let bucket = Bucket::new().await;
    for n in 0..40 {
        bucket.put(&format!("{n:02}"), noise(n, 100));
    }
    bucket.snapshot(&[]).await.exits(0);
    for code in [404, 403, 410] {
        for n in 40..80 {
            bucket.put(&format!("{n:02}"), noise(n + code, 100));
        }
        let gone = Action::Status(code as u16, "no such domain".into());
        bucket.service.faults().add(Rule::on(Kind::Download).at(Role::Domain).does(gone));
        let told = Quick { domain: true, ..Quick::default() }.run(&bucket).await.exits(1);
        assert!(told.message.contains("all failed alike"), "{code}: {told:#?}");
        assert!(told.failed.iter().all(|(_, why)| why.contains(&code.to_string())), "{told:#?}");
        // Fewer than a tenth of all: then the objects are named.
        bucket.service.faults().clear();
    }
    let expired = Action::Status(403, "domain expired".into());
    bucket.service.faults().add(Rule::on(Kind::Download).key("4[0-3]").does(expired));
    let told = Quick::default().run_with(&bucket, options()).await.exits(3);
    assert_eq!((told.failed.len(), told.report().counts.vanished), (4, 0), "{told:#?}");
    bucket.service.faults().clear();
    bucket.snapshot(&[]).await.exits(0);
    assert_eq!(bucket.newest().await.len(), 80);
}
