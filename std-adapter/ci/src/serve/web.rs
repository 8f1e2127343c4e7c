//! Serves the web pages.

use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use datakit_ci::SharedDb;
use datakit_ci::web::auth::{self, Auth};
use datakit_ci::web::tls::Tls;
use datakit_ci::web::{WebState, router, server as http};
use datakit_client::db::Db;
use datakit_program::{Endpoint, HttpAddress, metrics_text};
use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceExt;

use super::AnyError;
use super::rebuild::targets;
use super::server::Server;
use crate::args::ServeArgs;
use crate::config::RepoName;
use crate::metrics::{self, WebSources};

const DISCONNECTED: &str = "The database is not connected.\n";

/// The listening socket for the web pages.
pub(super) struct Listener {
    socket: TcpListener,
    tls: bool,
    address: HttpAddress,
    /// The public root URL, which ends with a slash.
    url: String,
}

impl Listener {
    pub(super) async fn bind(args: &ServeArgs) -> Result<Listener, AnyError> {
        let (scheme, address) = match &args.listen_http {
            Some(address) => ("http", address),
            None => ("https", &args.listen_https),
        };
        let (socket, address) = address.bind(&format!("{scheme}://{address}/")).await?;
        let url = args.web_ui.clone().unwrap_or_else(|| format!("{scheme}://{}/", address.local()));
        let url = if url.ends_with('/') { url } else { format!("{url}/") };
        Ok(Listener { socket, tls: scheme == "https", address, url })
    }

    /// Returns the public root URL.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

/// The web server. It also runs while the database is disconnected.
pub(super) struct Web {
    auth: Auth,
    registry: Arc<Registry>,
    current: Arc<RwLock<CurrentHandler>>,
    /// The line to be printed when the pages are announced.
    line: Mutex<Option<String>>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

/// The handler for all requests.
enum CurrentHandler {
    /// The server has not connected to the database yet.
    Starting,
    Pages(Router),
}

impl Web {
    pub(super) async fn start(
        args: &ServeArgs,
        server: &Server,
        listener: Listener,
        mut registry: Registry,
    ) -> Result<Web, AnyError> {
        let auth = Auth::open(options(args, server)?)?;
        let requests = http::RequestCounters::new();
        let sources = WebSources {
            auth: auth.clone(),
            webhooks: server.webhooks.clone(),
            requests: requests.clone(),
        };
        metrics::register_web(&mut registry, sources);
        let registry = Arc::new(registry);
        if let Some(address) = &args.listen_prometheus {
            let endpoint = Endpoint::bind(address).await?;
            print(&format!("metrics on {endpoint}"));
            let registry = registry.clone();
            tokio::spawn(endpoint.serve(move || metrics_text(&registry)));
        }
        let current = Arc::new(RwLock::new(CurrentHandler::Starting));
        let shown = current.clone();
        let db = server.db.clone();
        let app = Router::new()
            .route("/health", get(move || std::future::ready(health(&db))))
            .fallback(move |request| respond(shown.clone(), request));
        let app = requests.count(app);
        let (stop, stopped) = watch::channel(false);
        let (scheme, tls) = if listener.tls {
            ("https", Some(Tls::open(&server.secrets_dir, &server.web_url)?))
        } else {
            ("http", None)
        };
        let line = format!("listening on {scheme}://{}/", listener.address.local());
        let task = tokio::spawn(serve(listener, app, tls, stopped));
        Ok(Web { auth, registry, current, line: Mutex::new(Some(line)), stop, task })
    }

    /// Prints the address of the pages, unless it has already been printed.
    pub(super) fn announce(&self) {
        if let Some(line) = self.line.lock().take() {
            print(&line);
        }
    }

    /// Shows the pages with data from a new connection.
    pub(super) fn connected(&self, server: &Server, db: Db) {
        let (view, live) = (server.view.clone(), server.live.clone());
        let (builds, pools) = (server.builds.clone(), server.pools.clone());
        let mut state = WebState::new(db, view, live, builds, pools, self.auth.clone());
        let dashboards = server.config.projects.iter();
        let dashboards = dashboards
            .filter_map(|(RepoName(repo), project)| targets(repo, &project.dashboards).ok());
        state = state.dashboards(dashboards.flatten().collect());
        if let Some(hash) = server.metrics_token {
            let registry = self.registry.clone();
            state = state.metrics(hash, move || metrics_text(&registry));
        }
        *self.current.write() = CurrentHandler::Pages(router(state));
        self.announce();
    }

    /// Ends all connections.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        // The server closes its connections within seconds. An error means that its task panicked.
        let _ = self.task.await;
    }
}

fn options(args: &ServeArgs, server: &Server) -> Result<auth::Options, AnyError> {
    let access = &server.config.access;
    let mut options = auth::Options::new(&server.secrets_dir, &server.web_url);
    options.sessions = args.sessions_backend.parse()?;
    options.can_read = access.read.parse()?;
    options.can_build = access.build.parse()?;
    options.trusted_proxies.clone_from(&access.trusted_proxies);
    Ok(options)
}

/// Reports whether the database is connected.
fn health(db: &SharedDb<Db>) -> (StatusCode, &'static str) {
    match db.current() {
        Some(_) => (StatusCode::OK, "ok\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, DISCONNECTED),
    }
}

/// Forwards a request to the current pages.
async fn respond(
    current: Arc<RwLock<CurrentHandler>>,
    request: Request,
) -> Result<Response, Infallible> {
    let pages = match &*current.read() {
        CurrentHandler::Starting => None,
        CurrentHandler::Pages(pages) => Some(pages.clone()),
    };
    match pages {
        Some(pages) => pages.oneshot(request).await,
        None => Ok((StatusCode::SERVICE_UNAVAILABLE, DISCONNECTED).into_response()),
    }
}

async fn serve(
    listener: Listener,
    app: Router,
    tls: Option<Tls>,
    mut stopped: watch::Receiver<bool>,
) {
    let shutdown = async move {
        // The sender is dropped only after the server has stopped.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    http::serve(listener.socket, app, tls, http::Limits::default(), shutdown).await;
}

/// Prints a line to standard output. Ignores errors, because standard output may be closed.
fn print(line: &str) {
    let mut output = std::io::stdout();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}
