//! Operations on one object, by the path that names them: the same in a request of its own and in a batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::catalog::{Opened, PutOutcome};
use super::object::{Object, Restore, TRANSITIONS};
use super::reply::Reply;
use super::request::Request;
use super::state::{State, blocking};
use crate::kodo::encode;

/// The longest key.
pub(super) const KEY_MAX: usize = 750;

/// A code and what goes with it; an error's text is `{"error": …}`.
pub(super) type Outcome = (u16, Option<Value>);

/// Why an operation fails.
#[derive(Debug)]
struct Refused(u16, String);

impl From<std::io::Error> for Refused {
    fn from(e: std::io::Error) -> Self {
        Self(599, e.to_string())
    }
}

fn refused<T>(code: u16, text: &str) -> Result<T, Refused> {
    Err(Refused(code, text.to_owned()))
}

fn missing<T>() -> Result<T, Refused> {
    refused(612, "no such file or directory")
}

/// The key that an entry of this bucket names.
fn key_of(state: &State, entry: &str) -> Result<String, Refused> {
    let Some((bucket, key)) = encode::decode_entry(entry) else { return refused(400, "invalid argument") };
    if bucket != state.config.bucket {
        return refused(631, "no such bucket");
    }
    let Some(key) = key else { return refused(400, "invalid argument") };
    match String::from_utf8(key) {
        Ok(key) if key.len() <= KEY_MAX => Ok(key),
        Ok(_) => refused(400, "key is too long"),
        Err(_) => refused(400, "key must be utf8 encoding"),
    }
}

/// The `/name/value` pairs after an operation's entry, in any order.
fn options<'a>(rest: &[&'a str]) -> Result<BTreeMap<&'a str, &'a str>, Refused> {
    let (pairs, odd) = rest.as_chunks::<2>();
    if !odd.is_empty() {
        return refused(400, "invalid argument");
    }
    Ok(pairs.iter().map(|[name, value]| (*name, *value)).collect())
}

fn number(text: Option<&&str>) -> Result<i64, Refused> {
    text.and_then(|t| t.parse().ok()).map_or_else(|| refused(400, "invalid argument"), Ok)
}

fn decoded(text: &str) -> Result<String, Refused> {
    let text = encode::from_b64u(text).and_then(|b| String::from_utf8(b).ok());
    text.map_or_else(|| refused(400, "invalid argument"), Ok)
}

/// Whether an object is what a `cond` says.
fn condition(options: &BTreeMap<&str, &str>, object: &Object) -> Result<(), Refused> {
    let Some(cond) = options.get("cond") else { return Ok(()) };
    for (name, value) in encode::decode_query(&decoded(cond)?) {
        let is = match name.as_str() {
            "hash" => object.hash.clone(),
            "mime" => object.mime.clone(),
            "fsize" => object.size.to_string(),
            "putTime" => object.put_time.to_string(),
            _ => return refused(400, "invalid cond"),
        };
        if is.as_bytes() != value {
            return refused(608, "file modified");
        }
    }
    Ok(())
}

/// The end of the day `days` from `now`: dates of the lifecycle have the grain of a day.
pub(super) fn in_days(now: i64, days: i64) -> i64 {
    now.div_euclid(86_400).saturating_add(days).saturating_add(1).saturating_mul(86_400)
}

/// Changes an object's metadata where it stands.
fn change(
    state: &State,
    key: &str,
    mut how: impl FnMut(&mut Object) -> Result<(), Refused>,
) -> Result<Option<Value>, Refused> {
    let now = state.now();
    let mut result = missing();
    state.catalog.update(key, &mut |object| {
        if !object.expired(now) {
            result = how(object);
        }
        result.is_ok()
    })?;
    result.map(|()| None)
}

/// Carries out one operation.
pub(super) fn apply(state: &State, op: &str) -> Outcome {
    match run(state, op) {
        Ok(value) => (200, value),
        Err(Refused(code, text)) => (code, Some(json!({ "error": text }))),
    }
}

