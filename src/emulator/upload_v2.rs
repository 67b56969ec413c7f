//! Multipart uploads, version 2: numbered parts, then one object of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::create::{Upload, create};
use super::policy::{Policy, Protocol};
use super::reply::Reply;
use super::request::{Received, Request};
use super::spool::Stored;
use super::state::{State, blocking};
use super::{auth, etag};
use crate::kodo::encode;
use crate::model::id::BlobId;

/// The most parts, the largest part, and the largest body of the call that completes an upload.
const PARTS: u32 = 10_000;
const PART_MAX: u64 = 1 << 30;
const COMPLETE_BODY: usize = 8 << 20;

struct Part {
    etag: String,
    stored: Stored,
    put_time: i64,
}

struct Open {
    key: Option<String>,
    expires: i64,
    parts: BTreeMap<u32, Arc<Part>>,
}

/// All unfinished multipart uploads, by their id.
#[derive(Default)]
pub(super) struct Uploads {
    open: Mutex<(u64, HashMap<String, Open>)>,
}

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, (u64, HashMap<String, Open>)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.lock().1.clear();
    }

    /// Looks at an upload of this key.
    fn with<T>(
        &self,
        id: &str,
        key: Option<&str>,
        now: i64,
        look: impl FnOnce(&mut Open) -> T,
    ) -> Result<T, Reply> {
        match self.lock().1.get_mut(id).filter(|u| u.expires > now && u.key.as_deref() == key) {
            Some(open) => Ok(look(open)),
            None => Err(Reply::error(612, "no such uploadId")),
        }
    }
}

fn bad() -> Reply {
    Reply::error(400, "invalid argument")
}

/// What an unfinished upload is completed with.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Completion {
    #[serde(default)]
    parts: Vec<Named>,
    #[serde(default)]
    fname: Option<String>,
    #[serde(default)]
    mime_type: Option<String>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    #[serde(default)]
    custom_vars: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    part_number: u32,
    etag: String,
}

/// `/buckets/<bucket>/objects/<key>/uploads…`.
pub(super) async fn serve(
    state: &Arc<State>,
    request: &Request,
    body: &mut Received,
) -> Result<Reply, Reply> {
    let Some(token) = request.header("authorization").and_then(|a| a.strip_prefix("UpToken ")) else {
        return Err(Reply::error(401, "token not specified"));
    };
    let policy = Policy::parse(&auth::upload(state, token)?, &state.config.bucket)?;
    let segments = request.segments();
    let ["buckets", bucket, "objects", key, "uploads", rest @ ..] = segments.as_slice() else {
        return Err(Reply::error(404, "no such method"));
    };
    if *bucket != state.config.bucket {
        return Err(Reply::error(631, "no such bucket"));
    }
    let key = match *key {
        "~" => None,
        text => {
            let bytes = encode::from_b64u(text).ok_or_else(bad)?;
            Some(String::from_utf8(bytes).map_err(|_| Reply::error(400, "key must be utf8 encoding"))?)
        }
    };
    let now = state.now();
    match (&request.method, rest) {
        (&Method::POST, []) => Ok(begin(state, key)),
        (&Method::PUT, [id, number]) => {
            let number = number.parse().ok().filter(|n| (1..=PARTS).contains(n)).ok_or_else(bad)?;
            part(state, request, body, id, key.as_deref(), number).await
        }
        (&Method::POST, [id]) => {
            let json = body.all(COMPLETE_BODY).await?;
            complete(state, policy, id, key, &json).await
        }
        (&Method::GET, [id]) => list(state, request, id, key.as_deref()),
        (&Method::DELETE, [id]) => {
            state.uploads.with(id, key.as_deref(), now, |_| ())?;
            state.uploads.lock().1.remove(*id);
            Ok(Reply::empty())
        }
        _ => Err(Reply::error(405, "method not allowed")),
    }
}

fn begin(state: &State, key: Option<String>) -> Reply {
    let now = state.now();
    let expires = now.saturating_add(state.config.upload_lifetime);
    let mut open = state.uploads.lock();
    open.1.retain(|_, u| u.expires > now);
    open.0 += 1;
    let id = format!("{:024x}", open.0);
    open.1.insert(id.clone(), Open { key, expires, parts: BTreeMap::new() });
    Reply::json(200, &json!({ "uploadId": id, "expireAt": expires }))
}

