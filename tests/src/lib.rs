//! The kit of the tests: a real server and a client that says exactly what it is told to.

// A kit of tests fails by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)]

pub mod board;
pub mod db;
mod gdb;
pub mod malformed;
pub mod random;
pub mod remote;
pub mod wire_client;

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use datakit_core::vfs::Vfs;
use datakit_server::{Limits, Peer, Server, Stats};
use tokio::sync::oneshot;

/// How long anything may take before the test fails; what is tested here takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A server in a thread of its own, on a port of the system's choice. Dropping it stops it and
/// waits for its end.
pub struct Served {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its counters.
    pub stats: Arc<Stats>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Serves what `tree` makes for each connection, with one thread for the connections.
pub fn serve<V, M>(limits: Limits, tree: M) -> Served
where
    V: Vfs + 'static,
    M: Fn(&Peer) -> V + Clone + Send + 'static,
{
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
            let stop = async move {
                let _ = stopped.await;
            };
            server.serve(tree, stop).await.unwrap();
        });
    });
    let (addr, stats) = start.recv_timeout(PATIENCE).unwrap();
    Served { addr, stats, stop: Some(stop), thread: Some(thread) }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the server failed");
        }
    }
}

/// Looks until `what` is so, at most as long as `most`; then the test fails. For states that send
/// no event.
pub fn within(most: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + most;
    while !is_so() {
        assert!(Instant::now() < end, "not within {most:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
