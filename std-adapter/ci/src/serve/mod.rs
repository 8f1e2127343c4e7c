//! The server: tests the targets while the database is connected, and serves the web pages.

mod contact;
mod control;
mod projects;
mod rebuild;
mod server;
mod session;
mod step_settings;
mod web;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use datakit_ci::lease::ServerId;
use datakit_client::db::Db;
use datakit_program::{APP, LogCounters, Source as LogSource};

use crate::args::ServeArgs;
use crate::config::Config;
use crate::metrics;
use server::Server;
use session::Ended;
use web::{Listener, Web};

pub(crate) use control::explain;

/// The sources of log messages.
const LOG_SOURCES: [LogSource; 3] = [
    LogSource { name: "client", target: "datakit_client", doc: "connections to the server" },
    LogSource { name: "ci", target: "datakit_ci", doc: "tests, builds and web pages" },
    LogSource { name: "program", target: "datakit", doc: "everything else" },
];

/// The delay before the first attempt to reconnect. The delay doubles after each failed attempt.
const MIN_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);
/// The maximum delay while builds are running.
const BUILDS_DELAY: Duration = Duration::from_secs(1);
/// How long to wait for the database before the web pages are announced. A server that cannot
/// acquire the lease exits without announcing its pages.
const ANNOUNCE_DELAY: Duration = Duration::from_secs(1);
/// The maximum duration of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to try to deliver the remaining webhooks when the server stops.
const WEBHOOKS_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) type AnyError = Box<dyn Error + Send + Sync>;

/// Runs the server until it is stopped by a signal or another server takes over the database.
///
/// # Errors
/// Returns an error if the settings are invalid, if an address is in use, or if another server is
/// using the database.
pub(crate) async fn serve(args: ServeArgs) -> Result<ExitCode, AnyError> {
    let logs = LogCounters::default();
    args.log.start(&LOG_SOURCES, logs.clone())?;
    let mut config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    config.add_projects(&args.projects);
    if config.projects.is_empty() {
        return Err("no repository to test: name one, for example `me/app`".into());
    }
    let signal = datakit_program::end_signal()?;
    tracing::info!(name: APP, "Starting datakit-ci {} ...", env!("CARGO_PKG_VERSION"));
    let listener = Listener::bind(&args).await?;
    let server = Server::new(&args, config, listener.url())?;
    let registry = metrics::registry(server.metrics(), &logs);
    let web = Web::start(&args, &server, listener, registry).await?;
    let _control = control::listen(&args.work_dir, server.view.clone())?;
    let status = tokio::select! {
        status = signal => Ok(status),
        error = run(&server, &web, &args) => Err(error),
        never = server.contact.end_builds(&server.db) => match never {},
    };
    tracing::info!(name: APP, "Stopping");
    // Dropping `run` has ended all running builds. They have no results, so the next server starts
    // them again.
    server.release().await;
    web.stop().await;
    if !server.webhooks.finish(WEBHOOKS_TIMEOUT).await {
        tracing::warn!("some webhooks were not delivered");
    }
    datakit_program::flush();
    status
}

/// Connects to the database, and reconnects whenever the connection is lost. Returns only if the
/// lease is lost.
async fn run(server: &Server, web: &Web, args: &ServeArgs) -> AnyError {
    let id = ServerId::of_this_process();
    let mut engine = server.engine();
    let mut delay = MIN_DELAY;
    loop {
        server.connections.attempt();
        let error: AnyError = match connect(web, args).await {
            Ok(Ok(db)) => {
                let began = tokio::time::Instant::now();
                let ended = server.session(db, &id, web, &mut engine).await;
                if began.elapsed() > MAX_DELAY {
                    delay = MIN_DELAY;
                }
                match ended {
                    Ended::Lost(error) => return error.into(),
                    Ended::Failed(error) => error,
                }
            }
            Ok(Err(error)) => error.into(),
            Err(_) => format!("no connection within {CONNECT_TIMEOUT:?}").into(),
        };
        server.connections.failure();
        web.announce();
        let address = &args.metadata_store;
        tracing::warn!(%address, error, "database error, reconnecting");
        // Running builds are ended soon if the database stays disconnected.
        let max = if server.contact.is_recent() { BUILDS_DELAY } else { MAX_DELAY };
        tokio::time::sleep(delay.min(max)).await;
        delay = delay.saturating_mul(2).min(MAX_DELAY);
    }
}

/// Connects to the database. If the database does not respond within a second, the web pages are
/// announced.
async fn connect(
    web: &Web,
    args: &ServeArgs,
) -> Result<datakit_client::db::Result<Db>, tokio::time::error::Elapsed> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, Db::connect(&args.metadata_store));
    tokio::pin!(connected);
    tokio::select! {
        connected = &mut connected => return connected,
        () = tokio::time::sleep(ANNOUNCE_DELAY) => web.announce(),
    }
    connected.await
}
