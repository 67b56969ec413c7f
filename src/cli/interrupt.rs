//! Signals: the first asks the operation to stop where it can go on later, the second ends the process at once.

use std::io;
use std::sync::{Arc, OnceLock};

use super::exit::Exit;

/// Which signal it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal went away.
    HangUp,
}

impl Signal {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupted",
            Self::Terminate => "told to end",
            Self::HangUp => "the terminal went away",
        }
    }
}

impl From<Signal> for Exit {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => Self::Interrupted,
            Signal::Terminate => Self::Terminated,
            Signal::HangUp => Self::HungUp,
        }
    }
}

/// Remembers the first signal, for the exit code of what it stopped.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<OnceLock<Signal>>);

impl Heard {
    /// The signal that came, if one has.
    pub fn signal(&self) -> Option<Signal> {
        self.0.get().copied()
    }
}

/// Begins to listen, on the current runtime. `first` is called once: it tells the operation to stop where a later run
/// can go on, and says so.
#[cfg(unix)]
pub fn listen(first: impl FnOnce(Signal) + Send + 'static) -> io::Result<Heard> {
    use tokio::signal::unix::{SignalKind, signal};

    // A file that would grow beyond the process's limit is an error of that file's, not the end of the process.
    let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    // Who was started under `nohup`, or in the background of a script, was told not to mind these.
    let listen_to =
        |kind: SignalKind| if is_ignored(kind.as_raw_value()) { Ok(None) } else { signal(kind).map(Some) };
    let mut interrupt = listen_to(SignalKind::interrupt())?;
    let mut terminate = listen_to(SignalKind::terminate())?;
    let mut hang_up = listen_to(SignalKind::hangup())?;
    let heard = Heard::default();
    let slot = heard.0.clone();
    let mut first = Some(first);
    tokio::spawn(async move {
        loop {
            let signal = tokio::select! {
                Some(()) = next(&mut interrupt) => Signal::Interrupt,
                Some(()) = next(&mut terminate) => Signal::Terminate,
                Some(()) = next(&mut hang_up) => Signal::HangUp,
                else => return,
            };
            match first.take() {
                Some(first) => {
                    let _ = slot.set(signal);
                    first(signal);
                }
                // A closed terminal sends more than one; only a person's second wish ends it the hard way.
                None if signal == Signal::HangUp => {}
                None => std::process::exit(i32::from(Exit::from(signal).code())),
            }
        }
    });
    Ok(heard)
}

/// The next signal; none if it is not listened to.
#[cfg(unix)]
async fn next(signal: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => None,
    }
}

/// Whether the process was started with a signal ignored. Where the system does not tell, it was not.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_in_mask(&status, signal)
}

#[cfg(unix)]
fn is_in_mask(status: &str, signal: i32) -> bool {
    let mask = status
        .lines()
        .find_map(|l| l.strip_prefix("SigIgn:"))
        .and_then(|m| u64::from_str_radix(m.trim(), 16).ok());
    let bit = u32::try_from(signal - 1).ok().and_then(|n| 1u64.checked_shl(n));
    matches!((mask, bit), (Some(mask), Some(bit)) if mask & bit != 0)
}

/// Begins to listen, on the current runtime. `first` is called once: it tells the operation to stop where a later run
/// can go on, and says so.
#[cfg(not(unix))]
pub fn listen(first: impl FnOnce(Signal) + Send + 'static) -> io::Result<Heard> {
    let heard = Heard::default();
    let slot = heard.0.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            let _ = slot.set(Signal::Interrupt);
            first(Signal::Interrupt);
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    });
    Ok(heard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_codes() {
        let codes = [Signal::Interrupt, Signal::Terminate, Signal::HangUp].map(|s| Exit::from(s).code());
        assert_eq!(codes, [130, 143, 129]);
    }

    #[cfg(unix)]
    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = "Name:\tqbak\nSigBlk:\tffff\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert!(is_in_mask(status, 1) && is_in_mask(status, 13));
        assert!(!is_in_mask(status, 2) && !is_in_mask("", 1) && !is_in_mask(status, 0));
    }
}
