//! A bucket as a source, against the embedded service: what it lists, what it reads, and what it makes of every
//! fault that the service can be told to have.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use qbak::emulator::{
    Action, Backing, Config, Framing, Kind, Memory, NextMarker, Object, Restore, Role, Rule, Service,
};
use qbak::kodo::etag::{PartsHasher, etag};
use qbak::kodo::host::Overrides;
use qbak::kodo::http::Timeouts;
use qbak::kodo::limits::LimitSettings;
use qbak::kodo::retry::{Backoff, FixedJitter};
use qbak::kodo::sign::Credentials;
use qbak::model::clock::{Clock, SystemClock};
use qbak::model::content::{BLOCK, block_range, blocks};
use qbak::model::event::{Event, Observer};
use qbak::model::key::Key;
use qbak::model::listed::{Listed, ListedHash};
use qbak::source::kodo::{KodoSettings, KodoSource};
use qbak::source::{ErrorKind, ReadError, Route, Source, SourceError, Verdict};

#[derive(Default)]
struct Events(Mutex<Vec<Event>>);

impl Observer for Events {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

fn credentials() -> Credentials {
    Credentials::new("AK-test", "SK-canary").unwrap()
}

/// An empty bucket whose three roles listen at addresses of their own.
async fn service(change: impl FnOnce(&mut Config)) -> Service {
    let mut config = Config::new(Backing::Catalog(Arc::new(Memory::new())), "bkt", credentials());
    config.separate_source_host = true;
    config.separate_domain_host = true;
    change(&mut config);
    Service::start(config).await.unwrap()
}

fn settings(service: &Service) -> KodoSettings {
    let quick = Duration::from_millis(2);
    let wait = Duration::from_secs(1);
    KodoSettings {
        bucket: "bkt".into(),
        prefix: String::new(),
        domain: None,
        private: false,
        referer: None,
        overrides: Overrides { uc: service.uc_url(), ..Overrides::default() },
        credentials: Some(credentials()),
        limits: LimitSettings::default(),
        timeouts: Timeouts { connect: wait, headers: wait, idle: wait },
        backoff: Backoff { base: quick, throttled: quick, cap: 8 * quick },
        proxy: None,
        clock: Arc::new(SystemClock),
        jitter: Arc::new(FixedJitter(0.5)),
    }
}

fn source_with(settings: KodoSettings) -> KodoSource {
    KodoSource::new(settings, Arc::new(Events::default())).unwrap()
}

fn source(service: &Service) -> KodoSource {
    source_with(settings(service))
}

fn pattern(size: usize) -> Vec<u8> {
    let mut bytes = (0..=250).collect::<Vec<u8>>().repeat(size / 251 + 1);
    bytes.truncate(size);
    bytes
}

async fn list(source: &KodoSource) -> Result<Vec<Listed>, SourceError> {
    source.list().try_concat().await
}

async fn read_all(source: &KodoSource, object: &Listed, route: Route) -> Result<Vec<u8>, ReadError> {
    let mut all = Vec::new();
    for n in 0..blocks(object.size) {
        all.extend(source.read(object, block_range(n, object.size), route).await?);
    }
    Ok(all)
}

/// Puts an object with metadata of its own.
fn put_as(service: &Service, key: &str, bytes: &[u8], change: impl Fn(&mut Object)) {
    service.put(key, bytes).unwrap();
    let mut change = |o: &mut Object| {
        change(o);
        true
    };
    service.catalog().update(key, &mut change).unwrap().unwrap();
}

#[tokio::test]
async fn odd_keys_come_back_whole_by_both_routes() {
    let service = service(|_| {}).await;
    let keys = [
        "",
        " ",
        "%",
        "%2F",
        "%41",
        "+",
        "&=",
        "?x=1",
        "#f",
        ".",
        "..",
        "...",
        "/",
        "//",
        "/lead",
        "a",
        "a/",
        "a//b",
        "a/../b",
        "a/./b",
        "a/..",
        "./a",
        "a\\b",
        "..\\b",
        "\u{1}\t\r\n",
        "\u{7f}",
        "list",
        "stat/x",
        "v4/query",
        "目录/文件 1.txt",
        "😀.png",
        "e\u{301}",
        "\u{e9}",
        "it's(1)!*~;,$@:",
        "CON",
        "a:b",
        "trailing.",
        "trailing ",
    ];
    let long = "k".repeat(750);
    let keys: Vec<&str> = keys.into_iter().chain([long.as_str()]).collect();
    for key in &keys {
        service.put(key, format!("content of {key}").as_bytes()).unwrap();
    }
    let source = source_with(KodoSettings { domain: Some(service.domain_url()), ..settings(&service) });
    source.check().await.unwrap();
    let listed = list(&source).await.unwrap();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(listed.iter().map(|o| o.key.text().unwrap()).collect::<Vec<_>>(), sorted);
    for object in &listed {
        for route in [Route::Usual, Route::Origin] {
            let bytes = read_all(&source, object, route).await.unwrap();
            assert_eq!(
                bytes,
                format!("content of {}", object.key.text().unwrap()).as_bytes(),
                "{}",
                object.key
            );
            assert_eq!(object.hash, Some(ListedHash::Etag(etag(&bytes))));
        }
        assert_eq!(source.stat(&object.key).await.unwrap().as_ref(), Some(object));
    }
    let roles =
        |role| service.requests().iter().filter(|r| r.kind == Kind::Download && r.role == role).count();
    assert_eq!((roles(Role::Domain), roles(Role::Source), roles(Role::Main)), (keys.len(), keys.len(), 0));
    assert!(service.requests().iter().all(|r| r.status == 200), "nothing had to be tried twice");
}

#[tokio::test]
async fn a_listing_with_every_harmless_oddity_is_complete() {
    let service = service(|_| {}).await;
    for n in 0..3500 {
        service.put(&format!("{n:05}"), b"x").unwrap();
    }
    let faults = service.faults();
    faults.add(Rule::on(Kind::List).times(2).does(Action::EmptyPage));
    faults.add(Rule::on(Kind::List).after(2).times(1).does(Action::Status(503, "busy".into())));
    faults.add(Rule::on(Kind::List).after(3).times(1).does(Action::EmptyRecords(7)));
    faults.add(Rule::on(Kind::List).after(4).times(1).does(Action::Status(599, "late".into())));
    faults.add(Rule::on(Kind::List).after(5).times(1).does(Action::Drop));
    faults.add(Rule::on(Kind::List).after(6).times(1).does(Action::Reverse));
    faults.add(Rule::on(Kind::List).after(7).times(1).does(Action::DuplicatePage));
    let source = source(&service);
    let mut keys: Vec<String> = list(&source).await.unwrap().iter().map(|o| o.key.to_string()).collect();
    assert_eq!(keys.len(), 4500, "a page came twice, and that is for the caller to see");
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 3500);
    assert_eq!(service.counts().of(Kind::List), source.requests().listings);
    let scoped = source_with(KodoSettings { prefix: "0001".into(), ..settings(&service) });
    assert_eq!(list(&scoped).await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_listing_that_lies_is_an_error_with_its_page() {
    let stray = serde_json::json!({"key": "zzz", "hash": "F", "fsize": 1, "putTime": 1, "mimeType": "a/b"});
    let mut negative = stray.clone();
    negative["fsize"] = (-1).into();
    for (actions, words) in [
        (vec![Action::Marker(NextMarker::Asked)], "page 2 of the listing leads back"),
        (vec![Action::Marker(NextMarker::Before)], "page 3 of the listing leads back"),
        (vec![Action::Marker(NextMarker::Text("nonsense".into()))], "640"),
        (vec![Action::Extra(vec![stray])], "“zzz”"),
        (vec![Action::Extra(vec![negative])], "the size -1 is impossible"),
        (vec![Action::Huge(1_000_000)], "more than was asked for"),
        (vec![Action::Pad(65 << 20)], "more than 67108864 bytes"),
        (vec![Action::Status(403, "not allowed".into())], "no permission"),
    ] {
        let service = service(|_| {}).await;
        let keys = if words.starts_with("more than was") { 7000 } else { 2200 };
        for n in 0..keys {
            service.put(&format!("k{n:04}"), b"x").unwrap();
        }
        let after = if words.starts_with("page 3") { 2 } else { 1 };
        let rule = actions.into_iter().fold(Rule::on(Kind::List).after(after), Rule::does);
        service.faults().add(rule);
        let source = source_with(KodoSettings { prefix: "k".into(), ..settings(&service) });
        let pages: Vec<_> = source.list().collect().await;
        let (last, before) = pages.split_last().unwrap();
        assert!(before.iter().all(Result::is_ok) && !before.is_empty(), "{words}");
        let Err(error) = last else { panic!("{words}: no error in {} pages", pages.len()) };
        assert!(error.message.contains(words), "{words}: {error}");
        assert!(error.message.contains("page"), "{error}");
    }
}

#[tokio::test]
async fn large_objects_come_in_blocks_and_have_their_hash() {
    let service = service(|_| {}).await;
    let bytes = pattern(2 * BLOCK + 12_345);
    service.put("grid", &bytes).unwrap();
    service.put("empty", b"").unwrap();
    let sizes = [3 << 20, 3 << 20, bytes.len() as u64 - (6 << 20)];
    let runs = [(3 << 20, 2), (sizes[2], 1)];
    let mut hasher = PartsHasher::new(&runs);
    hasher.update(&bytes);
    let parts = hasher.finish().unwrap();
    put_as(&service, "parts", &bytes, |o| {
        o.hash = parts.text();
        o.parts = sizes.to_vec();
    });
    let source = source(&service);
    let listed = list(&source).await.unwrap();
    let [empty, grid, multi] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!(read_all(&source, empty, Route::Usual).await.unwrap(), b"");
    for object in [grid, multi] {
        assert_eq!(read_all(&source, object, Route::Usual).await.unwrap(), bytes);
    }
    assert_eq!(grid.hash, Some(ListedHash::Etag(etag(&bytes))));
    assert_eq!(
        (multi.hash.as_ref(), &multi.attributes.parts[..]),
        (Some(&ListedHash::Parts(parts.text())), &runs[..])
    );
    assert_eq!(service.counts().of(Kind::Download), 7);
}

#[tokio::test]
async fn faults_that_pass_cost_tries_and_nothing_else() {
    let tag = |t: &str| Action::Header("ETag".into(), t.into());
    for actions in [
        vec![Action::Drop],
        vec![Action::Stall],
        vec![Action::StallAfter(100_000)],
        vec![Action::Truncate(1_000_000, Framing::Length)],
        vec![Action::Truncate(1_000_000, Framing::Chunked)],
        vec![Action::Truncate(1_000_000, Framing::Close)],
        vec![Action::Truncate(1_000_000, Framing::Shorter)],
        vec![Action::Truncate(1_000_000, Framing::Close), tag("")],
        vec![Action::Truncate(1_000_000, Framing::Close), tag("W/\"x\"")],
        vec![Action::Gzip],
        vec![Action::IgnoreRange],
        vec![Action::Header("Content-Range".into(), "bytes 0-1/2".into()), tag("")],
        vec![Action::Status(573, "slow down".into())],
        vec![Action::Status(502, "bad gateway".into())],
        vec![Action::Status(401, "now and then".into())],
    ] {
        let named = format!("{actions:?}");
        let service = service(|_| {}).await;
        let bytes = pattern(BLOCK + 1_500_000);
        service.put("o", &bytes).unwrap();
        let source = source(&service);
        let object = list(&source).await.unwrap().remove(0);
        let rule = actions.into_iter().fold(Rule::on(Kind::Download).times(1), Rule::does);
        let id = service.faults().add(rule);
        let got = read_all(&source, &object, Route::Usual).await;
        if named.contains("Range") && got == Err(ReadError::Changed) {
            panic!("{named}");
        }
        assert!(got.as_deref() == Ok(&bytes), "{named}: {:?}", got.map(|b| b.len()));
        assert_eq!((service.faults().fired(id), source.requests().reads), (1, 3), "{named}");
    }
}

#[tokio::test]
async fn a_broken_block_goes_on_where_it_broke() {
    let service = service(|_| {}).await;
    let bytes = pattern(BLOCK);
    service.put("o", &bytes).unwrap();
    service
        .faults()
        .add(Rule::on(Kind::Download).times(1).does(Action::Truncate(3_000_000, Framing::Length)));
    let source = source(&service);
    let object = list(&source).await.unwrap().remove(0);
    assert_eq!(read_all(&source, &object, Route::Usual).await.unwrap(), bytes);
    let ranges: Vec<_> =
        service.requests().into_iter().filter(|r| r.kind == Kind::Download).map(|r| r.range).collect();
    let [None, Some(second)] = &ranges[..] else { panic!("{ranges:?}") };
    let from: usize = second.strip_prefix("bytes=").unwrap().split('-').next().unwrap().parse().unwrap();
    assert!(from > 0 && from <= 3_000_000, "{second}");
}

#[tokio::test]
async fn an_object_overwritten_in_the_middle_is_never_spliced() {
    let service = Arc::new(service(|_| {}).await);
    let (old, new) = (pattern(BLOCK), vec![7; BLOCK]);
    service.put("o", &old).unwrap();
    let source = source(&service);
    let object = list(&source).await.unwrap().remove(0);
    let (weak, next) = (Arc::downgrade(&service), new.clone());
    service
        .faults()
        .add(Rule::on(Kind::Download).times(1).does(Action::Truncate(1_000_000, Framing::Length)));
    let overwrite = move |_: &qbak::emulator::Seen| drop(weak.upgrade().unwrap().put("o", &next).unwrap());
    service.faults().add(Rule::on(Kind::Download).after(1).times(1).does(Action::Hook(Arc::new(overwrite))));
    assert_eq!(source.read(&object, 0..object.size, Route::Usual).await, Err(ReadError::Changed));
    let Verdict::Changed(now) = source.judge(&object, Route::Usual).await.unwrap() else { panic!() };
    assert_eq!(read_all(&source, &now, Route::Usual).await.unwrap(), new);
}

#[tokio::test]
async fn lasting_faults_end_with_a_reason() {
    for (action, words) in [
        (Action::Status(502, "bad gateway".into()), "502 “bad gateway”"),
        (Action::Status(573, "slow down".into()), "limits.concurrency"),
        (Action::Gzip, "gzip"),
        (Action::IgnoreRange, "ignores Range"),
        (Action::Drop, "the connection to"),
        (
            Action::Redirect("http://169.254.169.254/latest?token=canary".into()),
            "redirects to http://169.254.169.254/latest",
        ),
        (Action::Status(404, "Document not found".into()), "not this bucket's source host"),
    ] {
        let service = service(|_| {}).await;
        service.put("o", &pattern(BLOCK + 1)).unwrap();
        let source = source(&service);
        let object = list(&source).await.unwrap().remove(0);
        service.faults().add(Rule::on(Kind::Download).does(action));
        let Err(ReadError::Failed(error)) =
            source.read(&object, block_range(0, object.size), Route::Usual).await
        else {
            panic!("{words}")
        };
        assert!(error.message.contains(words), "{words}: {error}");
        assert!(!error.message.contains("canary") && !error.message.contains('\n'), "{error}");
        assert!(source.requests().reads <= 8);
    }
}

#[tokio::test]
async fn gone_changed_archived_disabled() {
    let service = service(|_| {}).await;
    for key in ["1-gone", "2-changed", "3-disabled", "4-frozen"] {
        service.put(key, b"then").unwrap();
    }
    put_as(&service, "5-archived", b"cold", |o| o.class = 2);
    put_as(&service, "6-thawed", b"warm", |o| {
        let now = SystemClock.now().seconds();
        (o.class, o.restore) = (3, Some(Restore { ready: now - 10, until: now + 10_000 }));
    });
    put_as(&service, "7-instant", b"read", |o| o.class = 4);
    let source = source(&service);
    let mut listed = list(&source).await.unwrap();
    let unavailable: Vec<bool> = listed.iter().map(|o| o.unavailable.is_some()).collect();
    assert_eq!(unavailable, [false, false, false, false, true, true, false]);
    source.details(&mut listed).await.unwrap();
    assert!(listed[4].unavailable.is_some() && listed[5].unavailable.is_none());
    assert_eq!(read_all(&source, &listed[5], Route::Usual).await.unwrap(), b"warm");
    assert_eq!(read_all(&source, &listed[6], Route::Usual).await.unwrap(), b"read");

    service.catalog().delete("1-gone").unwrap();
    service.put("2-changed", b"now!").unwrap();
    let set = |key: &str, class, status| {
        let mut change = |o: &mut Object| {
            (o.class, o.status) = (class, status);
            true
        };
        service.catalog().update(key, &mut change).unwrap();
    };
    set("3-disabled", 0, 1);
    set("4-frozen", 3, 0);
    let read = |n: usize| source.read(&listed[n], 0..4, Route::Usual);
    assert_eq!(read(0).await, Err(ReadError::Vanished));
    assert_eq!(read(1).await, Err(ReadError::Changed));
    assert!(matches!(read(2).await, Err(ReadError::Unavailable(w)) if w.contains("disabled")));
    assert!(matches!(read(3).await, Err(ReadError::Unavailable(w)) if w.contains("archived")));
    assert_eq!(source.judge(&listed[0], Route::Usual).await.unwrap(), Verdict::Gone);
}

#[tokio::test]
async fn metadata_comes_whole() {
    for meta_prefix in [false, true] {
        let service = service(|c| c.meta_prefix = meta_prefix).await;
        for n in 0..501 {
            put_as(&service, &format!("{n:03}"), b"x", |o| {
                o.mime = "image/x-odd".into();
                o.class = 1;
                o.end_user = Some("me".into());
                o.meta.insert("Colour".into(), "blå 红".into());
                o.expiration = Some(4_000_000_000);
                o.transitions.insert("transitionToARCHIVE".into(), 3_900_000_000);
            });
        }
        let source = source(&service);
        let mut listed = list(&source).await.unwrap();
        source.details(&mut listed).await.unwrap();
        for object in &listed {
            let a = &object.attributes;
            assert_eq!((a.mime.as_deref(), a.class.as_deref()), (Some("image/x-odd"), Some("1")));
            assert_eq!((a.end_user.as_deref(), a.expiry), (Some("me"), Some(4_000_000_000)));
            assert_eq!((a.meta["Colour"].as_str(), a.transitions["Archive"]), ("blå 红", 3_900_000_000));
        }
        assert_eq!(service.counts().of(Kind::Batch), 3);
    }
}

#[tokio::test]
async fn a_domain_that_alters_is_told_apart_from_a_change() {
    let service = service(|_| {}).await;
    for n in 0..25 {
        service.put(&format!("{n:02}.jpg"), b"a large picture").unwrap();
    }
    let slim = Action::Replace(Bytes::from_static(b"a slim one"), "image/webp".into());
    service.faults().add(Rule::on(Kind::Download).at(Role::Domain).does(slim));
    let events = Arc::new(Events::default());
    let settings = KodoSettings { domain: Some(service.domain_url()), ..settings(&service) };
    let source = KodoSource::new(settings, events.clone()).unwrap();
    for object in list(&source).await.unwrap() {
        match read_all(&source, &object, Route::Usual).await {
            Ok(bytes) => assert_eq!(bytes, b"a large picture"),
            Err(error) => {
                assert_eq!(error, ReadError::Changed, "its ETag and size are others");
                assert_eq!(source.judge(&object, Route::Usual).await.unwrap(), Verdict::TryOrigin);
                assert_eq!(read_all(&source, &object, Route::Origin).await.unwrap(), b"a large picture");
            }
        }
    }
    let domain = service.requests().iter().filter(|r| r.role == Role::Domain).count();
    assert_eq!((domain, events.0.lock().unwrap().len()), (20, 1));
}

#[tokio::test]
async fn private_domains_and_single_addresses() {
    let service = service(|c| c.private = true).await;
    service.put("a b", b"secret").unwrap();
    for (private, ok) in [(false, false), (true, true)] {
        let settings = KodoSettings { domain: Some(service.domain_url()), private, ..settings(&service) };
        let source = source_with(settings);
        let object = list(&source).await.unwrap().remove(0);
        let got = source.read(&object, 0..6, Route::Usual).await;
        match got {
            Ok(bytes) => assert!(ok && bytes == "secret"),
            Err(error) => assert!(!ok && error.to_string().contains("kodo.private = true"), "{error}"),
        }
    }
    let one = self::service(|c| (c.separate_source_host, c.separate_domain_host) = (false, false)).await;
    one.put("list", b"a key like any other").unwrap();
    let source = self::source(&one);
    let object = list(&source).await.unwrap().remove(0);
    assert_eq!(read_all(&source, &object, Route::Usual).await.unwrap(), b"a key like any other");
}

#[tokio::test]
async fn wrong_credentials_buckets_and_clocks_are_named() {
    let service = service(|_| {}).await;
    let wrong = |c: Credentials, bucket: &str| {
        source_with(KodoSettings { credentials: Some(c), bucket: bucket.into(), ..settings(&service) })
    };
    for (source, kind, words) in [
        (
            wrong(Credentials::new("AK-other", "x").unwrap(), "bkt"),
            ErrorKind::Denied,
            "does not know the access key AK-o…",
        ),
        (
            wrong(Credentials::new("AK-test", "x").unwrap(), "bkt"),
            ErrorKind::Denied,
            "secret key does not belong",
        ),
        (wrong(credentials(), "other"), ErrorKind::Missing, "no bucket named “other”"),
    ] {
        let error = source.check().await.unwrap_err();
        assert!(error.kind == kind && error.message.contains(words), "{error}");
        assert!(!error.message.contains("canary"), "{error}");
    }
    service.faults().set_clock_offset(2 * 3600);
    let error = source(&service).check().await.unwrap_err();
    assert!(error.kind == ErrorKind::Denied, "{error}");
    assert!(error.message.contains("this machine's clock"), "{error}");
}

#[tokio::test]
async fn throttling_slows_down_and_everything_arrives() {
    let service = service(|_| {}).await;
    for n in 0..200 {
        service.put(&format!("{n:03}"), b"x").unwrap();
    }
    service
        .faults()
        .add(Rule::on(Kind::Download).after(20).times(25).does(Action::Status(573, "slow".into())));
    let source = source(&service);
    let listed = list(&source).await.unwrap();
    let read = stream::iter(&listed).map(|o| source.read(o, 0..1, Route::Usual)).buffer_unordered(64);
    let read: Vec<_> = read.collect().await;
    assert!(read.iter().all(|r| r.as_deref() == Ok(b"x".as_slice())));
    assert_eq!(source.requests().reads, 225);
    assert!(service.counts().peak <= 16);
}

#[tokio::test]
async fn limits_hold() {
    let service = service(|_| {}).await;
    for n in 0..8 {
        service.put(&n.to_string(), &pattern(64 << 10)).unwrap();
    }
    let limits = LimitSettings { concurrency: 2, download_rate: Some(1 << 19), requests_per_second: None };
    let source = source_with(KodoSettings { limits, ..settings(&service) });
    let listed = list(&source).await.unwrap();
    let begun = Instant::now();
    let reads = stream::iter(&listed).map(|o| source.read(o, 0..o.size, Route::Usual)).buffer_unordered(8);
    assert!(reads.all(|r| async move { r.is_ok() }).await);
    let seconds = begun.elapsed().as_secs_f64();
    assert!((0.5..10.0).contains(&seconds), "512 KiB at 512 KiB a second took {seconds}");
    assert!(service.counts().peak <= 2);

    let limits = LimitSettings { requests_per_second: Some(50.0), ..LimitSettings::default() };
    let source = source_with(KodoSettings { limits, ..settings(&service) });
    let begun = Instant::now();
    for _ in 0..25 {
        source.stat(&Key::from("0")).await.unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert!((0.2..5.0).contains(&seconds), "25 requests at 50 a second took {seconds}");
}
