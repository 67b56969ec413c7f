//! Form uploads: one `multipart/form-data` request.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequest, Multipart};

use super::auth;
use super::create::{Upload, create};
use super::policy::{Policy, Protocol};
use super::reply::Reply;
use super::request::{Received, Request};
use super::spool::Stored;
use super::state::{State, blocking};

/// The longest text field: a token with a large policy.
const FIELD: usize = 256 << 10;

fn broken() -> Reply {
    Reply::error(400, "invalid multipart format")
}

/// `POST /`.
pub(super) async fn serve(state: &Arc<State>, request: &Request, body: Received) -> Result<Reply, Reply> {
    let mut wrapped = http::Request::new(axum::body::Body::new(body.take()));
    *wrapped.headers_mut() = request.headers.clone();
    DefaultBodyLimit::disable().apply(&mut wrapped);
    let mut form = Multipart::from_request(wrapped, &()).await.map_err(|_| broken())?;
    let (mut fields, mut file) = (BTreeMap::new(), None);
    while let Some(mut field) = form.next_field().await.map_err(|_| broken())? {
        let Some(name) = field.name().map(str::to_owned) else { return Err(broken()) };
        if name == "file" {
            let file_name = field.file_name().unwrap_or_default().to_owned();
            let mime = field.content_type().map(str::to_owned);
            let mut spool = state.catalog.spool()?;
            while let Some(bytes) = field.chunk().await.map_err(|_| broken())? {
                spool.write(&bytes)?;
            }
            file = Some((file_name, mime, spool.finish()?));
            continue;
        }
        let mut text = Vec::new();
        while let Some(bytes) = field.chunk().await.map_err(|_| broken())? {
            text.extend_from_slice(&bytes);
            if text.len() > FIELD {
                return Err(Reply::error(413, "a form field is too large"));
            }
        }
        let text = String::from_utf8(text).map_err(|_| match name.as_str() {
            "key" => Reply::error(400, "key must be utf8 encoding"),
            _ => broken(),
        })?;
        fields.insert(name, text);
    }
    let Some(token) = fields.get("token") else { return Err(Reply::error(401, "token not specified")) };
    let policy = Policy::parse(&auth::upload(state, token)?, &state.config.bucket)?;
    let Some((file_name, mime, stored)) = file else {
        return Err(Reply::error(400, "file is not specified"));
    };
    check_crc(&fields, &stored)?;
    let meta = |(k, v): (&String, &String)| Some((k.strip_prefix("x-qn-meta-")?.to_owned(), v.clone()));
    let upload = Upload {
        policy,
        protocol: Protocol::Form,
        key: fields.get("key").cloned(),
        file_name: fields.get("fname").cloned().unwrap_or(file_name),
        mime,
        meta: fields.iter().filter_map(meta).collect(),
        vars: fields
            .iter()
            .filter(|(k, _)| k.starts_with("x:"))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        stored,
        parts: Vec::new(),
    };
    let state = Arc::clone(state);
    blocking(move || create(&state, upload)).await
}

fn check_crc(fields: &BTreeMap<String, String>, stored: &Stored) -> Result<(), Reply> {
    match fields.get("crc32").filter(|t| !t.is_empty()) {
        None => Ok(()),
        Some(text) => match text.parse::<u32>() {
            Ok(crc) if crc == stored.crc32 => Ok(()),
            Ok(_) => Err(Reply::error(406, "crc32 checksum error")),
            Err(_) => Err(Reply::error(400, "invalid crc32")),
        },
    }
}
