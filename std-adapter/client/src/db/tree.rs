//! Reads the files in a tree.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::error::{Error, Result};
use super::path::Path;
use super::remote_path::{self, RemotePath};
use crate::{ByteString, Fid, File, FileType, Metadata};

/// A read-only tree, such as the tree of a commit, the current tree of a transaction, or a tree
/// returned by a watch.
///
/// Every call sends a request to the server. Dropping the future cancels the request. Calls on a
/// transaction's tree fail with [`Error::TransactionEnded`] once the transaction has ended.
#[derive(Clone)]
pub struct Tree {
    root: RemotePath,
    /// The state of the transaction that contains this tree, if any.
    transaction: Option<OpenFlag>,
}

/// A flag, shared by a transaction and its trees, that indicates whether the transaction is still
/// open.
#[derive(Debug, Clone)]
pub(super) struct OpenFlag(Arc<AtomicBool>);

impl OpenFlag {
    pub(super) fn open() -> OpenFlag {
        OpenFlag(Arc::new(AtomicBool::new(true)))
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.0.load(Relaxed) { Ok(()) } else { Err(Error::TransactionEnded) }
    }

    /// Marks the transaction as ended. Returns `true` if the transaction was still open.
    pub(super) fn end(&self) -> bool {
        self.0.swap(false, Relaxed)
    }
}

/// The type of an entry in a Git tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A file that is not executable.
    File,
    /// An executable file.
    Exec,
    /// A symbolic link.
    Link,
    /// A directory.
    Dir,
}

/// The attributes of a tree entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stat {
    /// The type.
    pub kind: EntryKind,
    /// The length in bytes, which is 0 for directories.
    pub size: u64,
}

/// The content of a tree entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The bytes of a file. The file may be executable.
    File(Vec<u8>),
    /// The sorted names in a directory.
    Dir(Vec<ByteString>),
    /// The target of a symbolic link.
    Link(ByteString),
}

impl Tree {
    pub(super) fn new(root: RemotePath) -> Tree {
        Tree { root, transaction: None }
    }

    pub(super) fn of_transaction(root: RemotePath, state: OpenFlag) -> Tree {
        Tree { root, transaction: Some(state) }
    }

    fn remote_path(&self, path: &Path) -> Result<RemotePath> {
        self.transaction.as_ref().map_or(Ok(()), OpenFlag::check_open)?;
        Ok(self.root.join_all(path.names()))
    }

    /// Reads an entry of any type.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the entry does not exist, or [`Error::NotDirectory`] if a
    /// component other than the last is a file.
    pub async fn read(&self, path: &Path) -> Result<Content> {
        self.read_up_to(path, u64::MAX).await
    }

    /// Reads an entry of any type, unless it is a file that is longer than `limit` bytes.
    ///
    /// # Errors
    /// Returns [`Error::FileTooLong`] if the file is longer than `limit` bytes. Otherwise, returns
    /// the same errors as [`Tree::read`].
    pub async fn read_up_to(&self, path: &Path, limit: u64) -> Result<Content> {
        let entry = match open(&self.remote_path(path)?).await? {
            Opened::Dir(fid) => return Ok(Content::Dir(list(fid).await?)),
            Opened::Other(entry) => entry,
        };
        match entry.kind() {
            EntryKind::Link => Ok(Content::Link(entry.target().await?)),
            _ if entry.metadata.len > limit => {
                let size = entry.metadata.len;
                Err(Error::FileTooLong { path: path.to_string(), size, limit })
            }
            _ => Ok(Content::File(entry.content().await?)),
        }
    }

