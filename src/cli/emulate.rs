//! `qbak emulate`: its arguments.

use std::net::SocketAddr;
use std::path::PathBuf;

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

fn loopback(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(addr) if addr.ip().is_loopback() => Ok(addr),
        Ok(_) => {
            Err("it serves this machine alone: use an address of the loopback, such as 127.0.0.1:9000".into())
        }
        Err(_) => Err("an address is written 127.0.0.1:PORT".into()),
    }
}
