//! The dynamic tree. Directories may change while the tree is being served, and files are built
//! from closures, values and streams.
//!
//! ```
//! use datakit_server::tree::{Dir, Entry, Live, ReadOnlyText, Tree};
//!
//! let root = Dir::new();
//! root.insert(Entry::file("version", ReadOnlyText::new("1.0\n")));
//! let progress = Live::new(0);
//! root.insert(Entry::file("progress", progress.file(|percent| format!("{percent}\n"))));
//! let tree = Tree::new(root.clone());
//! progress.publish(50);
//! root.remove(b"version");
//! # let _ = tree;
//! ```
//!
//! | to serve | use |
//! |---|---|
//! | constant text, or text that clients may change | [`ReadOnlyText`], [`Text`] |
//! | text computed at each open | [`Status`] |
//! | commands and their replies | [`Command`] |
//! | a value that is read and written as a whole | [`Kv`] over closures or a [`Value`] |
//! | a stream of the latest value, or of every value | [`Live`], [`Queue`] |
//! | a file from [`datakit_core::files`] | [`CoreFile`] |
//! | a `datakit-core` directory, such as a program's parameters | [`CoreDir`] |
//! | any other file | your own [`Leaf`] |
//! | a directory to which the program adds entries and from which it removes them | [`Dir`] |
//! | a directory whose entries are computed | [`ListDir`] |
//! | a directory in which clients create, rename and remove | [`CallbackDir`] |
//! | a restricted view of a directory | [`ReadOnly`], [`DirOnly`] |
//! | the program's log levels | [`log::LogSources`] |
//! | any other directory | your own [`Directory`] |
//! | a directory with so many entries that creating them all is slow | [`Directory::open`] |
//! | a custom mode, owner, times and size | [`Entry::with_attributes`] |
//! | a hook that runs when the last client closes a file | [`Leaf::on_clunk`] |
//!
//! Each type in this module behaves like the type of the same name in [`datakit_core::files`]. The
//! types in `datakit_core` are meant for `static` items on a device. The types in this module
//! allocate memory, can wait for asynchronous operations, and can be shared between threads.
//!
//! In the `ports` example in this crate, clients control port forwards through a tree.

mod attributes;
mod callback_dir;
mod client_number;
mod command;
mod core_adapter;
mod core_dir;
mod directory;
mod entry;
mod file;
mod growing_text;
mod kv;
mod listing;
mod live;
pub mod log;
mod on_clunk;
mod open_async;
mod pieces;
mod queue;
mod stream;
mod text;
mod vfs;

#[cfg(test)]
mod author_tests;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_limit_tests;

use std::future::Future;
use std::pin::Pin;

use datakit_core::vfs::Result;

pub use self::attributes::Attributes;
pub use self::callback_dir::{CallbackDir, IntoBoxFuture};
pub use self::client_number::{ClientNumber, client_name};
pub use self::command::{Command, CommandError};
pub use self::core_adapter::CoreFile;
pub use self::core_dir::CoreDir;
pub use self::directory::READ_ONLY_DIR_MODE;
pub use self::directory::{Dir, DirOnly, Directory, Empty, ListDir, ReadOnly};
use self::entry::EntryContent;
pub use self::entry::{Entry, WeakEntry};
pub use self::file::{Leaf, OpenLeaf};
pub use self::kv::{Kv, Value};
pub use self::listing::{EntryList, Listing};
pub use self::live::{Live, LiveFile};
pub use self::on_clunk::OnClunk;
pub use self::pieces::is_prefix_of_any;
pub use self::queue::Queue;
pub use self::stream::{OpenStream, TextSource};
pub use self::text::OpenBytes;
pub use self::text::{ReadOnlyText, Status, Text};
pub use self::vfs::{EntryPath, Open};

/// A boxed future whose output is a [`Result`]. Dropping the future cancels the operation.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Returns a future that is immediately ready.
pub fn ready<'a, T: Send + 'a>(result: Result<T>) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(result))
}

/// A dynamic tree. Clones refer to the same tree.
#[derive(Debug, Clone)]
pub struct Tree {
    root: EntryPath,
    client: ClientNumber,
}

impl Tree {
    /// Creates a tree whose root is `root`.
    pub fn new(root: impl Directory + 'static) -> Tree {
        Tree::with_root(Entry::dir("/", root))
    }

    /// Creates a tree whose root is the `root` directory. Trees created from clones of the same
    /// entry have the same root inode number.
    #[must_use]
    pub fn with_root(root: Entry) -> Tree {
        vfs::start_time();
        Tree { root: EntryPath::root(root), client: ClientNumber::for_all_connections() }
    }

    /// Returns a handle to this tree for one connection. `datakit-core` files identify the
    /// connection by a [`ClientNumber`] and show `name` as the connection's name.
    ///
    /// ```no_run
    /// # async fn example(server: datakit_server::Server, tree: datakit_server::tree::Tree) {
    /// let serving = server.serve_tree(move |peer| tree.for_client(&peer.name), std::future::pending());
    /// # serving.await.unwrap();
    /// # }
    /// ```
    ///
    /// The texts of the connection's open files have at most 4 MiB in total. Such a text is an
    /// incomplete value or command, or the text that a client is reading.
    /// [`Server::serve_tree`](crate::Server::serve_tree) sets this limit for each connection, even
    /// if the connection has no name. Other functions that serve the handle returned by
    /// [`new`](Tree::new) allow 64 MiB for all connections together.
    #[must_use]
    pub fn for_client(&self, name: &str) -> Tree {
        Tree { root: self.root.clone(), client: ClientNumber::new(name) }
    }

    /// Returns a handle that limits the texts of one connection's open files.
    pub(crate) fn for_connection(self) -> Tree {
        if self.client.is_named() {
            return self;
        }
        Tree { client: ClientNumber::for_connection(), ..self }
    }
}
