//! Many operations in one request.

use std::sync::Arc;

use serde_json::{Value, json};

use super::ops;
use super::reply::Reply;
use super::state::{State, blocking};
use crate::kodo::encode;

/// The most operations of one batch.
const MAX: usize = 1000;

/// `/batch`: 200 when every operation succeeded, 298 otherwise.
pub(super) async fn serve(state: &Arc<State>, body: &[u8]) -> Result<Reply, Reply> {
    let bad = || Reply::error(400, "invalid argument");
    let body = std::str::from_utf8(body).map_err(|_| bad())?;
    let operations: Vec<String> = encode::decode_query(body)
        .into_iter()
        .filter(|(name, _)| name == "op")
        .map(|(_, value)| String::from_utf8(value).map_err(|_| bad()))
        .collect::<Result<_, _>>()?;
    if operations.is_empty() || operations.len() > MAX {
        return Err(Reply::error(400, "a batch has 1 to 1000 operations"));
    }
    let state = Arc::clone(state);
    let results = blocking(move || {
        let each = |op: &String| ops::apply(&state, op);
        Ok(operations.iter().map(each).collect::<Vec<_>>())
    })
    .await?;
    let all = results.iter().all(|(code, _)| *code == 200);
    let list: Vec<Value> = results
        .into_iter()
        .map(|(code, data)| match data {
            Some(data) => json!({ "code": code, "data": data }),
            None => json!({ "code": code }),
        })
        .collect();
    Ok(Reply::json(if all { 200 } else { 298 }, &Value::Array(list)))
}
