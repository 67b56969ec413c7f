//! `qbak emulate`: a Kodo bucket over a folder, until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::context::Context;
use super::exit::Exit;
use super::run::Failure;
use crate::emulator::{Backing, Config, Service};
use crate::kodo::sign::Credentials;
use crate::render::human::clean;
use crate::render::words::Problem;

/// Serve a folder as a Kodo bucket, on this machine alone
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Example:
  qbak emulate ./pictures --addr 127.0.0.1:9000

It prints the settings that make qbak use it. The keys are made up and protect nothing.")]
pub struct Args {
    /// The folder that holds the objects
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The bucket's name [default: the last part of DIR]
    #[arg(long, value_name = "NAME")]
    pub bucket: Option<String>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "127.0.0.1:PORT", default_value = "127.0.0.1:0", value_parser = loopback)]
    pub addr: SocketAddr,
    /// The access key that it accepts
    #[arg(long, value_name = "AK", requires = "secret_key")]
    pub access_key: Option<String>,
    /// The secret key that it accepts
    #[arg(long, value_name = "SK", requires = "access_key")]
    pub secret_key: Option<String>,
    /// Downloads from the domain must be signed too
    #[arg(long)]
    pub private: bool,
}

/// The keys that it accepts when none are given; made up, as any others would be.
pub(super) const ACCESS_KEY: &str = "emulated-access-key";
pub(super) const SECRET_KEY: &str = "emulated-secret-key";

#[derive(Serialize)]
struct Started<'a> {
    bucket: &'a str,
    url: &'a str,
    folder: String,
    private: bool,
}

impl Args {
    /// Serves until a signal comes.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let problem = |message: String| Failure::from(Problem::new(1, "emulate", message));
        let folder = self
            .dir
            .canonicalize()
            .map_err(|e| problem(format!("{} cannot be served: {e}", self.dir.display())))?;
        let bucket = match self.bucket {
            Some(name) => name,
            None => folder
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_else(|| "bucket".into()),
        };
        let made_up = self.access_key.is_none();
        let access = self.access_key.unwrap_or_else(|| ACCESS_KEY.into());
        let secret = self.secret_key.unwrap_or_else(|| SECRET_KEY.into());
        let credentials = Credentials::new(access, secret).map_err(Problem::usage)?;
        let mut config = Config::new(Backing::Folder(folder.clone()), bucket.clone(), credentials);
        config.addr = self.addr;
        config.private = self.private;
        config.clock = Arc::clone(&context.clock);
        let service = Service::start(config).await.map_err(|e| problem(e.to_string()))?;
        let url = service.uc_url();
        if context.out.is_json() {
            let folder = folder.display().to_string();
            context
                .out
                .json("started", &Started { bucket: &bucket, url: &url, folder, private: self.private })?;
        } else {
            let keys = if made_up {
                format!("QINIU_ACCESS_KEY={ACCESS_KEY} QINIU_SECRET_KEY={SECRET_KEY}")
            } else {
                "QINIU_ACCESS_KEY and QINIU_SECRET_KEY as given".into()
            };
            let private = if self.private { "\nprivate = true" } else { "" };
            context.out.line(format_args!(
                "# serving {} as the bucket {} at {url}; Ctrl-C ends it\n# keys: {keys}\nsource = \"kodo://{bucket}\"\n[kodo]\nuc = \"{url}\"\ndomain = \"{}\"{private}",
                clean(&folder.display().to_string()),
                clean(&bucket),
                service.domain_url(),
            ))?;
        }
        context.out.flush()?;
        let mut cancel = context.cancel.clone();
        cancel.wait().await;
        service.stop();
        // To be stopped is how it is meant to end.
        Ok(Exit::Done)
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(addr) if addr.ip().is_loopback() => Ok(addr),
        Ok(_) => {
            Err("it serves this machine alone: use an address of the loopback, such as 127.0.0.1:9000".into())
        }
        Err(_) => Err("an address is written 127.0.0.1:PORT".into()),
    }
}
