//! From file, profile, environment and flags to a [`Config`].

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::file::{self, Fields};
use super::read::{Fault, Reader, dotted};
use super::sections::{Places, read_groups, read_guard, read_kodo, read_limits, read_retention, read_s3};
use super::value::{self, Value};
use super::{Config, ConfigError, Hooks, Kodo, Metrics, Origin, Overrides, Password, S3, Setting};
use crate::cli::env::Env;
use crate::model::url::{Location, Role};

/// Settings that are read and checked but that this version does not act on yet: the start of their names, and what
/// they are about. Saying so is better than silence; a line goes when its feature comes.
const LATER: &[(&str, &str)] = &[
    ("password_file", "encrypted stores"),
    ("password_command", "encrypted stores"),
    ("credentials_identity", "encrypted credentials"),
    ("kodo.listing", "listing at made-up markers"),
    ("kodo.up", "restoring into a bucket"),
    ("s3.", "S3 buckets"),
    ("retention.timezone", "retention by another time zone than this machine's"),
    ("hooks.", "hooks"),
    ("metrics.", "metrics"),
];

/// Reads everything. The first fault by line is the error.
pub fn load(overrides: &Overrides, env: &dyn Env) -> Result<Config, ConfigError> {
    let path = file::find(overrides, env)?;
    let fields = match &path {
        Some(path) => file::read(path)?,
        None => Fields::default(),
    };
    assemble(path, &fields, overrides, env)
}

/// As [`load`], from the text of a file called `path`; for the fuzzing targets.
#[doc(hidden)]
pub fn load_text(
    path: &Path,
    text: &str,
    overrides: &Overrides,
    env: &dyn Env,
) -> Result<Config, ConfigError> {
    assemble(Some(path.to_owned()), &file::read_text(path, text)?, overrides, env)
}

fn assemble(
    path: Option<PathBuf>,
    fields: &Fields,
    overrides: &Overrides,
    env: &dyn Env,
) -> Result<Config, ConfigError> {
    let profile = match &overrides.profile {
        Some(name) => Some(name.clone()),
        None => env_text(env, "QBAK_PROFILE")?,
    };
    let profiles = fields.profiles();
    check_profile(path.as_deref(), profile.as_deref(), &profiles)?;
    let at = |(line, message): Fault| ConfigError { file: path.clone(), line: Some(line), message };
    if let Some((name, field)) = fields.leaves.iter().find(|(n, _)| n.len() < 3 && n[0] == "profile") {
        let message =
            format!("{} cannot stand there: write [profile.NAME] and its settings below", dotted(name));
        return Err(at((field.line, message)));
    }
    // A fault in a profile that is not used today would otherwise wait for the night it is.
    for other in profiles.iter().filter(|p| Some(*p) != profile.as_ref()) {
        let fields = fields.overlaid(Some(other));
        let surroundings = Surroundings { path: path.as_deref(), profile: Some(other), overrides, env };
        let (_, faults) = build(&fields, &surroundings)?;
        if let Some(fault) = faults.into_iter().find(|f| is_in_profile(&fields, f)) {
            return Err(at(fault));
        }
    }
    let laid = fields.overlaid(profile.as_deref());
    let surroundings = Surroundings { path: path.as_deref(), profile: profile.as_deref(), overrides, env };
    let (mut config, faults) = build(&laid, &surroundings)?;
    if let Some(fault) = faults.into_iter().next() {
        return Err(at(fault));
    }
    config.profiles = profiles;
    config.warnings = warnings(&config, env);
    Ok(config)
}

/// Where fields come from and what stands beside them.
struct Surroundings<'a> {
    path: Option<&'a Path>,
    profile: Option<&'a str>,
    overrides: &'a Overrides,
    env: &'a dyn Env,
}

fn is_in_profile(fields: &Fields, fault: &Fault) -> bool {
    fields.leaves.values().any(|f| f.profile && f.line == fault.0)
        || fields.sections.values().any(|line| *line == fault.0)
}

