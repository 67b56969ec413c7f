//! The region query, the bucket's domains and the bucket's settings.

use serde_json::{Value, json};

use super::reply::Reply;
use super::request::Request;
use super::state::State;

fn services(state: &State, request: &Request) -> Value {
    let main = state.advertised(state.addresses.main, request);
    let domains = |host: &str| json!({ "domains": [host] });
    json!({
        "up": domains(&main),
        "io": domains(&state.advertised(state.addresses.domain(), request)),
        "io_src": domains(&state.advertised(state.addresses.source(), request)),
        "rs": domains(&main),
        "rsf": domains(&main),
        "api": domains(&main),
        "uc": domains(&main),
        "s3": { "domains": [main], "region_alias": "cn-east-1" },
    })
}

/// `/v4/query` and `/v2/query`: needs no signature, but the right access key.
pub(super) fn query(state: &State, request: &Request) -> Reply {
    if request.param("ak").as_deref() != Some(state.config.credentials.access_key()) {
        return Reply::error(612, "app/accesskey is not found");
    }
    if request.param("bucket").as_deref() != Some(&state.config.bucket) {
        return Reply::error(631, "no such bucket");
    }
    let mut services = services(state, request);
    if request.path == "/v4/query" {
        services["region"] = state.config.region.clone().into();
        services["ttl"] = 86_400.into();
        return Reply::json(200, &json!({ "hosts": [services] }));
    }
    let main = state.advertised(state.addresses.main, request);
    let host = |addr| json!({ "main": [state.advertised(addr, request)] });
    let acc = json!({ "acc": { "main": [main] } });
    Reply::json(
        200,
        &json!({
            "region": state.config.region,
            "ttl": 86_400,
            "io": { "src": host(state.addresses.domain()) },
            "io_src": { "src": host(state.addresses.source()) },
            "up": { "acc": { "main": [main] }, "src": { "main": [main] } },
            "uc": acc, "rs": acc, "rsf": acc, "api": acc,
        }),
    )
}

/// `/regions`.
pub(super) fn regions(state: &State, request: &Request) -> Reply {
    let mut services = services(state, request);
    services["id"] = state.config.region.clone().into();
    services["description"] = "emulated".into();
    Reply::json(200, &json!({ "regions": [services] }))
}

/// `/v2/domains` and `/v3/domains`.
pub(super) fn domains(state: &State, request: &Request) -> Result<Reply, Reply> {
    if request.param("tbl").as_deref() != Some(&state.config.bucket) {
        return Err(Reply::error(631, "no such bucket"));
    }
    let domains = match &state.config.domains {
        Some(domains) => domains.clone(),
        None => vec![state.advertised(state.addresses.domain(), request)],
    };
    if request.path.starts_with("/v2/") {
        return Ok(Reply::json(200, &json!(domains)));
    }
    let all: Vec<Value> = domains
        .iter()
        .map(|domain| {
            json!({
                "domain": domain, "tbl": state.config.bucket, "uid": 1, "refresh": false, "ctime": 0, "utime": 0,
                "domaintype": 0, "apiscope": 0, "freeze_types": null,
            })
        })
        .collect();
    Ok(Reply::json(200, &json!(all)))
}

/// `/buckets` and `/v2/bucketInfo`.
pub(super) fn bucket(state: &State, request: &Request) -> Result<Reply, Reply> {
    let (name, region) = (&state.config.bucket, &state.config.region);
    if request.path == "/v2/bucketInfo" {
        if request.param("bucket").as_ref() != Some(name) {
            return Err(Reply::error(631, "no such bucket"));
        }
        let info = json!({
            "private": u8::from(state.config.private), "protected": 0, "region": region, "zone": region,
            "no_index_page": 1, "max_age": 0, "anti_leech_mode": 0, "allow_empty_referer": true,
            "source_enabled": false, "token_anti_leech_mode": 0, "separator": "", "ctime": "",
        });
        return Ok(Reply::json(200, &info));
    }
    if request.param("apiVersion").as_deref() == Some("v4") {
        let bucket = json!({ "name": name, "region": region, "private": state.config.private, "ctime": 0 });
        let page = json!({ "next_marker": "", "is_truncated": false, "buckets": [bucket] });
        return Ok(Reply::json(200, &page));
    }
    Ok(Reply::json(200, &json!([name])))
}
