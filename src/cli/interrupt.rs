//! Signals: the first asks the operation to stop where it can go on later, the second ends the process at once.

use std::io;

use tokio::sync::watch;

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
    /// The exit code of a command that it ended.
    pub const fn exit(self) -> Exit {
        match self {
            Self::Interrupt => Exit::Interrupted,
            Self::Terminate => Exit::Terminated,
            Self::HangUp => Exit::HungUp,
        }
    }
}

/// Says whether the operation should stop. Cheap to clone; every loop may hold one.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Receiver<Option<Signal>>);

/// The other end: asks for the stop.
#[derive(Debug)]
pub struct Canceller(watch::Sender<Option<Signal>>);

/// A pair of the two.
pub fn pair() -> (Canceller, Cancel) {
    let (sender, receiver) = watch::channel(None);
    (Canceller(sender), Cancel(receiver))
}

impl Canceller {
    /// Asks for the stop; the first signal stays the reason.
    pub fn cancel(&self, signal: Signal) {
        self.0.send_if_modified(|slot| slot.is_none() && slot.replace(signal).is_none());
    }
}

impl Cancel {
    /// One that never asks.
    pub fn never() -> Self {
        pair().1
    }

    /// The signal that came, if one has.
    pub fn signal(&self) -> Option<Signal> {
        *self.0.borrow()
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.signal().is_some()
    }

    /// Waits for the signal; for ever, when none can come any more.
    pub async fn wait(&self) -> Signal {
        let mut receiver = self.0.clone();
        loop {
            if let Some(signal) = *receiver.borrow_and_update() {
                return signal;
            }
            if receiver.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Begins to listen, on the current runtime. `first` is called once, to say that the work is being wound up.
#[cfg(unix)]
pub fn listen(first: impl FnOnce(Signal) + Send + 'static) -> io::Result<Cancel> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let (canceller, cancel) = pair();
    let mut first = Some(first);
    tokio::spawn(async move {
        loop {
            let signal = tokio::select! {
                Some(()) = interrupt.recv() => Signal::Interrupt,
                Some(()) = terminate.recv() => Signal::Terminate,
                Some(()) = hang_up.recv() => Signal::HangUp,
                else => return,
            };
            match first.take() {
                Some(say) => {
                    canceller.cancel(signal);
                    say(signal);
                }
                // A closed terminal sends more than one; only a person's second wish ends it the hard way.
                None if signal == Signal::HangUp => {}
                None => std::process::exit(i32::from(signal.exit().code())),
            }
        }
    });
    Ok(cancel)
}

/// Begins to listen, on the current runtime. `first` is called once, to say that the work is being wound up.
#[cfg(not(unix))]
pub fn listen(first: impl FnOnce(Signal) + Send + 'static) -> io::Result<Cancel> {
    let (canceller, cancel) = pair();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            canceller.cancel(Signal::Interrupt);
            first(Signal::Interrupt);
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    });
    Ok(cancel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_signal_is_the_reason() {
        let (canceller, cancel) = pair();
        assert!(!cancel.is_set());
        canceller.cancel(Signal::Terminate);
        canceller.cancel(Signal::Interrupt);
        assert_eq!(cancel.signal(), Some(Signal::Terminate));
        drop(canceller);
        assert_eq!(cancel.wait().await, Signal::Terminate);
        assert_eq!(Signal::Terminate.exit().code(), 143);
    }

    #[tokio::test]
    async fn without_a_signal_it_waits() {
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), async {
            Cancel::never().wait().await
        });
        assert!(waited.await.is_err());
    }
}
