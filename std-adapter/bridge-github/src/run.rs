//! Starts the components of the program and reconnects to the database after failures.

use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use datakit_db::AnyDb;
use datakit_program::{APP, Endpoint, LogCounters, Source, end_signal};
use datakit_server::{Limits, Server};
use ring::rand::{SecureRandom, SystemRandom};

use crate::args::{Args, DatabaseUrl, WebhookUri};
use crate::bridge::{Bridge, Settings};
use crate::debug_dir;
use crate::github::{Gate, Hook, OctocrabApi};
use crate::inbox::Inbox;
use crate::metrics::Counters;
use crate::secret::Secret;
use crate::tokens;
use crate::webhook::WebhookServer;

/// The sources of log messages. Other libraries are excluded because their events could reveal
/// headers.
static SOURCES: [Source; 2] = [
    Source { name: "bridge", target: "datakit_bridge_github", doc: "rounds, calls and events" },
    Source { name: "client", target: "datakit", doc: "the connection to the database" },
];

/// The initial and maximum delays between attempts to connect to the database.
const MIN_RECONNECT: Duration = Duration::from_millis(250);
const MAX_RECONNECT: Duration = Duration::from_secs(10);

/// Runs the bridge until the process receives a termination signal.
pub(crate) fn run(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let status = runtime.block_on(serve(args));
    runtime.shutdown_background();
    datakit_program::flush();
    status
}

async fn serve(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    let counters = Counters { logs: LogCounters::default(), ..Counters::default() };
    let sources = args.log.start(&SOURCES, counters.logs.clone())?;
    let signal = end_signal()?;
    let inbox = Arc::new(Inbox::default());
    tracing::info!(name: APP, "Starting datakit-bridge-github {} ...", env!("CARGO_PKG_VERSION"));
    if let Some(address) = &args.listen_prometheus {
        let endpoint = Endpoint::bind(address).await?;
        println!("metrics on {endpoint}");
        tokio::spawn(endpoint.serve(counters.renderer()));
    }
    if !args.listen_9p.is_empty() {
        let server = Server::bind(&args.listen_9p, Limits::default().threads(1)).await?;
        server.urls().iter().for_each(|url| println!("listening on {url}"));
        let tree = debug_dir::tree(&sources, &counters);
        tokio::spawn(server.serve_tree(move |_| tree.clone(), pending()));
    }
    let hook = match &args.webhook {
        Some(uri) => Some(listen_for_events(&args, uri, &inbox, &counters).await?),
        None => None,
    };
    if args.no_datakit {
        return Ok(signal.await);
    }
    let bridge = bridge(&args, hook, inbox, &counters)?;
    tokio::select! {
        status = signal => Ok(status),
        never = keep_running(bridge, &args.datakit) => match never {},
    }
}

/// Starts the webhook server. Returns the webhook to register.
async fn listen_for_events(
    args: &Args,
    uri: &WebhookUri,
    inbox: &Arc<Inbox>,
    counters: &Counters,
) -> Result<Hook, Box<dyn Error>> {
    let secret = match &args.webhook_secret_file {
        Some(file) => tokens::read(file)?,
        None => random_secret()?,
    };
    let (inbox, events) = (inbox.clone(), counters.events.clone());
    let server = WebhookServer::bind(args.webhook_listen, uri.port(), &secret, inbox, events).await;
    let server = server.map_err(|error| {
        let address = args.webhook_listen.map_or(uri.port().to_string(), |a| a.to_string());
        format!("cannot listen on {address} for webhooks: {error}")
    })?;
    println!("webhooks on {}", server.address()?);
    tokio::spawn(server.serve());
    Ok(Hook { url: uri.to_string(), secret })
}

/// Returns a random secret for registering the webhooks.
fn random_secret() -> Result<Secret, String> {
    let mut bytes = [0; 20];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| "the system has no random numbers for the webhook's secret".to_owned())?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Secret::new(&format!("datakit{digits}")))
}

fn bridge(
    args: &Args,
    hook: Option<Hook>,
    inbox: Arc<Inbox>,
    counters: &Counters,
) -> Result<Bridge<OctocrabApi, AnyDb>, Box<dyn Error>> {
    let credentials = tokens::find(args)?;
    let timeout = Duration::from_secs(args.github_timeout);
    let base = args.github_url.clone();
    let gate = Gate::new(base, Some(credentials), timeout, counters.api.clone())?;
    let api = OctocrabApi::new(gate, &args.github_url);
    let settings = Settings {
        branch: args.branch.clone(),
        repos: args.repositories.clone(),
        capabilities: args.capabilities.clone(),
        hook,
        resync: (!args.no_resync).then(|| Duration::from_secs(args.resync_interval)),
    };
    Ok(Bridge::new(api, settings, inbox, counters.rounds.clone()))
}

/// Runs the bridge, reconnecting whenever the database fails.
async fn keep_running(mut bridge: Bridge<OctocrabApi, AnyDb>, datakit: &DatabaseUrl) -> Infallible {
    let mut delay = MIN_RECONNECT;
    loop {
        let error = match AnyDb::connect(datakit.as_str()).await {
            Ok(db) => {
                delay = MIN_RECONNECT;
                match bridge.run(&db).await {
                    Ok(never) => match never {},
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        tracing::warn!(%datakit, %error, "the database failed, connecting again");
        tokio::time::sleep(delay).await;
        delay = delay.saturating_mul(2).min(MAX_RECONNECT);
    }
}
