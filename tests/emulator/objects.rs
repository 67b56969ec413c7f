//! Operations on objects, alone and in batches.

use qbak::kodo::encode::{b64u, component, entry};
use serde_json::json;

use crate::raw::{Calls, memory};

fn e(key: &str) -> String {
    entry("bkt", Some(key.as_bytes()))
}

#[test]
fn stat_by_get_and_post_of_every_key() {
    let s = memory(|_| {});
    for key in ["a", "", "//x//", "a:b:c", "???>>>", "目录/😀", "..", "100%/x?y#z+w&v=1"] {
        s.put(key, key.as_bytes()).unwrap();
        for method in ["GET", "POST"] {
            let stat = s.signed(method, &format!("/stat/{}", e(key)), "");
            assert_eq!(
                (stat.status, stat.json()["fsize"].as_u64()),
                (200, Some(key.len() as u64)),
                "{key:?}"
            );
            assert!(stat.json().get("status").is_none(), "only of disabled objects");
        }
    }
    assert_eq!(s.op("stat", "none", "").error(), (612, "no such file or directory".into()));
    let stat = |text: String| s.signed("GET", &format!("/stat/{text}"), "").error();
    assert_eq!(stat(entry("other", Some(b"a"))), (631, "no such bucket".into()));
    assert_eq!(stat(entry("bkt", None)).0, 400);
    assert_eq!(stat(entry("bkt", Some(b"\xff"))), (400, "key must be utf8 encoding".into()));
    assert_eq!(stat(entry("bkt", Some(&[b'x'; 751]))).0, 400);
    assert_eq!(stat(entry("bkt", Some(&[b'x'; 750]))).0, 612);
    assert_eq!(stat("!".into()).0, 400);
}

#[test]
fn copy_move_and_delete() {
    let s = memory(|_| {});
    s.put("a", b"one").unwrap();
    s.put("b", b"two").unwrap();
    let to = |key: &str| format!("/{}", e(key));
    assert_eq!(s.op("copy", "a", &to("b")).error(), (614, "file exists".into()));
    assert_eq!(s.op("copy", "a", &(to("b") + "/force/false")).error().0, 614);
    assert_eq!(s.op("copy", "a", &(to("b") + "/force/true")).status, 200);
    assert_eq!(s.get("/b").body, b"one");
    assert_eq!(s.op("move", "none", &to("c")).error().0, 612);
    assert_eq!(s.op("move", "b", &to("c")).status, 200);
    assert_eq!((s.get("/b").status, s.get("/c").body.as_slice()), (404, b"one".as_slice()));
    assert_eq!(s.op("delete", "c", "").status, 200);
    assert_eq!(s.op("delete", "c", "").error().0, 612);
    assert_eq!(s.get("/c").status, 404);
}

#[test]
fn metadata_changes_in_any_order_and_under_conditions() {
    let s = memory(|_| {});
    let object = s.put("a", b"one").unwrap();
    let rest = format!("/x-qn-meta-k/{}/mime/{}/x-qn-meta-l/{}", b64u("v"), b64u("x/y"), b64u("w"));
    assert_eq!(s.op("chgm", "a", &rest).status, 200);
    assert_eq!(s.op("chgm", "a", &format!("/x-qn-meta-k/{}", b64u("new"))).status, 200);
    let stat = s.op("stat", "a", "").json();
    assert_eq!((&stat["mimeType"], &stat["x-qn-meta"]), (&json!("x/y"), &json!({ "k": "new", "l": "w" })));
    let cond = |text: &str| format!("/mime/{}/cond/{}", b64u("z/z"), b64u(text));
    assert_eq!(s.op("chgm", "a", &cond(&format!("hash={}&fsize=4", component(&object.hash)))).error().0, 608);
    assert_eq!(s.op("stat", "a", "").json()["mimeType"], "x/y");
    assert_eq!(s.op("chgm", "a", &cond(&format!("hash={}&fsize=3", component(&object.hash)))).status, 200);
    assert_eq!(s.op("stat", "a", "").json()["mimeType"], "z/z");
    assert_eq!(s.op("chgm", "a", &format!("/x-qn-meta-{}/{}", "n".repeat(51), b64u("v"))).error().0, 400);
    assert_eq!(s.op("chgm", "a", &format!("/x-qn-meta-n/{}", b64u("v".repeat(1025)))).error().0, 400);
    assert_eq!(s.op("chgm", "a", "/mime").error().0, 400);
    assert_eq!(s.op("chgm", "none", &rest).error().0, 612);
    assert_eq!(s.op("chstatus", "a", "/status/1").status, 200);
    assert_eq!(s.op("chstatus", "a", "/status/1").error(), (400, "already disabled".into()));
    assert_eq!(s.op("stat", "a", "").json()["status"], 1);
    assert_eq!(s.list(&[]).json()["items"][0]["status"], 1);
    assert_eq!(s.get("/a").error().0, 403);
    assert_eq!(s.op("chstatus", "a", "/status/0").status, 200);
    assert_eq!(s.get("/a").status, 200);
}

