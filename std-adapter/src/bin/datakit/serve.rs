//! `datakit serve`.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;
use datakit::url::Url;

/// How to serve.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Serving")]
pub(crate) struct ServeArgs {
    /// Where to listen: tcp://HOST[:PORT], unix://PATH, fd://N; several with commas
    #[arg(
        long = "url",
        visible_alias = "listen-9p",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "tcp://127.0.0.1:5640"
    )]
    pub(crate) url: Vec<Url>,
    /// Keep the files under /scratch in this directory [default: in memory]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) max_connections: usize,
    /// Fids of one connection
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) max_fids: usize,
    /// Requests of one connection at a time
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) max_requests: usize,
    /// Bytes buffered for one connection
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    pub(crate) max_buffered: usize,
    /// Seconds for a new connection to attach in
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) attach_timeout: u64,
}

/// Serves until it is told to stop.
pub(crate) fn run(_args: ServeArgs) -> Result<(), Box<dyn Error>> {
    Err("not built yet".into())
}
