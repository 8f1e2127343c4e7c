//! Tests for the database client, run against an in-memory server.

mod cases;
mod changes;
mod original;

use std::sync::Arc;
use std::time::Duration;

use super::{Db, Path};
use crate::{Client, Options};
use datakit_db::store::MemoryStore;
use datakit_db::{Database, file_tree};
use datakit_server::Url;
use datakit_server::tree::{Dir, Entry};
use datakit_server::{Limits, Server, Stats};

/// The timeout for each step of a test.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A server that serves an empty database and stops when the test ends.
struct Served {
    url: Url,
    database: Database,
    stats: Arc<Stats>,
}

impl Served {
    async fn start() -> Served {
        let server =
            Server::bind(&["tcp://127.0.0.1:0".parse().unwrap()], Limits::default()).await.unwrap();
        let (url, stats) = (server.urls().remove(0), server.stats());
        let database = Database::new(Arc::new(MemoryStore::new())).unwrap();
        let debug = Entry::dir("debug", Dir::new());
        let shown = database.clone();
        tokio::spawn(
            server.serve(move |_| file_tree(&shown, debug.clone()), std::future::pending()),
        );
        Served { url, database, stats }
    }

    async fn db(&self) -> Db {
        Db::connect(&self.url).await.unwrap()
    }

    /// Returns `true` if no connection has any fid other than its root fid.
    fn only_the_root(&self) -> bool {
        self.stats.peers().iter().all(|peer| peer.fids() == 1)
    }

    /// Returns the number of open transactions.
    fn transactions(&self) -> i64 {
        self.database.counters().transactions.value()
    }

    async fn in_dialect(&self, dialect: crate::Dialect) -> Db {
        let options = Options::default().dialect(dialect);
        Db::new(Client::connect(&self.url, options).await.unwrap())
    }
}

/// Polls until a condition holds. Polling is needed because the server does not report when the
/// condition becomes true.
async fn within(what: &str, mut holds: impl FnMut() -> bool) {
    let polling = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(TIMEOUT, polling).await.is_ok(), "not within {TIMEOUT:?}: {what}");
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}
