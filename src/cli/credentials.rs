//! Kodo's two keys: from the environment, or from a file that only its owner can read. Never printed, never logged.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::config::Kodo;
use super::env::Env;
use crate::kodo::sign::{BadCredentials, Credentials};

/// Why there are no credentials. No message has a key in it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Nothing is set at all.
    #[error(
        "there are no Kodo keys: set {access} and {secret}, or name a file with access_key and secret_key as \
         kodo.credentials"
    )]
    None {
        /// The variable of the access key.
        access: String,
        /// The variable of the secret key.
        secret: String,
    },
    /// One of the two variables is missing.
    #[error("{set} is set, but {missing} is not; Kodo needs both keys")]
    Half {
        /// The one that is there.
        set: String,
        /// The one that is not.
        missing: String,
    },
    /// A variable is no text.
    #[error("{0} is not UTF-8")]
    NotText(String),
    /// The keys are no keys.
    #[error("the Kodo keys of {from} cannot be used: {why}")]
    Bad {
        /// Where they come from.
        from: String,
        /// Why not.
        why: BadCredentials,
    },
    /// The file cannot be read.
    #[error("the credentials file {0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// Others may read the file.
    #[error("others can read the credentials file {path} ({why}); make it yours alone: chmod 600 {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Which right or owner is too much.
        why: String,
    },
    /// The file is encrypted.
    #[error("the credentials file {0} is encrypted, which this version cannot read yet")]
    Encrypted(PathBuf),
    /// The file is not what it should be.
    #[error(
        "the credentials file {path}{place}: {why}; it holds two lines, access_key = \"…\" and secret_key = \"…\""
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// `, line 3`, or nothing.
        place: String,
        /// What is wrong, without a word of its contents.
        why: &'static str,
    },
}

/// No two keys are near this size.
const MOST: u64 = 64 << 10;

/// The keys for a bucket's settings. A file that is named goes first: it is meant for this bucket, the variables are
/// for any.
pub fn kodo(settings: &Kodo, env: &dyn Env) -> Result<Credentials, CredentialsError> {
    if let Some(path) = &settings.credentials {
        return from_file(path, env);
    }
    let (access, secret) = (&settings.access_key_env, &settings.secret_key_env);
    let text = |name: &String| match env.var(name).map(|v| v.into_string()) {
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(CredentialsError::NotText(name.clone())),
        None => Ok(None),
    };
    let half = |set: &String, missing: &String| CredentialsError::Half {
        set: set.clone(),
        missing: missing.clone(),
    };
    match (text(access)?, text(secret)?) {
        (Some(a), Some(s)) => Credentials::new(a, s)
            .map_err(|why| CredentialsError::Bad { from: format!("{access} and {secret}"), why }),
        (Some(_), None) => Err(half(access, secret)),
        (None, Some(_)) => Err(half(secret, access)),
        (None, None) => Err(CredentialsError::None { access: access.clone(), secret: secret.clone() }),
    }
}

fn from_file(path: &Path, env: &dyn Env) -> Result<Credentials, CredentialsError> {
    let cannot = |e| CredentialsError::Unreadable(path.to_owned(), e);
    let file = File::open(path).map_err(cannot)?;
    // The rights of what was opened, not of what the name means a moment later.
    check_rights(path, &file, env)?;
    let mut text = String::new();
    file.take(MOST + 1).read_to_string(&mut text).map_err(cannot)?;
    from_text(path, &text)
}

