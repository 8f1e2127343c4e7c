//! The threads that serve connections.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use datakit_core::vfs::Vfs;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tracing::warn;

use super::Permit;
use super::connection::{ConnectionEntry, ServerState};
use super::listen::AcceptedSocket;
use super::transport::Stream;
use crate::scratch::Scratch;
use crate::tree::Tree;

/// The threads that serve connections.
pub(super) struct WorkerThreads {
    senders: Vec<UnboundedSender<(AcceptedSocket, Permit)>>,
    next: AtomicUsize,
}

impl WorkerThreads {
    /// Spawns `threads` threads. Each thread has its own copy of `serve` and holds its own copy of
    /// `running` until it exits.
    pub(super) fn spawn<S>(
        threads: usize,
        serve: &S,
        state: &Arc<ServerState>,
        running: &watch::Sender<()>,
    ) -> io::Result<WorkerThreads>
    where
        S: Fn(ConnectionEntry, Stream, Permit) -> ConnectionFuture + Clone + Send + 'static,
    {
        let spawn = |_| spawn_worker(Box::new(serve.clone()), state.clone(), running.subscribe());
        let senders = (0..threads).map(spawn).collect::<io::Result<Vec<_>>>()?;
        Ok(WorkerThreads { senders, next: AtomicUsize::new(0) })
    }

    /// Passes a connection to the next thread.
    pub(super) fn send(&self, socket: AcceptedSocket, permit: Permit) {
        let index = self.next.fetch_add(1, Relaxed) % self.senders.len();
        if let Some(sender) = self.senders.get(index) {
            // Sending cannot fail, because each thread keeps its receiver until the sender is
            // dropped.
            let _ = sender.send((socket, permit));
        }
    }
}

/// Serves one connection. Each kind of tree has its own type of connection future. Boxing these
/// futures ensures that tokio's code is compiled for only one type of future.
pub(super) type ConnectionFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Returns the future that serves a connection.
type ServeConnection = dyn Fn(ConnectionEntry, Stream, Permit) -> ConnectionFuture + Send;

/// Spawns a thread that has its own reactor and serves the connections sent to it. Once the sender
/// has been dropped, the thread exits as soon as its last connection closes. The thread drops
/// `running` last, after the tree.
fn spawn_worker(
    serve: Box<ServeConnection>,
    state: Arc<ServerState>,
    running: watch::Receiver<()>,
) -> io::Result<UnboundedSender<(AcceptedSocket, Permit)>> {
    let (sender, receiver) = unbounded_channel();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("datakit-serve".into()).spawn(move || {
        let _running = running;
        let (tasks, serve) = (LocalSet::new(), serve);
        runtime.block_on(tasks.run_until(spawn_connections(receiver, &*serve, &state)));
        runtime.block_on(tasks);
    })?;
    Ok(sender)
}

/// Spawns a task for each connection, until the sender is dropped.
async fn spawn_connections(
    mut receiver: UnboundedReceiver<(AcceptedSocket, Permit)>,
    serve: &ServeConnection,
    state: &Arc<ServerState>,
) {
    while let Some((socket, permit)) = receiver.recv().await {
        let entry = ConnectionEntry::new(state.clone(), socket.peer_name());
        match socket.register() {
            Ok(stream) => drop(spawn_local(serve(entry, stream, permit))),
            Err(error) => warn!(peer = entry.peer.name, %error, "cannot use this socket"),
        }
    }
}

/// Serves an accepted connection until it closes.
pub(super) fn serve_connection<V: Vfs + 'static>(
    entry: ConnectionEntry,
    mut stream: Stream,
    tree: V,
    permit: Permit,
) -> ConnectionFuture {
    Box::pin(async move {
        entry.serve(&mut stream, &tree).await;
        drop(permit);
    })
}

/// Serves a connection to a [`Tree`], and limits the texts of the connection's open files. This
/// function is not generic, so the program that calls it does not contain a second copy of the
/// session code.
#[inline(never)]
pub(super) fn serve_tree(
    entry: ConnectionEntry,
    stream: Stream,
    tree: Tree,
    permit: Permit,
) -> ConnectionFuture {
    serve_connection(entry, stream, tree.for_connection(), permit)
}

/// Serves a connection to a [`Scratch`] tree.
#[inline(never)]
pub(super) fn serve_scratch(
    entry: ConnectionEntry,
    stream: Stream,
    tree: Scratch,
    permit: Permit,
) -> ConnectionFuture {
    serve_connection(entry, stream, tree, permit)
}
