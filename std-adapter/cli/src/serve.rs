//! `datakit serve`.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::{Address, Counters, Endpoint, Logs, Metrics, Summary};
use clap::{Args, ValueEnum};
use datakit_core::vfs::User;
use datakit_db::identity::{AuthorPolicy, Identity};
use datakit_db::remote::{
    self, FetchLimits, GitPush, MAX_FETCH_BYTES, PUSH_DEBOUNCE, Scheme, Schemes, auto_push,
};
use datakit_db::store::{Fsync, Git, Memory, Store, remove_stale_fetch_dirs};
use datakit_db::{self, Database};
use datakit_server::Url;
use datakit_server::memory;
use datakit_server::scratch::Scratch;
use datakit_server::{Limits, Server};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::bytes;
use super::debug;
use super::log::{self, APP, LogArgs};

/// How to serve.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Serving")]
pub(crate) struct ServeArgs {
    /// Where to listen: tcp://HOST[:PORT] (port 0 picks a free one), unix://PATH, fd://N
    /// (inherited); several with commas
    #[arg(
        long = "listen-9p",
        visible_alias = "url",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "tcp://127.0.0.1:5640"
    )]
    pub(crate) url: Vec<Url>,
    /// Keep the database in the Git repository at PATH, made if it is missing; without this it is
    /// in memory
    #[arg(long, value_name = "PATH")]
    pub(crate) git: Option<PathBuf>,
    /// What is on the disk when a commit is acknowledged; a server that is killed loses nothing
    /// with any of them
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = FsyncArg::All, requires = "git")]
    pub(crate) fsync: FsyncArg,
    /// Who commits are by whose transaction does not say so; without this it is the user who
    /// attached, and where that is nobody, the user.name and user.email of Git's configuration
    #[arg(long, value_name = "NAME <MAIL>")]
    pub(crate) author: Option<Identity>,
    /// Answer GET /metrics for Prometheus there; of all interfaces if only PORT is given, port 0
    /// picks a free one
    #[arg(long, value_name = "[HOST:]PORT")]
    pub(crate) listen_prometheus: Option<Address>,
    /// Push every branch to the repository at URL as it moves, by force
    #[arg(long, value_name = "URL", requires = "git")]
    pub(crate) auto_push: Option<String>,
    /// Seconds without a sign of life after which a fetch or a push is given up; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = remote::TIMEOUT.as_secs(), value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(crate) remote_timeout: u64,
    /// Bytes that one fetch from another repository may take; 0: any number
    #[arg(long, value_name = "BYTES", default_value_t = MAX_FETCH_BYTES, value_parser = bytes::at_least(0))]
    pub(crate) remote_limit: u64,
    /// Ways to other repositories that clients may have the server take, of git, ssh, http, https
    /// and file, with commas; file is also paths
    /// [default: all, but without file if another machine can connect: its users could read repositories of this one]
    #[arg(long, value_name = "SCHEMES", value_delimiter = ',')]
    pub(crate) remote_schemes: Option<Vec<Scheme>>,
    /// Serve one empty scratch tree and nothing else
    #[arg(long, conflicts_with = "git")]
    pub(crate) scratch: bool,
    /// Memory of the scratch tree: contents, names, links, attributes and about 1 KiB for each
    /// file; what does not fit is ENOSPC
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = datakit_server::scratch::LIMIT,
        value_parser = bytes::at_least(4096),
        requires = "scratch"
    )]
    pub(crate) scratch_memory: u64,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_connections: u32,
    /// Connections at a time from one address; those over Unix sockets have none
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_connections_per_peer: u32,
    /// Fids of one connection
    #[arg(long, value_name = "N", default_value_t = 65536, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) max_fids: u32,
    /// Bytes of all that is written in transactions and not committed yet; a connection may use a
    /// quarter of them
    #[arg(long, value_name = "BYTES", default_value_t = datakit_db::TRANSACTION_MEMORY, value_parser = bytes::at_least(4096))]
    pub(crate) transaction_memory: u64,
    /// Requests of one connection at a time; all but one may wait inside files
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) max_requests: u32,
    /// The largest message in bytes
    #[arg(long, value_name = "BYTES", default_value_t = datakit_server::MSIZE, value_parser = clap::value_parser!(u32).range(4096..=i64::from(datakit_server::MSIZE)))]
    pub(crate) msize: u32,
    /// Bytes buffered for one connection, above which no further request of it may wait inside a
    /// file
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20, value_parser = clap::value_parser!(u32).range(65_536..=1 << 30))]
    pub(crate) max_buffered: u32,
    /// Seconds for a new connection to attach in
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) attach_timeout: u64,
    /// Seconds after which a connection is closed that has no request in flight and sends none; 0:
    /// never
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=31_536_000))]
    pub(crate) idle_timeout: u64,
    /// Threads that serve; 0: one for each core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=256))]
    pub(crate) threads: u32,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Of `--fsync`.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub(crate) enum FsyncArg {
    /// Files and their names: nothing is lost with the machine's power
    All,
    /// Files, as git does it: the last commits may be lost with the machine's power, but never half
    /// a one
    Files,
    /// Nothing: the last commits may be lost with the machine's power, and the branches that they
    /// are on damaged
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

/// How long commits that run may go on after everything else has stopped: as long as one of them
/// may wait for other programs, and more.
const COMMITS: Duration = Duration::from_secs(30);

/// Serves until SIGINT, SIGTERM or SIGHUP; 0 is for the last two.
pub(crate) fn run(args: ServeArgs) -> Result<ExitCode, Box<dyn Error>> {
    allow_files();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(args))
}

