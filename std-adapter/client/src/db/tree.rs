//! What is in a tree.

use super::at::At;
use super::error::{Error, Result};
use super::path::Path;
use super::transaction::Alive;
use crate::{ByteString, Metadata, Node, OpenMode};

/// A tree to read: that of a commit, that of a transaction as it is at the moment, or one that a
/// watch told of.
///
/// Every call asks the server; a future that is dropped flushes its request. That of a transaction
/// fails with [`Error::TransactionEnded`] once the transaction has ended.
#[derive(Clone)]
pub struct Tree {
    at: At,
    /// Of a transaction.
    alive: Option<Alive>,
}

/// What kind of thing is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A file that is no program.
    File,
    /// A program.
    Exec,
    /// A symbolic link.
    Link,
    /// A directory.
    Dir,
}

/// What is known of what is at a path without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stat {
    /// What kind of thing.
    pub kind: EntryKind,
    /// Its length in bytes; 0 for directories.
    pub size: u64,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The bytes of a file, executable or not.
    File(Vec<u8>),
    /// The names in a directory, sorted.
    Dir(Vec<ByteString>),
    /// The target of a symbolic link.
    Link(ByteString),
}

impl Tree {
    pub(super) fn new(at: At) -> Tree {
        Tree { at, alive: None }
    }

    pub(super) fn of_transaction(at: At, alive: Alive) -> Tree {
        Tree { at, alive: Some(alive) }
    }

    fn at(&self, path: &Path) -> Result<At> {
        self.alive.as_ref().map_or(Ok(()), Alive::check)?;
        Ok(self.at.below(path.names()))
    }

    /// What is at a path, whatever it is.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotDirectory`] where the path leads through a file.
    pub async fn read(&self, path: &Path) -> Result<Content> {
        let at = self.at(path)?;
        let (kind, node, metadata) = find(&at).await?;
        Ok(match kind {
            EntryKind::Dir => Content::Dir(list(&at).await?),
            EntryKind::Link => Content::Link(target(node, metadata).await?),
            EntryKind::File | EntryKind::Exec => Content::File(content(node).await?),
        })
    }

    /// The bytes of a file, executable or not.
    ///
    /// # Errors
    /// [`Error::NotFile`] for a directory and for a link, and those of [`Tree::read`].
    pub async fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        let (kind, node, _) = find(&self.at(path)?).await?;
        match kind {
            EntryKind::File | EntryKind::Exec => content(node).await,
            EntryKind::Dir | EntryKind::Link => Err(Error::NotFile),
        }
    }

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// [`Error::NotDirectory`] for anything else, and those of [`Tree::read`].
    pub async fn read_dir(&self, path: &Path) -> Result<Vec<ByteString>> {
        let at = self.at(path)?;
        match find(&at).await?.0 {
            EntryKind::Dir => list(&at).await,
            _ => Err(Error::NotDirectory),
        }
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::NotSymlink`] for anything else, and those of [`Tree::read`].
    pub async fn read_link(&self, path: &Path) -> Result<ByteString> {
        let (kind, node, metadata) = find(&self.at(path)?).await?;
        match kind {
            EntryKind::Link => target(node, metadata).await,
            _ => Err(Error::NotSymlink),
        }
    }

    /// The kind and the length of what is at a path; `None` if nothing is, also where the path
    /// leads through a file.
    ///
    /// # Errors
    /// [`Error::TransactionEnded`], [`Error::Client`].
    pub async fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        match find(&self.at(path)?).await {
            Ok((kind, _, metadata)) => {
                Ok(Some(Stat { kind, size: if kind == EntryKind::Dir { 0 } else { metadata.len } }))
            }
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether anything is at a path.
    ///
    /// # Errors
    /// Those of [`Tree::stat`].
    pub async fn exists(&self, path: &Path) -> Result<bool> {
        Ok(self.stat(path).await?.is_some())
    }

    /// Whether anything but a directory is at a path.
    ///
    /// # Errors
    /// Those of [`Tree::stat`].
    pub async fn exists_file(&self, path: &Path) -> Result<bool> {
        Ok(self.stat(path).await?.is_some_and(|stat| stat.kind != EntryKind::Dir))
    }

    /// Whether a directory is at a path.
    ///
    /// # Errors
    /// Those of [`Tree::stat`].
    pub async fn exists_dir(&self, path: &Path) -> Result<bool> {
        Ok(self.stat(path).await?.is_some_and(|stat| stat.kind == EntryKind::Dir))
    }
}

/// By the mode: the qids of the original server do not tell links from files.
async fn find(at: &At) -> Result<(EntryKind, Node, Metadata)> {
    let node = at.walk().await?;
    let metadata = node.stat().await?;
    let kind = match metadata.kind {
        crate::FileType::Dir => EntryKind::Dir,
        crate::FileType::Symlink => EntryKind::Link,
        _ if metadata.mode & 0o100 != 0 => EntryKind::Exec,
        _ => EntryKind::File,
    };
    Ok((kind, node, metadata))
}

async fn content(node: Node) -> Result<Vec<u8>> {
    Ok(node.open(OpenMode::READ).await?.read_all().await?)
}

/// The database's links can also be read like files, which 9P2000 has to do.
async fn target(node: Node, metadata: Metadata) -> Result<ByteString> {
    match metadata.target {
        Some(target) => Ok(target),
        None => Ok(ByteString::from(&*content(node).await?)),
    }
}

async fn list(at: &At) -> Result<Vec<ByteString>> {
    let mut names = at.list().await?;
    names.sort();
    Ok(names)
}
