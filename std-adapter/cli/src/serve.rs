//! The `datakit serve` command.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use datakit_core::vfs::User;
use datakit_db::identity::{AuthorPolicy, Identity};
use datakit_db::remote::{
    self, FetchLimits, GitPush, MAX_FETCH_BYTES, PUSH_DEBOUNCE, Scheme, Schemes, auto_push,
};
use datakit_db::store::{Fsync, GitStore, MemoryStore, Store, remove_stale_fetch_dirs};
use datakit_db::{self, Database};
use datakit_program::{APP, Endpoint, HttpAddress, LogArgs, LogCounters, Source};
use datakit_server::Url;
use datakit_server::memory;
use datakit_server::scratch::Scratch;
use datakit_server::{Limits, Server};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::byte_count::at_least;
use crate::debug_dir;
use crate::metrics::{Counters, Metrics, PushSummary};

/// The sources of log messages.
const SOURCES: [Source; 3] = [
    Source {
        name: "db",
        target: "datakit_db",
        doc: "the database: changes by other programs, fetches and pushes",
    },
    Source {
        name: "server",
        target: "datakit_server",
        doc: "connections that are opened, closed or refused",
    },
    Source { name: "program", target: "datakit", doc: "everything else" },
];

/// The options of `datakit serve`.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServeArgs {
    /// Listen on these addresses, separated by commas: HOST, HOST:PORT, tcp://HOST:PORT, a socket
    /// path, unix://PATH, or fd://N for an inherited socket. Port 0 picks a free port
    #[arg(
        long = "listen-9p",
        visible_alias = "url",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = "tcp://127.0.0.1:5640"
    )]
    pub(crate) addresses: Vec<Url>,
    /// Store the database in the Git repository at PATH, which is created if it does not exist
    /// [default: in memory]
    #[arg(long, value_name = "PATH")]
    pub(crate) git: Option<PathBuf>,
    /// Files to sync to disk before a commit is acknowledged. Killing the server never loses an
    /// acknowledged commit, even with `none`
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = FsyncArg::All, requires = "git")]
    pub(crate) fsync: FsyncArg,
    /// The author of commits whose transaction does not specify an author [default: the attached
    /// user, or for anonymous users, user.name and user.email from Git's configuration]
    #[arg(long, value_name = "NAME <EMAIL>")]
    pub(crate) author: Option<Identity>,
    /// Serve metrics for Prometheus at http://HOST:PORT/metrics. PORT without HOST listens on all
    /// interfaces; port 0 picks a free port
    #[arg(long, value_name = "[HOST:]PORT")]
    pub(crate) listen_prometheus: Option<HttpAddress>,
    /// Force-push each branch to the repository at URL whenever the branch changes
    #[arg(long, value_name = "URL", requires = "git")]
    pub(crate) auto_push: Option<String>,
    /// Abort a fetch or push if the remote sends nothing for this long; 0 means no limit
    #[arg(long, value_name = "SECONDS", default_value_t = remote::TIMEOUT.as_secs(), value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(crate) remote_timeout: u64,
    /// Abort a fetch if it receives more bytes than this; 0 means no limit
    #[arg(long, value_name = "BYTES", default_value_t = MAX_FETCH_BYTES, value_parser = at_least(0))]
    pub(crate) remote_limit: u64,
    /// URL schemes that clients may use for remotes, separated by commas: git, ssh, http, https,
    /// file (including paths) [default: all, but not file if other machines can connect, because
    /// their users could read this machine's repositories]
    #[arg(long, value_name = "SCHEMES", value_delimiter = ',')]
    pub(crate) remote_schemes: Option<Vec<Scheme>>,
    /// Serve an empty writable tree in memory instead of the database
    #[arg(long, conflicts_with = "git")]
    pub(crate) scratch: bool,
    /// Maximum memory for the scratch tree, including contents, names, attributes and about 1 KiB
    /// per file
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = Scratch::DEFAULT_LIMIT,
        value_parser = at_least(4096),
        requires = "scratch"
    )]
    pub(crate) scratch_memory: u64,
    /// Maximum memory for uncommitted changes in all transactions; one connection may use at most a
    /// quarter
    #[arg(long, value_name = "BYTES", default_value_t = datakit_db::TRANSACTION_MEMORY, value_parser = at_least(4096))]
    pub(crate) transaction_memory: u64,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// The limits on connections.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Maximum number of concurrent connections
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,
    /// Maximum number of concurrent connections from one IP address
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections_per_peer: u32,
    /// Maximum number of fids per connection
    #[arg(long, value_name = "N", default_value_t = 65536, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    max_fids: u32,
    /// Maximum number of requests in progress per connection; all but one may wait for a file
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    max_requests: u32,
    /// Maximum size of a message, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = datakit_server::MSIZE, value_parser = clap::value_parser!(u32).range(4096..=i64::from(datakit_server::MSIZE)))]
    msize: u32,
    /// Number of buffered bytes per connection above which no more requests may wait for a file
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20, value_parser = clap::value_parser!(u32).range(65_536..=1 << 30))]
    max_buffered: u32,
    /// Time within which a new connection must attach
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    attach_timeout: u64,
    /// Close a connection that has had no requests in progress for this long; 0 means never
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=31_536_000))]
    idle_timeout: u64,
    /// Number of threads; 0 means one per core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=256))]
    threads: u32,
}

