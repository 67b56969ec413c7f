//! Being told to stop. Operations look at it between steps and wait on it beside their work.

use tokio::sync::watch;

/// Something that an operation can be told to stop by.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Receiver<bool>);

/// The other end: says stop.
#[derive(Debug)]
pub struct Stop(watch::Sender<bool>);

impl Cancel {
    /// A pair: whoever holds the [`Stop`] can stop whoever holds the [`Cancel`].
    pub fn pair() -> (Stop, Self) {
        let (sender, receiver) = watch::channel(false);
        (Stop(sender), Self(receiver))
    }

    /// One that never stops anything.
    pub fn never() -> Self {
        Self::pair().1
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until told to stop; for ever if that never comes.
    pub async fn wait(&mut self) {
        if self.0.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left who could say it.
            std::future::pending::<()>().await;
        }
    }
}

impl Stop {
    /// Says stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}
