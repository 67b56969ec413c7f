//! Every switch that breaks something, and that nothing else breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use qbak::emulator::{Action, Framing, Kind, NextMarker, Rule, Service};
use serde_json::json;

use crate::raw::{Answer, Calls, keys, memory, request};

fn service() -> Service {
    let s = memory(|_| {});
    for i in 0..10 {
        s.put(&format!("k{i}"), b"0123456789").unwrap();
    }
    s
}

/// The answer to one GET under a rule that fires once; the next one must be well.
fn broken(s: &Service, target: &str, headers: &[(&str, &str)], action: Action) -> Option<Answer> {
    let id = s.faults().add(Rule::on(Kind::Download).times(1).does(action));
    let answer = request(&s.domain(), "GET", target, headers, b"");
    assert_eq!(s.faults().fired(id), 1);
    let next = s.get("/k1");
    assert_eq!((next.status, next.body.as_slice()), (200, b"0123456789".as_slice()));
    s.faults().remove(id);
    answer
}

#[test]
fn statuses_come_with_json_and_headers() {
    let s = service();
    for code in [400, 401, 403, 404, 429, 500, 502, 503, 504, 573, 579, 599, 612, 614, 631, 640, 701] {
        let rule = Rule::on(Kind::List).times(1).does(Action::Status(code, "broken on purpose".into()));
        s.faults().add(rule.does(Action::Header("Retry-After".into(), "7".into())));
        let answer = s.list(&[]);
        assert_eq!(answer.error(), (code, "broken on purpose".into()));
        assert_eq!(answer.header("retry-after"), Some("7"));
        assert!(answer.header("x-reqid").is_some());
    }
    // 401 from the fourth request on, for one kind only.
    s.faults().clear();
    s.faults().add(Rule::on(Kind::Stat).after(3).does(Action::Status(401, "bad token".into())));
    let seen: Vec<u16> = (0..5).map(|_| s.op("stat", "k1", "").status).collect();
    assert_eq!(seen, [200, 200, 200, 401, 401]);
    assert_eq!(s.get("/k1").status, 200);
    s.faults().clear();
    s.faults().add(Rule::on(Kind::Delete).times(1).does(Action::DoneButStatus(599, "lost".into())));
    assert_eq!(s.op("delete", "k1", "").error().0, 599);
    assert_eq!(s.op("stat", "k1", "").status, 612, "done all the same");
    s.faults().add(Rule::any().times(1).does(Action::Header("X-Reqid".into(), String::new())));
    assert!(s.op("stat", "k2", "").header("x-reqid").is_none());
    s.faults().add(Rule::any().times(1).does(Action::Redirect("http://elsewhere/".into())));
    let moved = s.get("/k2");
    assert_eq!((moved.status, moved.header("location")), (302, Some("http://elsewhere/")));
}

#[test]
fn bodies_break_in_every_way() {
    let s = service();
    assert!(broken(&s, "/k0", &[], Action::Drop).is_none());
    let cut = |framing| broken(&s, "/k0", &[], Action::Truncate(4, framing)).unwrap();
    let a = cut(Framing::Length);
    assert_eq!(
        (a.header("content-length"), a.body.as_slice(), a.whole),
        (Some("10"), b"0123".as_slice(), false)
    );
    let a = cut(Framing::Chunked);
    assert_eq!((a.header("content-length"), a.body.as_slice(), a.whole), (None, b"0123".as_slice(), true));
    assert_eq!(a.header("transfer-encoding"), Some("chunked"));
    let a = cut(Framing::Close);
    assert_eq!((a.header("content-length"), a.header("transfer-encoding")), (None, None));
    assert_eq!((a.version.as_str(), a.body.as_slice()), ("HTTP/1.0", b"0123".as_slice()));
    let a = cut(Framing::Shorter);
    assert_eq!((a.header("content-length"), a.body.as_slice()), (Some("4"), b"0123".as_slice()));
    let a = broken(&s, "/k0", &[], Action::FlipByte(3)).unwrap();
    assert_eq!((a.body.as_slice(), a.whole), (b"0122456789".as_slice(), true));
    let start = Instant::now();
    let a = broken(&s, "/k0", &[], Action::Slow(2, Duration::from_millis(30))).unwrap();
    assert!(a.whole && start.elapsed() >= Duration::from_millis(110), "{:?}", start.elapsed());
    let a = broken(&s, "/k0", &[("Range", "bytes=2-3")], Action::Slow(1, Duration::ZERO)).unwrap();
    assert_eq!((a.status, a.body.as_slice()), (206, b"23".as_slice()));
}

