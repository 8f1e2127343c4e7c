//! Tests that a client can follow a configuration across restarts of the server.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use datakit_client::Url;
use datakit_client::config::{ConfigReader, Layout, Record};
use datakit_client::db::prelude::*;
use datakit_client::db::{Branch, Db, Error, Path};
use datakit_db::store::MemoryStore;
use datakit_db::{Database as Opened, DirectDb, file_tree};
use datakit_server::tree::{Dir, Entry};
use datakit_server::{Limits, Server};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const TIMEOUT: Duration = Duration::from_secs(20);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, future).await.unwrap()
}

/// A database and its server. The server can be stopped and replaced with a new one.
struct Served {
    database: Opened,
    url: Url,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Served {
    async fn start() -> Served {
        let database = Opened::new(Arc::new(MemoryStore::new())).unwrap();
        let mut served =
            Served { database, url: "tcp://127.0.0.1:0".parse().unwrap(), running: None };
        served.serve().await;
        served
    }

    /// Starts a server at the previous server's address.
    async fn serve(&mut self) {
        let server =
            Server::bind(std::slice::from_ref(&self.url), Limits::default()).await.unwrap();
        self.url = server.urls().remove(0);
        let (stop, stopped) = oneshot::channel::<()>();
        let (database, debug) = (self.database.clone(), Entry::dir("debug", Dir::new()));
        let tree = move |_: &_| file_tree(&database, debug.clone());
        let serving = server.serve(tree, async move { drop(stopped.await) });
        let task = tokio::spawn(async move { serving.await.unwrap() });
        self.running = Some((stop, task));
    }

    async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        stop.send(()).unwrap();
        within(task).await.unwrap();
    }

