//! Serves a program's settings, which clients can read and set while the program is running.
//!
//! ```sh
//! cargo run -p datakit-server --example settings -- localhost:5640
//! cargo run -p datakit -- params list -l
//! cargo run -p datakit -- params set pool/idle=4 pool/most=32
//! ```
use std::future::Future;

use datakit_core::files::{Choice, Help, Millis, Params, fields::params};
use datakit_core::params::{
    ChangeMemory, Changes, Ctl, Modified, ObserverEntry, ParamSet, Replies, Schema,
    TransactionMemory, Transactions, observe,
};
use datakit_core::vfs::{self, file, table};
use datakit_server::tree::{self, CoreDir, Dir, Entry, Tree};
use datakit_server::{Limits, Server};

/// The settings, as a plain struct.
#[derive(Debug, Params)]
struct Settings {
    pool: Pool,
    log: Log,
}

/// The database connection pool.
#[derive(Debug, Params)]
#[params(check = ordered)]
struct Pool {
    /// The number of connections to keep open.
    #[param(default = 2, range = 0..=100)]
    idle: u16,
    /// Maximum number of connections.
    #[param(default = 10, range = 1..=100)]
    most: u16,
    /// The maximum time that a request waits for a connection.
    #[param(default = "30 s", range = "100 ms"..="10 min")]
    timeout: Millis,
}

#[derive(Debug, Params)]
struct Log {
    /// The least important messages to log.
    #[param(default = Level::Warning)]
    level: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Choice)]
enum Level {
    Error,
    #[default]
    Warning,
    Info,
}

fn ordered(pool: &Pool) -> Result<(), &'static str> {
    if pool.idle <= pool.most { Ok(()) } else { Err("pool/idle must not be above pool/most") }
}

/// The maximum number of connections.
const CLIENTS: usize = 100;

static SETTINGS: SettingsParams = SettingsParams::new();
static SET: ParamSet = ParamSet::new(&PARAMS).name_clients(tree::client_name);
static CHANGE_MEMORY: ChangeMemory<64, 255> = ChangeMemory::new();
static CHANGES: Changes<64, 255> = Changes::new(&SET, &CHANGE_MEMORY);
/// There is one entry for each client and one for the program.
static REPLIES: Replies<{ CLIENTS + 1 }> = Replies::new();
static MEMORY: TransactionMemory<4, 16, 64> = TransactionMemory::new();
static TRANSACTIONS: Transactions<4, 16, 64> = Transactions::new(&SET, &MEMORY);
static PARAMS: vfs::Dir = vfs::Dir::new(&[
    file("help", &Help::new(&PARAMS)),
    file("schema", &Schema::new(&SET)),
    file("schema-id", &Schema::id(&SET)),
    file("modified", &Modified::new(&SET)),
    file("changes", &CHANGES),
    file("ctl", &Ctl::new(&SET, &REPLIES)),
    table("transactions", &TRANSACTIONS, 4),
    const { params("pool", &SETTINGS.pool) },
    const { params("log", &SETTINGS.log) },
]);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "localhost:5640".to_owned());
    let server = Server::bind(&[url.parse()?], Limits::default().connections(CLIENTS)).await?;
    server.urls().iter().for_each(|url| println!("listening on {url}"));
    tokio::spawn(follow(|settings| println!("{settings:?}")));
    serve(server, std::future::pending()).await?;
    Ok(())
}

/// Serves the settings in the `params` directory until `stop` completes.
pub(crate) async fn serve(server: Server, stop: impl Future<Output = ()>) -> std::io::Result<()> {
    static OBSERVERS: [ObserverEntry; 3] = [
        ObserverEntry::new(&CHANGES),
        ObserverEntry::new(&REPLIES),
        ObserverEntry::new(&TRANSACTIONS),
    ];
    OBSERVERS.iter().for_each(observe);
    let root = Dir::new();
    root.insert(Entry::dir("params", CoreDir::new(&PARAMS)));
    let tree = Tree::new(root);
    // The files identify each client by its connection name.
    server.serve_tree(move |peer| tree.for_client(&peer.name), stop).await
}

/// Calls `use_settings` with the current settings, and again after each change.
async fn follow(mut use_settings: impl FnMut(&Settings)) {
    let mut version = SETTINGS.version();
    loop {
        // All settings are read at the same time, so the values are consistent.
        use_settings(&SETTINGS.load());
        version = SETTINGS.changed(version).await;
    }
}
