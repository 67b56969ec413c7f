//! The sections of the file, each read into its type with its defaults and bounds.

use std::path::Path;

use super::read::Reader;
use super::value::{self, Value};
use super::{Groups, Guard, Kodo, Limits, Listing, Retention, S3, Unavailable};
use crate::model::share::Share;

/// What paths are relative to.
pub(super) struct Places<'a> {
    /// The folder of the file.
    pub(super) base: &'a Path,
    /// The working folder.
    pub(super) current: &'a Path,
    pub(super) home: Option<&'a Path>,
}

pub(super) fn read_kodo(r: &mut Reader<'_>, at: &[&[&str]], places: &Places<'_>) -> Kodo {
    let uc_default = "https://uc.qiniuapi.com";
    let uc = r.get(at, "uc", (None, uc_default), value::server("https")).unwrap_or_else(|| uc_default.into());
    let scheme = if uc.starts_with("http://") { "http" } else { "https" };
    let name = |v: &Value| match value::text(v)? {
        s if s.is_empty() || s.contains('=') => Err("must be the name of an environment variable".into()),
        s => Ok(s),
    };
    Kodo {
        domain: r.get(at, "domain", (None, ""), value::server("https")),
        private: r.get(at, "private", (false, "false"), value::flag),
        referer: r.get(at, "referer", (None, ""), value::set_text),
        access_key_env: r.get(at, "access_key_env", (ACCESS_KEY.into(), ACCESS_KEY), name),
        secret_key_env: r.get(at, "secret_key_env", (SECRET_KEY.into(), SECRET_KEY), name),
        credentials: r.get(at, "credentials", (None, ""), value::path(places.base, places.home)),
        unavailable: r.get(
            at,
            "unavailable",
            (Unavailable::Partial, "partial"),
            value::choice(&[("partial", Unavailable::Partial), ("accept", Unavailable::Accept)]),
        ),
        trust_etag: r.get(at, "trust_etag", (true, "true"), value::flag),
        listing: r.get(
            at,
            "listing",
            (Listing::Auto, "auto"),
            value::choice(&[("auto", Listing::Auto), ("markers", Listing::Markers)]),
        ),
        rs: r.get(at, "rs", (None, ""), value::server(scheme)),
        rsf: r.get(at, "rsf", (None, ""), value::server(scheme)),
        up: r.get(at, "up", (None, ""), value::server(scheme)),
        io: r.get(at, "io", (None, ""), value::server(scheme)),
        uc,
    }
}

const ACCESS_KEY: &str = "QINIU_ACCESS_KEY";
const SECRET_KEY: &str = "QINIU_SECRET_KEY";

pub(super) fn read_s3(r: &mut Reader<'_>, at: &[&[&str]], places: &Places<'_>) -> S3 {
    S3 {
        endpoint: r.get(at, "endpoint", (None, ""), value::server("https")),
        region: r.get(at, "region", (None, ""), value::set_text),
        path_style: r.get(at, "path_style", (false, "false"), value::flag),
        credentials: r.get(at, "credentials", (None, ""), value::path(places.base, places.home)),
    }
}

pub(super) fn read_groups(r: &mut Reader<'_>) -> Groups {
    let at: &[&[&str]] = &[&["groups"]];
    Groups {
        full_every: r.get(at, "full_every", (8, "8"), value::whole(0, 1_000_000)),
        share: r.get(at, "share", (false, "false"), value::flag),
    }
}

pub(super) fn read_retention(r: &mut Reader<'_>) -> Retention {
    let at: &[&[&str]] = &[&["retention"]];
    let within = |v: &Value| value::parsed("a duration such as \"1y6m\"")(v).map(Some);
    Retention {
        keep: r.get(at, "keep", (None, ""), value::keep),
        keep_groups: r.get(at, "keep_groups", (None, ""), value::keep),
        keep_daily: r.get(at, "keep_daily", (None, ""), value::keep),
        keep_weekly: r.get(at, "keep_weekly", (None, ""), value::keep),
        keep_monthly: r.get(at, "keep_monthly", (None, ""), value::keep),
        keep_yearly: r.get(at, "keep_yearly", (None, ""), value::keep),
        keep_within: r.get(at, "keep_within", (None, ""), within),
        keep_tag: r.get(at, "keep_tag", (vec![], ""), value::texts),
        timezone: r.get(at, "timezone", (None, ""), value::zone),
    }
}

pub(super) fn read_limits(r: &mut Reader<'_>) -> Limits {
    let at: &[&[&str]] = &[&["limits"]];
    let requests = |v: &Value| value::whole(1, 1_000_000)(v).map(Some);
    Limits {
        concurrency: r.get(at, "concurrency", (16, "16"), value::whole(1, 1024)),
        download_rate: r.get(at, "download_rate", (None, ""), value::rate),
        requests_per_second: r.get(at, "requests_per_second", (None, ""), requests),
    }
}

pub(super) fn read_guard(r: &mut Reader<'_>) -> Guard {
    let at: &[&[&str]] = &[&["guard"]];
    let share = value::parsed::<Share>("a share such as \"30%\"");
    Guard {
        max_removed: r.get(at, "max_removed", (Share::percent(30), "30%"), &share),
        max_changed: r.get(at, "max_changed", (Share::percent(80), "80%"), &share),
        max_failed: r.get(at, "max_failed", (Share::percent(10), "10%"), &share),
    }
}
