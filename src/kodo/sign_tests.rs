//! The published test vectors of every signature, and how the checks refuse what is not right.

use super::*;

fn ak() -> Credentials {
    Credentials::new("ak", "sk").unwrap()
}

fn official() -> Credentials {
    Credentials::new("MY_ACCESS_KEY", "MY_SECRET_KEY").unwrap()
}

/// Cuts a URL into host, path and query without tidying anything up.
fn parts(url: &str) -> (&str, &str, Option<&str>) {
    let rest = url.split_once("://").unwrap().1;
    let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match target.split_once('?') {
        Some((p, q)) => (authority, p, Some(q)),
        None => (authority, target, None),
    }
}

#[test]
fn raw_signatures() {
    assert_eq!(ak().sign(b"hello"), "ak:NDN8cM0rwosxhHJ6QAcI7ialr0g=");
    assert_eq!(ak().sign(b""), "ak:tQ5m4CQvK3MDDtx9gKbCgKye0II=");
    assert_eq!(ak().sign_with_data(b"hello"), "ak:2pn0qs-2kfEsQFuHI2pAYlo0hpc=:aGVsbG8=");
}

#[test]
fn qbox_tokens() {
    let json: &[(&str, &str)] = &[("Content-Type", "application/json")];
    let form: &[(&str, &str)] = &[("content-type", FORM)];
    for (url, headers, body, token) in [
        ("https://rs.qiniuapi.com/stat/Ymt0OmEudHh0", form, "", "ak:xIqMXeUaE8bmFnptHWOllPggHXw="),
        ("http://rs.qiniuapi.com/delete/Ymt0OmEudHh0", form, "", "ak:r8x5ekPA5tYfDZf1HewUvPOf_Sw="),
        ("https://rsf.qiniuapi.com/list?bucket=bkt&limit=1000", &[], "", "ak:B-nP_felakZ2txN3uRbGc7A7cXc="),
        (
            "https://rs.qiniuapi.com/batch",
            form,
            "op=%2Fstat%2FYmt0OmEudHh0",
            "ak:-yXBJZts-TbINSiy4LkyDnYjyoY=",
        ),
        ("https://rs.qiniuapi.com/x", json, "{\"a\":1}", "ak:LgzFimTkrSn36uEMEDtxyB2QBks="),
        ("https://uc.qiniuapi.com", form, "", "ak:qfWnqF1E_vfzjZnReCVkcSMl29M="),
    ] {
        let (host, path, query) = parts(url);
        for method in ["GET", "POST"] {
            let s = Signable { method, path, query, host, headers, body: body.as_bytes() };
            assert_eq!(s.qbox_token(&ak()), format!("QBox {token}"), "{method} {url}");
        }
    }
    let path = "/move/bmV3ZG9jczpmaW5kX21hbi50eHQ=/bmV3ZG9jczpmaW5kLm1hbi50eHQ=";
    let s = Signable { method: "POST", path, query: None, host: "rs.qiniu.com", headers: &[], body: b"" };
    assert_eq!(s.qbox_token(&official()), "QBox MY_ACCESS_KEY:FXsYh0wKHYPEsIAgdPD9OfjkeEM=");
}

