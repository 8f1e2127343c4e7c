//! Support code for the tests, such as a real server and clients that send exactly the requested
//! messages.

// The functions in this crate fail a test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)]

pub mod board;
pub mod db;
mod gdb;
pub mod github;
pub mod malformed;
pub mod random;
pub mod remote;
pub mod schema;
pub mod transactions;
pub mod wire_client;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use datakit_core::vfs::Vfs;
use datakit_server::tree::Tree;
use datakit_server::{Limits, Peer, Server, Stats};
use tokio::sync::oneshot;

/// The maximum time that a step may take before the test fails. A step normally takes only
/// milliseconds.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A server that runs on its own thread and listens on a free port. Dropping this value stops the
/// server and joins the thread.
pub struct Served {
    /// The address on which the server listens.
    pub addr: SocketAddr,
    /// The server's counters.
    pub stats: Arc<Stats>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a server with one worker thread. The server calls `tree` for each connection.
pub fn serve<V, M>(limits: Limits, tree: M) -> Served
where
    V: Vfs + 'static,
    M: Fn(&Peer) -> V + Clone + Send + 'static,
{
    start(limits, async |server, stop| server.serve(tree, stop).await)
}

/// Like [`serve`], but uses [`Server::serve_tree`].
pub fn serve_tree(limits: Limits, tree: Tree) -> Served {
    start(limits, async move |server, stop| server.serve_tree(move |_| tree.clone(), stop).await)
}

/// Starts a thread that runs a server with `run`.
fn start(
    limits: Limits,
    run: impl AsyncFnOnce(Server, Stop) -> io::Result<()> + Send + 'static,
) -> Served {
    let (started, start) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let limits = limits.threads(1);
            let server =
                Server::bind(&["tcp://127.0.0.1:0".parse().unwrap()], limits).await.unwrap();
            let url = server.urls()[0].to_string();
            started
                .send((url.trim_start_matches("tcp://").parse().unwrap(), server.stats()))
                .unwrap();
            let stop = Box::pin(async move {
                let _ = stopped.await;
            });
            run(server, stop).await.unwrap();
        });
    });
    let (addr, stats) = start.recv_timeout(TIMEOUT).unwrap();
    Served { addr, stats, stop: Some(stop), thread: Some(thread) }
}

/// A future that completes when the server should stop.
type Stop = Pin<Box<dyn Future<Output = ()>>>;

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the server failed");
        }
    }
}

/// Polls `is_so` until it returns `true`. Fails the test with `what` as the message if the
/// condition does not hold within `most`.
///
/// Use this function only if there is no event to wait for.
pub fn within(most: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + most;
    while !is_so() {
        assert!(Instant::now() < end, "not within {most:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs the examples in the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