fn check_profile(path: Option<&Path>, profile: Option<&str>, profiles: &[String]) -> Result<(), ConfigError> {
    let Some(profile) = profile else { return Ok(()) };
    if profiles.iter().any(|p| p == profile) {
        return Ok(());
    }
    let shown: String = profile.chars().take(60).flat_map(char::escape_debug).collect();
    let message = match (path, profiles) {
        (None, _) => format!("there is no configuration file, so no profile “{shown}”"),
        (_, []) => format!("there is no profile “{shown}” here, nor any other; write [profile.{shown}]"),
        _ => format!("there is no profile “{shown}” here; there are {}", profiles.join(", ")),
    };
    Err(ConfigError { file: path.map(Path::to_owned), line: None, message })
}

fn build(fields: &Fields, around: &Surroundings<'_>) -> Result<(Config, Vec<Fault>), ConfigError> {
    let env = around.env;
    let current = env
        .current_dir()
        .map_err(|e| ConfigError::plain(format!("the working folder cannot be found: {e}")))?;
    let base = around.path.and_then(Path::parent).unwrap_or(&current).to_owned();
    let home = env.home();
    let places = Places { base: &base, current: &current, home: home.as_deref() };
    let mut r = Reader::new(fields);
    let store = location(&mut r, Role::Store, around, &places)?;
    let source = location(&mut r, Role::Source, around, &places)?;
    let path = value::path(&base, home.as_deref());
    let mut password = Password {
        file: r.get(&[&[]], "password_file", (None, ""), &path),
        command: r.get(&[&[]], "password_command", (None, ""), value::set_text),
        credentials_identity: r.get(&[&[]], "credentials_identity", (None, ""), &path),
    };
    if let Some(p) = env.var("QBAK_PASSWORD_FILE") {
        let at = value::absolute(Path::new(&p), &current, home.as_deref());
        password.file = Some(at.map_err(|s| ConfigError::plain(format!("QBAK_PASSWORD_FILE {s}")))?);
    }
    if let Some(command) = env_text(env, "QBAK_PASSWORD_COMMAND")? {
        password.command = Some(command);
    }
    let kodo = read_kodo(&mut r, &[&["kodo"]], &places);
    let kodo_buckets: BTreeMap<String, Kodo> = r
        .names_below(&["kodo", "buckets"])
        .into_iter()
        .map(|name| {
            let settings = read_kodo(&mut r, &[&["kodo", "buckets", &name], &["kodo"]], &places);
            (name, settings)
        })
        .collect();
    let s3 = read_s3(&mut r, &[&["s3"]], &places);
    let s3_buckets: BTreeMap<String, S3> = r
        .names_below(&["s3", "buckets"])
        .into_iter()
        .map(|name| {
            let settings = read_s3(&mut r, &[&["s3", "buckets", &name], &["s3"]], &places);
            (name, settings)
        })
        .collect();
    let (groups, retention, limits) = (read_groups(&mut r), read_retention(&mut r), read_limits(&mut r));
    let guard = read_guard(&mut r);
    let hooks = Hooks {
        before: r.get(&[&["hooks"]], "before", (vec![], ""), value::texts),
        after_success: r.get(&[&["hooks"]], "after_success", (vec![], ""), value::texts),
        after_failure: r.get(&[&["hooks"]], "after_failure", (vec![], ""), value::texts),
    };
    let metrics = Metrics {
        textfile: r.get(&[&["metrics"]], "textfile", (None, ""), &path),
        ping: r.get(&[&["metrics"]], "ping", (None, ""), value::set_text),
    };
    let (settings, faults) = r.finish();
    let config = Config {
        file: around.path.map(Path::to_owned),
        profile: around.profile.map(str::to_owned),
        profiles: Vec::new(),
        store,
        source,
        password,
        kodo,
        kodo_buckets,
        s3,
        s3_buckets,
        groups,
        retention,
        limits,
        guard,
        hooks,
        metrics,
        settings,
        warnings: Vec::new(),
    };
    Ok((config, faults))
}

