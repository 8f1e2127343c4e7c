#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod byte_string;
pub mod config;
mod connect;
mod connection;
pub mod db;
mod directory;
mod driver;
mod error;
mod fid;
mod file;
mod json;
mod metadata;
mod open_file;
pub mod params;
mod tags;
#[cfg(test)]
mod tests;
mod transfer;
mod watch;

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

pub use byte_string::ByteString;
pub use connect::Options;
pub use datakit_core::wire::{Dialect, Malformed, Qid};
pub use datakit_server::Url;
pub use directory::Entries;
pub use error::{Disconnect, Error, ProtocolError, Result};
pub use fid::{Fid, OpenMode};
pub use file::File;
pub use metadata::{DirEntry, FileType, Listing, Metadata};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tracing::{Instrument, field, info_span};
pub use transfer::{Chunks, Writes};
pub use watch::Watch;

use self::connection::Connection;

/// The maximum number of attribute requests that a single listing keeps in flight.
const CONCURRENCY: usize = 32;

/// A connection with an attached root directory. Clones share the connection and the root
/// directory.
///
/// Paths are byte strings, normally UTF-8, and are split at `/`. Empty components and `.` are
/// ignored.
#[derive(Clone)]
pub struct Client {
    root: Arc<Fid>,
    connection: Arc<Connection>,
}

impl Client {
    /// Connects to a server, negotiates the protocol version and attaches to the root. Spawns two
    /// tasks on the current tokio runtime. The runtime's I/O and time drivers must be enabled.
    ///
    /// # Errors
    /// Returns [`Error::Lost`] if the connection cannot be established or the timeout in `options`
    /// expires. Returns [`Error::Unsupported`] if the server supports none of the allowed dialects.
    /// Returns [`Error::Server`] if the server refuses the attach.
    pub async fn connect(url: &Url, options: Options) -> Result<Client> {
        let span = info_span!("connection", peer = %url, dialect = field::Empty);
        let connecting = async {
            let connection = connect::dial(url, &options, span.clone()).await?;
            Client::attach_root(connection, &options).await
        };
        within(options.timeout, connecting).instrument(span.clone()).await
    }