fn run(state: &State, op: &str) -> Result<Option<Value>, Refused> {
    let now = state.now();
    let segments: Vec<&str> = op.strip_prefix('/').unwrap_or(op).split('/').collect();
    let [name, entry, rest @ ..] = segments.as_slice() else { return refused(400, "invalid argument") };
    let key = key_of(state, entry)?;
    match *name {
        "stat" => {
            let parts = options(rest)?.get("needparts") == Some(&"true");
            match state.catalog.find(&key)?.filter(|o| !o.expired(now)) {
                Some(object) => Ok(Some(object.stat(now, parts, state.config.meta_prefix))),
                None => missing(),
            }
        }
        "delete" => {
            let there = state.catalog.find(&key)?.is_some_and(|o| !o.expired(now));
            if there && state.delete(&key)? { Ok(None) } else { missing() }
        }
        "copy" | "move" => {
            let [to, rest @ ..] = rest else { return refused(400, "invalid argument") };
            let to = key_of(state, to)?;
            let force = match options(rest)?.get("force") {
                None | Some(&"false") => false,
                Some(&"true") => true,
                Some(_) => return refused(400, "invalid argument"),
            };
            copy(state, &key, &to, force, *name == "move").map(|()| None)
        }
        "chgm" => {
            let options = options(rest)?;
            change(state, &key, |object| {
                condition(&options, object)?;
                let mut changed = object.clone();
                for (name, value) in &options {
                    if *name == "mime" {
                        changed.mime = decoded(value)?;
                    } else if let Some(name) = name.strip_prefix("x-qn-meta-") {
                        changed.meta.insert(name.to_owned(), decoded(value)?);
                    } else if *name != "cond" {
                        return refused(400, "invalid argument");
                    }
                }
                if !metadata_fits(&changed.meta) {
                    return refused(400, "invalid metadata");
                }
                *object = changed;
                Ok(())
            })
        }
        "chtype" => {
            let class = u32::try_from(number(options(rest)?.get("type"))?).unwrap_or(u32::MAX);
            if class > 5 {
                return refused(400, "invalid storage type");
            }
            change(state, &key, |object| {
                if object.class_at(now) == class {
                    return refused(400, &format!("already in {} stat", class_name(class)));
                }
                if object.archived(now) && object.restore_status(now) != Some(2) {
                    return refused(403, "file is frozen: restore it first");
                }
                object.class = class;
                object.transitions.clear();
                object.restore = None;
                Ok(())
            })
        }
        "chstatus" => {
            let options = options(rest)?;
            let status = number(options.get("status"))?;
            change(state, &key, |object| {
                condition(&options, object)?;
                match status {
                    0 | 1 if i64::from(object.status) == status => {
                        refused(400, if status == 0 { "already enabled" } else { "already disabled" })
                    }
                    0 | 1 => {
                        object.status = u32::from(status == 1);
                        Ok(())
                    }
                    _ => refused(400, "invalid argument"),
                }
            })
        }
        "deleteAfterDays" => {
            let days = number(rest.first())?;
            change(state, &key, |object| {
                object.expiration = (days > 0).then(|| in_days(now, days));
                Ok(())
            })
        }
        "lifecycle" => {
            let options = options(rest)?;
            change(state, &key, |object| {
                condition(&options, object)?;
                lifecycle(object, &options, now)
            })
        }
        "restoreAr" => {
            let days = number(options(rest)?.get("freezeAfterDays"))?;
            if !(1..=7).contains(&days) {
                return refused(400, "invalid freeze after days");
            }
            change(state, &key, |object| {
                if !object.archived(now) {
                    return refused(400, "file is not archived");
                }
                let thaw = if object.class_at(now) == 3 { state.config.thaw.1 } else { state.config.thaw.0 };
                // One that is thawed already stays readable, for longer.
                let ready = match object.restore {
                    Some(restore) if object.restore_status(now).is_some() => restore.ready,
                    _ => now.saturating_add(thaw),
                };
                object.restore = Some(Restore { ready, until: ready.max(now).saturating_add(days * 86_400) });
                Ok(())
            })
        }
        _ => refused(400, "invalid argument"),
    }
}

fn class_name(class: u32) -> &'static str {
    match class {
        0 => "normal",
        1 => "line",
        2 => "archive",
        3 => "deep archive",
        4 => "archive_ir",
        _ => "intelligent tiering",
    }
}

/// The service's rules for names and sizes of custom metadata.
pub(super) fn metadata_fits(meta: &BTreeMap<String, String>) -> bool {
    // A name that begins with `!` sets a header of that name in downloads.
    let name_ok = |n: &String| {
        let n = n.strip_prefix('!').unwrap_or(n);
        !n.is_empty()
            && n.len() <= 50
            && n.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    meta.keys().all(name_ok) && meta.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() <= 1024
}

fn lifecycle(object: &mut Object, options: &BTreeMap<&str, &str>, now: i64) -> Result<(), Refused> {
    let mut changed = object.clone();
    for (name, value) in options.iter().filter(|(n, _)| **n != "cond") {
        let days: i64 = number(Some(value))?;
        if *name == "deleteAfterDays" {
            match days {
                -1 => changed.expiration = None,
                0 => {}
                _ => changed.expiration = Some(in_days(now, days)),
            }
            continue;
        }
        // One client writes `toARCHIVEAfterDays` in batches.
        let Some((_, field, _)) = TRANSITIONS.iter().find(|(n, _, _)| n.eq_ignore_ascii_case(name)) else {
            return refused(400, "invalid argument");
        };
        match days {
            -1 => drop(changed.transitions.remove(*field)),
            0 => {}
            _ => drop(changed.transitions.insert((*field).to_owned(), in_days(now, days))),
        }
    }
    *object = changed;
    Ok(())
}

fn copy(state: &State, from: &str, to: &str, force: bool, remove: bool) -> Result<(), Refused> {
    let now = state.now();
    let Some(Opened { object, data }) = state.catalog.open(from)?.filter(|o| !o.object.expired(now)) else {
        return missing();
    };
    if from == to {
        return if force { Ok(()) } else { refused(614, "file exists") };
    }
    let mut spool = state.catalog.spool()?;
    spool.append_data(data)?;
    let stored = spool.finish()?;
    let mut copied = (*object).clone();
    if !remove {
        copied.put_time = state.ticks();
    }
    let outcome =
        state.catalog.put(to, copied, stored, &|old| force || old.is_none_or(|o| o.expired(now)))?;
    match outcome {
        PutOutcome::Refused(_) => return refused(614, "file exists"),
        PutOutcome::Done(_) if remove => drop(state.catalog.delete(from)?),
        PutOutcome::Done(_) => {}
    }
    Ok(())
}

/// An operation in a request of its own.
pub(super) async fn serve(state: &Arc<State>, request: &Request) -> Result<Reply, Reply> {
    let mut op = request.path.clone();
    if op.starts_with("/stat/") && request.param("needparts").as_deref() == Some("true") {
        op += "/needparts/true";
    }
    let state = Arc::clone(state);
    let (code, value) = blocking(move || Ok(apply(&state, &op))).await?;
    Ok(value.map_or_else(Reply::empty, |v| Reply::json(code, &v)))
}
