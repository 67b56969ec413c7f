//! What the service knows of one object apart from its bytes, and how list and stat show it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An archived object's thaw: readable from `ready` until `until` (Unix seconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// When it becomes readable.
    pub ready: i64,
    /// When it freezes again.
    pub until: i64,
}

/// One object without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Object {
    /// Its size in bytes.
    pub size: u64,
    /// Its etag as list and stat show it. Empty only inside a folder catalog, where it means "not computed yet".
    #[serde(default)]
    pub hash: String,
    /// When it was put: 100 ns since the Unix epoch.
    pub put_time: i64,
    /// Content type.
    pub mime: String,
    /// Storage class: 0 standard, 1 infrequent access, 2 archive, 3 deep archive, 4 instant archive, 5 tiered.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub class: u32,
    /// 1: disabled.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub status: u32,
    /// End user, set at upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_user: Option<String>,
    /// Custom metadata, names without `x-qn-meta-`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// The sizes of the parts of a multipart upload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<u64>,
    /// MD5 in hex; kept for form uploads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// When it will be deleted: Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<i64>,
    /// Planned changes of class: the field's name in stat → Unix seconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub transitions: BTreeMap<String, i64>,
    /// The thaw that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The planned changes of class: option of `lifecycle`, field in stat, class.
pub(super) const TRANSITIONS: [(&str, &str, u32); 5] = [
    ("toIAAfterDays", "transitionToIA", 1),
    ("toIntelligentTieringAfterDays", "transitionToIntelligentTiering", 5),
    ("toArchiveIRAfterDays", "transitionToArchiveIR", 4),
    ("toArchiveAfterDays", "transitionToARCHIVE", 2),
    ("toDeepArchiveAfterDays", "transitionToDeepArchive", 3),
];

impl Object {
    /// Whether its time to be deleted has come.
    pub fn expired(&self, now: i64) -> bool {
        self.expiration.is_some_and(|t| t <= now)
    }

    /// The class it has now, with the planned changes that are due.
    pub fn class_at(&self, now: i64) -> u32 {
        TRANSITIONS
            .iter()
            .filter(|(_, field, _)| self.transitions.get(*field).is_some_and(|t| *t <= now))
            .map(|(_, _, class)| *class)
            .next_back()
            .unwrap_or(self.class)
    }

    /// Whether its class must be thawed before it can be read.
    pub fn archived(&self, now: i64) -> bool {
        matches!(self.class_at(now), 2 | 3)
    }

    /// Stat's `restoreStatus`: 1 thawing, 2 thawed, none frozen or no archive.
    pub fn restore_status(&self, now: i64) -> Option<u32> {
        let restore = self.restore.filter(|r| self.archived(now) && now < r.until)?;
        Some(if now < restore.ready { 1 } else { 2 })
    }

    /// Why it cannot be read now, if so.
    pub fn unreadable(&self, now: i64) -> Option<&'static str> {
        if self.status != 0 {
            Some("file is disabled")
        } else if self.archived(now) && self.restore_status(now) != Some(2) {
            Some("file is frozen: restore it first")
        } else {
            None
        }
    }

    fn shown(&self, now: i64, parts: bool, prefixed: bool) -> Shown<'_> {
        let name = |k: &String| if prefixed { format!("x-qn-meta-{k}") } else { k.clone() };
        Shown {
            key: None,
            hash: &self.hash,
            size: self.size,
            put_time: self.put_time,
            mime: &self.mime,
            class: self.class_at(now),
            status: None,
            end_user: self.end_user.as_deref(),
            md5: self.md5.as_deref(),
            meta: self.meta.iter().map(|(k, v)| (name(k), v.as_str())).collect(),
            parts: if parts { &self.parts } else { &[] },
            restore_status: None,
            expiration: None,
        }
    }

    /// As an item of a listing, in JSON.
    pub(super) fn item(&self, key: &str, now: i64, parts: bool, prefixed: bool) -> String {
        let shown = Shown { key: Some(key), status: Some(self.status), ..self.shown(now, parts, prefixed) };
        // Text and numbers always serialise.
        serde_json::to_string(&shown).unwrap_or_default()
    }

    /// As the answer to stat.
    pub(super) fn stat(&self, now: i64, parts: bool, prefixed: bool) -> Value {
        let shown = Shown {
            status: (self.status != 0).then_some(self.status),
            restore_status: self.restore_status(now),
            expiration: self.expiration,
            ..self.shown(now, parts, prefixed)
        };
        let mut value = serde_json::to_value(&shown).unwrap_or_default();
        for (field, t) in &self.transitions {
            value[field.as_str()] = (*t).into();
        }
        value
    }
}

/// An object as the service shows it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    hash: &'a str,
    #[serde(rename = "fsize")]
    size: u64,
    #[serde(rename = "putTime")]
    put_time: i64,
    #[serde(rename = "mimeType")]
    mime: &'a str,
    #[serde(rename = "type")]
    class: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u32>,
    #[serde(rename = "endUser", skip_serializing_if = "Option::is_none")]
    end_user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5: Option<&'a str>,
    #[serde(rename = "x-qn-meta", skip_serializing_if = "BTreeMap::is_empty")]
    meta: BTreeMap<String, &'a str>,
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    parts: &'a [u64],
    #[serde(rename = "restoreStatus", skip_serializing_if = "Option::is_none")]
    restore_status: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_thaw_and_freeze_again() {
        let mut o = Object { class: 2, ..Object::default() };
        assert!(o.unreadable(0).is_some() && o.restore_status(0).is_none());
        o.restore = Some(Restore { ready: 10, until: 100 });
        assert!(o.unreadable(9).is_some() && o.restore_status(9) == Some(1));
        assert!(o.unreadable(10).is_none() && o.restore_status(10) == Some(2));
        assert!(o.unreadable(100).is_some() && o.restore_status(100).is_none());
        o.status = 1;
        assert_eq!(o.unreadable(50), Some("file is disabled"));
    }

    #[test]
    fn planned_changes_come_true() {
        let mut o = Object::default();
        o.transitions.insert("transitionToIA".into(), 5);
        o.transitions.insert("transitionToARCHIVE".into(), 9);
        assert_eq!([o.class_at(4), o.class_at(5), o.class_at(9)], [0, 1, 2]);
        assert_eq!(o.stat(0, false, false)["transitionToIA"], 5);
    }
}