#[test]
fn archives_are_thawed_and_freeze_again() {
    let s = memory(|c| c.thaw = (100, 1000));
    s.put("a", b"one").unwrap();
    assert_eq!(s.op("restoreAr", "a", "/freezeAfterDays/1").error().0, 400, "not archived");
    assert_eq!(s.op("chtype", "a", "/type/0").error(), (400, "already in normal stat".into()));
    for (class, wait) in [(2, 100), (3, 1000)] {
        s.faults().set_clock_offset(0);
        assert_eq!(s.op("chtype", "a", &format!("/type/{class}")).status, 200);
        assert_eq!(s.get("/a").error().0, 403);
        assert_eq!(s.op("chtype", "a", "/type/0").error().0, 403, "frozen: not even this");
        assert_eq!(s.op("restoreAr", "a", "/freezeAfterDays/8").error().0, 400);
        assert_eq!(s.op("restoreAr", "a", "/freezeAfterDays/1").status, 200);
        assert_eq!(s.op("stat", "a", "").json()["restoreStatus"], 1);
        assert_eq!(s.get("/a").error().0, 403, "still thawing");
        s.faults().set_clock_offset(wait + 5);
        assert_eq!(s.op("stat", "a", "").json()["restoreStatus"], 2);
        assert_eq!(s.get("/a").body, b"one");
        s.faults().set_clock_offset(wait + 5 + 86_400);
        assert!(s.op("stat", "a", "").json().get("restoreStatus").is_none());
        assert_eq!(s.get("/a").status, 403);
        s.faults().set_clock_offset(wait + 5);
        assert_eq!(s.op("chtype", "a", "/type/4").status, 200, "thawed: may change");
        assert_eq!(s.get("/a").status, 200, "instant archive and infrequent access are read directly");
    }
}

#[test]
fn lifecycles_come_true() {
    let s = memory(|_| {});
    s.put("a", b"one").unwrap();
    s.put("b", b"two").unwrap();
    assert_eq!(s.op("deleteAfterDays", "b", "/3").status, 200);
    let rest = "/deleteAfterDays/9/toIAAfterDays/2/toARCHIVEAfterDays/4/toDeepArchiveAfterDays/-1";
    assert_eq!(s.op("lifecycle", "a", rest).status, 200);
    let stat = s.op("stat", "a", "").json();
    assert!(stat["transitionToIA"].as_i64() < stat["transitionToARCHIVE"].as_i64());
    assert_eq!(stat["expiration"].as_i64().unwrap() % 86_400, 0, "the grain of a day");
    for (day, class, there) in [(1, 0, true), (3, 1, true), (5, 2, true), (10, 2, false)] {
        s.faults().set_clock_offset(day * 86_400);
        let stat = s.op("stat", "a", "");
        assert_eq!(stat.status == 200, there, "day {day}");
        assert_eq!(s.list(&[("prefix", "a")]).json()["items"].as_array().unwrap().len(), usize::from(there));
        if there {
            assert_eq!(stat.json()["type"], class, "day {day}");
        }
    }
    assert_eq!(s.op("stat", "b", "").status, 612);
    s.faults().set_clock_offset(0);
    assert_eq!(s.op("deleteAfterDays", "b", "/0").status, 200);
    assert!(s.op("stat", "b", "").json().get("expiration").is_none());
    assert_eq!(s.op("lifecycle", "a", "/nonsense/1").error().0, 400);
}

#[test]
fn batches_answer_each_operation_in_order() {
    let s = memory(|_| {});
    s.put("a", b"one").unwrap();
    let batch = |ops: &[String]| {
        let body: Vec<String> = ops.iter().map(|op| format!("op={}", component(op))).collect();
        s.signed("POST", "/batch", &body.join("&"))
    };
    let all = [
        format!("/stat/{}", e("a")),
        format!("stat/{}/needparts/true", e("a")),
        format!("/copy/{}/{}", e("a"), e("b")),
        format!("copy/{}/{}/force/false", e("a"), e("b")),
        format!("/move/{}/{}/force/true", e("a"), e("b")),
        format!("delete/{}", e("a")),
        "nonsense".to_owned(),
        format!("/stat/{}", entry("other", Some(b"a"))),
    ];
    let answer = batch(&all);
    assert_eq!(answer.status, 298);
    let codes: Vec<u64> =
        answer.json().as_array().unwrap().iter().map(|r| r["code"].as_u64().unwrap()).collect();
    assert_eq!(codes, [200, 200, 200, 614, 200, 612, 400, 631]);
    assert_eq!(answer.json()[3]["data"]["error"], "file exists");
    assert_eq!(batch(&[format!("/stat/{}", e("b"))]).status, 200);
    assert_eq!(batch(&[]).error().0, 400);
    assert_eq!(batch(&vec![format!("/stat/{}", e("b")); 1001]).error().0, 400);
    // The longest keys, as many as may be.
    let long = "目".repeat(250);
    let answer = batch(&vec![format!("/copy/{}/{}/force/true", e(&long), e(&long)); 1000]);
    assert_eq!((answer.status, answer.json().as_array().unwrap().len()), (298, 1000));
}

#[test]
fn unknown_calls_are_json_errors_with_ids() {
    let s = memory(|_| {});
    let answer = s.signed("POST", "/nothing", "");
    assert_eq!(answer.error(), (404, "no such method".into()));
    let other = s.signed("POST", "/nothing", "");
    assert!(answer.header("x-reqid").is_some() && answer.header("x-reqid") != other.header("x-reqid"));
    assert!(answer.header("x-log").is_some());
}
