//! Clients that die: nothing of theirs stays.

use std::time::Duration;

use datakit_client::db::{Db, Watch};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::place::{PATIENCE, Program, Repository, begin, commit, counters, wanted};

/// The start of a `Twrite` of 200 bytes, the rest of which never comes.
const HALF: [u8; 9] = [200, 0, 0, 0, 118, 1, 0, 2, 0];

/// A client whose connection ends in the middle of a message when `cut` is told to.
struct Mortal {
    db: Db,
    cut: oneshot::Sender<()>,
}

impl Mortal {
    /// With `reset`, the server is sent a reset instead of an end.
    async fn connect(program: &Program, reset: bool) -> Mortal {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (cut, now) = oneshot::channel();
        let to = program.address().to_owned();
        tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(to).await.unwrap();
            if reset {
                server.set_zero_linger().unwrap();
            }
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = now => server.write_all(&HALF).await.unwrap(),
            }
        });
        Mortal { db: timeout(PATIENCE, Db::connect(&url)).await.unwrap().unwrap(), cut }
    }
}

/// Reads what is there, and then waits for what never comes.
async fn waiting<T: Send + 'static>(
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

/// Looks until it is so, for one second. Nobody is told of what the server drops.
async fn soon(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within a second: {what}");
}

async fn in_use(db: &Db) -> [u64; 3] {
    let counters = counters(db).await;
    ["transactions", "watches", "remotes"].map(|name| counters[name])
}

async fn nothing_is_left(db: &Db, repository: &Repository) {
    soon("nothing in use", async || in_use(db).await == [0, 0, 0]).await;
    soon("no other connection", async || {
        db.client()
            .read("/debug/server/connections")
            .await
            .unwrap()
            .split(|byte| *byte == b'\n')
            .count()
            == 2
    })
    .await;
    soon("nothing fetched", async || repository.git(&["for-each-ref", "refs/remotes"]).is_empty())
        .await;
}

/// A remote with the server's own repository, fetched from, and a reader of its head.
async fn fetched(db: &Db, url: &str) -> JoinHandle<()> {
    let client = db.client();
    client.mkdir("/remotes/r", 0o755).await.unwrap();
    client.write("/remotes/r/url", url.as_bytes()).await.unwrap();
    client.write("/remotes/r/fetch", b"master").await.unwrap();
    let mut heads = client.watch("/remotes/r/head").await.unwrap();
    heads.next().await.unwrap().unwrap();
    tokio::spawn(async move { assert!(heads.next().await.is_err()) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_client_leaves_nothing_behind() {
    let repository = Repository::new("dead");
    let program = Program::start(&repository.0);
    let observer = program.connect().await;
    commit(&observer, "master", "first", "x").await.unwrap();
    let there = Repository::new("there");
    there.git(&["clone", "-q", "--bare", &repository.0.display().to_string(), "."]);
    for reset in [false, true] {
        let Mortal { db, cut } = Mortal::connect(&program, reset).await;
        let master = db.branch("master").await.unwrap();
        let open = begin(&db, "master", "d/second", "y").await.unwrap();
        let client = db.client();
        client.mkdir("/branch/master/transactions/t", 0o755).await.unwrap();
        let file = client.open_to_write("/branch/master/transactions/t/rw/first").await.unwrap();
        let waits = [
            waiting(master.watch_head().await, true).await,
            waiting(master.watch_path(&"first".parse().unwrap()).await, true).await,
            waiting(master.reflog().await, false).await,
            fetched(&db, &there.0.display().to_string()).await,
        ];
        soon("all of them wait", async || requests_under_way(&observer).await == waits.len()).await;
        assert_eq!(in_use(&observer).await, [2, 4, 1]);
        assert_ne!(repository.git(&["for-each-ref", "refs/remotes"]), "");
        cut.send(()).unwrap();
        nothing_is_left(&observer, &repository).await;
        for wait in waits {
            timeout(PATIENCE, wait).await.unwrap().unwrap();
        }
        drop((open, file));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_dies_in_a_commit_leaves_all_of_it_or_nothing() {
    let rounds = wanted(10, 100);
    let repository = Repository::new("dies");
    let program = Program::start(&repository.0);
    let observer = program.connect().await;
    commit(&observer, "master", "first", "x").await.unwrap();
    let mut acknowledged = 0;
    for round in 0..rounds {
        let Mortal { db, cut } = Mortal::connect(&program, round % 2 == 0).await;
        let transaction = begin(&db, "master", &format!("{round}/a"), "x").await.unwrap();
        transaction.create_file(&format!("{round}/b").parse().unwrap(), b"x", false).await.unwrap();
        let committing = tokio::spawn(async move { transaction.commit("both").await });
        soon("a request", async || {
            requests_under_way(&observer).await > 0 || committing.is_finished()
        })
        .await;
        // Nobody may be there any more.
        let _ = cut.send(());
        acknowledged += usize::from(timeout(PATIENCE, committing).await.unwrap().unwrap().is_ok());
        nothing_is_left(&observer, &repository).await;
    }
    let files = repository.lines(&["ls-tree", "-r", "--name-only", "master"]);
    let landed = (0..rounds).filter(|round| files.contains(&format!("{round}/a"))).count();
    let whole = (0..rounds).filter(|round| files.contains(&format!("{round}/b"))).count();
    println!("{rounds} clients died in a commit: {acknowledged} were told, {landed} landed");
    assert_eq!((landed, files.len()), (whole, 2 * landed + 1));
    assert!(landed >= acknowledged);
    repository.is_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_for_the_dead_is_ended() {
    let repository = Repository::new("late");
    let program = Program::start(&repository.0);
    let observer = program.connect().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("git://{}/", listener.local_addr().unwrap());
    let Mortal { db, cut } = Mortal::connect(&program, false).await;
    let fetching = tokio::spawn(async move { db.fetch(&url, "master").await });
    let (mut asked, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    cut.send(()).unwrap();
    timeout(PATIENCE, fetching).await.unwrap().unwrap().unwrap_err();
    // The other side sees the end of the program that asked.
    timeout(PATIENCE, asked.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    nothing_is_left(&observer, &repository).await;
}