    /// Connects over any bidirectional stream, such as a pipe, a TLS stream or a serial line.
    ///
    /// # Errors
    /// Returns [`Error::Lost`] if the stream ends or the timeout in `options` expires. Returns
    /// [`Error::Unsupported`] if the server supports none of the allowed dialects. Returns
    /// [`Error::Server`] if the server refuses the attach.
    pub async fn from_stream<S>(stream: S, options: Options) -> Result<Client>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let span = info_span!("connection", peer = "stream", dialect = field::Empty);
        let connecting = async {
            let (reader, writer) = tokio::io::split(stream);
            let connection = connect::negotiate(reader, writer, &options, span.clone()).await?;
            Client::attach_root(connection, &options).await
        };
        within(options.timeout, connecting).instrument(span.clone()).await
    }

    async fn attach_root(connection: Arc<Connection>, options: &Options) -> Result<Client> {
        let (uname, aname, n_uname) = options.user();
        let root = Fid::attach(&connection, uname, aname, n_uname).await?;
        Ok(Client { root: Arc::new(root), connection })
    }

    /// Attaches again on the same connection, for example as another user or to another tree.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the attach.
    pub async fn attach(&self, uname: &str, aname: &str, n_uname: u32) -> Result<Client> {
        let root = Fid::attach(&self.connection, uname, aname, n_uname).await?;
        Ok(Client { root: Arc::new(root), connection: Arc::clone(&self.connection) })
    }

    /// Drops this handle and waits until the connection has closed. The connection closes once all
    /// other handles have been dropped and all pending requests have been written. The server then
    /// has one second to close its side of the connection.
    pub async fn close(self) {
        let ended = self.connection.ended();
        drop(self);
        ended.cancelled().await;
    }

    /// Returns the negotiated dialect.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.connection.dialect
    }

    /// Returns the maximum length of a message in bytes, including its header.
    #[must_use]
    pub fn msize(&self) -> u32 {
        self.connection.msize
    }

    /// Walks to `path`. The returned fid can be used for multiple operations on the same file.
    ///
    /// # Errors
    /// Returns [`Error::Server`] with `ENOENT` (2) if the file does not exist, or with `ENOTDIR`
    /// (20) if a component other than the last is not a directory.
    pub async fn walk(&self, path: impl AsRef<[u8]>) -> Result<Fid> {
        self.root.walk(path).await
    }

    /// Opens a file or a directory.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the file does not exist or the server refuses the request.
    pub async fn open(&self, path: impl AsRef<[u8]>, mode: OpenMode) -> Result<File> {
        self.walk(path).await?.open(mode).await
    }

    /// Creates a file with the given permission bits and opens it.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request, for example with `EEXIST` (17)
    /// if the file already exists and the server does not truncate existing files.
    pub async fn create(
        &self,
        path: impl AsRef<[u8]>,
        permissions: u32,
        mode: OpenMode,
    ) -> Result<File> {
        let (dir, name) = fid::split_last(path.as_ref())?;
        self.root.walk_names(&dir).await?.create(name, permissions, mode).await
    }

    /// Reads a whole file. See [`File::read_all`].
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request or if the path is a directory
    /// (`EISDIR`). Returns [`Error::TooLong`] if the file is longer than 1 GiB.
    pub async fn read(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        self.open_to_read(path).await?.read_all().await
    }

    /// Opens a file for reading. Fails if the path is a directory.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request or if the path is a directory
    /// (`EISDIR`).
    pub async fn open_to_read(&self, path: impl AsRef<[u8]>) -> Result<File> {
        self.walk_to_file(path).await?.open(OpenMode::READ).await
    }

    /// Walks to a file. Fails if the path is a directory. The client itself rejects directories
    /// because some servers allow directories to be opened in any mode.
    async fn walk_to_file(&self, path: impl AsRef<[u8]>) -> Result<Fid> {
        let fid = self.walk(path).await?;
        if fid.is_dir() { Err(Error::from_errno(21)) } else { Ok(fid) }
    }

    /// Replaces the content of a file, creating the file if it does not exist. Returns after the
    /// server has closed the file.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request.
    pub async fn write(&self, path: impl AsRef<[u8]>, data: &[u8]) -> Result<()> {
        let file = self.open_to_write(path).await?;
        file.write_all_at(0, data).await?;
        file.close().await
    }

    /// Opens a file for writing and truncates it, creating the file if it does not exist. If the
    /// server refuses to truncate the file, the file is opened without truncation.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request or if the path is a directory
    /// (`EISDIR`).
    pub async fn open_to_write(&self, path: impl AsRef<[u8]>) -> Result<File> {
        let path = path.as_ref();
        let fid = match self.walk_to_file(path).await {
            Err(error) if error.is_not_found() => {
                match self.create(path, 0o666, OpenMode::WRITE.truncate()).await {
                    // Another client has created the file since the first attempt.
                    Err(error) if error.is_exists() => self.walk_to_file(path).await?,
                    created => return created,
                }
            }
            other => other?,
        };
        match fid.open(OpenMode::WRITE.truncate()).await {
            Err(Error::Server { .. }) => self.open(path, OpenMode::WRITE).await,
            other => other,
        }
    }

    /// Reads the attributes of a file.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request, for example with `ENOENT` (2)
    /// if the file does not exist.
    pub async fn stat(&self, path: impl AsRef<[u8]>) -> Result<Metadata> {
        self.walk(path).await?.stat().await
    }

    /// Reads all entries of a directory, except `.` and `..`, in the order sent by the server.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request or if the path is not a
    /// directory (`ENOTDIR`). Returns [`Error::TooLong`] if the listing exceeds a million names or
    /// 256 MiB. Returns [`Error::Protocol`] if the listing jumps back to an earlier offset.
    pub async fn read_dir(&self, path: impl AsRef<[u8]>) -> Result<Vec<DirEntry>> {
        self.open_dir(path).await?.read_dir().await
    }

    /// Returns the entries of a directory as a stream. Use this method if the directory is long or
    /// only some of its entries are needed.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request or if the path is not a
    /// directory (`ENOTDIR`).
    pub async fn entries(&self, path: impl AsRef<[u8]>) -> Result<Entries> {
        Ok(self.open_dir(path).await?.into_entries())
    }

    /// Opens a directory. If the file is not a directory, the call fails without opening it,
    /// because opening a file may have side effects.
    async fn open_dir(&self, path: impl AsRef<[u8]>) -> Result<File> {
        let fid = self.walk(path).await?;
        if fid.is_dir() { fid.open(OpenMode::READ).await } else { Err(Error::from_errno(20)) }
    }

    /// Reads the attributes of all files in a directory. In 9P2000.L, sends multiple pipelined
    /// requests per file. Files that are removed while the directory is being listed are omitted.
    ///
    /// # Errors
    /// Returns [`Error::Server`] with `ENOTDIR` (20) if the path is not a directory. Returns the
    /// server's error if the server refuses to return a file's attributes. Returns
    /// [`Error::TooLong`] if the listing exceeds a million names or 256 MiB.
    pub async fn list(&self, path: impl AsRef<[u8]>) -> Result<Vec<Metadata>> {
        let Listing { files, failed } = self.list_all(path).await?;
        failed.into_iter().next().map_or(Ok(files), |(_, error)| Err(error))
    }

    /// Like [`Client::list`], but does not fail if the server refuses to return a file's
    /// attributes. In that case, the listing contains the file's type and the error instead of the
    /// attributes.
    ///
    /// # Errors
    /// Returns [`Error::Server`] with `ENOTDIR` (20) if the path is not a directory. Returns
    /// [`Error::TooLong`] if the listing exceeds a million names or 256 MiB.
    pub async fn list_all(&self, path: impl AsRef<[u8]>) -> Result<Listing> {
        let path = path.as_ref();
        let dir = Arc::new(self.walk(path).await?);
        let entries = self.read_dir(path).await?;
        let mut listing = PartialListing::default();
        let mut requests = JoinSet::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let known = entry.metadata.filter(|metadata| metadata.is_dir() || !metadata.is_bare());
            if known.is_none() {
                let bare = Metadata::from_entry(entry.name, entry.kind, entry.qid);
                requests.spawn(stat_below(Arc::clone(&dir), index, bare));
            }
            listing.files.push(known);
            if requests.len() >= CONCURRENCY {
                listing.add_next(&mut requests).await?;
            }
        }
        while !requests.is_empty() {
            listing.add_next(&mut requests).await?;
        }
        let files = listing.files.into_iter().flatten().collect();
        Ok(Listing { files, failed: listing.failed })
    }

    /// Creates a directory with the given permission bits.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request, for example with `EEXIST` (17)
    /// if the path already exists.
    pub async fn mkdir(&self, path: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let (dir, name) = fid::split_last(path.as_ref())?;
        self.root.walk_names(&dir).await?.mkdir(name, mode).await
    }

    /// Creates a symbolic link at `path`.
    ///
    /// # Errors
    /// Returns [`Error::Unsupported`] in 9P2000, or [`Error::Server`] if the server refuses the
    /// request.
    pub async fn symlink(&self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Result<()> {
        let (dir, name) = fid::split_last(path.as_ref())?;
        self.root.walk_names(&dir).await?.symlink(name, target).await
    }

    /// Reads the target of a symbolic link.
    ///
    /// # Errors
    /// Returns [`Error::Server`] with `EINVAL` (22) if the path is not a symbolic link, or
    /// [`Error::Unsupported`] in 9P2000.
    pub async fn read_link(&self, path: impl AsRef<[u8]>) -> Result<ByteString> {
        self.walk(path).await?.read_link().await
    }

    /// Removes a file, a link or an empty directory.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request, for example with `ENOTEMPTY`
    /// (39) if the directory is not empty.
    pub async fn remove(&self, path: impl AsRef<[u8]>) -> Result<()> {
        self.walk(path).await?.remove().await
    }

    /// Renames a file, or moves it to another directory. The server decides whether an existing
    /// file at `to` is replaced.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request. Moving a file to another
    /// directory fails with `EXDEV` (18) in 9P2000 and 9P2000.u.
    pub async fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        let ((dir, old), (newdir, new)) =
            (fid::split_last(from.as_ref())?, fid::split_last(to.as_ref())?);
        if self.dialect() != Dialect::Linux {
            if dir != newdir {
                return Err(Error::from_errno(18));
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

    /// Opens a stream file or a parameter and returns a [`Watch`], which streams the file's
    /// deliveries. The deliveries of a parameter are its current value and each value that is set
    /// afterwards.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the file does not exist or the server refuses the request.
    pub async fn watch(&self, path: impl AsRef<[u8]>) -> Result<Watch> {
        // If the append flag is set, each read of a parameter waits for the next value. A server
        // that supports the flag only for writes may refuse to open the file.
        let opened = match self.open(&path, OpenMode::READ.append()).await {
            Err(Error::Server { .. }) => self.open(&path, OpenMode::READ).await,
            opened => opened,
        };
        Ok(opened?.watch())
    }
}

impl Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("dialect", &self.connection.dialect)
            .field("msize", &self.connection.msize)
            .field("root", &self.root)
            .finish()
    }
}