async fn part(
    state: &State,
    request: &Request,
    body: &mut Received,
    id: &str,
    key: Option<&str>,
    number: u32,
) -> Result<Reply, Reply> {
    state.uploads.with(id, key, state.now(), |_| ())?;
    let mut spool = state.catalog.spool()?;
    while let Some(bytes) = body.next().await? {
        if spool.size() + bytes.len() as u64 > PART_MAX {
            return Err(Reply::error(400, "the part is too large"));
        }
        spool.write(&bytes)?;
    }
    let stored = spool.finish()?;
    let md5 = hex::encode(stored.md5);
    if request.header("content-md5").is_some_and(|sent| !sent.eq_ignore_ascii_case(&md5)) {
        return Err(Reply::error(406, "md5 checksum error"));
    }
    let tag = etag::plain(&stored.blocks);
    let part = Arc::new(Part { etag: tag.clone(), stored, put_time: state.ticks() });
    state.uploads.with(id, key, state.now(), |open| open.parts.insert(number, part))?;
    Ok(Reply::json(200, &json!({ "etag": tag, "md5": md5 })))
}

fn list(state: &State, request: &Request, id: &str, key: Option<&str>) -> Result<Reply, Reply> {
    let number = |name, default: u32| match request.param(name).as_deref() {
        None | Some("") => Ok(default),
        Some(text) => text.parse::<u32>().map_err(|_| bad()),
    };
    let (limit, after) = (number("max-parts", 1000)?, number("part-number_marker", 0)?);
    if !(1..=1000).contains(&limit) {
        return Err(bad());
    }
    let (expires, mut parts) = state.uploads.with(id, key, state.now(), |open| {
        let parts = open.parts.range(after.saturating_add(1)..).take(limit as usize + 1);
        (open.expires, parts.map(|(n, p)| (*n, Arc::clone(p))).collect::<Vec<_>>())
    })?;
    let more = parts.len() > limit as usize;
    parts.truncate(limit as usize);
    let marker = if more { parts.last().map_or(0, |(n, _)| *n) } else { 0 };
    let shown: Vec<_> = parts
        .iter()
        .map(
            |(n, p)| json!({ "size": p.stored.size, "etag": p.etag, "partNumber": n, "putTime": p.put_time }),
        )
        .collect();
    let page = json!({ "uploadId": id, "expireAt": expires, "partNumberMarker": marker, "parts": shown });
    Ok(Reply::json(200, &page))
}

async fn complete(
    state: &Arc<State>,
    policy: Policy,
    id: &str,
    key: Option<String>,
    json: &[u8],
) -> Result<Reply, Reply> {
    policy.in_time(state.now())?;
    let wanted: Completion = serde_json::from_slice(json).map_err(|_| bad())?;
    let have = state.uploads.with(id, key.as_deref(), state.now(), |open| open.parts.clone())?;
    let ascending = wanted.parts.windows(2).all(|w| w[0].part_number < w[1].part_number);
    if wanted.parts.is_empty() || !ascending {
        return Err(Reply::error(400, "invalid parts"));
    }
    let mut parts = Vec::new();
    for (i, named) in wanted.parts.iter().enumerate() {
        let part = have.get(&named.part_number).filter(|p| p.etag == named.etag);
        let part = part.ok_or_else(|| Reply::error(400, "invalid parts"))?;
        if i + 1 < wanted.parts.len() && part.stored.size < state.config.min_part {
            return Err(Reply::error(400, "a part is too small"));
        }
        parts.push(Arc::clone(part));
    }
    if policy.largest().is_some_and(|most| parts.iter().map(|p| p.stored.size).sum::<u64>() > most) {
        return Err(Reply::error(413, "exceed FsizeLimit"));
    }
    let meta = wanted.metadata.unwrap_or_default();
    let meta = meta.into_iter().map(|(k, v)| (k.strip_prefix("x-qn-meta-").unwrap_or(&k).to_owned(), v));
    let meta = meta.collect();
    let worker = Arc::clone(state);
    let reply = blocking(move || {
        let mut spool = worker.catalog.spool()?;
        for part in &parts {
            spool.append(&part.stored.content)?;
        }
        let grid: Vec<(u64, Vec<BlobId>)> =
            parts.iter().map(|p| (p.stored.size, p.stored.blocks.clone())).collect();
        let upload = Upload {
            policy,
            protocol: Protocol::V2,
            key,
            file_name: wanted.fname.unwrap_or_default(),
            mime: wanted.mime_type,
            meta,
            vars: wanted.custom_vars.unwrap_or_default(),
            stored: spool.finish()?,
            parts: grid,
        };
        create(&worker, upload)
    })
    .await?;
    state.uploads.lock().1.remove(id);
    Ok(reply)
}
