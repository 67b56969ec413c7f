//! The configuration and the file of credentials.

use std::path::Path;

use qbak::cli::config::{Overrides, load_text};
use qbak::cli::credentials::from_text;
use qbak::cli::env::FixedEnv;

use super::is_plain;

/// `qbak.toml`, without a profile and with one.
pub fn config(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let env = FixedEnv { current_dir: "/work".into(), ..FixedEnv::default() };
    let mut taken = false;
    for profile in [None, Some("night".to_owned())] {
        let overrides = Overrides { profile, ..Overrides::default() };
        match load_text(Path::new("/etc/qbak.toml"), text, &overrides, &env) {
            Ok(config) => {
                taken = true;
                assert!(config.warnings.iter().all(|w| is_plain(w)), "{:?}", config.warnings);
                assert!((1..=1024).contains(&config.limits.concurrency));
                assert!(config.retention.keep != Some(0) && config.limits.download_rate != Some(0));
                let roots = [config.password.file.as_ref(), config.kodo.credentials.as_ref()];
                assert!(roots.into_iter().flatten().all(|p| p.is_absolute()));
            }
            Err(e) => {
                assert!(is_plain(&e.to_string()), "{e}");
                assert!(e.line.is_none_or(|n| n >= 1 && n <= 1 + text.matches('\n').count()), "{e}");
                assert!(e.to_string().len() < 4096, "a sentence, not the file");
            }
        }
    }
    taken
}

/// A file with an access key and a secret key: no error repeats what is in it.
pub fn credentials(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    match from_text(Path::new("/k"), text) {
        Ok(keys) => {
            assert!(!keys.access_key().is_empty());
            true
        }
        Err(e) => {
            let said = format!("{e} {e:?}");
            // What stands between quotes and is longer than any word of ours.
            let secrets = text.split('"').skip(1).step_by(2).filter(|s| s.len() >= 16);
            for secret in secrets {
                assert!(!said.contains(secret), "{said}");
            }
            false
        }
    }
}
