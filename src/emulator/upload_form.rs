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
/// The most text fields.
const FIELDS: usize = 1000;

fn broken() -> Reply {
    Reply::error(400, "invalid multipart format")
}

/// What a form brought.
struct Form {
    fields: BTreeMap<String, String>,
    policy: Policy,
    file_name: String,
    mime: Option<String>,
    stored: Stored,
}

/// `POST /`.
pub(super) async fn serve(state: &Arc<State>, request: &Request, body: Received) -> Result<Reply, Reply> {
    let mut wrapped = http::Request::new(axum::body::Body::new(body.take()));
    *wrapped.headers_mut() = request.headers.clone();
    DefaultBodyLimit::disable().apply(&mut wrapped);
    let mut parts = Multipart::from_request(wrapped, &()).await.map_err(|_| broken())?;
    let form = read(state, &mut parts).await;
    // What is left is read in any case, so that a client that is still sending gets to see the answer.
    while let Ok(Some(_)) = parts.next_field().await {}
    let Form { fields, policy, file_name, mime, stored } = form?;
    check_crc(&fields, &stored)?;
    let meta = |(k, v): (&String, &String)| Some((k.strip_prefix("x-qn-meta-")?.to_owned(), v.clone()));
    let custom = fields.iter().filter(|(k, _)| k.starts_with("x:"));
    let upload = Upload {
        policy,
        protocol: Protocol::Form,
        key: fields.get("key").cloned(),
        file_name: fields.get("fname").cloned().unwrap_or(file_name),
        mime,
        meta: fields.iter().filter_map(meta).collect(),
        vars: custom.map(|(k, v)| (k.clone(), v.clone())).collect(),
        stored,
        parts: Vec::new(),
    };
    let state = Arc::clone(state);
    blocking(move || create(&state, upload)).await
}

/// Reads the form. The token comes before the file: nobody fills the disk without one.
async fn read(state: &State, parts: &mut Multipart) -> Result<Form, Reply> {
    let mut fields = BTreeMap::new();
    let mut file = None;
    while let Some(mut field) = parts.next_field().await.map_err(|_| broken())? {
        let Some(name) = field.name().map(str::to_owned) else { return Err(broken()) };
        if name == "file" {
            let policy = policy(state, &fields)?;
            let file_name = field.file_name().unwrap_or_default().to_owned();
            let mime = field.content_type().map(str::to_owned);
            let mut spool = state.catalog.spool()?;
            while let Some(bytes) = field.chunk().await.map_err(|_| broken())? {
                if policy.largest().is_some_and(|most| spool.size() + bytes.len() as u64 > most) {
                    return Err(Reply::error(413, "exceed FsizeLimit"));
                }
                spool.write(&bytes)?;
            }
            file = Some((policy, file_name, mime, spool.finish()?));
            continue;
        }
        let mut text = Vec::new();
        while let Some(bytes) = field.chunk().await.map_err(|_| broken())? {
            text.extend_from_slice(&bytes);
            if text.len() > FIELD || fields.len() > FIELDS {
                return Err(Reply::error(413, "the form has too much text"));
            }
        }
        let text = String::from_utf8(text).map_err(|_| match name.as_str() {
            "key" => Reply::error(400, "key must be utf8 encoding"),
            _ => broken(),
        })?;
        fields.insert(name, text);
    }
    match file {
        Some((policy, file_name, mime, stored)) => Ok(Form { fields, policy, file_name, mime, stored }),
        None => {
            policy(state, &fields)?;
            Err(Reply::error(400, "file is not specified"))
        }
    }
}

fn policy(state: &State, fields: &BTreeMap<String, String>) -> Result<Policy, Reply> {
    let token = fields.get("token").ok_or_else(|| Reply::error(401, "token not specified"))?;
    Policy::parse(&auth::upload(state, token)?, &state.config.bucket)
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
