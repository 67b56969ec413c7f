//! What `init` made, and what to do next.

use std::path::Path;

use serde::Serialize;

use super::human::clean;
use super::json;
use super::output::{Output, OutputError, Paint};
use crate::format::records::StoreRecord;
use crate::model::id::StoreId;
use crate::model::time::Timestamp;

/// What need not be said again on the next command line.
#[derive(Debug, Clone, Default)]
pub struct Configured {
    /// The store is named by the configuration file.
    pub store: bool,
    /// The source, if one is named anywhere.
    pub source: Option<String>,
    /// It is named by the configuration file.
    pub source_by_file: bool,
}

#[derive(Serialize)]
struct Summary<'a> {
    store: &'a str,
    id: StoreId,
    #[serde(serialize_with = "json::time")]
    created: Timestamp,
}

/// Says what was made.
///
/// # Errors
/// Nothing can be printed any more.
pub fn report(
    folder: &Path,
    record: &StoreRecord,
    configured: &Configured,
    out: &Output,
) -> Result<(), OutputError> {
    let store = folder.to_string_lossy();
    if out.is_json() {
        return out.json("summary", &Summary { store: &store, id: record.id, created: record.created });
    }
    if out.options().quiet {
        return Ok(());
    }
    out.line(format_args!("made an empty store at {}", out.paint(Paint::Bold, clean(&store))))?;
    out.line("next:")?;
    let source = configured.source.clone().unwrap_or_else(|| "kodo://BUCKET".into());
    if source.starts_with("kodo:") {
        out.line("  export QINIU_ACCESS_KEY=… QINIU_SECRET_KEY=…   the keys that may list the bucket")?;
    }
    let with_store =
        if configured.store { String::new() } else { format!(" --store {}", quoted(&clean(&store))) };
    let with_source = if configured.source_by_file {
        String::new()
    } else {
        format!(" --source {}", quoted(&clean(&source)))
    };
    out.line(format_args!("  qbak snapshot{with_store}{with_source}"))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-:@%+=,~".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::super::output::Options;
    use super::super::output::kept::output;
    use super::*;

    fn said(configured: &Configured, options: Options) -> String {
        let (out, stdout, _) = output(options);
        let record = StoreRecord {
            id: StoreId([7; 16]),
            created: Timestamp::from_seconds(0),
            program: "qbak".into(),
            encryption: "none".into(),
            timezone: None,
        };
        report(Path::new("/my backup"), &record, configured, &out).unwrap();
        out.flush().unwrap();
        stdout.text()
    }

    #[test]
    fn the_next_command_can_be_copied() {
        assert_eq!(
            said(&Configured::default(), Options::default()),
            "made an empty store at /my backup\nnext:\n  export QINIU_ACCESS_KEY=… QINIU_SECRET_KEY=…   the keys that \
             may list the bucket\n  qbak snapshot --store '/my backup' --source kodo://BUCKET\n"
        );
        let by_file =
            Configured { store: true, source: Some("/home/me/photos".into()), source_by_file: true };
        assert_eq!(
            said(&by_file, Options::default()),
            "made an empty store at /my backup\nnext:\n  qbak snapshot\n"
        );
        assert_eq!(said(&by_file, Options { quiet: true, ..Options::default() }), "");
        assert_eq!(
            said(&by_file, Options { json: true, ..Options::default() }),
            "{\"type\":\"summary\",\"store\":\"/my backup\",\"id\":\"07070707070707070707070707070707\",\
             \"created\":\"1970-01-01T00:00:00Z\"}\n"
        );
    }
}