#[test]
fn qiniu_tokens() {
    const D: (&str, &str) = ("X-Qiniu-Date", "20231114T221320Z");
    const F: (&str, &str) = ("Content-Type", FORM);
    const LIST: &str = "https://rsf.qiniuapi.com/list?bucket=bkt&limit=1000";
    let stat = "https://rs.qiniuapi.com/stat/Ymt0OmEudHh0";
    let both: &[(&str, &str)] = &[F, D];
    let plus = format!("{LIST}&prefix=%E7%9B%AE%E5%BD%95%2F+a");
    let blank = format!("{LIST}&prefix=%E7%9B%AE%E5%BD%95%2F%20a");
    let json: &[(&str, &str)] = &[
        ("content-type", "application/json"),
        D,
        ("x-qiniu-bbb", "B"),
        ("X-QINIU-AAA", "A"),
        ("X-Qiniu-", "ignored"),
        ("X-Qiniu", "ignored"),
    ];
    let ops = "op=%2Fstat%2FYmt0OmEudHh0&op=%2Fdelete%2FYmt0OmIudHh0";
    let charset: &[(&str, &str)] = &[("Content-Type", "application/json; charset=utf-8")];
    for (method, url, headers, body, token) in [
        ("GET", stat, &[] as &[(&str, &str)], "", "6cjQ3q2NFp_jiDe1gYMXRYIVP8E="),
        ("POST", stat, both, "", "KpaoANtv-C0YjKcS_KANy99jQK0="),
        ("GET", LIST, both, "", "Mv7AD6HDl-UGlbQIL1bCE7bWJYk="),
        ("GET", &plus, both, "", "AmphkeuDcgALjiGpKCwcO_-mUyQ="),
        ("GET", &blank, both, "", "ltKIdWn4RQxU3HuWdcc6PMdapuY="),
        ("GET", "https://uc.qiniuapi.com/v2/domains?tbl=bkt", both, "", "QdUKrO5-vUklPmKQsMRxbiLkqGo="),
        ("POST", "https://rs.qiniuapi.com/batch", both, ops, "8KQ45iieRLsGhmg3shsiYAck3WY="),
        (
            "POST",
            "https://uc.qiniuapi.com/x?y=1",
            json,
            r#"{"name":"测试 😀"}"#,
            "sxsRRlbbwgodLva0Y7EcfTAw8sg=",
        ),
        (
            "PUT",
            "http://127.0.0.1:9000/x",
            &[("Content-Type", BINARY)],
            "BINARY",
            "gk56xK-rhslxAda-6ULR-6VrVAc=",
        ),
        (
            "POST",
            "http://127.0.0.1:9000/x",
            &[("Content-Type", "text/plain")],
            "hi",
            "fAYeDfj96NohjpLdg1fZI-pNFfk=",
        ),
        ("POST", "http://127.0.0.1:9000/x", charset, "{}", "wocmjfbhEmvbDI2CENaTKGz-drs="),
    ] {
        let (host, path, query) = parts(url);
        let s = Signable { method, path, query, host, headers, body: body.as_bytes() };
        assert_eq!(s.qiniu_token(&ak()), format!("Qiniu ak:{token}"), "{method} {url}");
    }
}

#[test]
fn dates() {
    let t = Timestamp::from_seconds(1_700_000_000);
    assert_eq!(date_value(t), "20231114T221320Z");
    assert_eq!(parse_date("20231114T221320Z"), Some(t));
    assert_eq!(parse_date("2023-11-14T22:13:20Z"), None);
}

#[test]
fn download_tokens() {
    for (path, signature) in [
        ("a.txt", "BgXA7Sh4ADv-rwEQ5uBfefUiB6Y="),
        ("a%20b.txt", "Nugxr7Z8gNnfL-Jct9nw7GluD-4="),
        ("%E7%9B%AE%E5%BD%95/%E6%96%87%E4%BB%B6.txt", "yPafb48Msl6nUZ-H6MzghStAk-Q="),
        ("%E7%9B%AE%E5%BD%95%2F%E6%96%87%E4%BB%B6.txt", "TrsZwJpapPEdykmuX6mMKMBQGWw="),
        ("100%25.txt", "Np5LF3t4FCVeHNtVXgxO9_4ZzCs="),
        ("q%3Fx%3D1", "P3KYPNx-yuK9qLrqRWh-6eTBFrM="),
        ("h%23frag", "FtNucTyrgudINzXl7532CsGcxhk="),
        ("p%2Bq.txt", "y92TcT4RlAY5R7MGHBGs2i4aEPA="),
        ("%F0%9F%98%80.png", "SQn93tYitx2rmIWuYv7tahR8uVo="),
        ("it%27s%281%29%21%2A~%26%3D%40%3A%3B%2C%24.txt", "RS3fsUnG_lEwlKPUc-7IzJUcxRc="),
        ("dir//x/", "AQblrYz95zQ7SdHcwOl-kVwNTAw="),
        ("dir%2F%2Fx%2F", "Y98am0xYwC_mjB2YA1TdxjQDYKs="),
        ("/lead", "D8GRL93TGsiteMHmEIxaCsDVSDY="),
        ("%2Flead", "WEbbir-8ZFauQp44jS7Kc2gGqj8="),
        ("a%2F..%2Fb", "DNfxoeRIM-J1YRmyzlkMu8a5rbU="),
        ("a.txt?imageView2/1/w/100", "JRWaqx7sizNasBH4sHZ2S_1hguc="),
        ("a.txt?attname=%E6%96%87.txt", "G_IoZ84pf-pF5q4aDTcstZ_d-Zk="),
    ] {
        let url = format!("http://dl.example.com/{path}");
        let mark = if path.contains('?') { '&' } else { '?' };
        let signed = sign_url(&ak(), &url, 1_700_003_600);
        assert_eq!(signed, format!("{url}{mark}e=1700003600&token=ak:{signature}"));
        let found = ak();
        let check = |u: &str, now| check_url(u, now, |a| (a == "ak").then_some(&found));
        assert_eq!(check(&signed, 1_700_003_600), Ok(()));
        assert_eq!(check(&format!("{signed}&x=y"), 1_700_003_600), Ok(()), "nothing after the token counts");
        assert_eq!(check(&signed.replace("ak:", "ak%3A").replace("=&", "%3D&"), 0), Ok(()));
        assert_eq!(check(&signed, 1_700_003_601), Err(UrlFault::Expired));
        assert_eq!(check(&url, 0), Err(UrlFault::Missing));
        assert_eq!(check(&signed.replace("http:", "https:"), 0), Err(UrlFault::Wrong));
        assert_eq!(check(&signed.replace("token=ak", "token=other"), 0), Err(UrlFault::Wrong));
    }
    let signed = sign_url(&ak(), "https://dl.example.com/a.txt", 1_700_003_600);
    assert!(signed.ends_with("&token=ak:UwNSnxHi7EHhNWD0s0UeEDrrcWg="), "{signed}");
    let flower = "http://78re52.com1.z0.glb.clouddn.com/resource/flower.jpg";
    let signed = sign_url(&official(), flower, 1_451_491_200);
    assert!(signed.ends_with("?e=1451491200&token=MY_ACCESS_KEY:438dd8pXocjYuF-6dTcKMtETB2g="), "{signed}");
}

