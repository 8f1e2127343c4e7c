//! Files and symbolic links in a transaction's `rw` tree.

use parking_lot::Mutex;
use std::any::Any;
use std::sync::Arc;

use datakit_core::vfs::{
    Error, FileStat, FileType, OpenMode, Result, Time, beyond_end, check_offset, read_at,
};

use super::inodes::Inode;
use super::{RwTree, file_mode, gone, home, remove};
use crate::Id;
use crate::database::MAX_INLINE_BYTES;
use crate::files::ro::stat;
use crate::model::tree::{FileContent, TreeFile, no_space};
use crate::model::tree_entry::EntryMode;
use datakit_server::sparse_bytes::SparseBytes;
use datakit_server::tree::{BoxFuture, Entry, Leaf, OpenLeaf, ready};

/// The maximum size, in bytes, of a file that a client can write.
const MAX_FILE_SIZE: u64 = 1 << 30;

/// A file or symbolic link. Changing the mode can turn a file into a symbolic link, or a symbolic
/// link into a file.
pub(super) struct RwFile(pub(super) Arc<Inode>);

impl RwFile {
    fn file(&self) -> Result<(Arc<RwTree>, TreeFile)> {
        let rw = self.0.rw.upgrade().ok_or_else(gone)?;
        let file = rw.with_file(&self.0, |_, at| Ok(rw.transaction.file(at)?))?;
        Ok((rw, file))
    }

    /// Adds the file's path to an error.
    fn at<T>(&self, done: crate::Result<T>) -> Result<T> {
        Ok(done.map_err(|error| error.at(&self.0.path().unwrap_or_default()))?)
    }
}

impl RwFile {
    /// Truncates the file without reading its content.
    fn empty(&self) -> Result<()> {
        let rw = self.0.rw.upgrade().ok_or_else(gone)?;
        rw.with_file(&self.0, |names, at| {
            rw.transaction.empty(at)?;
            self.0.touch(names, at);
            Ok(())
        })
    }
}

/// Calls `change` with the content of a file.
fn change(inode: &Inode, change: impl FnOnce(&mut SparseBytes) -> Result<()>) -> Result<()> {
    let rw = inode.rw.upgrade().ok_or_else(gone)?;
    rw.with_file(inode, |names, at| {
        let changed = rw
            .transaction
            .change(at, |content| change(content).map_err(|error| Failed(named(error))));
        changed.map_err(|Failed(error)| error)?;
        inode.touch(names, at);
        Ok(())
    })
}

/// Adds an explanation to an error that reports insufficient space or memory.
fn named(error: Error) -> Error {
    if matches!(error, Error::NoSpace | Error::NoMemory) { no_space(error).into() } else { error }
}

/// A file-tree error, wrapped so that a closure passed to a database method can return it.
struct Failed(Error);

impl From<crate::Error> for Failed {
    fn from(error: crate::Error) -> Failed {
        Failed(error.into())
    }
}

impl Leaf for RwFile {
    fn kind(&self) -> FileType {
        match self.file() {
            Ok((_, TreeFile { mode: EntryMode::Link, .. })) => FileType::Symlink,
            _ => FileType::File,
        }
    }

