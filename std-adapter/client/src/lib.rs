//! A 9P client for tokio: 9P2000, 9P2000.u and 9P2000.L behind one set of calls.
//!
//! ```no_run
//! # async fn example() -> datakit_client::Result<()> {
//! use datakit_client::{Client, Options};
//!
//! let url = "tcp://127.0.0.1:5640".parse().unwrap();
//! let client = Client::connect(&url, Options::default()).await?;
//! client.write("/led", b"on").await?;
//! let mut events = client.watch("/events").await?;
//! while let Some(event) = events.next().await? {
//!     println!("{}", String::from_utf8_lossy(&event));
//! }
//! # Ok(()) }
//! ```
//!
//! Paths are bytes, normally UTF-8, split at `/`; empty names and `.` are left out.
//!
//! - One connection is shared by all clones, and by all that was made from them; requests are
//!   pipelined.
//! - A future that is dropped flushes its request (Tflush). Its tag is used again after Rflush, its
//!   fid after it was clunked.
//! - A lost connection fails all requests that wait and all later ones with [`Error::Lost`]. It
//!   does not come back: connect again.
//! - The last handle dropped closes the connection, once what is to be written is written.

#![forbid(unsafe_code)]

mod connect;
pub mod db;
mod error;
mod file;
mod link;
mod metadata;
mod node;
mod tags;
#[cfg(test)]
mod tests;
mod text;
mod transfer;
mod wires;

use std::sync::Arc;
use std::time::Duration;

pub use connect::Options;
pub use datakit_core::wire::{Dialect, Qid};
pub use error::{Error, Result};
pub use file::{File, Watch};
pub use metadata::{DirEntry, FileType, Listing, Metadata};
pub use node::{Node, OpenMode};
pub use text::ByteString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
pub use transfer::{Chunks, Writes};

use self::link::Link;
use datakit_server::Url;

/// How many files one listing asks about at a time.
const ABREAST: usize = 32;

/// A connection with an attached root. Clones share both.
#[derive(Clone)]
pub struct Client {
    root: Arc<Node>,
    link: Arc<Link>,
}

impl Client {
    /// Connects, agrees on a version and attaches. Needs a tokio runtime with I/O and time, where
    /// it leaves two tasks.
    ///
    /// # Errors
    /// [`Error::Lost`] when nobody listens, or nobody answers in time; [`Error::Unsupported`] when
    /// the server does not speak the dialect of `options`, and the server's error when it refuses
    /// the attach.
    pub async fn connect(url: &Url, options: Options) -> Result<Client> {
        within(options.timeout, async {
            let link = connect::dial(url, &options).await?;
            Client::root(link, &options).await
        })
        .await
    }