/// The store or the source: a flag, else the environment, else the file.
fn location(
    r: &mut Reader<'_>,
    role: Role,
    around: &Surroundings<'_>,
    places: &Places<'_>,
) -> Result<Option<Location>, ConfigError> {
    let (key, flag, variable, given) = match role {
        Role::Store => ("store", "--store", "QBAK_STORE", &around.overrides.store),
        _ => ("source", "--source", "QBAK_SOURCE", &around.overrides.source),
    };
    let parse = |text: &OsStr, base: &Path, tilde: bool| -> Result<Location, String> {
        Ok(match Location::parse(text, role).map_err(|e| e.to_string())? {
            // The shell has expanded a flag's `~` already; one that is left is a folder's name.
            Location::Folder(p) if tilde => Location::Folder(value::absolute(&p, base, places.home)?),
            Location::Folder(p) => Location::Folder(base.join(p).components().collect()),
            bucket @ Location::Bucket { .. } => bucket,
        })
    };
    let mut over = |text: &OsStr, tilde: bool, origin: Origin| {
        let found = parse(text, places.current, tilde)
            .map_err(|sentence| ConfigError::plain(format!("{origin}: {sentence}")))?;
        r.settings.insert(key.into(), Setting { value: found.to_string(), origin });
        Ok(Some(found))
    };
    let overriding = match (given, around.env.var(variable)) {
        (Some(text), _) => over(text, false, Origin::Flag(flag)),
        (None, Some(text)) => over(&text, true, Origin::Environment(variable)),
        (None, None) => Ok(None),
    }?;
    let overridden = overriding.is_some();
    let in_file = |value: &Value| {
        let mut text = value::text(value)?;
        if role == Role::Store && text.contains("{profile}") {
            match around.profile {
                Some(name) => text = text.replace("{profile}", name),
                None if overridden => text = text.replace("{profile}", "-"),
                None => {
                    return Err("has {profile} in it: say which with --profile NAME or QBAK_PROFILE".into());
                }
            }
        }
        // The file is checked even where a flag or variable takes its place.
        parse(&OsString::from(text), places.base, true)
            .map(Some)
            .map_err(|sentence| format!("cannot be used: {sentence}"))
    };
    let kept = r.settings.get(key).cloned();
    let from_file = r.get(&[&[]], key, (None, ""), in_file);
    if let (Some(setting), true) = (kept, overridden) {
        r.settings.insert(key.into(), setting);
    } else if let (Some(location), Some(setting)) = (&from_file, r.settings.get_mut(key)) {
        setting.value = location.to_string();
    }
    Ok(overriding.or(from_file))
}

/// One sentence for each setting that this version does nothing with.
fn warnings(config: &Config, env: &dyn Env) -> Vec<String> {
    let set = |start: &str| {
        let matches = |name: &str| {
            // A bucket's own setting counts as the setting.
            let mut parts: Vec<&str> = name.split('.').collect();
            if parts.len() > 3 && parts[1] == "buckets" {
                parts = vec![parts[0], parts[parts.len() - 1]];
            }
            let plain = parts.join(".");
            plain == start || (start.ends_with('.') && plain.starts_with(start))
        };
        let real = |s: &Setting| s.origin != Origin::Default && !s.value.is_empty();
        // Where a bucket inherits a setting, the line is the same and the shorter name says more.
        let first = |(name, s): &(&String, &Setting)| match s.origin {
            Origin::File { line, .. } => (line, name.len()),
            _ => (0, name.len()),
        };
        config.settings.iter().filter(|(name, s)| matches(name) && real(s)).min_by_key(first)
    };
    let mut out: Vec<String> = LATER
        .iter()
        .filter_map(|(start, about)| {
            let (name, setting) = set(start)?;
            // The one choice of this list that works is the default.
            if *start == "kodo.listing" && setting.value == "auto" {
                return None;
            }
            Some(format!("{name} ({}) has no effect: this version does not have {about} yet", setting.origin))
        })
        .collect();
    let password = ["QBAK_PASSWORD", "QBAK_PASSWORD_FILE", "QBAK_PASSWORD_COMMAND"];
    if let Some(name) = password.into_iter().find(|name| env.var(name).is_some()) {
        out.push(format!(
            "${name} is set, but this version does not have encrypted stores yet: what is stored is not encrypted"
        ));
    }
    out
}

/// A variable as text.
fn env_text(env: &dyn Env, name: &'static str) -> Result<Option<String>, ConfigError> {
    let Some(value) = env.var(name) else { return Ok(None) };
    value.into_string().map(Some).map_err(|_| ConfigError::plain(format!("{name} is not UTF-8")))
}