#[test]
fn a_token_without_a_date_is_wrong() {
    let token = ak().sign(b"http://h/a");
    let found = ak();
    assert_eq!(check_url(&format!("http://h/a?token={token}"), 0, |_| Some(&found)), Err(UrlFault::Wrong));
    assert_eq!(check_url("http://h/a?e=1&token=", 0, |_| Some(&found)), Err(UrlFault::Wrong));
}

#[test]
fn upload_tokens() {
    for (policy, token) in [
        (
            r#"{"scope":"bkt","deadline":1700003600}"#,
            "ak:XPXVevSrV7Aviic8273W86lEjQc=:eyJzY29wZSI6ImJrdCIsImRlYWRsaW5lIjoxNzAwMDAzNjAwfQ==",
        ),
        (
            r#"{"scope":"bkt:a.txt","deadline":1700003600}"#,
            "ak:LaPXxObz_0dfG1Cgrkr2Vt5oUC0=:eyJzY29wZSI6ImJrdDphLnR4dCIsImRlYWRsaW5lIjoxNzAwMDAzNjAwfQ==",
        ),
        (
            r#"{"scope":"bkt:\u76ee\u5f55/\u6587 \u4ef6+\ud83d\ude00.txt","deadline":1700003600,"insertOnly":1,"fileType":1}"#,
            "ak:tCdmg1MIwp7ifoSLMNQv9eo-vic=:eyJzY29wZSI6ImJrdDpcdTc2ZWVcdTVmNTUvXHU2NTg3IFx1NGVmNitcdWQ4M2RcdWRlMDAudHh0IiwiZGVhZGxpbmUiOjE3MDAwMDM2MDAsImluc2VydE9ubHkiOjEsImZpbGVUeXBlIjoxfQ==",
        ),
        (
            r#"{"scope":"bkt:pre/","deadline":1700003600,"isPrefixalScope":1}"#,
            "ak:guNyl9UQF0z0KojJvbefl-Lb6Lw=:eyJzY29wZSI6ImJrdDpwcmUvIiwiZGVhZGxpbmUiOjE3MDAwMDM2MDAsImlzUHJlZml4YWxTY29wZSI6MX0=",
        ),
    ] {
        assert_eq!(upload_token(&ak(), policy.as_bytes()), token);
        let parsed = UploadToken::parse(token).unwrap();
        assert_eq!((parsed.access.as_str(), parsed.policy.as_slice()), ("ak", policy.as_bytes()));
        assert!(parsed.verify(&ak()));
        assert!(!parsed.verify(&Credentials::new("ak", "other").unwrap()));
        assert!(!UploadToken::parse(&token.replace("eyJ", "eyK")).unwrap().verify(&ak()));
    }
    assert_eq!(UploadToken::parse("ak:sig"), None);
    assert_eq!(UploadToken::parse("ak:sig:***"), None);
}

#[test]
fn secrets_do_not_print() {
    let c = Credentials::new("AK-visible", "SK-canary").unwrap();
    let shown = format!("{c:?}");
    assert!(shown.contains("AK-visible") && !shown.contains("canary"), "{shown}");
    for (access, secret, fault) in [
        ("", "s", BadCredentials::NoAccessKey),
        ("a", "", BadCredentials::NoSecretKey),
        ("a:b", "s", BadCredentials::OddAccessKey),
        ("a b", "s", BadCredentials::OddAccessKey),
        ("a", "canary\n", BadCredentials::OddSecretKey),
    ] {
        let found = Credentials::new(access, secret).unwrap_err();
        assert_eq!(found, fault);
        assert!(!found.to_string().contains("canary"));
    }
}