/// The keys that the text of the file called `path` holds. No error repeats any of it.
#[doc(hidden)]
pub fn from_text(path: &Path, text: &str) -> Result<Credentials, CredentialsError> {
    let form = |place, why| CredentialsError::Form { path: path.to_owned(), place, why };
    if text.len() as u64 > MOST {
        return Err(form(String::new(), "it is larger than 64 KiB"));
    }
    if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") {
        return Err(CredentialsError::Encrypted(path.to_owned()));
    }
    let line = |offset: usize| {
        format!(", line {}", 1 + text.as_bytes()[..offset].iter().filter(|b| **b == b'\n').count())
    };
    let table = DeTable::parse(text).map_err(|e| {
        let place = e.span().filter(|s| s.start <= text.len()).map(|s| line(s.start)).unwrap_or_default();
        form(place, "this is not TOML")
    })?;
    let (mut access, mut secret) = (None, None);
    for (key, value) in table.get_ref() {
        let slot = match key.get_ref().as_ref() {
            "access_key" => &mut access,
            "secret_key" => &mut secret,
            _ => return Err(form(line(key.span().start), "there is a name here that it does not know")),
        };
        let Some(text) = value.get_ref().as_str() else {
            return Err(form(line(key.span().start), "a key must be a string in quotes"));
        };
        *slot = Some(text.to_owned());
    }
    match (access, secret) {
        (Some(a), Some(s)) => Credentials::new(a, s)
            .map_err(|why| CredentialsError::Bad { from: path.display().to_string(), why }),
        (None, _) => Err(form(String::new(), "access_key is missing")),
        (_, None) => Err(form(String::new(), "secret_key is missing")),
    }
}

