//! Resumable uploads, version 1: blocks of up to 4 MiB in chunks, then a file of the blocks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::auth;
use super::create::{Upload, create};
use super::policy::{Policy, Protocol};
use super::reply::Reply;
use super::request::{Received, Request};
use super::spool::{Spool, Stored};
use super::state::{State, blocking};
use crate::kodo::encode;
use crate::model::content::BLOCK;

/// One block on its way.
struct Block {
    size: u64,
    /// Bytes so far.
    offset: u64,
    expires: i64,
    filling: Option<Spool>,
    full: Option<Stored>,
}

/// The blocks of all unfinished uploads, by the context that names their present state.
#[derive(Default)]
pub(super) struct Blocks {
    open: Mutex<(u64, HashMap<String, Block>)>,
}

impl Blocks {
    fn lock(&self) -> MutexGuard<'_, (u64, HashMap<String, Block>)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.lock().1.clear();
    }

    /// Keeps a block under a new context.
    fn keep(&self, block: Block, now: i64) -> String {
        let mut open = self.lock();
        open.1.retain(|_, b| b.expires > now);
        open.0 += 1;
        let context = encode::b64u(format!("block {} at {}", open.0, block.offset));
        open.1.insert(context.clone(), block);
        context
    }

    fn take(&self, context: &str, now: i64) -> Option<Block> {
        self.lock().1.remove(context).filter(|b| b.expires > now)
    }
}

fn bad_context() -> Reply {
    Reply::error(701, "invalid ctx")
}

fn bad() -> Reply {
    Reply::error(400, "invalid argument")
}

/// `/mkblk`, `/bput` and `/mkfile`.
pub(super) async fn serve(
    state: &Arc<State>,
    request: &Request,
    body: &mut Received,
) -> Result<Reply, Reply> {
    let Some(token) = request.header("authorization").and_then(|a| a.strip_prefix("UpToken ")) else {
        return Err(Reply::error(401, "token not specified"));
    };
    let policy = Policy::parse(&auth::upload(state, token)?, &state.config.bucket)?;
    if request.method != http::Method::POST {
        return Err(Reply::error(405, "method not allowed"));
    }
    match request.segments().as_slice() {
        ["mkblk", size] => {
            let size: u64 = size.parse().map_err(|_| bad())?;
            if size == 0 || size > BLOCK as u64 {
                return Err(Reply::error(400, "invalid block size"));
            }
            let expires = state.now().saturating_add(state.config.upload_lifetime);
            let filling = Some(state.catalog.spool()?);
            chunk(state, request, Block { size, offset: 0, expires, filling, full: None }, body).await
        }
        ["bput", context, offset] => {
            let offset: u64 = offset.parse().map_err(|_| bad())?;
            let block = state.blocks.take(context, state.now()).ok_or_else(bad_context)?;
            if block.offset != offset || block.filling.is_none() {
                return Err(bad_context());
            }
            chunk(state, request, block, body).await
        }
        ["mkfile", size, rest @ ..] => {
            let size: u64 = size.parse().map_err(|_| bad())?;
            let contexts = body.all(8 << 20).await?;
            let contexts = String::from_utf8(contexts).map_err(|_| bad_context())?;
            file(state, policy, size, rest, &contexts).await
        }
        _ => Err(Reply::error(404, "no such method")),
    }
}

async fn chunk(
    state: &Arc<State>,
    request: &Request,
    mut block: Block,
    body: &mut Received,
) -> Result<Reply, Reply> {
    let Some(mut filling) = block.filling.take() else { return Err(bad_context()) };
    let mut crc = crc32fast::Hasher::new();
    while let Some(bytes) = body.next().await? {
        if filling.size() + bytes.len() as u64 > block.size {
            return Err(Reply::error(400, "the chunk is longer than its block"));
        }
        crc.update(&bytes);
        filling.write(&bytes)?;
    }
    block.offset = filling.size();
    let checksum = if block.offset == block.size {
        let stored = filling.finish()?;
        let sum = stored.blocks.first().map(|b| encode::b64u(b.0)).unwrap_or_default();
        block.full = Some(stored);
        sum
    } else {
        block.filling = Some(filling);
        String::new()
    };
    let (offset, expires) = (block.offset, block.expires);
    let context = state.blocks.keep(block, state.now());
    Ok(Reply::json(
        200,
        &json!({
            "ctx": context, "checksum": checksum, "crc32": crc.finalize(), "offset": offset,
            "host": format!("http://{}", state.advertised(state.addresses.main, request)),
            "expired_at": expires,
        }),
    ))
}

async fn file(
    state: &Arc<State>,
    policy: Policy,
    size: u64,
    rest: &[&str],
    contexts: &str,
) -> Result<Reply, Reply> {
    let (pairs, odd) = rest.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(bad());
    }
    let mut options = BTreeMap::new();
    for [name, value] in pairs {
        let value = encode::from_b64u(value).ok_or_else(bad)?;
        let value = String::from_utf8(value).map_err(|_| match *name {
            "key" => Reply::error(400, "key must be utf8 encoding"),
            _ => bad(),
        })?;
        options.insert((*name).to_owned(), value);
    }
    policy.in_time(state.now())?;
    let mut blocks = Vec::new();
    for context in contexts.split(',').filter(|c| !c.is_empty()) {
        let block = state.blocks.take(context.trim(), state.now()).ok_or_else(bad_context)?;
        blocks.push(block.full.ok_or_else(bad_context)?);
    }
    if blocks.iter().map(|b| b.size).sum::<u64>() != size {
        return Err(Reply::error(400, "the blocks do not make up the file's size"));
    }
    let state = Arc::clone(state);
    blocking(move || {
        let mut spool = state.catalog.spool()?;
        for block in &blocks {
            spool.append(&block.content)?;
        }
        let meta = |(k, v): (&String, &String)| Some((k.strip_prefix("x-qn-meta-")?.to_owned(), v.clone()));
        let upload = Upload {
            policy,
            protocol: Protocol::V1,
            key: options.get("key").cloned(),
            file_name: options.get("fname").cloned().unwrap_or_default(),
            mime: options.get("mimeType").cloned(),
            meta: options.iter().filter_map(meta).collect(),
            vars: options
                .iter()
                .filter(|(k, _)| k.starts_with("x:"))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            stored: spool.finish()?,
            parts: Vec::new(),
        };
        create(&state, upload)
    })
    .await
}
