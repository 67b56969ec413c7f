//! What every command gets: the surroundings, the clock, the place to print to, the wish to stop.

use std::io::IsTerminal as _;
use std::sync::Arc;

use super::args::{ColorWhen, Global};
use super::config::{self, Config, ConfigError};
use super::env::Env;
use super::interrupt::Heard;
use crate::model::clock::Clock;
use crate::model::event::{Event, Observer};
use crate::op::Cancel;
use crate::render::output::{Color, Options, Output};
use crate::render::progress::Progress;

/// Everything a command needs that is not its own.
#[derive(Clone)]
pub struct Context {
    /// The environment.
    pub env: Arc<dyn Env>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where to print.
    pub out: Arc<Output>,
    /// Shows what an operation tells.
    pub observer: Arc<dyn Observer>,
    /// The global flags.
    pub global: Global,
    /// The signal that asked to stop, if one did.
    pub heard: Heard,
    /// Tells an operation to stop.
    pub cancel: Cancel,
}

impl Context {
    /// A context that prints to `out`.
    pub fn new(
        global: Global,
        env: Arc<dyn Env>,
        clock: Arc<dyn Clock>,
        out: Arc<Output>,
        heard: Heard,
        cancel: Cancel,
    ) -> Self {
        let observer = Arc::new(Progress::new(out.clone()));
        Self { env, clock, out, observer, global, heard, cancel }
    }

    /// Reads the configuration, and says what in it means nothing to this version.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let config = config::load(&self.global.overrides(), self.env.as_ref())?;
        config.warnings.iter().for_each(|w| self.observer.event(Event::Warning(w.clone())));
        Ok(config)
    }
}

/// How to print on the process's own standard output and error.
pub fn options(global: &Global, env: &dyn Env) -> Options {
    // NO_COLOR counts when it is set to anything but nothing.
    let plain = env.var("NO_COLOR").is_some() || env.var("TERM").is_some_and(|t| t == "dumb");
    let color = match global.color {
        ColorWhen::Always => Color::Always,
        ColorWhen::Auto if !plain => Color::Auto,
        ColorWhen::Auto | ColorWhen::Never => Color::Never,
    };
    let dumb = env.var("TERM").is_some_and(|t| t == "dumb");
    Options {
        json: global.json,
        quiet: global.quiet,
        verbose: global.verbose,
        // A terminal that cannot move its cursor cannot show a bar.
        no_progress: global.no_progress || (dumb && !global.json),
        color,
        stdout_width: std::io::stdout().is_terminal().then(|| width(std::io::stdout())),
        stderr_width: std::io::stderr().is_terminal().then(|| width(std::io::stderr())),
    }
}

#[cfg(unix)]
fn width(terminal: impl std::os::fd::AsFd) -> u16 {
    rustix::termios::tcgetwinsize(terminal).map_or(80, |size| if size.ws_col == 0 { 80 } else { size.ws_col })
}

#[cfg(not(unix))]
fn width<T>(_: T) -> u16 {
    80
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::env::FixedEnv;

    #[test]
    fn colour_follows_flag_then_environment() {
        let color = |when, vars: &[(&str, &str)]| {
            let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
            let global = Global { color: when, ..Global::default() };
            options(&global, &FixedEnv { vars, ..FixedEnv::default() }).color
        };
        assert_eq!(color(ColorWhen::Auto, &[]), Color::Auto);
        assert_eq!(color(ColorWhen::Auto, &[("NO_COLOR", "1")]), Color::Never);
        assert_eq!(color(ColorWhen::Auto, &[("NO_COLOR", "")]), Color::Auto);
        assert_eq!(color(ColorWhen::Auto, &[("TERM", "dumb")]), Color::Never);
        assert_eq!(color(ColorWhen::Always, &[("NO_COLOR", "1")]), Color::Always);
        assert_eq!(color(ColorWhen::Never, &[]), Color::Never);
    }
}
