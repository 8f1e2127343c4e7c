//! The client against a server in memory.

mod cases;
mod changes;
mod original;

use std::sync::Arc;
use std::time::Duration;

use super::{Db, Path};
use crate::{Client, Options};
use datakit_db::store::Memory;
use datakit_db::{Database, file_tree};
use datakit_server::Url;
use datakit_server::tree::{Dir, Entry};
use datakit_server::{Limits, Server, Stats};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server of an empty database, which ends with the test.
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
        let database = Database::new(Arc::new(Memory::new())).unwrap();
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

    /// Whether the connections have no fid but that of the root.
    fn only_the_root(&self) -> bool {
        self.stats.peers().iter().all(|peer| peer.fids() == 1)
    }

    /// How many transactions are open.
    fn transactions(&self) -> i64 {
        self.database.counters().transactions.value()
    }

    async fn in_dialect(&self, dialect: crate::Dialect) -> Db {
        let options = Options::default().dialect(dialect);
        Db::new(Client::connect(&self.url, options).await.unwrap())
    }
}

/// Waits until it is so: for what the server does without telling.
async fn within(what: &str, mut is_so: impl FnMut() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, looking).await.is_ok(),
        "not within {PATIENCE:?}: {what}"
    );
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}
