//! The official Python SDK against the embedded service: an outside judge of both its answers and its signatures.
//!
//! The SDK is installed into a virtual environment below the target folder, once. Without Python or the package
//! index the test is skipped, unless `QBAK_REQUIRE_OUTSIDE=1` says that it must run.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a test reads its own environment")]

use std::path::{Path, PathBuf};
use std::process::Command;

use qbak::emulator::{Backing, Config, Service};
use qbak::kodo::sign::Credentials;

const PACKAGE: &str = "qiniu==7.18.0";

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{command:?}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr)))
    }
}

/// The interpreter of an environment that has the SDK.
fn python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{PACKAGE}"));
    let (python, ready) = (folder.join("bin/python3"), folder.join("ready"));
    if !ready.exists() || !python.exists() {
        run(Command::new("python3").arg("-m").arg("venv").arg("--clear").arg(&folder))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "20"])
            .arg(PACKAGE))?;
        std::fs::write(&ready, PACKAGE).map_err(|e| e.to_string())?;
    }
    Ok(python)
}

fn drive(python: &Path, private: bool, one_address: bool) {
    let (bucket, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let credentials = Credentials::new("python-ak", "python-sk").unwrap();
    let mut config = Config::new(Backing::Folder(bucket.path().to_owned()), "py-bucket", credentials);
    config.private = private;
    config.separate_source_host = !one_address;
    config.separate_domain_host = !one_address;
    let service = Service::start_apart(config).unwrap();
    let source = service.source_url();
    let result = run(Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/kodo_sdk.py"))
        .args([&service.uc_url(), &source, "py-bucket", "python-ak", "python-sk"])
        .arg(if private { "1" } else { "0" })
        .arg(work.path())
        .current_dir(work.path())
        .env("TMPDIR", work.path())
        .env_remove("http_proxy")
        .env_remove("HTTP_PROXY")
        .env("NO_PROXY", "127.0.0.1"));
    match result {
        Ok(text) => assert!(text.contains("the SDK agrees"), "{text}"),
        Err(text) => panic!("{text}"),
    }
}

#[test]
fn the_sdk_lists_stats_uploads_downloads_and_deletes() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            assert!(std::env::var_os("QBAK_REQUIRE_OUTSIDE").is_none_or(|v| v != "1"), "{why}");
            eprintln!("skipped: the Python SDK cannot be had here: {why}");
            return;
        }
    };
    drive(&python, false, false);
    drive(&python, true, true);
}
