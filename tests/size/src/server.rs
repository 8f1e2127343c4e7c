//! The 9P server used by the `tree`, `params` and `waiting` images.

use datakit_core::serve::{self, Memory};
use datakit_core::session::{FidArray, Limits, Session};
use datakit_core::vfs::{AsyncTree, Dir, StaticTree};
use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use static_cell::{ConstStaticCell, StaticCell};

use crate::{SOCKET, SOCKETS, spawn};

const WORKERS: usize = 4;
const FRAME: usize = 1024;
const LIMITS: Limits = Limits::new(4096).iounit((FRAME - 24) as u32);

/// The type of tree that most images serve.
pub type Tree = StaticTree<16, 96>;

/// The type of tree for images with files whose writes may have to wait.
pub type TreeWithTasks = StaticTree<16, 96, AsyncTree>;

/// Defines a function that serves a directory on all sockets. A server's task cannot be generic, so
/// each type of tree needs its own function and task.
macro_rules! server {
    ($(#[$doc:meta])* $start:ident, $serve_clients:ident, $tree:ty, $new:ident) => {
        $(#[$doc])*
        pub fn $start(spawner: Spawner, stack: Stack<'static>, root: &'static Dir) {
            static TREE: StaticCell<$tree> = StaticCell::new();
            static MEMORY: [ConstStaticCell<Memory<WORKERS, FRAME>>; SOCKETS] =
                [const { ConstStaticCell::new(Memory::new()) }; SOCKETS];
            let tree = TREE.init_with(|| <$tree>::$new(root));
            for memory in &MEMORY {
                spawn(spawner, $serve_clients(stack, tree, memory.take()));
            }
        }

        #[embassy_executor::task(pool_size = SOCKETS)]
        async fn $serve_clients(
            stack: Stack<'static>,
            tree: &'static $tree,
            memory: &'static mut Memory<WORKERS, FRAME>,
        ) -> ! {
            let (mut receive, mut transmit) = ([0; SOCKET], [0; SOCKET]);
            let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
            loop {
                if socket.accept(564).await.is_ok() {
                    let session = Session::new(tree, FidArray::<$tree, 24>::new(), LIMITS);
                    let (rx, tx) = socket.split();
                    let _ = serve::serve(&session, rx, tx, memory).await;
                    session.close().await;
                }
                socket.abort();
                let _ = socket.flush().await;
            }
        }
    };
}

server! {
    /// Serves `root` on all sockets.
    start, serve_clients, Tree, new
}

server! {
    /// Serves `root` on all sockets. The tree may contain files whose writes have to wait.
    start_async, serve_async_clients, TreeWithTasks, new_async
}

/// Defines a directory of parameters that all have the same type, range, unit and description.
/// Appends one more parameter if its type and initial value are given. Also appends any entries
/// that follow a semicolon. Every image contains the unit and the description exactly once, so
/// these strings do not affect the size difference between two images.
#[macro_export]
macro_rules! params {
    ($root:ident: $($name:ident)* $(, $type:ty = $initial:expr)? $(; $($entry:expr),*)?) => {
        $(static $name: datakit_core::files::Value<u32> = datakit_core::files::Value::new(1000);)*
        $(static OTHER: datakit_core::files::Value<$type> =
            datakit_core::files::Value::new($initial);)?

        static $root: datakit_core::vfs::Dir = datakit_core::vfs::Dir::new(&[
            $(datakit_core::vfs::file(
                $crate::server::letter(stringify!($name)),
                &datakit_core::files::Param::new(&$name).range(10, 60_000).unit(&"ms").doc("one light to the next"),
            ),)*
            $(datakit_core::vfs::file(
                $crate::server::letter("Z"),
                &datakit_core::files::Param::<$type>::new(&OTHER).unit(&"ms").doc("one light to the next"),
            ),)?
            $($($entry,)*)?
        ]);
    };
}

/// Returns a one-letter name, sliced from a string that contains all uppercase letters.
pub const fn letter(name: &str) -> &'static str {
    let from = name.as_bytes().first_chunk::<1>().expect("a letter")[0] - b'A';
    LETTERS.split_at(from as usize).1.split_at(1).0
}

const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