#[cfg(unix)]
fn check_rights(path: &Path, file: &File, env: &dyn Env) -> Result<(), CredentialsError> {
    use std::os::unix::fs::MetadataExt as _;

    let facts = file.metadata().map_err(|e| CredentialsError::Unreadable(path.to_owned(), e))?;
    let (mode, owner, me) = (facts.mode() & 0o7777, facts.uid(), rustix::process::geteuid().as_raw());
    let open = |why: String| Err(CredentialsError::Open { path: path.to_owned(), why });
    // A secret mount is the system's own: it decides who sees it, often with rights that look open in it.
    if is_secret_mount(path, env) && (owner == 0 || owner == me) && mode & 0o022 == 0 {
        return Ok(());
    }
    if owner != me && owner != 0 {
        return open(format!("it belongs to user {owner}"));
    }
    if mode & 0o077 != 0 {
        return open(format!("its mode is {mode:04o}"));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_rights(_: &Path, _: &File, _: &dyn Env) -> Result<(), CredentialsError> {
    Ok(())
}

/// Whether a file lies where a service manager or container runtime puts secrets.
#[cfg(unix)]
fn is_secret_mount(path: &Path, env: &dyn Env) -> bool {
    let Ok(real) = path.canonicalize() else { return false };
    let named = env.var("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|p| p.is_absolute());
    ["/run/secrets", "/var/run/secrets", "/run/credentials"]
        .into_iter()
        .map(PathBuf::from)
        .chain(named)
        .filter_map(|folder| folder.canonicalize().ok())
        // Everything lies below the root; a variable must not open every file.
        .any(|folder| folder.parent().is_some() && real.starts_with(folder))
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cli::config::{Overrides, load};
    use crate::cli::env::FixedEnv;

    const GOOD: &str = "access_key = \"AK\"\nsecret_key = \"hunter2\"\n";

    fn settings(credentials: Option<PathBuf>) -> Kodo {
        let folder = tempfile::tempdir().unwrap();
        let env = FixedEnv { current_dir: folder.path().to_owned(), ..FixedEnv::default() };
        Kodo { credentials, ..load(&Overrides::default(), &env).unwrap().kodo }
    }

    fn env(vars: &[(&str, &str)]) -> FixedEnv {
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        FixedEnv { vars, ..FixedEnv::default() }
    }

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kodo.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn from_the_environment() {
        let kodo_of = |vars: &[(&str, &str)]| kodo(&settings(None), &env(vars));
        let found = kodo_of(&[("QINIU_ACCESS_KEY", "AK"), ("QINIU_SECRET_KEY", "hunter2")]).unwrap();
        assert_eq!(found.access_key(), "AK");
        assert!(!format!("{found:?}").contains("hunter2"));
        for (vars, message) in [
            (vec![], "there are no Kodo keys: set QINIU_ACCESS_KEY and QINIU_SECRET_KEY, or"),
            (vec![("QINIU_SECRET_KEY", "x")], "QINIU_SECRET_KEY is set, but QINIU_ACCESS_KEY is not"),
            (vec![("QINIU_ACCESS_KEY", "x"), ("QINIU_SECRET_KEY", "")], "QINIU_ACCESS_KEY is set, but"),
            (
                vec![("QINIU_ACCESS_KEY", "a b"), ("QINIU_SECRET_KEY", "x")],
                "the Kodo keys of QINIU_ACCESS_KEY and",
            ),
        ] {
            let error = kodo_of(&vars).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn from_a_file_of_ones_own() {
        let (_folder, path) = file(GOOD, 0o600);
        let variables = env(&[("QINIU_ACCESS_KEY", "other"), ("QINIU_SECRET_KEY", "x")]);
        let found = kodo(&settings(Some(path)), &variables).unwrap();
        assert_eq!(found.access_key(), "AK", "the file is meant for this bucket");
        let (_folder, path) = file(GOOD, 0o400);
        assert!(kodo(&settings(Some(path)), &env(&[])).is_ok());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o660, 0o610, 0o644] {
            let (_folder, path) = file(GOOD, mode);
            let error = kodo(&settings(Some(path)), &env(&[])).unwrap_err().to_string();
            assert!(
                error.contains(&format!("its mode is {mode:04o}")) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_systems_own_secret_mounts_are_trusted() {
        let (folder, path) = file(GOOD, 0o440);
        let at = |folder: &Path| env(&[("CREDENTIALS_DIRECTORY", folder.to_str().unwrap())]);
        assert!(kodo(&settings(Some(path.clone())), &at(folder.path())).is_ok());
        let other = tempfile::tempdir().unwrap();
        assert!(
            kodo(&settings(Some(path.clone())), &at(other.path())).is_err(),
            "elsewhere it is just a file"
        );
        assert!(kodo(&settings(Some(path)), &at(Path::new("/"))).is_err());
        let (folder, path) = file(GOOD, 0o460);
        assert!(kodo(&settings(Some(path)), &at(folder.path())).is_err(), "others may write it");
        let (folder, path) = file(GOOD, 0o644);
        let link = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(&path, link.path().join("k")).unwrap();
        let found = kodo(&settings(Some(link.path().join("k"))), &at(link.path()));
        assert!(found.is_err(), "a link out of the mount leads to an ordinary file");
        drop(folder);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_contents() {
        for (text, message) in [
            ("access_key = \"AK\"\nsecret_key = hunter2\n", ", line 2: this is not TOML;"),
            ("secret_key = \"hunter2\"\n", "access_key is missing"),
            ("access_key = \"AK\"\n", "secret_key is missing"),
            (
                "access_key = \"AK\"\nsecret = \"hunter2\"\n",
                ", line 2: there is a name here that it does not know",
            ),
            ("access_key = 1\n", ", line 1: a key must be a string in quotes"),
            ("access_key = \"AK\"\nsecret_key = \"hunter2 \"", "a blank"),
            ("age-encryption.org/v1\nhunter2", "is encrypted, which this version cannot read yet"),
        ] {
            let (_folder, path) = file(text, 0o600);
            let error = kodo(&settings(Some(path)), &env(&[])).unwrap_err();
            let printed = format!("{error} {error:?}");
            assert!(error.to_string().contains(message), "{error}");
            assert!(!printed.contains("hunter2"), "{printed}");
        }
        let error = kodo(&settings(Some("/nowhere/at/all".into())), &env(&[])).unwrap_err().to_string();
        assert!(error.starts_with("the credentials file /nowhere/at/all cannot be read"), "{error}");
    }
}