impl From<&LimitArgs> for Limits {
    fn from(args: &LimitArgs) -> Limits {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Limits::default()
            .connections(number(args.max_connections))
            .connections_per_peer(number(args.max_connections_per_peer))
            .fids(number(args.max_fids))
            .requests(number(args.max_requests))
            .msize(args.msize)
            .buffered(number(args.max_buffered))
            .attach_timeout(Duration::from_secs(args.attach_timeout))
            .idle_timeout((args.idle_timeout > 0).then(|| Duration::from_secs(args.idle_timeout)))
            .threads(number(args.threads))
    }
}

/// The values of `--fsync`.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub(crate) enum FsyncArg {
    /// Sync objects, branches and directories; a power cut loses no acknowledged commit
    All,
    /// Sync objects and branches, as git does; a power cut can lose the latest commits, but leaves
    /// no partial commits
    Files,
    /// Sync nothing; a power cut can lose the latest commits and damage their branches
    None,
}

impl From<FsyncArg> for Fsync {
    fn from(what: FsyncArg) -> Fsync {
        match what {
            FsyncArg::All => Fsync::All,
            FsyncArg::Files => Fsync::Files,
            FsyncArg::None => Fsync::None,
        }
    }
}

/// The maximum time that the server waits for commits in progress before it exits. This is longer
/// than the maximum time that a commit waits for other programs.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the server until it receives SIGINT, SIGTERM or SIGHUP. Returns a failure status after
/// SIGINT and a success status after SIGTERM or SIGHUP.
pub(crate) fn run(args: ServeArgs) -> Result<ExitCode, Box<dyn Error>> {
    raise_file_limit();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(args))
}

async fn serve(args: ServeArgs) -> Result<ExitCode, Box<dyn Error>> {
    let logs = LogCounters::default();
    let sources = args.log.start(&SOURCES, logs.clone())?;
    let remote_timeout =
        (args.remote_timeout > 0).then(|| Duration::from_secs(args.remote_timeout));
    let (database, git_dir) = open_database(&args, remote_timeout)?;
    let server = Server::bind(&args.addresses, Limits::from(&args.limits)).await?;
    let endpoint = match &args.listen_prometheus {
        Some(address) => Some(Endpoint::bind(address).await?),
        None => None,
    };
    let signal = datakit_program::end_signal()?;
    // Log that the server is starting only after all of the steps above have succeeded. If one of
    // them fails, the server prints only the reason.
    tracing::info!(name: APP, "Starting datakit {} ...", env!("CARGO_PKG_VERSION"));
    let mut listening: String =
        server.urls().iter().map(|url| format!("listening on {url}\n")).collect();
    if let Some(endpoint) = &endpoint {
        listening += &format!("metrics on {endpoint}\n");
    }
    print_listening(listening).await?;
    let exposed: Vec<String> =
        server.urls().iter().filter(|url| is_exposed(url)).map(Url::to_string).collect();
    if !exposed.is_empty() {
        tracing::warn!(
            "no authentication: anyone who can connect to {} can read and write everything",
            exposed.join(", ")
        );
    }
    let pushes = Arc::new(PushSummary::default());
    if let (Some(url), Some(dir)) = (args.auto_push, git_dir) {
        let push = Arc::new(GitPush::new(dir).with_timeout(remote_timeout));
        let pushes = pushes.clone();
        spawn(auto_push(database.clone(), push, url, PUSH_DEBOUNCE, move |took| {
            pushes.observe(took)
        }));
    }
    if let Some(endpoint) = endpoint {
        let database = database.counters().clone();
        let counters = Counters { server: server.stats(), database, logs: logs.clone(), pushes };
        let metrics = Metrics::new(&counters);
        spawn(endpoint.serve(move || metrics.render()));
    }
    spawn(memory::return_freed_memory());
    let mut status = ExitCode::SUCCESS;
    let stop = async { status = signal.await };
    let served = if args.scratch {
        let tree = Scratch::with_limit(args.scratch_memory);
        server.serve_scratch(tree, stop).await
    } else {
        let debug = debug_dir::entry(&server.stats(), &sources, &logs, &database);
        let shared = database.clone();
        // Each connection has its own tree, because a transaction belongs to one connection.
        server.serve_tree(move |_| datakit_db::file_tree(&shared, debug.clone()), stop).await
    };
    if tokio::time::timeout(COMMIT_TIMEOUT, database.drain()).await.is_err() {
        tracing::error!("stopped waiting for a commit after {COMMIT_TIMEOUT:?}");
    }
    datakit_program::flush();
    served?;
    Ok(status)
}

