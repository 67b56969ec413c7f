//! The put policy: what an upload token allows.

use serde::{Deserialize, Serialize};

/// A put policy, as far as this project makes or enforces one; other fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PutPolicy {
    /// `bucket`, or `bucket:key`, or `bucket:prefix` with [`PutPolicy::is_prefixal_scope`].
    pub scope: String,
    /// Unix seconds; checked when the object is created, that is at the end of an upload.
    pub deadline: i64,
    /// Not 0: never overwrite an object, whatever the scope.
    #[serde(skip_serializing_if = "is_zero")]
    pub insert_only: i64,
    /// 1: the key in the scope is a prefix.
    #[serde(skip_serializing_if = "is_zero")]
    pub is_prefixal_scope: i64,
    /// The storage class: 0 standard, 1 infrequent access, 2 archive, 3 deep archive, 4 archive with direct reads.
    #[serde(skip_serializing_if = "is_zero")]
    pub file_type: i64,
    /// 0: the client's content type, else a guess; 1: always a guess; -1: the client's as it is.
    #[serde(skip_serializing_if = "is_zero")]
    pub detect_mime: i64,
    /// Delete the object after so many days; 0: keep it.
    #[serde(skip_serializing_if = "is_zero")]
    pub delete_after_days: i64,
    /// The smallest size that is taken; 0: any.
    #[serde(skip_serializing_if = "is_zero")]
    pub fsize_min: i64,
    /// The largest size that is taken; 0: any.
    #[serde(skip_serializing_if = "is_zero")]
    pub fsize_limit: i64,
    /// Content types that are taken, separated by `;`; empty: all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mime_limit: String,
    /// The name of the user the upload is made for; kept with the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub end_user: String,
    /// The answer's body, with `$(…)` variables; empty: hash and key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub return_body: String,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl PutPolicy {
    /// The policy's JSON.
    pub fn json(&self) -> Vec<u8> {
        // Plain integers and text always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The policy of a JSON text.
    pub fn parse(json: &[u8]) -> Option<Self> {
        // A list of values in the fields' order is not a policy, though serde would read it as one.
        serde_json::from_slice::<serde_json::Map<_, _>>(json).ok()?;
        serde_json::from_slice(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_published() {
        let policy = PutPolicy { scope: "bkt".into(), deadline: 1_700_003_600, ..Default::default() };
        assert_eq!(policy.json(), br#"{"scope":"bkt","deadline":1700003600}"#);
        let policy = PutPolicy { scope: "bkt:目录".into(), insert_only: 1, file_type: 1, ..policy };
        let json = String::from_utf8(policy.json()).unwrap();
        assert!(json.ends_with(r#""insertOnly":1,"fileType":1}"#), "{json}");
        assert_eq!(PutPolicy::parse(json.as_bytes()), Some(policy));
        assert_eq!(PutPolicy::parse(br#"{"scope":"b","deadline":1,"callbackUrl":"x"}"#).unwrap().deadline, 1);
        assert_eq!(PutPolicy::parse(b"[]"), None);
    }
}
