//! The process's surroundings as a value: environment variables and the working folder. The one place that asks the
//! system for them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// Where variables and the working folder come from.
pub trait Env: Send + Sync {
    /// A variable's value; one that is set but empty counts as not set.
    fn var(&self, name: &str) -> Option<OsString>;

    /// The folder that relative paths of the command line start from.
    fn current_dir(&self) -> io::Result<PathBuf>;

    /// The program that runs.
    fn program(&self) -> io::Result<PathBuf> {
        Err(io::Error::other("these surroundings have no program"))
    }

    /// The user's home folder.
    fn home(&self) -> Option<PathBuf> {
        self.var("HOME").map(PathBuf::from).filter(|p| p.is_absolute())
    }

    /// The folder that holds the user's configuration of every program.
    fn config_dir(&self) -> Option<PathBuf> {
        let named = self.var("XDG_CONFIG_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
        named.or_else(|| self.home().map(|h| h.join(".config")))
    }
}

/// The process's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEnv;

impl Env for SystemEnv {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    fn var(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name).filter(|v| !v.is_empty())
    }

    fn current_dir(&self) -> io::Result<PathBuf> {
        std::env::current_dir()
    }

    fn program(&self) -> io::Result<PathBuf> {
        std::env::current_exe()
    }
}

/// A made-up one, for tests and rehearsals.
#[derive(Debug, Clone, Default)]
pub struct FixedEnv {
    /// The variables.
    pub vars: BTreeMap<String, OsString>,
    /// The working folder.
    pub current_dir: PathBuf,
}

impl Env for FixedEnv {
    fn var(&self, name: &str) -> Option<OsString> {
        self.vars.get(name).filter(|v| !v.is_empty()).cloned()
    }

    fn current_dir(&self) -> io::Result<PathBuf> {
        Ok(self.current_dir.clone())
    }
}
