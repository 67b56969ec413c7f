//! What comes instead of an object's bytes: cut, doubled, encoded, shifted, altered, late. Once, it costs a try; for good, it costs
//! that object, which is named with the reason, and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use qbak::emulator::{Action, Framing, Kind, Role, Rule};

use crate::common::bucket::Bucket;
use crate::common::noise;
use crate::quick::{Quick, Told, intact, one_sentence};

const BLOCK: usize = 4 << 20;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

async fn filled() -> (Bucket, Content) {
    let bucket = Bucket::new().await;
    let objects = [
        ("a/small", noise(1, 3000)),
        ("b/large", noise(2, BLOCK + 300_000)),
        ("c/tiny", noise(3, 10)),
        ("d/empty", Vec::new()),
    ];
    let mut content = Content::new();
    for (key, bytes) in objects {
        bucket.put(key, &bytes);
        content.insert(key.into(), bytes);
    }
    (bucket, content)
}

fn header(name: &str, value: &str) -> Action {
    Action::Header(name.into(), value.into())
}

/// What can be wrong with a body, the words that name it when it stays so, and how long a client must wait to notice.
fn faults() -> Vec<(Vec<Action>, &'static str, u64)> {
    let truncate = |framing| vec![Action::Truncate(100, framing)];
    vec![
        (vec![Action::Drop], "the connection to", 0),
        // It goes on where it broke, so what breaks for good must break at once.
        (vec![Action::Truncate(0, Framing::Length)], "broke", 0),
        (truncate(Framing::Chunked), "bytes came", 0),
        (truncate(Framing::Close), "bytes came", 0),
        (truncate(Framing::Shorter), "bytes", 0),
        (vec![Action::Append(Bytes::from_static(b"and more"))], "more than the", 0),
        (vec![Action::Flood(Bytes::new(), 1 << 30)], "more than the", 0),
        (vec![Action::Gzip], "encoded as gzip", 0),
        (vec![header("Content-Encoding", "br")], "encoded as br", 0),
        (vec![header("Content-Encoding", "zstd")], "encoded as zstd", 0),
        (vec![Action::Status(503, "busy".into())], "503 “busy”", 0),
        (vec![Action::Status(429, "slow".into()), header("Retry-After", "0")], "429 “slow”", 0),
        (vec![Action::Status(500, "oops".into())], "500 “oops”", 0),
        (vec![Action::Body(204, Bytes::new())], "204", 0),
        (vec![Action::Body(200, Bytes::from_static(b"<html>log in</html>"))], "log in", 0),
        (vec![Action::Stall], "did not send", 150),
        (vec![Action::StallAfter(100)], "did not send", 150),
        // A byte now and then is no progress.
        (vec![Action::Slow(1, Duration::from_millis(10))], "did not send", 150),
    ]
}

/// What can be wrong with a part of an object.
fn faults_of_parts() -> Vec<(Vec<Action>, &'static str, u64)> {
    vec![
        (vec![Action::IgnoreRange], "ignores Range", 0),
        (vec![Action::OtherRange(100_000, true)], "were asked for", 0),
        (vec![header("Content-Range", "bytes 0-1/2"), header("ETag", "")], "", 0),
        (vec![header("Content-Range", "bytes 4194304-4494303/9"), header("ETag", "")], "", 0),
        (vec![header("Content-Range", "bytes 5-18446744073709551615/4494304")], "were asked for", 0),
        (vec![header("Content-Range", "")], "without saying which", 0),
    ]
}

/// All of them, each with the object that it befalls.
fn all_faults() -> impl Iterator<Item = (&'static str, (Vec<Action>, &'static str, u64))> {
    let of_parts = faults_of_parts().into_iter().map(|f| ("b/large", f));
    faults().into_iter().map(|f| ("a/small", f)).chain(of_parts)
}

async fn run(bucket: &Bucket, wait: u64) -> Told {
    let mut quick = Quick::default();
    if wait > 0 {
        quick.wait = Duration::from_millis(wait);
    }
    quick.run(bucket).await
}

