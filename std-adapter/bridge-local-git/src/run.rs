//! Starts the bridge and reconnects to the database after an error.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use datakit_client::db::Db;
use datakit_program::{APP, Endpoint, LogCounters, Source as LogSource, metrics_text};

use crate::args::Args;
use crate::bridge::Bridge;
use crate::error::BridgeError;
use crate::metrics::{self, Counters};
use crate::source::WatchedRepository;
use crate::wakes::Wakes;

/// The sources of log messages.
const LOG_SOURCES: [LogSource; 2] = [
    LogSource { name: "client", target: "datakit_client", doc: "connections to the server" },
    LogSource { name: "program", target: "datakit", doc: "everything else" },
];

/// The delay before the first attempt to reconnect. The delay doubles after each failed attempt, up
/// to `MAX_DELAY`.
const MIN_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);
/// The maximum duration of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the bridge until a signal stops it.
pub(crate) fn run(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    // Use two threads so that one can serve the connection while the other reads a repository.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let status = runtime.block_on(async { tokio::spawn(serve(args)).await });
    runtime.shutdown_background();
    Ok(status??)
}

async fn serve(args: Args) -> Result<ExitCode, String> {
    let logs = LogCounters::default();
    args.log.start(&LOG_SOURCES, logs.clone())?;
    let sources = args.repositories.into_iter().enumerate();
    let sources = sources.map(|(index, (repo, path))| WatchedRepository::new(index, repo, path));
    let sources = sources.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let signal = datakit_program::end_signal().map_err(|error| error.to_string())?;
    tracing::info!(name: APP, "Starting datakit-bridge-local-git {} ...", env!("CARGO_PKG_VERSION"));
    let counters = Counters::default();
    if let Some(address) = &args.listen_prometheus {
        let endpoint = Endpoint::bind(address).await.map_err(|error| error.to_string())?;
        // Ignore errors because standard output may be closed.
        let _ = writeln!(std::io::stdout(), "metrics on {endpoint}");
        let registry = metrics::registry(&counters, &logs);
        tokio::spawn(endpoint.serve(move || metrics_text(&registry)));
    }
    let bridge = Bridge { sources, wakes: Wakes::default(), branch: args.branch, counters };
    let status = tokio::select! {
        status = signal => Ok(status),
        error = publish(bridge, &args.metadata_store) => Err(error.to_string()),
    };
    datakit_program::flush();
    status
}

/// Publishes changes until a permanent error occurs. Reconnects after temporary errors.
async fn publish(mut bridge: Bridge, url: &datakit_client::Url) -> BridgeError {
    let mut delay = MIN_DELAY;
    loop {
        bridge.counters.connects.inc();
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, Db::connect(url)).await;
        let error = match connected {
            Ok(Ok(db)) => {
                delay = MIN_DELAY;
                match bridge.run(&db).await {
                    Ok(()) => continue,
                    Err(error) => error,
                }
            }
            Ok(Err(error)) => error.into(),
            Err(_) => BridgeError::Timeout(CONNECT_TIMEOUT),
        };
        bridge.counters.connected.set(0);
        if !error.is_temporary() {
            return error;
        }
        tracing::warn!(%url, %error, "the database failed, connecting again");
        tokio::time::sleep(delay).await;
        delay = delay.saturating_mul(2).min(MAX_DELAY);
    }
}