async fn serve(args: ServeArgs) -> Result<ExitCode, Box<dyn Error>> {
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let limits = Limits {
        connections: number(args.max_connections),
        connections_per_peer: number(args.max_connections_per_peer),
        fids: number(args.max_fids),
        requests: number(args.max_requests),
        msize: args.msize,
        buffered: number(args.max_buffered),
        attach_timeout: Duration::from_secs(args.attach_timeout),
        idle_timeout: (args.idle_timeout > 0).then(|| Duration::from_secs(args.idle_timeout)),
        threads: number(args.threads),
        ..Limits::default()
    };
    let logs = Logs::default();
    let sources = args.log.start(logs.clone())?;
    let remote_timeout =
        (args.remote_timeout > 0).then(|| Duration::from_secs(args.remote_timeout));
    let fetch_limits = FetchLimits::default()
        .with_timeout(remote_timeout)
        .with_max_bytes(Some(args.remote_limit).filter(|limit| *limit > 0));
    let schemes = match &args.remote_schemes {
        Some(schemes) => schemes.iter().copied().collect(),
        None if args.url.iter().all(is_local) => Schemes::default(),
        None => Schemes::remote(),
    };
    let mut authors = AuthorPolicy { always: args.author.clone(), ..AuthorPolicy::default() };
    let (store, dir): (Arc<dyn Store>, _) = match &args.git {
        Some(path) => {
            let git =
                Git::open(path)?.with_fsync(args.fsync.into()).with_fetch_limits(fetch_limits);
            authors.anonymous = git.configured_identity().unwrap_or_default();
            let git = git.with_identity(authors.of(User::default()));
            let dir = git.dir();
            (Arc::new(git), Some(dir))
        }
        None => (Arc::new(Memory::new().with_fetch_limits(fetch_limits)), None),
    };
    remove_stale_fetch_dirs();
    let database = Database::with_memory(store, args.transaction_memory)?
        .with_authors(authors)
        .with_schemes(schemes);
    let server = Server::bind(&args.url, limits).await?;
    let endpoint = match &args.listen_prometheus {
        Some(address) => Some(Endpoint::bind(address).await?),
        None => None,
    };
    let stop = signals()?;
    // Who cannot start says why, and nothing else.
    tracing::info!(name: APP, "Starting datakit {} ...", env!("CARGO_PKG_VERSION"));
    let mut listening: String =
        server.urls().iter().map(|url| format!("listening on {url}\n")).collect();
    if let Some(endpoint) = &endpoint {
        listening += &format!("metrics on {endpoint}\n");
    }
    say(listening).await?;
    let pushes = Arc::new(Summary::default());
    if let (Some(url), Some(dir)) = (args.auto_push, dir) {
        let (push, pushes) =
            (Arc::new(GitPush::new(dir).with_timeout(remote_timeout)), pushes.clone());
        tokio::spawn(auto_push(database.clone(), push, url, PUSH_DEBOUNCE, move |took| {
            pushes.observe(took)
        }));
    }
    if let Some(endpoint) = endpoint {
        let database = database.counters().clone();
        let counters = Counters { server: server.stats(), database, logs: logs.clone(), pushes };
        tokio::spawn(endpoint.serve(Metrics::new(&counters)));
    }
    tokio::spawn(memory::return_freed_memory());
    let mut status = ExitCode::SUCCESS;
    let stop = async { status = stop.await };
    let served = if args.scratch {
        let tree = Scratch::with_limit(args.scratch_memory);
        server.serve(move |_| tree.clone(), stop).await
    } else {
        let debug = debug::dir(&server.stats(), &sources, &logs, &database);
        let shared = database.clone();
        // A tree for each connection: transactions are in no other.
        server.serve(move |_| datakit_db::file_tree(&shared, debug.clone()), stop).await
    };
    if tokio::time::timeout(COMMITS, database.drain()).await.is_err() {
        tracing::error!("a commit is given up that takes longer than {COMMITS:?}");
    }
    log::flush();
    served?;
    Ok(status)
}

/// Writes to standard output, and waits a moment for whoever reads it.
async fn say(text: String) -> std::io::Result<()> {
    let (done, said) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut out = std::io::stdout().lock();
        // The server may have stopped waiting.
        let _ = done.send(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    });
    match tokio::time::timeout(SAID, said).await {
        Ok(Ok(said)) => said,
        // It is written when it is read.
        _ => Ok(()),
    }
}

/// How long the start waits until its lines are written.
const SAID: Duration = Duration::from_secs(1);

/// Lets the process have as many open files as the system allows it: the limit that it is started
/// with is that of programs which count them in a set of 1024.
fn allow_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer of them, fewer connections are accepted.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Whether only this machine can connect. What is inherited may be anything.
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

/// Ready at the first SIGINT, SIGTERM or SIGHUP, with the status of the end: an interrupt is a
/// failure to whoever waits for the process, being told to end is none, and the end of the terminal
/// is the same. `nohup` is obeyed.
fn signals() -> std::io::Result<impl Future<Output = ExitCode>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hang_up = if ignores_hang_up() { None } else { Some(signal(SignalKind::hangup())?) };
    Ok(async move {
        let hung_up = async {
            match &mut hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => ExitCode::FAILURE,
            _ = terminate.recv() => ExitCode::SUCCESS,
            _ = hung_up => ExitCode::SUCCESS,
        }
    })
}

/// Whether SIGHUP was ignored at the start, as `nohup` has it. Only Linux tells.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits & 1 == 1)
}