    /// Reads a file. The file may be executable.
    ///
    /// # Errors
    /// Returns [`Error::NotFile`] if the path is a directory or a link. Returns [`Error::NotFound`]
    /// if the entry does not exist. Returns [`Error::NotDirectory`] if a component other than the
    /// last is a file.
    pub async fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        open_file(&self.remote_path(path)?).await?.content().await
    }

    /// Reads at most `length` bytes of a file, starting at a byte offset. Fewer bytes are returned
    /// only at the end of the file.
    ///
    /// # Errors
    /// Returns the same errors as [`Tree::read_file`].
    pub async fn read_file_range(
        &self,
        path: &Path,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>> {
        let OpenedEntry { metadata, file, .. } = open_file(&self.remote_path(path)?).await?;
        // The server rejects an offset beyond the end of the file.
        if offset > metadata.len {
            return Ok(Vec::new());
        }
        let file = file?;
        let mut data = Vec::new();
        while data.len() < length {
            let mut piece = vec![0; file.unit().min(length - data.len())];
            let count = file.read_at(offset.saturating_add(data.len() as u64), &mut piece).await?;
            if count == 0 {
                break;
            }
            data.extend_from_slice(piece.get(..count).unwrap_or_default());
        }
        Ok(data)
    }

    /// Returns the sorted names in a directory.
    ///
    /// # Errors
    /// Returns [`Error::NotDirectory`] if the path is not a directory, or [`Error::NotFound`] if
    /// the entry does not exist.
    pub async fn read_dir(&self, path: &Path) -> Result<Vec<ByteString>> {
        let fid = self.remote_path(path)?.walk().await?;
        if fid.is_dir() { list(fid).await } else { Err(Error::NotDirectory) }
    }

    /// Reads the target of a symbolic link.
    ///
    /// # Errors
    /// Returns [`Error::NotSymlink`] if the path is not a link. Returns [`Error::NotFound`] if the
    /// entry does not exist. Returns [`Error::NotDirectory`] if a component other than the last is
    /// a file.
    pub async fn read_link(&self, path: &Path) -> Result<ByteString> {
        match open(&self.remote_path(path)?).await? {
            Opened::Other(entry) if entry.kind() == EntryKind::Link => entry.target().await,
            _ => Err(Error::NotSymlink),
        }
    }

    /// Reads the type and length of an entry. Returns `None` if the entry does not exist or if a
    /// component other than the last is a file.
    ///
    /// # Errors
    /// Returns [`Error::TransactionEnded`] if the tree belongs to a transaction that has ended, or
    /// [`Error::Client`] if the connection is lost or the server refuses the request.
    pub async fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        let Some(fid) = self.find(path).await? else { return Ok(None) };
        if fid.is_dir() {
            return Ok(Some(Stat { kind: EntryKind::Dir, size: 0 }));
        }
        let metadata = fid.stat().await?;
        Ok(Some(Stat { kind: kind(&metadata), size: metadata.len }))
    }

    /// Walks to an entry. Returns `None` if it does not exist.
    async fn find(&self, path: &Path) -> Result<Option<Fid>> {
        match self.remote_path(path)?.walk().await {
            Ok(fid) => Ok(Some(fid)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns `true` if the entry exists.
    ///
    /// # Errors
    /// Returns [`Error::TransactionEnded`] if the tree belongs to a transaction that has ended, or
    /// [`Error::Client`] if the connection is lost or the server refuses the request.
    pub async fn exists(&self, path: &Path) -> Result<bool> {
        Ok(self.find(path).await?.is_some())
    }

    /// Returns `true` if the entry exists and is not a directory.
    ///
    /// # Errors
    /// Returns [`Error::TransactionEnded`] if the tree belongs to a transaction that has ended, or
    /// [`Error::Client`] if the connection is lost or the server refuses the request.
    pub async fn exists_file(&self, path: &Path) -> Result<bool> {
        Ok(self.find(path).await?.is_some_and(|fid| !fid.is_dir()))
    }

    /// Returns `true` if the entry exists and is a directory.
    ///
    /// # Errors
    /// Returns [`Error::TransactionEnded`] if the tree belongs to a transaction that has ended, or
    /// [`Error::Client`] if the connection is lost or the server refuses the request.
    pub async fn exists_dir(&self, path: &Path) -> Result<bool> {
        Ok(self.find(path).await?.is_some_and(|fid| fid.is_dir()))
    }
}

impl Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("root", &self.root).finish_non_exhaustive()
    }
}

/// Determines the type from the mode, because the original server's qids do not identify links.
fn kind(metadata: &Metadata) -> EntryKind {
    match metadata.kind {
        FileType::Dir => EntryKind::Dir,
        FileType::Symlink => EntryKind::Link,
        _ if metadata.mode & 0o100 != 0 => EntryKind::Exec,
        _ => EntryKind::File,
    }
}

/// An entry that has been found.
enum Opened {
    /// A directory, which has not been opened yet.
    Dir(Fid),
    Other(OpenedEntry),
}

/// A file or link.
struct OpenedEntry {
    metadata: Metadata,
    /// The open file. A link can be opened only in some dialects.
    file: std::result::Result<File, crate::Error>,
}

/// Walks to an entry, and opens it unless it is a directory.
async fn open(path: &RemotePath) -> Result<Opened> {
    let fid = path.walk().await?;
    if fid.is_dir() {
        return Ok(Opened::Dir(fid));
    }
    let (metadata, file) = fid.open_and_stat().await?;
    Ok(Opened::Other(OpenedEntry { metadata, file }))
}

async fn open_file(path: &RemotePath) -> Result<OpenedEntry> {
    match open(path).await? {
        Opened::Other(entry) if entry.kind() != EntryKind::Link => Ok(entry),
        _ => Err(Error::NotFile),
    }
}

impl OpenedEntry {
    fn kind(&self) -> EntryKind {
        kind(&self.metadata)
    }

    /// Reads the file up to the length given in its attributes, or up to the end of the file if
    /// that comes first.
    async fn content(self) -> Result<Vec<u8>> {
        Ok(self.file?.read_length(self.metadata.len).await?)
    }

    /// Reads the target of a link. 9P2000 has no request for link targets, so in this dialect the
    /// link is read as a file.
    async fn target(self) -> Result<ByteString> {
        match self.metadata.target {
            Some(target) => Ok(target),
            None => Ok(ByteString::from(&*self.file?.read_all().await?)),
        }
    }
}

async fn list(dir: Fid) -> Result<Vec<ByteString>> {
    let mut names = remote_path::list(dir).await?;
    names.sort();
    Ok(names)
}
