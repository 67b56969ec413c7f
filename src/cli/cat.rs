//! `qbak cat`: its arguments, and how it is run.

use std::io;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use tokio::io::AsyncWrite;

use super::args;
use super::chosen::Unfinished;
use super::context::Context;
use super::exit::Exit;
use super::run::Failure;
use super::session::Session;
use crate::model::date::DateSpec;
use crate::model::key::Key;
use crate::op::{self, OpError};
use crate::render::output::{Output, OutputError};

/// Write one object's bytes to standard output, and nothing else
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  qbak cat latest photos/cat.jpg > cat.jpg
  qbak cat 2026-11-15 -- -a-key-with-a-dash")]
pub struct Args {
    /// Which snapshot: latest, 2026-11-15, "2 weeks ago", or a name
    #[arg(value_name = "DATE")]
    pub date: DateSpec,
    /// The object's whole key
    #[arg(value_name = "KEY", value_parser = args::key())]
    pub key: Key,
}

impl Args {
    /// Writes the bytes, checked block by block.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let session = Session::new(context)?;
        let repo = session.open().await?;
        let opened = session.open_chosen(&repo, &self.date, Unfinished::Named).await?;
        match op::cat::cat(&opened, &self.key, &mut Bytes(&context.out), &context.cancel).await {
            Ok(_) => Ok(Exit::Done),
            Err(OpError::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => {
                Err(OutputError::Closed.into())
            }
            Err(OpError::Output(e)) => Err(OutputError::Failed(e).into()),
            Err(e) => Err(e.into()),
        }
    }
}

/// Standard output as a writer of bytes.
struct Bytes<'a>(&'a Output);

impl AsyncWrite for Bytes<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.bytes(bytes).map(|()| bytes.len()).map_err(plain))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.flush().map_err(plain))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

fn plain(e: OutputError) -> io::Error {
    match e {
        OutputError::Closed => io::ErrorKind::BrokenPipe.into(),
        OutputError::Failed(e) => e,
    }
}