    /// The same over any two-way stream: a pipe, a serial line with framing below, a test's duplex.
    ///
    /// # Errors
    /// Those of [`Client::connect`].
    pub async fn from_stream<S>(stream: S, options: Options) -> Result<Client>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        within(options.timeout, async {
            let (reader, writer) = tokio::io::split(stream);
            let link = connect::negotiate(reader, writer, &options).await?;
            Client::root(link, &options).await
        })
        .await
    }

    async fn root(link: Arc<Link>, options: &Options) -> Result<Client> {
        let (uname, aname, n_uname) = options.user();
        let root = Node::attach(&link, uname, aname, n_uname).await?;
        Ok(Client { root: Arc::new(root), link })
    }

    /// Another root on the same connection, for another user or tree.
    ///
    /// # Errors
    /// The server's, when it refuses the attach.
    pub async fn attach(&self, uname: &str, aname: &str, n_uname: u32) -> Result<Client> {
        let root = Node::attach(&self.link, uname, aname, n_uname).await?;
        Ok(Client { root: Arc::new(root), link: Arc::clone(&self.link) })
    }

    /// Waits until the connection is closed: for all handles of it, for what is to be written, and
    /// at most a second for the other side.
    pub async fn close(self) {
        let ended = self.link.ended();
        drop(self);
        ended.cancelled().await;
    }

    /// The dialect agreed on.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.link.dialect
    }

    /// The longest message agreed on, in bytes, header included.
    #[must_use]
    pub fn msize(&self) -> u32 {
        self.link.msize
    }

    /// The place `path` names, for what is not a single call.
    ///
    /// # Errors
    /// Those of [`Node::walk`].
    pub async fn walk(&self, path: impl AsRef<[u8]>) -> Result<Node> {
        self.root.walk(path).await
    }

    /// Opens a file or a directory.
    ///
    /// # Errors
    /// Those of [`Node::walk`] and [`Node::open`].
    pub async fn open(&self, path: impl AsRef<[u8]>, how: OpenMode) -> Result<File> {
        self.walk(path).await?.open(how).await
    }

    /// Makes a file with these permission bits and opens it.
    ///
    /// # Errors
    /// Those of [`Node::walk`] and [`Node::create`].
    pub async fn create(&self, path: impl AsRef<[u8]>, mode: u32, how: OpenMode) -> Result<File> {
        let (dir, name) = node::split_last(path.as_ref())?;
        self.root.walk_names(&dir).await?.create(name, mode, how).await
    }

    /// All of a file, see [`File::read_all`].
    ///
    /// # Errors
    /// Those of [`Client::open`] and [`File::read_all`]; `Is a directory` (21) for a directory,
    /// which is read with [`Client::read_dir`].
    pub async fn read(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        self.open_to_read(path).await?.read_all().await
    }

    /// A file to read: anything but a directory.
    ///
    /// # Errors
    /// `Is a directory` (21), and those of [`Client::open`].
    pub async fn open_to_read(&self, path: impl AsRef<[u8]>) -> Result<File> {
        self.walk_to_file(path).await?.open(OpenMode::READ).await
    }

    /// Some servers open directories for anything.
    async fn walk_to_file(&self, path: impl AsRef<[u8]>) -> Result<Node> {
        let node = self.walk(path).await?;
        if node.qid().kind & Qid::DIR == 0 { Ok(node) } else { Err(Error::number(21)) }
    }

    /// Makes `data` all of a file; makes the file if it is missing.
    ///
    /// The file is closed when this returns. It is opened with "truncate" and, when the tree
    /// refuses that, without.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn write(&self, path: impl AsRef<[u8]>, data: &[u8]) -> Result<()> {
        let file = self.open_to_write(path).await?;
        file.write_all_at(0, data).await?;
        file.close().await
    }

    /// A file to write from its start: emptied, or made if it is missing.
    ///
    /// # Errors
    /// `Is a directory` (21), and what the server refuses.
    pub async fn open_to_write(&self, path: impl AsRef<[u8]>) -> Result<File> {
        let path = path.as_ref();
        let node = match self.walk_to_file(path).await {
            Err(error) if error.is_not_found() => {
                match self.create(path, 0o666, OpenMode::WRITE.truncate()).await {
                    // Somebody else made it meanwhile.
                    Err(error) if error.is_exists() => self.walk_to_file(path).await?,
                    made => return made,
                }
            }
            other => other?,
        };
        match node.open(OpenMode::WRITE.truncate()).await {
            Err(Error::Server { .. }) => self.open(path, OpenMode::WRITE).await,
            other => other,
        }
    }

    /// What the server says about a file.
    ///
    /// # Errors
    /// Those of [`Node::walk`] and [`Node::stat`].
    pub async fn stat(&self, path: impl AsRef<[u8]>) -> Result<Metadata> {
        self.walk(path).await?.stat().await
    }

    /// The names in a directory.
    ///
    /// # Errors
    /// Those of [`Client::open`] and [`File::read_dir`].
    pub async fn read_dir(&self, path: impl AsRef<[u8]>) -> Result<Vec<DirEntry>> {
        let node = self.walk(path).await?;
        // Refused here: opening may have an effect on a file.
        if node.qid().kind & Qid::DIR == 0 {
            return Err(Error::number(20));
        }
        node.open(OpenMode::READ).await?.read_dir().await
    }

    /// The names in a directory with all about them: one request more per name in 9P2000.L, many at
    /// a time. Names that vanish meanwhile are left out.
    ///
    /// # Errors
    /// Those of [`Client::read_dir`] and [`Client::stat`].
    pub async fn list(&self, path: impl AsRef<[u8]>) -> Result<Vec<Metadata>> {
        let Listing { files, failed } = self.list_all(path).await?;
        failed.into_iter().next().map_or(Ok(files), |(_, error)| Err(error))
    }

    /// The same where some names are there and cannot be looked at: of these only the kind is
    /// known, and why.
    ///
    /// # Errors
    /// Those of [`Client::read_dir`]; those of the connection.
    pub async fn list_all(&self, path: impl AsRef<[u8]>) -> Result<Listing> {
        let path = path.as_ref();
        let dir = Arc::new(self.walk(path).await?);
        let entries = self.read_dir(path).await?;
        let mut all: Vec<Option<Metadata>> = Vec::with_capacity(entries.len());
        let mut failed = Vec::new();
        let mut asked = JoinSet::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let known = entry.metadata.filter(|metadata| metadata.is_dir() || !metadata.is_bare());
            if known.is_none() {
                let bare = Metadata::of_entry(entry.name, entry.kind, entry.qid);
                asked.spawn(stat_below(Arc::clone(&dir), index, bare));
            }
            all.push(known);
            if asked.len() >= ABREAST {
                take_answer(&mut asked, &mut all, &mut failed).await?;
            }
        }
        while !asked.is_empty() {
            take_answer(&mut asked, &mut all, &mut failed).await?;
        }
        Ok(Listing { files: all.into_iter().flatten().collect(), failed })
    }

    /// Makes a directory with these permission bits.
    ///
    /// # Errors
    /// Those of [`Node::walk`] and [`Node::mkdir`].
    pub async fn mkdir(&self, path: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let (dir, name) = node::split_last(path.as_ref())?;
        self.root.walk_names(&dir).await?.mkdir(name, mode).await
    }

    /// Makes a symbolic link at `path`.
    ///
    /// # Errors
    /// Those of [`Node::walk`] and [`Node::symlink`].
    pub async fn symlink(&self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Result<()> {
        let (dir, name) = node::split_last(path.as_ref())?;
        self.root.walk_names(&dir).await?.symlink(name, target).await
    }

    /// Where a symbolic link points.
    ///
    /// # Errors
    /// Those of [`Node::walk`] and [`Node::read_link`].
    pub async fn read_link(&self, path: impl AsRef<[u8]>) -> Result<ByteString> {
        self.walk(path).await?.read_link().await
    }

    /// Removes a file, a link or an empty directory.
    ///
    /// # Errors
    /// Those of [`Node::walk`] and [`Node::remove`].
    pub async fn remove(&self, path: impl AsRef<[u8]>) -> Result<()> {
        self.walk(path).await?.remove().await
    }

    /// Gives a file another name or directory. Whether it replaces what has that name is up to the
    /// server.
    ///
    /// # Errors
    /// `Invalid cross-device link` (18) for another directory in 9P2000 and .u, which cannot say
    /// that; and what the server refuses.
    pub async fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        let ((dir, old), (newdir, new)) =
            (node::split_last(from.as_ref())?, node::split_last(to.as_ref())?);
        if self.dialect() != Dialect::Linux {
            if dir != newdir {
                return Err(Error::number(18));
            }
            return self.walk(from.as_ref()).await?.set_name(new).await;
        }
        let (dir, newdir) =
            (self.root.walk_names(&dir).await?, self.root.walk_names(&newdir).await?);
        match dir.rename_at(old, &newdir, new).await {
            Err(error) if error.is_not_supported() => {
                self.walk(from.as_ref()).await?.rename_to(&newdir, new).await
            }
            other => other,
        }
    }

    /// Follows a stream.
    ///
    /// # Errors
    /// Those of [`Client::open`].
    pub async fn watch(&self, path: impl AsRef<[u8]>) -> Result<Watch> {
        Ok(self.open(path, OpenMode::READ).await?.watch())
    }
}

async fn within<T>(timeout: Duration, connecting: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Error::lost(format_args!("no answer within {} s", timeout.as_secs_f64()));
    tokio::time::timeout(timeout, connecting).await.map_err(late)?
}

type Answer = (usize, Metadata, Result<Metadata>);

async fn stat_below(dir: Arc<Node>, index: usize, bare: Metadata) -> Answer {
    let metadata = match dir.walk_names(&[bare.name.as_bytes()]).await {
        Ok(node) => node.stat().await,
        Err(error) => Err(error),
    };
    (index, bare, metadata)
}

async fn take_answer(
    asked: &mut JoinSet<Answer>,
    all: &mut [Option<Metadata>],
    failed: &mut Vec<(ByteString, Error)>,
) -> Result<()> {
    let Some(Ok((index, bare, answer))) = asked.join_next().await else { return Ok(()) };
    let found = match answer {
        Ok(metadata) => Metadata { name: bare.name, ..metadata },
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error @ Error::Server { .. }) => {
            failed.push((bare.name.clone(), error));
            bare
        }
        Err(error) => return Err(error),
    };
    if let Some(place) = all.get_mut(index) {
        *place = Some(found);
    }
    Ok(())
}
