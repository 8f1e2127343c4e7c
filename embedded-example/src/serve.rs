//! The settings and tasks of the 9P server.

use datakit_core::params::client_left;
use datakit_core::serve::Disconnect;
use datakit_core::vfs::{AsyncTree, StaticTree};
use datakit_embassy::{Config, ConnectionInfo, EndReason, Memory, Server};
use datakit_firmware::board::{self, EventKind};
use datakit_firmware::params;
use datakit_firmware::state::{CLIENTS, CONNECTIONS};
use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_time::Duration;
use static_cell::{ConstStaticCell, StaticCell};

use crate::log::log;
use crate::net::SOCKETS;

/// The tree, with room for 24 open files, each with at most 96 bytes of text.
type Tree = StaticTree<24, 96, AsyncTree>;

/// The maximum number of requests that a client can have in flight. All but one of these requests
/// can wait for events.
const WORKERS: usize = 4;
/// The maximum length, in bytes, of a message. The negotiated msize is larger, because Linux
/// requires an msize of at least one page. Reads and writes stay within the maximum length, because
/// clients respect the iounit. Any other request longer than this is refused.
const FRAME: usize = 1024;
/// The maximum number of fids per client.
const FIDS: usize = 24;

type BoardServer = Server<Tree, CLIENTS, WORKERS, FRAME, FIDS>;

static CONFIG: Config = Config::new()
    .idle_timeout(|| Duration::from_secs(params::idle_seconds().into()))
    .nagle(params::nagle)
    .reserved_files(4)
    .connected(connected)
    .disconnected(disconnected);

/// Starts the server's tasks. If this function were inlined, the values that it moves into statics
/// would stay on the stack of `main`.
#[inline(never)]
pub fn start(spawner: Spawner, stack: Stack<'static>) {
    static TREE: StaticCell<Tree> = StaticCell::new();
    static MEMORY: ConstStaticCell<Memory<Tree, CLIENTS, WORKERS, FRAME, FIDS>> =
        ConstStaticCell::new(Memory::new());
    static SERVER: StaticCell<BoardServer> = StaticCell::new();
    let tree = TREE.init_with(|| Tree::new_async(&board::ROOT));
    let server =
        SERVER.init_with(|| BoardServer::new(stack, tree, &CONNECTIONS, &CONFIG, MEMORY.take()));
    for _ in 0..SOCKETS {
        spawner.spawn(listen(server).expect("the pool has a task for each socket"));
    }
    for _ in 0..CLIENTS {
        spawner.spawn(serve(server).expect("the pool has a task for each slot"));
    }
}

#[embassy_executor::task(pool_size = SOCKETS)]
async fn listen(server: &'static BoardServer) -> ! {
    server.listen().await
}

#[embassy_executor::task(pool_size = CLIENTS)]
async fn serve(server: &'static BoardServer) -> ! {
    server.serve().await
}

fn connected(_: &ConnectionInfo) {
    board::publish_event(EventKind::Connected);
    log!(info, "connected");
}

fn disconnected(connection: &ConnectionInfo, reason: EndReason) {
    client_left(connection.client);
    board::publish_event(EventKind::Disconnected);
    match reason {
        EndReason::Disconnect(Disconnect::Closed) => log!(info, "disconnected"),
        EndReason::Disconnect(Disconnect::Truncated) => {
            log!(warn, "closed in the middle of a message");
        }
        EndReason::Disconnect(Disconnect::InvalidSize(size)) => {
            log!(warn, "message size {=u32}", size);
        }
        EndReason::Disconnect(_) => log!(warn, "connection lost"),
        _ => log!(info, "connection ended"),
    }
}
