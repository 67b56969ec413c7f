//! A setting's value as the file has it, and the readers that turn it into what it means.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::de::DeValue;

use crate::model::size;

/// A leaf of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Whole(i64),
    Flag(bool),
    Texts(Vec<String>),
    /// Anything else: what it is called.
    Other(&'static str),
}

impl Value {
    pub(super) fn of(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(s) => Self::Text(s.to_string()),
            DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix())
                .map_or(Self::Other("a number that is too large"), Self::Whole),
            DeValue::Float(_) => Self::Other("a number with a fraction"),
            DeValue::Boolean(b) => Self::Flag(*b),
            DeValue::Datetime(_) => Self::Other("a date (put it in quotes)"),
            DeValue::Array(items) => {
                let text = |v: &DeValue<'_>| v.as_str().map(str::to_owned);
                match items.iter().map(|v| text(v.get_ref())).collect() {
                    Some(texts) => Self::Texts(texts),
                    None => Self::Other("a list with something else than strings in it"),
                }
            }
            DeValue::Table(_) => Self::Other("a section"),
        }
    }

    /// As `config show` prints it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(s) => s.clone(),
            Self::Whole(n) => n.to_string(),
            Self::Flag(b) => b.to_string(),
            Self::Texts(all) => all.join(", "),
            Self::Other(what) => (*what).to_owned(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Whole(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::Texts(_) => "a list",
            Self::Other(what) => what,
        }
    }

    /// "must be X, not Y".
    fn not(&self, wanted: &str) -> String {
        format!("must be {wanted}, not {}", self.kind())
    }
}

/// What a reader answers: the value, or the end of a sentence that begins with the setting's name.
pub(super) type Read<T> = Result<T, String>;

pub(super) fn text(value: &Value) -> Read<String> {
    match value {
        Value::Text(s) if s.contains(|c: char| c.is_control()) => {
            Err("has a line break or another control character in it".into())
        }
        Value::Text(s) => Ok(s.clone()),
        other => Err(other.not("a string")),
    }
}

/// An empty string stands for "not set".
pub(super) fn set_text(value: &Value) -> Read<Option<String>> {
    text(value).map(|s| (!s.is_empty()).then_some(s))
}

pub(super) fn flag(value: &Value) -> Read<bool> {
    match value {
        Value::Flag(b) => Ok(*b),
        other => Err(other.not("true or false (without quotes)")),
    }
}

pub(super) fn whole(least: u32, most: u32) -> impl Fn(&Value) -> Read<u32> {
    move |value| {
        let wanted = format!("a whole number from {least} to {most}");
        match value {
            Value::Whole(n) => match u32::try_from(*n) {
                Ok(n) if (least..=most).contains(&n) => Ok(n),
                _ => Err(format!("must be {wanted}, not {n}")),
            },
            other => Err(other.not(&wanted)),
        }
    }
}

/// How many to keep. Zero is refused because it can be meant both ways.
pub(super) fn keep(value: &Value) -> Read<Option<u32>> {
    match value {
        Value::Whole(0) => Err("must be at least 1; leave it out for no such rule".into()),
        other => whole(1, 1_000_000)(other).map(Some),
    }
}

pub(super) fn rate(value: &Value) -> Read<Option<u64>> {
    match value {
        Value::Text(s) if s.is_empty() => Ok(None),
        Value::Text(s) => size::parse_rate(s).map(Some).map_err(|e| format!("cannot be used: {e}")),
        Value::Whole(n) if *n > 0 => Ok(Some(n.unsigned_abs())),
        Value::Whole(_) => Err("must be more than nothing; leave it out for no limit".into()),
        other => Err(other.not("a rate such as \"20MB/s\"")),
    }
}

pub(super) fn texts(value: &Value) -> Read<Vec<String>> {
    match value {
        Value::Text(s) => Ok(if s.is_empty() { Vec::new() } else { vec![s.clone()] }),
        Value::Texts(all) => Ok(all.clone()),
        other => Err(other.not("a string or a list of strings")),
    }
}

/// A string that another type parses itself from.
pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(wanted: &'static str) -> impl Fn(&Value) -> Read<T> {
    move |value| match value {
        Value::Text(s) => s.parse().map_err(|e| format!("cannot be used: {e}")),
        other => Err(other.not(wanted)),
    }
}

pub(super) fn choice<T: Copy>(choices: &'static [(&'static str, T)]) -> impl Fn(&Value) -> Read<T> {
    move |value| {
        let all: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let wanted = all.join(" or ");
        match value {
            Value::Text(s) => choices
                .iter()
                .find(|(name, _)| name == s)
                .map(|(_, value)| *value)
                .ok_or_else(|| format!("must be {wanted}, not \"{}\"", s.escape_debug())),
            other => Err(other.not(&wanted)),
        }
    }
}

/// A zone's name by its form (`Asia/Shanghai`, `UTC`); whether there is such a zone, whoever uses it finds out.
pub(super) fn zone(value: &Value) -> Read<Option<String>> {
    let plain = |s: &str| {
        s.len() <= 64
            && s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+'))
    };
    match set_text(value)? {
        Some(s) if !plain(&s) => Err("must be a time zone's name such as \"Asia/Shanghai\"".into()),
        other => Ok(other),
    }
}

/// A server: `[http[s]://]host[:port]`, made whole with `scheme` where none is given.
pub(super) fn server(scheme: &str) -> impl Fn(&Value) -> Read<Option<String>> {
    move |value| {
        let Some(given) = set_text(value)? else { return Ok(None) };
        let lower = given.to_ascii_lowercase();
        let (scheme, host) = match lower.split_once("://") {
            Some((s @ ("http" | "https"), host)) => (s, host),
            Some(_) => return Err("must begin with http:// or https://, or be a host's name alone".into()),
            None => (scheme, lower.as_str()),
        };
        let host = host.strip_suffix('/').unwrap_or(host);
        if host.contains('@') {
            return Err("must not have a user name or password in it".into());
        }
        let authority: Result<http::uri::Authority, _> = host.parse();
        match authority {
            Ok(a) if !a.host().is_empty() && (a.port_u16().is_some() || !host.ends_with(':')) => {
                Ok(Some(format!("{scheme}://{a}")))
            }
            _ => {
                Err("must be a host such as cdn.example.com or https://cdn.example.com, without a path"
                    .into())
            }
        }
    }
}

/// A path: `~` is the home folder, a relative one starts at `base`.
pub(super) fn path<'a>(
    base: &'a Path,
    home: Option<&'a Path>,
) -> impl Fn(&Value) -> Read<Option<PathBuf>> + 'a {
    move |value| match set_text(value)? {
        Some(s) => absolute(Path::new(&s), base, home).map(Some),
        None => Ok(None),
    }
}

/// Makes a path absolute without asking the file system.
pub(super) fn absolute(path: &Path, base: &Path, home: Option<&Path>) -> Read<PathBuf> {
    let joined = match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        (Ok(_), None) => return Err("begins with ~, but HOME is not set".into()),
        (Err(_), _) => base.join(path),
    };
    // Collecting the parts drops `.` and doubled slashes; `..` stays, because a link may stand before it.
    Ok(joined.components().collect())
}