#[tokio::test(flavor = "multi_thread")]
async fn once_it_costs_a_try() {
    let (bucket, mut content) = filled().await;
    let mut version = 10;
    // What no longer passes after one try: a status that says that it will not, and a page that has another size.
    for (key, (actions, words, wait)) in all_faults().filter(|(_, (_, words, _))| *words != "204") {
        let named = format!("{key} {actions:?} {words}");
        version += 1;
        let bytes = noise(version, content[key.as_bytes()].len());
        bucket.put(key, &bytes);
        content.insert(key.into(), bytes);
        let rule = actions.into_iter().fold(Rule::on(Kind::Download).key(key).times(1), Rule::does);
        let id = bucket.service.faults().add(rule);
        let told = run(&bucket, wait).await;
        assert_eq!(bucket.service.faults().fired(id), 1, "{named}");
        assert!(told.code == 0 && told.failed.is_empty(), "{named}: {told:#?}");
        assert_eq!(bucket.newest().await, content, "{named}");
        bucket.service.faults().clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn for_good_it_costs_that_object_alone() {
    let (bucket, mut content) = filled().await;
    run(&bucket, 0).await.exits(0);
    let mut version = 100;
    for (key, (actions, words, wait)) in all_faults() {
        let named = format!("{key} {actions:?} {words}");
        let rule = actions.into_iter().fold(Rule::on(Kind::Download).key(key), Rule::does);
        let id = bucket.service.faults().add(rule);
        version += 2;
        let length = content.remove(key.as_bytes()).unwrap().len();
        bucket.put(key, noise(version, length));
        bucket.put("c/tiny", noise(version + 1, 10));
        content.insert(b"c/tiny".to_vec(), noise(version + 1, 10));
        let told = run(&bucket, wait).await;
        assert_eq!(told.code, 3, "{named}: {told:#?}");
        let [(failed, reason)] = &told.failed[..] else { panic!("{named}: {told:#?}") };
        one_sentence(reason);
        // A page that is of another size may be another object; it is judged not to be, and then it is the bytes that are wrong.
        let altered = reason.contains("do not have the hash");
        assert!(failed == key && (altered || reason.contains(words)), "{named}: {reason}");
        let fired = bucket.service.faults().fired(id);
        assert!((1..=20).contains(&fired), "{named}: asked {fired} times");
        assert_eq!(bucket.newest().await, content, "{named}");
        // It is all that is asked for again.
        bucket.service.faults().clear();
        bucket.service.clear_requests();
        let next = run(&bucket, 0).await.exits(0);
        assert_eq!(next.report().counts.failed, 0);
        assert!(bucket.downloads().iter().all(|r| r.key.as_deref() == Some(key)), "{named}");
        content.insert(key.into(), noise(version, length));
        assert_eq!(bucket.newest().await, content, "{named}");
    }
    intact(&bucket).await;
}

/// Bytes of the right number that are not the right ones. Of the two hosts the domain is doubted first; the source host is asked
/// once more, and then the message names both hashes.
#[tokio::test(flavor = "multi_thread")]
async fn altered_bytes_of_the_same_length() {
    let alterations = [
        ("a/small", Action::FlipByte(7)),
        ("b/large", Action::OtherRange(100_000, false)),
        ("b/large", Action::FlipByte(299_999)),
    ];
    for (key, action) in alterations {
        let named = format!("{key} {action:?}");
        let (bucket, content) = filled().await;
        let rule = |rule: Rule| rule.does(action.clone());
        let faults = bucket.service.faults();
        // Passing, from the only host there is.
        faults.add(rule(Rule::on(Kind::Download).key(key).times(1)));
        Quick::default().run(&bucket).await.exits(0);
        assert_eq!(bucket.newest().await, content, "{named}");

        // Lasting, from the domain: the source host has it right.
        let (bucket, content) = filled().await;
        let faults = bucket.service.faults();
        faults.add(rule(Rule::on(Kind::Download).key(key).at(Role::Domain)));
        Quick { domain: true, ..Quick::default() }.run(&bucket).await.exits(0);
        assert_eq!(bucket.newest().await, content, "{named}");

        // Lasting, from everywhere.
        let (bucket, mut content) = filled().await;
        bucket.service.faults().add(rule(Rule::on(Kind::Download).key(key)));
        for domain in [false, true] {
            let told = Quick { domain, ..Quick::default() }.run(&bucket).await.exits(3);
            let [(failed, reason)] = &told.failed[..] else { panic!("{named}: {told:#?}") };
            assert!(failed == key && reason.contains("hash"), "{named}: {reason}");
            let listed = qbak::kodo::etag::etag(&content[key.as_bytes()]).to_string();
            assert!(reason.contains(&format!("listed as {listed}, read as ")), "{named}: {reason}");
        }
        content.remove(key.as_bytes());
        assert_eq!(bucket.newest().await, content, "{named}");
    }
}

/// The built program, with its own patience: three faults that pass, and one that does not.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_gets_over_them() {
    let (bucket, mut content) = filled().await;
    let faults = bucket.service.faults();
    faults
        .add(Rule::on(Kind::Download).key("a/small").times(1).does(Action::Append(Bytes::from_static(b"x"))));
    faults.add(Rule::on(Kind::Download).key("b/large").times(1).does(Action::OtherRange(9, true)));
    faults.add(Rule::on(Kind::Download).key("c/*").times(1).does(Action::Truncate(3, Framing::Chunked)));
    bucket.put("e/never", "right");
    faults.add(Rule::on(Kind::Download).key("e/never").does(Action::FlipByte(0)));
    let said = bucket.snapshot(&[]).await.exits(3);
    let failed = said.lines("failed");
    assert_eq!((failed.len(), &failed[0]["key"]), (1, &"e/never".into()), "{said:#?}");
    assert_eq!(bucket.newest().await, content);
    faults.clear();
    bucket.snapshot(&[]).await.exits(0);
    content.insert(b"e/never".to_vec(), b"right".to_vec());
    assert_eq!(bucket.newest().await, content);
}