#[test]
fn bodies_of_any_making() {
    let s = service();
    let a = broken(&s, "/k0", &[], Action::Body(418, Bytes::from_static(b"\xff{"))).unwrap();
    assert_eq!((a.status, a.body.as_slice()), (418, b"\xff{".as_slice()));
    let a = broken(&s, "/k0", &[], Action::Flood(Bytes::from_static(b"head"), 200_000)).unwrap();
    assert_eq!((a.status, a.header("content-length"), a.body.len(), a.whole), (200, None, 200_004, true));
    assert!(a.body.starts_with(b"headxx") && a.body.ends_with(b"x"));
    let a = broken(&s, "/k0", &[], Action::Append(Bytes::from_static(b"more"))).unwrap();
    assert_eq!((a.header("content-length"), a.body.as_slice()), (None, b"0123456789more".as_slice()));
    let range = [("Range", "bytes=2-3")];
    let a = broken(&s, "/k0", &range, Action::OtherRange(4, true)).unwrap();
    assert_eq!((a.header("content-range"), a.body.as_slice()), (Some("bytes 6-7/10"), b"67".as_slice()));
    let a = broken(&s, "/k0", &range, Action::OtherRange(4, false)).unwrap();
    assert_eq!((a.header("content-range"), a.body.as_slice()), (Some("bytes 2-3/10"), b"67".as_slice()));
    let a = broken(&s, "/k0", &[("Range", "bytes=8-9")], Action::OtherRange(4, true)).unwrap();
    assert_eq!((a.header("content-range"), a.body.as_slice()), (Some("bytes 4-5/10"), b"45".as_slice()));
}

#[test]
fn answers_lie_in_every_way() {
    let s = service();
    let range = [("Range", "bytes=2-3")];
    let right = s.get("/k0").header("etag").unwrap().to_owned();
    let a = broken(&s, "/k0", &range, Action::IgnoreRange).unwrap();
    assert_eq!((a.status, a.body.len(), a.header("content-range")), (200, 10, None));
    let a = broken(&s, "/k0", &range, Action::Header("Content-Range".into(), "bytes 3-4/10".into())).unwrap();
    assert_eq!((a.status, a.header("content-range")), (206, Some("bytes 3-4/10")));
    let a = broken(&s, "/k0", &range, Action::Header("ETag".into(), "\"other\"".into())).unwrap();
    assert_eq!((a.status, a.header("etag")), (206, Some("\"other\"")));
    let slim = Bytes::from_static(b"slim");
    let a = broken(&s, "/k0", &[], Action::Replace(slim.clone(), "image/webp".into())).unwrap();
    assert_eq!((a.body.as_slice(), a.header("content-type")), (b"slim".as_slice(), Some("image/webp")));
    assert_ne!(a.header("etag"), Some(right.as_str()));
    let a = broken(&s, "/k0", &[("Range", "bytes=1-9")], Action::Replace(slim, "image/webp".into())).unwrap();
    assert_eq!((a.body.as_slice(), a.header("content-range")), (b"lim".as_slice(), Some("bytes 1-3/4")));
    let a = broken(&s, "/k0", &[], Action::Gzip).unwrap();
    assert_eq!(a.header("content-encoding"), Some("gzip"));
    assert_eq!(a.header("etag"), Some(format!("\"{}.gz\"", right.trim_matches('"')).as_str()));
    assert!(a.whole && a.body.starts_with(&[0x1f, 0x8b]) && a.body.windows(10).any(|w| w == b"0123456789"));
}

#[test]
fn waiting_is_bounded_by_the_client_alone() {
    let s = service();
    let start = Instant::now();
    s.faults().add(Rule::on(Kind::List).times(1).does(Action::Latency(Duration::from_millis(60))));
    assert_eq!(s.list(&[]).status, 200);
    assert!(start.elapsed() >= Duration::from_millis(60));
    for (action, sent) in [(Action::Stall, 0), (Action::StallAfter(4), 4)] {
        s.faults().add(Rule::on(Kind::Download).times(1).does(action));
        let mut stream = std::net::TcpStream::connect(s.addr()).unwrap();
        use std::io::{Read, Write};
        stream.write_all(format!("GET /k0 HTTP/1.1\r\nHost: {}\r\n\r\n", s.main()).as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        let end = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break "closed",
                Ok(n) => all.extend_from_slice(&buffer[..n]),
                Err(_) => break "silent",
            }
        };
        assert_eq!(end, "silent", "the connection stays open");
        let body = all.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| all.len() - at - 4);
        assert_eq!(body, sent);
    }
    assert_eq!(s.get("/k0").status, 200, "nobody else waits");
}

