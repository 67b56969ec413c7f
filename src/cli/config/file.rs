//! The configuration file: found, read, and flattened to one field a leaf, each with its line.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::value::Value;
use super::{ConfigError, Overrides};
use crate::cli::env::Env;

/// A setting's place: `["kodo", "domain"]`.
pub(super) type Name = Vec<String>;

/// One leaf of the file.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) value: Value,
    pub(super) line: usize,
    pub(super) profile: bool,
}

/// A file's leaves and the lines of its sections.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    pub(super) leaves: BTreeMap<Name, Field>,
    pub(super) sections: BTreeMap<Name, usize>,
}

/// No configuration is near this size.
const MOST: u64 = 1 << 20;

/// Which file to read. A file that is named must be there; the usual places may be empty.
pub(super) fn find(overrides: &Overrides, env: &dyn Env) -> Result<Option<PathBuf>, ConfigError> {
    let current = env
        .current_dir()
        .map_err(|e| ConfigError::plain(format!("the working folder cannot be found: {e}")))?;
    if let Some(path) = &overrides.config {
        return Ok(Some(current.join(path)));
    }
    if let Some(path) = env.var("QBAK_CONFIG") {
        return Ok(Some(current.join(PathBuf::from(path))));
    }
    let usual = [Some(current), env.config_dir().map(|d| d.join("qbak"))];
    for path in usual.into_iter().flatten().map(|d| d.join("qbak.toml")) {
        match path.symlink_metadata() {
            Ok(_) => return Ok(Some(path)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            // A folder on the way that is a file holds no configuration either.
            Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {}
            Err(e) => {
                let message = format!("cannot be read: {e}");
                return Err(ConfigError { file: Some(path), line: None, message });
            }
        }
    }
    Ok(None)
}

/// Reads and flattens a file.
pub(super) fn read(path: &Path) -> Result<Fields, ConfigError> {
    let fail = |message: String| ConfigError { file: Some(path.to_owned()), line: None, message };
    let cannot = |e: std::io::Error| fail(format!("the configuration cannot be read: {e}"));
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MOST {
        return Err(fail("the configuration is larger than 1 MiB; is it the right file?".into()));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = line_of(e.as_bytes(), e.utf8_error().valid_up_to());
        ConfigError { line: Some(line), ..fail("there are bytes here that are not UTF-8".into()) }
    })?;
    read_text(path, &text)
}

/// Flattens the text of the file called `path`.
pub(super) fn read_text(path: &Path, text: &str) -> Result<Fields, ConfigError> {
    let at = |(line, message)| ConfigError { file: Some(path.to_owned()), line, message };
    parse(text).map_err(at)
}

/// Flattens a text; the error is a line and a sentence.
pub(super) fn parse(text: &str) -> Result<Fields, (Option<usize>, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let table = DeTable::parse(text).map_err(|e| {
        let line = e.span().map(|s| line_of(text.as_bytes(), s.start));
        (line, format!("this is not TOML: {}", e.message().replace('\n', ", ")))
    })?;
    let mut fields = Fields::default();
    flatten(text, table.get_ref(), &mut Vec::new(), &mut fields);
    Ok(fields)
}

fn flatten(text: &str, table: &DeTable<'_>, name: &mut Name, out: &mut Fields) {
    for (key, value) in table {
        name.push(key.get_ref().to_string());
        // A section's own line is that of its first mention.
        let line = line_of(text.as_bytes(), key.span().start);
        if let DeValue::Table(inner) = value.get_ref() {
            out.sections.insert(name.clone(), line);
            flatten(text, inner, name, out);
        } else {
            let field = Field { value: Value::of(value.get_ref()), line, profile: false };
            out.leaves.insert(name.clone(), field);
        }
        name.pop();
    }
}

fn line_of(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|b| **b == b'\n').count()
}

impl Fields {
    /// The names of `[profile.NAME]`.
    pub(super) fn profiles(&self) -> Vec<String> {
        let name = |n: &Name| match n.as_slice() {
            [first, name] if first == "profile" => Some(name.clone()),
            _ => None,
        };
        self.sections.keys().filter_map(name).collect()
    }

    /// The fields with those of a profile laid over them, key by key, and the profiles taken out.
    pub(super) fn overlaid(&self, profile: Option<&str>) -> Self {
        let is_profile = |n: &Name| n.first().is_some_and(|f| f == "profile") && n.len() > 1;
        let inside = |n: &Name| is_profile(n) && n.len() > 2 && profile.is_some_and(|p| n[1] == p);
        let mut out = Self::default();
        out.leaves
            .extend(self.leaves.iter().filter(|(n, _)| !is_profile(n)).map(|(n, f)| (n.clone(), f.clone())));
        out.sections.extend(
            self.sections
                .iter()
                .filter(|(n, _)| !is_profile(n) && n.as_slice() != ["profile"])
                .map(|(n, l)| (n.clone(), *l)),
        );
        for (name, field) in self.leaves.iter().filter(|(n, _)| inside(n)) {
            out.leaves.insert(name[2..].to_vec(), Field { profile: true, ..field.clone() });
        }
        for (name, line) in self.sections.iter().filter(|(n, _)| inside(n)) {
            out.sections.insert(name[2..].to_vec(), *line);
        }
        out
    }
}
