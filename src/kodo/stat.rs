//! Looking objects up: one at a time, or many in one call.

use super::client::{Call, Client};
use super::encode::{component, entry};
use super::failure::{Failure, Refusal};
use super::host::Service;
use super::retry::{Next, by_code};
use super::wire::{BatchAnswer, Object, parse_batch, parse_stat};
use crate::model::key::Key;

/// How many objects are looked up in one call. A thousand are allowed; fewer keep each call short.
pub const BATCH: usize = 250;

/// How often operations of a batch that failed for a passing reason are sent again.
const ROUNDS: u32 = 4;

impl Client {
    /// One object; `None`: there is none of that key.
    pub async fn stat(&self, key: &Key) -> Result<Option<Object>, Failure> {
        let path = format!("/stat/{}", entry(self.bucket(), Some(key.bytes())));
        let call = Call { query: Some("needparts=true"), ..Call::get(Service::Rs, &path) };
        match self.call(&call, parse_stat).await {
            Ok(mut object) => {
                object.key = key.bytes().to_vec();
                Ok(Some(object))
            }
            Err(Failure::Refused(r)) if is_gone(r.code, &r.text) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Many objects, in order; per object: what it is, that there is none, or why it could not be looked up.
    /// The failure of a whole call is the failure of all.
    pub async fn stat_many(&self, keys: &[&Key]) -> Result<Vec<Looked>, Failure> {
        let mut found: Vec<Looked> = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH) {
            found.extend(self.stat_batch(keys).await?);
        }
        Ok(found)
    }

    async fn stat_batch(&self, keys: &[&Key]) -> Result<Vec<Looked>, Failure> {
        let mut found = vec![Looked::Failed(0, String::new()); keys.len()];
        let mut open: Vec<usize> = (0..keys.len()).collect();
        // Operations that fail for a passing reason count as tries of one common request.
        let mut tries = self.pace().tries();
        for _ in 0..ROUNDS {
            let form: Vec<String> = open
                .iter()
                .map(|&n| format!("/stat/{}/needparts/true", entry(self.bucket(), Some(keys[n].bytes()))))
                .map(|op| format!("op={}", component(op)))
                .collect();
            let call = Call::post(Service::Rs, "/batch", form.join("&"));
            let expected = open.len();
            let answers = self.call(&call, |body| parse_batch(body, expected)).await?;
            let mut again: Option<Refusal> = None;
            let mut left = Vec::new();
            for (n, answer) in open.into_iter().zip(answers) {
                if matches!(by_code(answer.code), Next::Retry | Next::Throttled) {
                    left.push(n);
                    again = Some(refusal(answer.code, &answer.error));
                }
                found[n] = Looked::of(answer, keys[n]);
            }
            open = left;
            let Some(refusal) = again else { break };
            let turn = tries.begin().await;
            if tries.failed(turn, Box::new(refusal).into()).await.is_err() {
                break;
            }
        }
        Ok(found)
    }
}

/// What was found when an object was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// It is there.
    Found(Box<Object>),
    /// It is not there.
    Gone,
    /// It could not be looked up: the code and what was said.
    Failed(u16, String),
}

impl Looked {
    fn of(answer: BatchAnswer, key: &Key) -> Self {
        match answer.object {
            Some(object) => Self::Found(Box::new(Object { key: key.bytes().to_vec(), ..object })),
            None if is_gone(answer.code, &answer.error) => Self::Gone,
            None => Self::Failed(answer.code, answer.error),
        }
    }
}

/// 612 is used for a missing bucket and an unknown access key too.
fn is_gone(code: u16, text: &str) -> bool {
    code == 612 && !text.contains("bucket") && !text.contains("accesskey")
}

fn refusal(code: u16, text: &str) -> Refusal {
    let (text, host) = (text.to_owned(), "the batch call".to_owned());
    Refusal { code, text, host, request: None, retry_after: None, skew: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gone_is_not_any_612() {
        assert!(is_gone(612, "no such file or directory") && is_gone(612, ""));
        assert!(!is_gone(612, "no such bucket") && !is_gone(612, "app/accesskey is not found"));
        assert!(!is_gone(631, "no such bucket") && !is_gone(404, ""));
    }
}