    async fn branch(&self, name: &str) -> Branch {
        Db::connect(&self.url).await.unwrap().branch(name).await.unwrap()
    }
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

async fn write<B: BranchOps>(branch: &B, file: &str, text: &str) {
    let file = &path(file);
    let write = |transaction: Arc<B::Transaction>| async move {
        transaction.write_file(file, text.as_bytes()).await
    };
    branch.update("Change", write).await.unwrap();
}

async fn remove<B: BranchOps>(branch: &B, file: &str) {
    let file = &path(file);
    let remove = |transaction: Arc<B::Transaction>| async move { transaction.remove(file).await };
    branch.update("Remove", remove).await.unwrap();
}

async fn read<B: BranchOps>(branch: &B, file: &str) -> Option<String> {
    let head = branch.head().await.unwrap().unwrap();
    let bytes = head.tree().read_file_if_present(&path(file)).await.unwrap();
    bytes.map(|bytes| String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn watched_values_survive_a_restart_of_the_server() {
    let mut served = Served::start().await;
    let master = served.branch("master").await;
    let config = ConfigReader::follow(served.url.clone(), "master").unwrap();
    let mut mtu = config.value(path("slirp/mtu"), 1500);
    let mut host = config.value(path("slirp/host"), "192.168.65.2".to_owned());
    within(config.ready()).await;
    assert_eq!((mtu.get(), host.get().as_str()), (1500, "192.168.65.2"));

    write(&master, "slirp/mtu", " 9000\n").await;
    assert_eq!(within(mtu.changed()).await, 9000);
    // Only the last of these writes changes the value. After the last write, the key contains
    // invalid text, so the field has its default value.
    write(&master, "slirp/mtu", "9000").await;
    write(&master, "elsewhere", "x").await;
    write(&master, "slirp/mtu", "large").await;
    assert_eq!(within(mtu.changed()).await, 1500);

    served.stop().await;
    assert_eq!(mtu.get(), 1500);
    let direct = DirectDb::new(served.database.clone()).branch("master").await.unwrap();
    write(&direct, "slirp/mtu", "576").await;
    served.serve().await;
    assert_eq!(within(mtu.changed()).await, 576);
    write(&served.branch("master").await, "slirp/host", "10.0.0.1").await;
    assert_eq!(within(host.changed()).await, "10.0.0.1");

    // The default is used if the key does not exist or is a directory.
    remove(&direct, "slirp/mtu").await;
    assert_eq!(within(mtu.changed()).await, 1500);
    write(&direct, "slirp/mtu", "9000").await;
    assert_eq!(within(mtu.changed()).await, 9000);
    remove(&direct, "slirp/mtu").await;
    write(&direct, "slirp/mtu/below", "1").await;
    assert_eq!(within(mtu.changed()).await, 1500);
}

#[tokio::test]
async fn a_reader_waits_for_a_server_that_starts_later() {
    let mut served = Served::start().await;
    served.stop().await;
    let config = ConfigReader::follow(served.url.clone(), "master").unwrap();
    let enabled = config.value(path("enabled"), true);
    let not_yet = tokio::time::timeout(Duration::from_millis(250), config.ready());
    assert!(not_yet.await.is_err());
    served.serve().await;
    within(config.ready()).await;
    assert!(enabled.get());
    // A value can be added even if the branch has no commits yet.
    let mut name = config.value(path("name"), String::new());
    write(&served.branch("master").await, "name", "probe").await;
    assert_eq!(within(name.changed()).await, "probe");
}

#[tokio::test]
async fn the_task_ends_with_the_last_value() {
    let db = DirectDb::in_memory().unwrap();
    let config = ConfigReader::follow(db.clone(), "master").unwrap();
    let value = config.value(path("key"), 1);
    within(config.ready()).await;
    drop(config);
    let watches = || db.database().counters().watches.value();
    assert_eq!(watches(), 1);
    drop(value);
    while watches() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(ConfigReader::follow(db, "not a branch").is_err());
}

#[tokio::test]
async fn a_record_has_defaults_settings_and_a_state() {
    let served = Served::start().await;
    let record = Record::open(served.url.clone(), Layout::new(path("app"))).await.unwrap();
    let mtu = record.field("net/mtu", 1500).await.unwrap();
    let ipv6 = record.field("net/ipv6", true).await.unwrap();
    let proxy = record.field("proxy", None::<String>).await.unwrap();
    let name = record.field("name", Some("unnamed".to_owned())).await.unwrap();
    assert_eq!((mtu.get().0, ipv6.get().0, proxy.get().0), (1500, true, None));
    assert_eq!(name.get().0.as_deref(), Some("unnamed"));

    let [master, defaults, state] = [
        served.branch("master").await,
        served.branch("defaults").await,
        served.branch("state").await,
    ];
    for branch in [&master, &defaults, &state] {
        assert_eq!(read(branch, "branch-created").await.as_deref(), Some(""));
    }
    assert_eq!(read(&defaults, "app/net/mtu").await.as_deref(), Some("1500"));
    assert_eq!(read(&defaults, "app/schema-version").await.as_deref(), Some("1"));
    assert_eq!(read(&defaults, "app/proxy").await, None);

    let version = mtu.get().1;
    record.set("jumbo frames", &mtu, 9000).await.unwrap();
    let head = master.head().await.unwrap().unwrap();
    assert_eq!(head.message().await.unwrap(), "Unconditionally set [net/mtu]: jumbo frames");
    assert!(!mtu.has_changed(version));
    within(record.wait()).await.unwrap();
    assert!(mtu.has_changed(version) && !ipv6.has_changed(version));
    assert_eq!(mtu.get().0, 9000);
    assert_eq!(read(&state, "app/net/mtu").await.as_deref(), Some("9000"));
    assert_eq!(read(&state, "app/net/ipv6").await.as_deref(), Some("true"));

    let both = [ipv6.assign(false), proxy.assign(Some("http://proxy".to_owned()))];
    record.set_multiple("both", both).await.unwrap();
    let head = master.head().await.unwrap().unwrap();
    assert_eq!(head.message().await.unwrap(), "Unconditionally set [net/ipv6 proxy]: both");
    record.seal().await.unwrap();
    assert_eq!((ipv6.get().0, proxy.get().0.as_deref()), (false, Some("http://proxy")));

    // Invalid text is replaced with the default, and setting `None` removes the key.
    write(&master, "app/net/mtu", "large").await;
    record.set("no proxy", &proxy, None).await.unwrap();
    record.seal().await.unwrap();
    assert_eq!((mtu.get().0, proxy.get().0), (1500, None));
    assert_eq!(read(&master, "app/proxy").await, None);
    assert_eq!(read(&state, "app/proxy").await, None);
    let sealed = state.head().await.unwrap();
    record.seal().await.unwrap();
    assert_eq!(state.head().await.unwrap(), sealed);
}

#[tokio::test]
async fn an_upgrade_replaces_the_defaults_and_keeps_the_settings() {
    let db = DirectDb::in_memory().unwrap();
    let open = || Record::open(db.clone(), Layout::new(path("app")));
    let old = open().await.unwrap();
    let [mtu, ttl] = [old.field("mtu", 1500).await.unwrap(), old.field("ttl", 64).await.unwrap()];
    old.set("mine", &ttl, 32).await.unwrap();
    old.seal().await.unwrap();
    assert_eq!((mtu.get().0, ttl.get().0), (1500, 32));
    assert!(!old.upgrade(1).await.unwrap());

    // A newer program declares different defaults. The new defaults take effect only after the
    // upgrade.
    let new = open().await.unwrap();
    let [mtu, ttl] = [new.field("mtu", 9000).await.unwrap(), new.field("ttl", 255).await.unwrap()];
    assert_eq!((mtu.get().0, ttl.get().0), (1500, 32));
    assert!(new.upgrade(2).await.unwrap());
    assert_eq!((mtu.get().0, ttl.get().0), (9000, 32));
    let defaults = db.branch("defaults").await.unwrap();
    assert_eq!(read(&defaults, "app/ttl").await.as_deref(), Some("255"));
    assert_eq!(read(&defaults, "app/schema-version").await.as_deref(), Some("2"));
    let head = defaults.head().await.unwrap();
    assert!(!new.upgrade(2).await.unwrap());
    assert_eq!(defaults.head().await.unwrap(), head);
    assert!(!open().await.unwrap().upgrade(2).await.unwrap());
}

#[tokio::test]
async fn a_record_survives_a_restart_of_the_server() {
    let mut served = Served::start().await;
    let layout = Layout::new(path("app")).lookup(["override", "master", "defaults"]).state("shown");
    let record = Record::open(served.url.clone(), layout).await.unwrap();
    let mtu = record.field("mtu", 1500).await.unwrap();
    let waiting = tokio::spawn({
        let record = record.clone();
        async move { record.wait().await }
    });
    served.stop().await;
    assert!(record.seal().await.unwrap_err().is_lost());
    let direct = DirectDb::new(served.database.clone());
    write(&direct.branch("master").await.unwrap(), "app/mtu", "9000").await;
    served.serve().await;
    let version = within(waiting).await.unwrap().unwrap();
    assert_eq!(mtu.get(), (9000, version));
    write(&direct.branch("override").await.unwrap(), "app/mtu", "576").await;
    within(record.wait()).await.unwrap();
    assert_eq!(mtu.get().0, 576);
    let shown = direct.branch("shown").await.unwrap();
    assert_eq!(read(&shown, "app/mtu").await.as_deref(), Some("576"));
}

#[tokio::test]
async fn a_record_on_a_lost_connection_fails() {
    let mut served = Served::start().await;
    let db = Db::connect(&served.url).await.unwrap();
    let record = Record::open(db, Layout::new(path("app"))).await.unwrap();
    served.stop().await;
    assert!(within(record.wait()).await.unwrap_err().is_lost());
    let none = Layout::new(path("app")).lookup(Vec::<String>::new());
    let db = DirectDb::in_memory().unwrap();
    assert!(matches!(Record::open(db, none).await, Err(Error::Backend(_))));
}
