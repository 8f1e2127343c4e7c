//! Tests that the server frees all resources of a client whose connection is lost.

use std::time::Duration;

use datakit_client::db::{Db, Watch};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::setup::{Server, TIMEOUT, TempRepository, begin, commit, counters, short_or_full};

/// The first nine bytes of a 200-byte Twrite message.
const PARTIAL_MESSAGE: [u8; 9] = [200, 0, 0, 0, 118, 1, 0, 2, 0];

/// A client whose connection is closed partway through a message when `cut` is signaled.
struct DyingClient {
    db: Db,
    cut: oneshot::Sender<()>,
}

impl DyingClient {
    /// If `reset` is true, the server receives a TCP reset rather than a FIN when the connection is
    /// closed.
    async fn connect(server: &Server, reset: bool) -> DyingClient {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (cut, now) = oneshot::channel();
        let to = server.address().to_owned();
        tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(to).await.unwrap();
            if reset {
                server.set_zero_linger().unwrap();
            }
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = now => server.write_all(&PARTIAL_MESSAGE).await.unwrap(),
            }
        });
        DyingClient { db: timeout(TIMEOUT, Db::connect(&url)).await.unwrap().unwrap(), cut }
    }
}

/// Spawns a task that waits until the watch fails. If `first` is true, the task is spawned after
/// one event has arrived.
async fn wait_forever<T: Send + 'static>(
    watch: Result<Watch<T>, datakit_client::db::Error>,
    first: bool,
) -> JoinHandle<()> {
    let mut watch = watch.unwrap();
    if first {
        watch.next().await.unwrap().unwrap();
    }
    tokio::spawn(async move { assert!(watch.next().await.unwrap().is_err()) })
}

async fn requests_under_way(db: &Db) -> usize {
    let text =
        String::from_utf8(db.client().read("/debug/server/connections").await.unwrap()).unwrap();
    text.lines().map(|line| line.split(' ').nth(4).unwrap().parse::<usize>().unwrap()).sum()
}

/// Polls a condition for up to one second.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not after one second: {what}");
}

async fn in_use(db: &Db) -> [u64; 3] {
    let counters = counters(db).await;
    ["transactions", "watches", "remotes"].map(|name| counters[name])
}

async fn assert_nothing_left(db: &Db, repository: &TempRepository) {
    eventually("nothing in use", async || in_use(db).await == [0, 0, 0]).await;
    eventually("no other connection", async || {
        db.client()
            .read("/debug/server/connections")
            .await
            .unwrap()
            .split(|byte| *byte == b'\n')
            .count()
            == 2
    })
    .await;
    eventually("nothing fetched", async || {
        repository.git(&["for-each-ref", "refs/remotes"]).is_empty()
    })
    .await;
}

/// Creates a remote, fetches from it and waits for a new head.
async fn fetch_and_watch(db: &Db, url: &str) -> JoinHandle<()> {
    let client = db.client();
    client.mkdir("/remotes/r", 0o755).await.unwrap();
    client.write("/remotes/r/url", url.as_bytes()).await.unwrap();
    client.write("/remotes/r/fetch", b"master").await.unwrap();
    let mut heads = client.watch("/remotes/r/head").await.unwrap();
    heads.next().await.unwrap().unwrap();
    tokio::spawn(async move { assert!(heads.next().await.is_err()) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_client_leaves_nothing_in_use() {
    let repository = TempRepository::new("dead");
    let server = Server::start(&repository.0);
    let observer = server.connect().await;
    commit(&observer, "master", "first", "x").await.unwrap();
    let there = TempRepository::new("there");
    there.git(&["clone", "-q", "--bare", &repository.0.display().to_string(), "."]);
    for reset in [false, true] {
        let DyingClient { db, cut } = DyingClient::connect(&server, reset).await;
        let master = db.branch("master").await.unwrap();
        let open = begin(&db, "master", "d/second", "y").await.unwrap();
        let client = db.client();
        client.mkdir("/branch/master/transactions/t", 0o755).await.unwrap();
        let file = client.open_to_write("/branch/master/transactions/t/rw/first").await.unwrap();
        let waits = [
            wait_forever(master.watch_head().await, true).await,
            wait_forever(master.watch_path(&"first".parse().unwrap()).await, true).await,
            wait_forever(master.reflog().await, false).await,
            fetch_and_watch(&db, &there.0.display().to_string()).await,
        ];
        eventually("all of them are waiting", async || {
            requests_under_way(&observer).await == waits.len()
        })
        .await;
        assert_eq!(in_use(&observer).await, [2, 4, 1]);
        assert_ne!(repository.git(&["for-each-ref", "refs/remotes"]), "");
        cut.send(()).unwrap();
        assert_nothing_left(&observer, &repository).await;
        for wait in waits {
            timeout(TIMEOUT, wait).await.unwrap().unwrap();
        }
        drop((open, file));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_dies_in_a_commit_leaves_all_of_it_or_nothing() {
    let rounds = short_or_full(10, 100);
    let repository = TempRepository::new("dies");
    let server = Server::start(&repository.0);
    let observer = server.connect().await;
    commit(&observer, "master", "first", "x").await.unwrap();
    let mut acknowledged = 0;
    for round in 0..rounds {
        let DyingClient { db, cut } = DyingClient::connect(&server, round % 2 == 0).await;
        let transaction = begin(&db, "master", &format!("{round}/a"), "x").await.unwrap();
        transaction.create_file(&format!("{round}/b").parse().unwrap(), b"x", false).await.unwrap();
        let committing = tokio::spawn(async move { transaction.commit("both").await });
        eventually("a request", async || {
            requests_under_way(&observer).await > 0 || committing.is_finished()
        })
        .await;
        // Sending fails if the connection has already been closed.
        let _ = cut.send(());
        acknowledged += usize::from(timeout(TIMEOUT, committing).await.unwrap().unwrap().is_ok());
        assert_nothing_left(&observer, &repository).await;
    }
    let files = repository.lines(&["ls-tree", "-r", "--name-only", "master"]);
    let landed = (0..rounds).filter(|round| files.contains(&format!("{round}/a"))).count();
    let whole = (0..rounds).filter(|round| files.contains(&format!("{round}/b"))).count();
    println!(
        "{rounds} clients died in a commit: {acknowledged} commits acknowledged, {landed} made"
    );
    assert_eq!((landed, files.len()), (whole, 2 * landed + 1));
    assert!(landed >= acknowledged);
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_ends_with_its_client() {
    let repository = TempRepository::new("late");
    let server = Server::start(&repository.0);
    let observer = server.connect().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("git://{}/", listener.local_addr().unwrap());
    let DyingClient { db, cut } = DyingClient::connect(&server, false).await;
    let fetching = tokio::spawn(async move { db.fetch(&url, "master").await });
    let (mut asked, _) = timeout(TIMEOUT, listener.accept()).await.unwrap().unwrap();
    cut.send(()).unwrap();
    timeout(TIMEOUT, fetching).await.unwrap().unwrap().unwrap_err();
    // The remote sees EOF when `git` is killed.
    timeout(TIMEOUT, asked.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    assert_nothing_left(&observer, &repository).await;
}
