//! Put policies as the service enforces them.

use serde::Deserialize;

use super::mime;
use super::reply::Reply;

/// What an upload token allows.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Policy {
    pub(super) scope: String,
    deadline: i64,
    insert_only: i64,
    is_prefixal_scope: i64,
    pub(super) save_key: String,
    pub(super) force_save_key: bool,
    keylimit: Vec<String>,
    pub(super) file_type: u32,
    fsize_min: u64,
    fsize_limit: u64,
    mime_limit: String,
    detect_mime: i64,
    pub(super) return_body: String,
    pub(super) return_url: String,
    pub(super) callback_url: String,
    pub(super) delete_after_days: i64,
    traffic_limit: Option<u64>,
    pub(super) end_user: String,
}

/// The upload protocol, as far as policies make a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Form,
    V1,
    V2,
}

impl Policy {
    /// Reads a policy's JSON and checks what does not depend on the object.
    pub(super) fn parse(json: &[u8], bucket: &str) -> Result<Self, Reply> {
        let policy: Self =
            serde_json::from_slice(json).map_err(|_| Reply::error(400, "invalid put policy"))?;
        if policy.scope.split(':').next() != Some(bucket) {
            return Err(Reply::error(631, "no such bucket"));
        }
        if policy.traffic_limit.is_some_and(|n| n != 0 && !(819_200..=838_860_800).contains(&n)) {
            return Err(Reply::error(400, "invalid traffic limit"));
        }
        if policy.keylimit.len() > 20 {
            return Err(Reply::error(400, "keylimit has more than 20 keys"));
        }
        if policy.file_type > 5 {
            return Err(Reply::error(400, "invalid fileType"));
        }
        Ok(policy)
    }

    fn scope_key(&self) -> Option<&str> {
        self.scope.split_once(':').map(|(_, key)| key)
    }

    /// Whether the token still holds; asked when the object is created.
    pub(super) fn in_time(&self, now: i64) -> Result<(), Reply> {
        if self.deadline < now { Err(Reply::error(401, "token out of date")) } else { Ok(()) }
    }

    /// Whether it allows this key.
    pub(super) fn key(&self, key: &str) -> Result<(), Reply> {
        let fits = match self.scope_key() {
            None => true,
            Some(prefix) if self.is_prefixal_scope == 1 => key.starts_with(prefix),
            Some(exactly) => key == exactly,
        };
        if !fits {
            return Err(Reply::error(403, "key doesn't match scope"));
        }
        if !self.keylimit.is_empty() && !self.keylimit.iter().any(|k| k == key) {
            return Err(Reply::error(403, "key doesn't match keylimit"));
        }
        Ok(())
    }

    /// Whether it allows this size.
    pub(super) fn size(&self, size: u64) -> Result<(), Reply> {
        if self.fsize_limit > 0 && size > self.fsize_limit {
            return Err(Reply::error(413, "exceed FsizeLimit"));
        }
        if size < self.fsize_min {
            return Err(Reply::error(403, "size is below fsizeMin"));
        }
        Ok(())
    }

    /// The largest size it allows; none: any.
    pub(super) fn largest(&self) -> Option<u64> {
        (self.fsize_limit > 0).then_some(self.fsize_limit)
    }

    /// Whether an object that is there may be overwritten.
    pub(super) fn overwrites(&self, protocol: Protocol) -> bool {
        self.insert_only == 0
            && match self.scope_key() {
                Some(_) => self.is_prefixal_scope != 1,
                // The older resumable protocol overwrites all the same.
                None => protocol == Protocol::V1,
            }
    }

    /// The content type the object gets, if it is an allowed one.
    pub(super) fn mime(&self, client: Option<&str>, names: [&str; 2], head: &[u8]) -> Result<String, Reply> {
        let client = client.filter(|m| !m.is_empty());
        let by_name = || names.iter().find_map(|n| mime::by_name(n));
        let found = match self.detect_mime {
            1 => match mime::sniff(head) {
                mime::UNKNOWN => by_name().or(client).unwrap_or(mime::UNKNOWN),
                sniffed => sniffed,
            },
            -1 => client.unwrap_or(mime::UNKNOWN),
            _ => client.filter(|m| *m != mime::UNKNOWN).or_else(by_name).unwrap_or_else(|| mime::sniff(head)),
        };
        if !self.mime_limit.is_empty() && !mime::allowed(&self.mime_limit, found) {
            return Err(Reply::error(403, "limited mimeType: this file type is forbidden to upload"));
        }
        Ok(found.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> Policy {
        Policy::parse(json.as_bytes(), "b").unwrap()
    }

    #[test]
    fn scopes() {
        let plain = policy(r#"{"scope":"b","deadline":10}"#);
        assert!(
            plain.key("any").is_ok() && !plain.overwrites(Protocol::Form) && plain.overwrites(Protocol::V1)
        );
        assert!(plain.in_time(10).is_ok() && plain.in_time(11).is_err());
        let keyed = policy(r#"{"scope":"b:k:1","deadline":10}"#);
        assert!(keyed.key("k:1").is_ok() && keyed.key("k").is_err() && keyed.overwrites(Protocol::Form));
        let prefix = policy(r#"{"scope":"b:p/","isPrefixalScope":1}"#);
        assert!(prefix.key("p/x").is_ok() && prefix.key("q").is_err() && !prefix.overwrites(Protocol::Form));
        let insert = policy(r#"{"scope":"b:k","insertOnly":1}"#);
        assert!(!insert.overwrites(Protocol::V1));
        assert_eq!(Policy::parse(br#"{"scope":"other"}"#, "b").unwrap_err().status, 631);
        assert_eq!(Policy::parse(br#"{"scope":"b","trafficLimit":1}"#, "b").unwrap_err().status, 400);
    }

    #[test]
    fn sizes_and_types() {
        let p = policy(r#"{"scope":"b","fsizeMin":2,"fsizeLimit":3,"mimeLimit":"image/*"}"#);
        assert_eq!(p.size(1).unwrap_err().status, 403);
        assert_eq!(p.size(4).unwrap_err().status, 413);
        assert!(p.size(2).is_ok());
        assert_eq!(p.mime(Some("text/plain"), ["", ""], b"").unwrap_err().status, 403);
        assert_eq!(p.mime(Some("application/octet-stream"), ["", "a.png"], b"").unwrap(), "image/png");
        let sniffing = policy(r#"{"scope":"b","detectMime":1}"#);
        assert_eq!(sniffing.mime(Some("text/plain"), ["", ""], b"GIF89a").unwrap(), "image/gif");
        let literal = policy(r#"{"scope":"b","detectMime":-1}"#);
        assert_eq!(literal.mime(Some("x/y"), ["", "a.png"], b"GIF89a").unwrap(), "x/y");
    }
}