async fn within<T>(limit: Duration, connecting: impl Future<Output = Result<T>>) -> Result<T> {
    let expired = |_| Error::Lost(Disconnect::TimedOut(limit));
    tokio::time::timeout(limit, connecting).await.map_err(expired)?
}

/// The index of an entry, the attributes known from the listing, and the server's reply.
type StatReply = (usize, Metadata, Result<Metadata>);

async fn stat_below(dir: Arc<Fid>, index: usize, bare: Metadata) -> StatReply {
    let metadata = match dir.walk_names(&[bare.name.as_bytes()]).await {
        Ok(fid) => fid.stat().await,
        Err(error) => Err(error),
    };
    (index, bare, metadata)
}

/// A listing whose attribute requests are still in flight.
#[derive(Default)]
struct PartialListing {
    /// The attributes of all files. An element is `None` until the file's attributes are known.
    files: Vec<Option<Metadata>>,
    failed: Vec<(ByteString, Error)>,
}

impl PartialListing {
    async fn add_next(&mut self, requests: &mut JoinSet<StatReply>) -> Result<()> {
        let Some(Ok((index, bare, reply))) = requests.join_next().await else { return Ok(()) };
        let metadata = match reply {
            Ok(metadata) => Metadata { name: bare.name, ..metadata },
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error @ Error::Server { .. }) => {
                self.failed.push((bare.name.clone(), error));
                bare
            }
            Err(error) => return Err(error),
        };
        if let Some(file) = self.files.get_mut(index) {
            *file = Some(metadata);
        }
        Ok(())
    }
}
