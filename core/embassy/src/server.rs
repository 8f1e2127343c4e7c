//! The listeners and the client slots.

use core::array;
use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::fmt;
use core::future::pending;
use core::mem::ManuallyDrop;

use datakit_core::session::Limits;
use embassy_futures::join::{join_array, join3};
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_time::with_timeout;
use heapless::Vec;

use crate::acceptor::{Acceptor, Socket};
use crate::connection::{ClientSlot, ServerContext};
use crate::memory::SlotMemory;
use crate::{Config, Connections, EndReason, Memory, OpenQuota, Peer, SharedTree};

/// A 9P server that serves a tree to at most `CLIENTS` clients at a time. The const parameters are
/// described in [`Memory`].
///
/// A server is run by several tasks. Each socket has a task that calls [`listen`](Server::listen),
/// and each client slot has a task that calls [`serve`](Server::serve). Alternatively, a single
/// task calls [`run`](Server::run), which uses more processor time.
///
/// One socket is always listening. A client that connects while all slots are busy is accepted and
/// waits for a slot. If two clients connect at the same instant while all slots are busy, the
/// second one is refused and must retry. Every listener without a backlog has this limitation.
pub struct Server<
    T: SharedTree + 'static,
    const CLIENTS: usize,
    const WORKERS: usize,
    const FRAME: usize,
    const FIDS: usize,
> {
    context: ServerContext<T, CLIENTS>,
    acceptor: Acceptor<CLIENTS>,
    /// The number of tasks that have called `listen`.
    listeners: Cell<usize>,
    /// The memory for the slots that no task serves yet.
    unserved: RefCell<Vec<&'static mut SlotMemory<T, CLIENTS, WORKERS, FRAME, FIDS>, CLIENTS>>,
}

impl<
    T: SharedTree + 'static,
    const CLIENTS: usize,
    const WORKERS: usize,
    const FRAME: usize,
    const FIDS: usize,
> Server<T, CLIENTS, WORKERS, FRAME, FIDS>
{
    /// Creates a server and its `CLIENTS + 1` sockets. The [`StackResources`] of `stack` must have
    /// room for these sockets.
    ///
    /// [`StackResources`]: embassy_net::StackResources
    ///
    /// # Panics
    /// Panics if `stack` has no room for the sockets.
    pub fn new<const RECEIVE: usize, const TRANSMIT: usize>(
        stack: Stack<'static>,
        tree: &'static T,
        connections: &'static Connections<CLIENTS>,
        config: &'static Config,
        memory: &'static mut Memory<T, CLIENTS, WORKERS, FRAME, FIDS, RECEIVE, TRANSMIT>,
    ) -> Self {
        let Memory { buffers, spare, slots } = memory;
        let acceptor = Acceptor::new();
        for (listener, buffers) in buffers.iter_mut().chain([spare]).enumerate() {
            let tcp = TcpSocket::new(stack, &mut buffers.receive, &mut buffers.transmit);
            acceptor.return_socket(Socket { listener, tcp: ManuallyDrop::new(tcp) });
        }
        let default = Limits::new(FRAME.max(4096) as u32).iounit(FRAME.saturating_sub(24) as u32);
        Server {
            context: ServerContext {
                tree,
                connections,
                config,
                limits: config.limits.unwrap_or(default),
                quota: OpenQuota::new(T::OPENS, config.reserved_files),
            },
            acceptor,
            listeners: Cell::new(0),
            unserved: RefCell::new(slots.iter_mut().collect()),
        }
    }

    /// Accepts one client after another on a single socket. This method must be called once in each
    /// of `CLIENTS + 1` tasks. Further calls wait forever.
    ///
    /// # Cancel safety
    /// If the future is dropped, the socket is lost.
    pub async fn listen(&'static self) -> ! {
        let number = self.listeners.get();
        if number > CLIENTS {
            pending::<()>().await;
        }
        self.listeners.set(number + 1);
        let back = self.acceptor.listener(number);
        let mut socket = back.wait().await;
        loop {
            let accepted = socket.tcp.accept(self.context.config.port).await;
            socket = if accepted.is_err() || self.context.connections.is_shutting_down() {
                reject(socket).await
            } else {
                self.acceptor.assign(socket);
                match with_timeout(self.context.config.slot_timeout, back.wait()).await {
                    Ok(socket) => socket,
                    Err(_) => match self.acceptor.withdraw(number) {
                        Some(socket) => {
                            if let Some(peer) = socket.tcp.remote_endpoint() {
                                (self.context.config.refused)(Peer(peer));
                            }
                            reject(socket).await
                        }
                        None => back.wait().await,
                    },
                }
            };
        }
    }

    /// Serves one client after another in a slot. This method must be called once in each of
    /// `CLIENTS` tasks. Further calls wait forever.
    ///
    /// # Cancel safety
    /// If the future is dropped, the slot and its socket are lost.
    pub async fn serve(&'static self) -> ! {
        let (number, memory) = {
            let mut unserved = self.unserved.borrow_mut();
            let memory = unserved.pop();
            (unserved.len(), memory)
        };
        let Some(memory) = memory else { pending().await };
        let slot = ClientSlot { context: &self.context, number };
        loop {
            let mut socket = self.acceptor.next_client(number).await;
            if let Some(peer) = socket.tcp.remote_endpoint()
                && let Some(connection) = self.context.connections.add(number, peer)
            {
                (self.context.config.connected)(&connection);
                let reason = slot.serve(&mut socket.tcp, connection.client, memory).await;
                if reason == EndReason::Shutdown {
                    socket.tcp.close();
                    let _ =
                        with_timeout(self.context.config.close_timeout, socket.tcp.flush()).await;
                }
                (self.context.config.disconnected)(&connection, reason);
                self.context.connections.remove(number);
            }
            // Abort the connection instead of closing it, because the peer may not respond and
            // another client needs the socket.
            self.acceptor.return_socket(reject(socket).await);
        }
    }

    /// Runs the whole server in one task. A single task is simpler than one task per socket and
    /// slot. However, when any client sends a request, the task polls the requests of all clients.
    pub async fn run(&'static self) -> ! {
        let listeners = join_array(array::from_fn::<_, CLIENTS, _>(|_| self.listen_forever()));
        let slots = join_array(array::from_fn::<_, CLIENTS, _>(|_| self.serve_forever()));
        match join3(listeners, self.listen_forever(), slots).await.1 {}
    }

    async fn serve_forever(&'static self) -> Infallible {
        self.serve().await
    }

    async fn listen_forever(&'static self) -> Infallible {
        self.listen().await
    }
}

/// Closes a connection.
async fn reject(mut socket: Socket) -> Socket {
    socket.tcp.abort();
    let _ = socket.tcp.flush().await;
    socket
}

impl<
    T: SharedTree + 'static,
    const CLIENTS: usize,
    const WORKERS: usize,
    const FRAME: usize,
    const FIDS: usize,
> fmt::Debug for Server<T, CLIENTS, WORKERS, FRAME, FIDS>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("connections", self.context.connections)
            .finish_non_exhaustive()
    }
}