/// Runs `task` in the background. The task is boxed so that tokio's code is compiled for only one
/// type of task.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    let task: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(task);
    tokio::spawn(task);
}

/// Opens the database. Returns the database and, if it is stored in a Git repository, the
/// repository's directory.
fn open_database(
    args: &ServeArgs,
    remote_timeout: Option<Duration>,
) -> Result<(Database, Option<PathBuf>), Box<dyn Error>> {
    let fetch_limits = FetchLimits::default()
        .with_timeout(remote_timeout)
        .with_max_bytes(Some(args.remote_limit).filter(|limit| *limit > 0));
    let schemes = match &args.remote_schemes {
        Some(schemes) => schemes.iter().copied().collect(),
        None if args.addresses.iter().all(is_local) => Schemes::default(),
        None => Schemes::remote(),
    };
    let mut authors = AuthorPolicy { always: args.author.clone(), ..AuthorPolicy::default() };
    let (store, git_dir): (Arc<dyn Store>, _) = match &args.git {
        Some(path) => {
            let git =
                GitStore::open(path)?.with_fsync(args.fsync.into()).with_fetch_limits(fetch_limits);
            authors.anonymous = git.configured_identity().unwrap_or_default();
            let git = git.with_identity(authors.of(User::default()));
            let dir = git.dir();
            (Arc::new(git), Some(dir))
        }
        None => (Arc::new(MemoryStore::new().with_fetch_limits(fetch_limits)), None),
    };
    remove_stale_fetch_dirs();
    let database = Database::with_memory(store, args.transaction_memory)?
        .with_authors(authors)
        .with_schemes(schemes);
    Ok((database, git_dir))
}

/// Before it starts serving, the server waits at most this long for its standard output to be read.
const PRINT_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints the addresses. If standard output is not read in time, the server starts serving anyway.
async fn print_listening(text: String) -> std::io::Result<()> {
    let (sender, printed) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut out = std::io::stdout().lock();
        // Sending fails after the timeout, because the receiver has been dropped by then.
        let _ = sender.send(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    });
    match tokio::time::timeout(PRINT_TIMEOUT, printed).await {
        Ok(Ok(printed)) => printed,
        // After the timeout, the thread remains blocked until the output is read.
        _ => Ok(()),
    }
}

/// Raises the limit on open files to the hard limit. The soft limit is lower by default, because
/// select(2), which some programs call, supports only descriptors below 1024.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If the limit cannot be raised, the server accepts fewer connections.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Returns whether the address allows connections from other machines.
fn is_exposed(url: &Url) -> bool {
    matches!(url, Url::Tcp { .. }) && !is_local(url)
}

/// Returns whether only this machine can connect. Returns `false` for an inherited socket, because
/// other machines might connect to it.
fn is_local(url: &Url) -> bool {
    match url {
        Url::Tcp { host, .. } => {
            host == "localhost"
                || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
        Url::Unix(_) | Url::File(_) => true,
        _ => false,
    }
}
