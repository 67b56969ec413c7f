//! The end of every upload: policy, key, type, hash; then the object is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::LOCATION;
use serde_json::{Value, json};

use super::catalog::PutOutcome;
use super::etag;
use super::object::Object;
use super::ops::{KEY_MAX, in_days, metadata_fits};
use super::policy::{Policy, Protocol};
use super::reply::Reply;
use super::spool::Stored;
use super::state::State;
use super::vars::{self, Vars};
use crate::kodo::encode;
use crate::model::id::BlobId;
use crate::model::time::Timestamp;

/// Everything an upload brought.
pub(super) struct Upload {
    pub(super) policy: Policy,
    pub(super) protocol: Protocol,
    /// The key that the client gave.
    pub(super) key: Option<String>,
    pub(super) file_name: String,
    pub(super) mime: Option<String>,
    /// Names without `x-qn-meta-`.
    pub(super) meta: BTreeMap<String, String>,
    /// Custom variables, names with `x:`.
    pub(super) vars: BTreeMap<String, String>,
    pub(super) stored: Stored,
    /// The parts of a multipart upload: sizes and blocks.
    pub(super) parts: Vec<(u64, Vec<BlobId>)>,
}

/// Creates the object. May block.
pub(super) fn create(state: &Arc<State>, upload: Upload) -> Result<Reply, Reply> {
    let Upload { policy, protocol, key, file_name, mime, meta, vars: custom, stored, parts } = upload;
    let now = state.now();
    policy.in_time(now)?;
    policy.size(stored.size)?;
    if !metadata_fits(&meta) {
        return Err(Reply::error(400, "invalid metadata"));
    }
    let hash = match parts.as_slice() {
        [] => etag::plain(&stored.blocks),
        parts => etag::of_parts(parts, state.config.etags),
    };
    let put = Timestamp::from_kodo(state.ticks()).utc();
    let mut values: Vars = custom.into_iter().map(|(k, v)| (k, Value::from(v))).collect();
    values.extend(meta.iter().map(|(k, v)| (format!("x-qn-meta-{k}"), v.clone().into())));
    let ending = file_name.rsplit_once('.').map(|(_, e)| format!(".{e}")).unwrap_or_default();
    for (name, value) in [
        ("bucket", Value::from(state.config.bucket.clone())),
        ("etag", hash.clone().into()),
        ("hash", hash.clone().into()),
        ("fname", file_name.clone().into()),
        ("ext", ending.into()),
        ("fsize", stored.size.into()),
        ("endUser", policy.end_user.clone().into()),
        ("year", put.format("%Y").to_string().into()),
        ("mon", put.format("%m").to_string().into()),
        ("day", put.format("%d").to_string().into()),
        ("hour", put.format("%H").to_string().into()),
        ("min", put.format("%M").to_string().into()),
        ("sec", put.format("%S").to_string().into()),
    ] {
        values.insert(name.to_owned(), value);
    }
    let key = match key {
        Some(key) if !policy.force_save_key || policy.save_key.is_empty() => key,
        _ if !policy.save_key.is_empty() => vars::name(&policy.save_key, &values),
        _ => hash.clone(),
    };
    if key.len() > KEY_MAX {
        return Err(Reply::error(400, "key is too long"));
    }
    policy.key(&key)?;
    let mime = policy.mime(mime.as_deref(), [&file_name, &key], &stored.head)?;
    values.insert("key".to_owned(), key.clone().into());
    values.insert("mimeType".to_owned(), mime.clone().into());
    let object = Object {
        size: stored.size,
        hash: hash.clone(),
        put_time: state.ticks(),
        mime,
        class: policy.file_type,
        end_user: Some(policy.end_user.clone()).filter(|u| !u.is_empty()),
        meta,
        parts: parts.iter().map(|(size, _)| *size).collect(),
        md5: (protocol == Protocol::Form).then(|| hex::encode(stored.md5)),
        expiration: (policy.delete_after_days > 0).then(|| in_days(now, policy.delete_after_days)),
        ..Object::default()
    };
    let overwrites = policy.overwrites(protocol);
    let allow = |old: Option<&Object>| overwrites || old.is_none_or(|o| o.expired(now));
    match state.catalog.put(&key, object, stored, &allow)? {
        PutOutcome::Done(_) => {}
        // The same content once more is no conflict.
        PutOutcome::Refused(Some(old)) if old.hash == hash => {}
        PutOutcome::Refused(_) => return Err(Reply::error(614, "file exists")),
    }
    Ok(answer(&policy, &values, &hash, &key))
}

fn answer(policy: &Policy, values: &Vars, hash: &str, key: &str) -> Reply {
    if !policy.callback_url.is_empty() {
        return Reply::error(579, "the object was stored; this service does not call back");
    }
    let body = match policy.return_body.as_str() {
        "" => json!({ "hash": hash, "key": key }).to_string(),
        template => vars::json(template, values),
    };
    if !policy.return_url.is_empty() {
        let mut reply = Reply::new(303, "application/json", "");
        let glue = if policy.return_url.contains('?') { '&' } else { '?' };
        reply.set(LOCATION, &format!("{}{glue}upload_ret={}", policy.return_url, encode::b64u(body)));
        return reply;
    }
    Reply::new(200, "application/json", body)
}