/// A listing of pages of 4 whose page `n` (from 0) has this fault: the keys page by page, at most 8 pages.
fn pages(s: &Service, n: u64, action: Action) -> Vec<Vec<String>> {
    s.faults().clear();
    // Earlier pages must be remembered for some faults, so there is a rule from the start.
    s.faults().add(Rule::on(Kind::List).does(Action::Latency(Duration::ZERO)));
    s.faults().add(Rule::on(Kind::List).after(n).times(1).does(action));
    let (mut marker, mut out) = (String::new(), Vec::new());
    while out.len() < 8 {
        let page = s.list(&[("limit", "4"), ("marker", &marker)]).json();
        let keys = page["items"].as_array().map(|_| keys(&page));
        out.push(keys.unwrap_or_else(|| vec!["null".into()]));
        marker = page["marker"].as_str().unwrap().to_owned();
        if marker.is_empty() {
            break;
        }
    }
    s.faults().clear();
    out
}

#[test]
fn listings_lie_in_every_way() {
    let s = service();
    let (a, b, c) = (["k0", "k1", "k2", "k3"], ["k4", "k5", "k6", "k7"], ["k8", "k9"]);
    let v = |keys: &[&str]| keys.iter().map(|k| (*k).to_owned()).collect::<Vec<String>>();
    for n in 0..3 {
        let mut expected = vec![v(&a), v(&b), v(&c)];
        expected.insert(n, vec![]);
        assert_eq!(pages(&s, n as u64, Action::EmptyPage), expected, "empty page {n}");
    }
    assert_eq!(pages(&s, 1, Action::NullItems), [v(&a), v(&["null"]), v(&c)]);
    assert_eq!(pages(&s, 1, Action::EmptyRecords(2))[1], v(&["k4", "k5", "k6", "k7", "", ""]));
    assert_eq!(pages(&s, 1, Action::DuplicatePage)[1], [v(&a), v(&b)].concat());
    assert_eq!(pages(&s, 1, Action::Reverse)[1], v(&["k7", "k6", "k5", "k4"]));
    assert_eq!(
        pages(&s, 0, Action::Huge(9)),
        [v(&["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8"]), v(&["k9"])]
    );
    let extra = Action::Extra(vec![json!({ "key": "outside", "hash": "x", "fsize": 1 })]);
    assert_eq!(pages(&s, 2, extra)[2], v(&["k8", "k9", "outside"]));
    assert_eq!(pages(&s, 1, Action::Marker(NextMarker::Asked)), [v(&a), v(&b), v(&b), v(&c)]);
    assert_eq!(pages(&s, 1, Action::Marker(NextMarker::Text(String::new()))), [v(&a), v(&b)]);
    // Endless: A, B, A, B …
    s.faults().add(Rule::on(Kind::List).after(2).does(Action::Marker(NextMarker::Before)));
    let (mut marker, mut seen) = (String::new(), Vec::new());
    for _ in 0..7 {
        let page = s.list(&[("limit", "2"), ("marker", &marker)]).json();
        seen.push(keys(&page)[0].clone());
        marker = page["marker"].as_str().unwrap().to_owned();
    }
    assert_eq!(seen, ["k0", "k2", "k4", "k2", "k4", "k2", "k4"]);
    // Endless, though no marker ever comes twice.
    s.faults().clear();
    s.faults().add(Rule::on(Kind::List).does(Action::Marker(NextMarker::Here)));
    let (mut marker, mut markers) = (String::new(), std::collections::BTreeSet::new());
    for _ in 0..5 {
        let page = s.list(&[("limit", "2"), ("marker", &marker)]).json();
        assert_eq!(keys(&page), ["k0", "k1"]);
        marker = page["marker"].as_str().unwrap().to_owned();
        assert!(markers.insert(marker.clone()));
    }
    s.faults().clear();
    s.faults().add(Rule::on(Kind::List).times(1).does(Action::Pad(100_000)));
    assert!(s.list(&[]).body.len() > 100_000);
    s.faults().add(Rule::on(Kind::List).key("photos/**").does(Action::Status(503, "heavy".into())));
    assert_eq!(s.list(&[("prefix", "photos/2026/")]).status, 503);
    assert_eq!(s.list(&[("prefix", "k")]).status, 200);
}