    fn target(&self) -> BoxFuture<'_, Vec<u8>> {
        ready(self.file().and_then(|(rw, file)| match file {
            TreeFile { mode: EntryMode::Link, content } => {
                Ok(self.at(content.bytes(rw.database.objects()))?.to_vec())
            }
            _ => Err(Error::Invalid),
        }))
    }

    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(self.file().and_then(|(rw, file)| {
            let length = self.at(file.content.length(rw.database.objects()))?;
            Ok(stat(file.mode, length))
        }))
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        let opened = match mode.truncate {
            true => self.empty(),
            false => self.file().map(drop),
        };
        let open = OpenRw { inode: self.0.clone(), append: mode.append, blob: Mutex::default() };
        ready(opened.map(|()| Box::new(open) as Box<dyn OpenLeaf>))
    }

    fn truncate(&self, length: u64) -> BoxFuture<'_, ()> {
        if length == 0 {
            return ready(self.empty());
        }
        Box::pin(async move {
            let length = checked(length)?;
            load(&self.0).await?;
            change(&self.0, |content| content.set_size(length))
        })
    }

    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        ready((|| {
            let rw = self.0.rw.upgrade().ok_or_else(gone)?;
            rw.with_file(&self.0, |_, at| Ok(rw.transaction.chmod(at, file_mode(mode))?))
        })())
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(remove(&self.0))
    }

    fn mtime(&self) -> Option<Time> {
        self.0.rw.upgrade()?.changed(&self.0)
    }

    fn current_parent(&self) -> Option<Entry> {
        home(&self.0)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// An open file. Large content is read on a blocking thread. Before the first change, it is also
/// copied on a blocking thread.
struct OpenRw {
    inode: Arc<Inode>,
    append: bool,
    /// The most recently read blob.
    blob: Mutex<Option<(Id, Arc<[u8]>)>>,
}

impl OpenLeaf for OpenRw {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let leaf = RwFile(self.inode.clone());
            let (rw, file) = leaf.file()?;
            match &file.content {
                FileContent::Stored(id) => {
                    read_at(&leaf.at(self.blob(&rw, *id).await)?, offset, buf)
                }
                content => read_pending(content, offset, buf),
            }
        })
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            load(&self.inode).await?;
            let mut written = 0;
            change(&self.inode, |content| {
                let offset = if self.append { content.size() } else { checked(offset)? };
                offset
                    .checked_add(data.len() as u64)
                    .filter(|end| *end <= MAX_FILE_SIZE)
                    .ok_or(Error::TooLarge)?;
                written = content.write(offset, data)?;
                Ok(())
            })?;
            Ok(written)
        })
    }
}

impl OpenRw {
    async fn blob(&self, rw: &RwTree, id: Id) -> crate::Result<Arc<[u8]>> {
        if let Some((_, blob)) = self.blob.lock().as_ref().filter(|(read, _)| *read == id) {
            return Ok(blob.clone());
        }
        let blob = rw.database.blob(id).await?;
        *self.blob.lock() = Some((id, blob.clone()));
        Ok(blob)
    }
}

/// Like [`read_at`], but supports content with holes.
fn read_pending(content: &FileContent, offset: u64, buf: &mut [u8]) -> Result<usize> {
    let Some(content) = content.as_pending() else { return Err(Error::Io) };
    let size = content.size();
    check_offset(offset)?;
    if offset <= size { Ok(content.read(offset, buf)) } else { Err(beyond_end(offset, size)) }
}

/// Loads a large blob into memory before the file is changed. Uses a blocking thread, so that other
/// requests do not have to wait.
async fn load(inode: &Inode) -> Result<()> {
    let rw = inode.rw.upgrade().ok_or_else(gone)?;
    let file = rw.with_file(inode, |_, at| Ok(rw.transaction.file(at)?))?;
    let FileContent::Stored(id) = file.content else { return Ok(()) };
    let at = |error: crate::Error| error.at(&inode.path().unwrap_or_default());
    if rw.database.objects().blob_length(id).map_err(at)? <= MAX_INLINE_BYTES {
        return Ok(());
    }
    let space = rw.transaction.space().clone();
    let loaded = rw.database.run_blocking(move |database| {
        let blob = database.objects().blob(id)?;
        SparseBytes::from_slice(&blob, &space).map_err(no_space)
    });
    let loaded = loaded.await.map_err(at)?;
    rw.with_file(inode, |_, at| Ok(rw.transaction.load(at, id, loaded)?))
}

/// Validates an offset or file length sent by a client.
fn checked(offset: u64) -> Result<u64> {
    check_offset(offset)?;
    if offset <= MAX_FILE_SIZE { Ok(offset) } else { Err(Error::TooLarge) }
}
