//! Services in trouble: part of the answers fail, all of them, or one never comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use qbak::emulator::{Action, Kind, Role, Rule, Seen};

use crate::common::bucket::Bucket;
use crate::common::noise;
use crate::quick::{Quick, intact, one_sentence};

async fn filled(objects: u64) -> Bucket {
    let bucket = Bucket::new().await;
    for n in 0..objects {
        bucket.put(&format!("{n:03}"), noise(n, 50));
    }
    bucket
}

fn troubles() -> [Vec<Action>; 5] {
    [
        vec![Action::Status(503, "busy".into())],
        vec![Action::Status(503, "busy".into()), Action::Header("Retry-After".into(), "0".into())],
        vec![Action::Status(429, "slow".into()), Action::Header("Retry-After".into(), "soon".into())],
        vec![Action::Status(500, "oops".into())],
        vec![Action::Drop],
    ]
}

/// Three of every ten requests of every kind fail, one behind the other: all objects come, for less than half as many
/// requests more.
#[tokio::test(flavor = "multi_thread")]
async fn three_in_ten_fail() {
    for actions in troubles() {
        let named = format!("{actions:?}");
        let bucket = filled(60).await;
        let rule = actions.into_iter().fold(Rule::any().share(3, 10), Rule::does);
        bucket.service.faults().add(rule);
        let told = Quick { at_once: 1, ..Quick::default() }.run(&bucket).await.exits(0);
        assert_eq!(told.report().counts.objects, 60, "{named}");
        let sent: u64 = told.requests.iter().sum();
        assert!((60..100).contains(&sent), "{named}: {sent} requests");
        assert_eq!(bucket.newest().await.len(), 60);
    }
}

/// Every download fails: the run stops early, there is no snapshot, and the next one completes.
#[tokio::test(flavor = "multi_thread")]
async fn every_download_fails() {
    for actions in troubles() {
        let named = format!("{actions:?}");
        let bucket = filled(20).await;
        Quick::default().run(&bucket).await.exits(0);
        for n in 20..100 {
            bucket.put(&format!("{n:03}"), noise(n, 50));
        }
        let rule = actions.into_iter().fold(Rule::on(Kind::Download), Rule::does);
        let id = bucket.service.faults().add(rule);
        for domain in [false, true] {
            let told = Quick { domain, ..Quick::default() }.run(&bucket).await.exits(1);
            one_sentence(&told.message);
            assert!(
                told.message.contains("all failed alike") && !told.failed.is_empty(),
                "{named}: {told:#?}"
            );
            assert!(told.failed.len() < 40, "{named}: it stopped early");
        }
        // Twenty objects and those under way beside them, at most eight times each, twice.
        let asked = bucket.service.faults().fired(id);
        assert!(asked < 2 * 8 * 40, "{named}: {asked} requests");
        assert_eq!(intact(&bucket).await, 1);
        bucket.service.faults().clear();
        let told = Quick::default().run(&bucket).await.exits(0);
        assert_eq!(told.report().counts.added, 80, "{named}");
    }
}

/// Each of the other calls fails for good: the run ends with the reason, after a few tries.
#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_one_kind_fails() {
    for (kind, words) in [
        (Kind::Query, "cannot be listed"),
        (Kind::List, "cannot be listed"),
        (Kind::Batch, "metadata cannot be looked up"),
    ] {
        let bucket = filled(5).await;
        let id = bucket.service.faults().add(Rule::on(kind).does(Action::Status(503, "busy".into())));
        let told = Quick::default().run(&bucket).await.exits(1);
        one_sentence(&told.message);
        assert!(told.message.contains(words) && told.message.contains("busy"), "{told:#?}");
        assert!((4..=8).contains(&bucket.service.faults().fired(id)), "{kind:?}");
        bucket.service.faults().clear();
        Quick::default().run(&bucket).await.exits(0);
    }
}

/// An object that is never answered holds up no other: it is only let go when all others have been asked for.
#[tokio::test(flavor = "multi_thread")]
async fn one_stalled_download_stops_nothing_else() {
    let bucket = filled(300).await;
    bucket.put("0-first", "the first in the order of keys");
    let asked = Arc::new(AtomicUsize::new(0));
    let (counted, waiting) = (Arc::clone(&asked), Arc::clone(&asked));
    let count = Action::Hook(Arc::new(move |seen: &Seen| {
        counted.fetch_add(usize::from(seen.key.as_deref() != Some("0-first")), Ordering::SeqCst);
    }));
    let hold = Action::Hook(Arc::new(move |_: &Seen| {
        let patience = Instant::now() + Duration::from_secs(60);
        while waiting.load(Ordering::SeqCst) < 300 && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
    }));
    bucket.service.faults().add(Rule::on(Kind::Download).does(count));
    bucket.service.faults().add(Rule::on(Kind::Download).key("0-first").does(hold));
    let told = Quick { wait: Duration::from_secs(100), ..Quick::default() }.run(&bucket).await.exits(0);
    assert_eq!((told.requests[1], asked.load(Ordering::SeqCst)), (301, 300), "nothing was asked twice");
    assert_eq!(bucket.newest().await.len(), 301);
}

/// The keys stop being good in the middle: said as such, and the next run goes on from what is there.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_expire_in_the_middle() {
    let bucket = Bucket::new().await;
    let objects = 60;
    for n in 0..objects {
        bucket.put(&format!("{n:03}"), noise(n, 300_000));
    }
    let expired = || Action::Status(401, "bad token".into());
    bucket.service.faults().add(Rule::on(Kind::Download).at(Role::Source).after(30).does(expired()));
    bucket.configure_with("", "");
    let said = bucket.snapshot(&[]).await.exits(1);
    let failed = said.asides("failed").len().max(said.lines("failed").len());
    assert!(failed >= 10, "{said:#?}");
    let reason = said.lines("failed")[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("the secret key does not belong to the access key AK-c"), "{reason}");
    assert!(said.summary()["message"].as_str().unwrap().contains("could not be read"), "{said:#?}");
    assert_eq!(intact(&bucket).await, 0);
    bucket.service.faults().clear();
    bucket.service.clear_requests();
    let next = bucket.snapshot(&[]).await.exits(0);
    assert_eq!(next.number("objects"), objects);
    assert!(
        bucket.downloads().len() as u64 <= objects - 30,
        "{} were asked for again",
        bucket.downloads().len()
    );

    // The listing, too: there is no snapshot of half a bucket.
    let bucket = filled(0).await;
    for n in 0..1100 {
        bucket.put(&format!("{n:04}"), "x");
    }
    bucket.service.faults().add(Rule::on(Kind::List).after(2).does(expired()));
    let said = bucket.snapshot(&[]).await.exits(1);
    let message = said.summary()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("(page 2)") && message.contains("secret key does not belong"), "{message}");
    assert_eq!(intact(&bucket).await, 0);
}