#[test]
fn version_2_streams_break() {
    let s = service();
    let list = |target: &str| s.signed("GET", &format!("/v2/list?bucket=bkt{target}"), "");
    let markers = |a: &Answer| -> Vec<String> {
        let line = |l: &str| {
            serde_json::from_str::<serde_json::Value>(l).unwrap()["marker"].as_str().unwrap().to_owned()
        };
        a.text().lines().map(line).collect()
    };
    s.faults().add(Rule::on(Kind::List).times(1).does(Action::BreakStream(4)));
    let cut = list("");
    assert_eq!((cut.whole, markers(&cut).len()), (true, 4));
    let last = markers(&cut)[3].replace('=', "%3D");
    assert_eq!(markers(&list(&format!("&marker={last}"))).len(), 6, "goes on where it broke");
    s.faults().add(Rule::on(Kind::List).times(1).does(Action::Truncate(250, Framing::Length)));
    let torn = list("");
    assert_eq!((torn.whole, torn.body.len()), (false, 250));
    s.faults().add(Rule::on(Kind::List).times(1).does(Action::EmptyPage));
    let empty = list("");
    assert_eq!(markers(&empty).len(), 1);
    let go_on = markers(&empty)[0].replace('=', "%3D");
    assert_eq!(markers(&list(&format!("&marker={go_on}"))).len(), 10);
    s.faults().add(Rule::on(Kind::List).times(1).does(Action::EmptyRecords(2)).does(Action::NullItems));
    assert_eq!(markers(&list("")).len(), 13);
}

#[test]
fn clocks_stale_listings_and_late_deletes() {
    let s = service();
    let date = qbak::kodo::sign::date_value(qbak::model::time::Timestamp::from_seconds(crate::raw::now()));
    let dated = || s.signed_with("GET", "/list?bucket=bkt", "", &[("X-Qiniu-Date", &date)]).status;
    let signed = s.sign_target(&s.domain(), "/k0");
    assert_eq!((dated(), s.get(&signed).status), (200, 200));
    s.faults().set_clock_offset(3 * 3600);
    assert_eq!((dated(), s.get(&signed).status), (403, 401), "the client's clock is behind");
    s.faults().set_clock_offset(0);
    s.freeze_listing().unwrap();
    assert_eq!(s.op("delete", "k0", "").status, 200);
    s.put("new", b"x").unwrap();
    assert_eq!(keys(&s.list(&[]).json()).len(), 10);
    assert_eq!(keys(&s.list(&[("limit", "1")]).json()), ["k0"]);
    assert_eq!((s.op("stat", "k0", "").status, s.get("/k0").status), (612, 404));
    s.faults().unfreeze_listing();
    assert_eq!(keys(&s.list(&[("limit", "1")]).json()), ["k1"]);
    s.faults().delay_deletes(60);
    assert_eq!(s.op("delete", "k1", "").status, 200);
    assert_eq!((s.op("stat", "k1", "").status, s.get("/k1").status), (200, 200));
    s.faults().set_clock_offset(61);
    assert_eq!((s.op("stat", "k1", "").status, s.get("/k1").status), (612, 404));
}

#[test]
fn hooks_run_between_requests_and_the_log_counts() {
    let s = Arc::new(service());
    let (calls, weak) = (Arc::new(AtomicU64::new(0)), Arc::downgrade(&s));
    let counter = Arc::clone(&calls);
    let hook = Action::Hook(Arc::new(move |seen| {
        counter.fetch_add(1, Ordering::SeqCst);
        if let Some(s) = weak.upgrade() {
            s.put(seen.key.as_deref().unwrap(), b"overwritten").unwrap();
        }
    }));
    s.faults().add(Rule::on(Kind::Download).exactly("k3").range("bytes=5-").does(hook));
    assert_eq!(s.get_range("/k3", "bytes=0-4").body, b"01234");
    assert_eq!(s.get_range("/k3", "bytes=5-").body, b"ritten");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let records = s.requests();
    assert_eq!((records[1].kind, records[1].status), (Kind::Download, 206));
    assert_eq!((records[1].key.as_deref(), records[1].range.as_deref()), (Some("k3"), Some("bytes=5-")));
    s.list(&[("prefix", "p")]);
    assert_eq!((s.counts().of(Kind::Download), s.counts().of(Kind::List), s.counts().total()), (2, 1, 3));
    assert_eq!(s.requests()[2].key.as_deref(), Some("p"));
    s.clear_requests();
    assert_eq!((s.counts().total(), s.requests().len()), (0, 0));
}

#[test]
fn a_stopped_service_is_gone_and_its_folder_free() {
    let dir = tempfile::tempdir().unwrap();
    let s = crate::raw::folder(dir.path());
    s.put("a", b"x").unwrap();
    let addr = s.addr();
    s.stop();
    let again = crate::raw::folder(dir.path());
    assert_eq!(again.get("/a").body, b"x");
    assert!(again.addr() == addr || std::net::TcpStream::connect(addr).is_err());
}
