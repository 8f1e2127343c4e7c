//! Files whose content is kept elsewhere and is read and written as a whole.

use std::sync::Arc;

use datakit_core::vfs::{Error, FileStat, OpenMode, read_at};

use super::pieces::{Piece, Pieces};
use super::text::{end_of, overlay, resize};
use super::{BoxFuture, Leaf, OpenLeaf, ready};

/// A value under a key of some store.
pub trait Value: Send + Sync {
    /// The value now; `None` where there is none.
    fn read(&self) -> BoxFuture<'_, Option<Vec<u8>>>;

    /// Replaces the value.
    fn write(&self, value: Vec<u8>) -> BoxFuture<'_, ()> {
        let _ = value;
        ready(Err(Error::ReadOnlyFile))
    }

    /// Length and permissions; unless it is overridden, the value is read for it.
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        Box::pin(async {
            let value = self.read().await?.ok_or(Error::NotFound)?;
            Ok(FileStat::new(value.len() as u64))
        })
    }

    /// Removes the value.
    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(Err(Error::ReadOnlyFile))
    }

    /// Sets the permission bits.
    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        let _ = mode;
        ready(Err(Error::ReadOnlyFile))
    }
}

/// A [`Value`] as a file: every read reads the value anew, and what was written is laid over it and
/// written as a whole.
///
/// EntryKind is written in pieces, at offsets that follow each other, is written to the value once: with
/// a newline at the end of a write, a write elsewhere, a read, or the clunk. A write of no bytes is
/// none.
pub struct Kv(Arc<Shared>);

struct Shared {
    value: Box<dyn Value>,
    read_only: bool,
    /// Held over read, change and write: no change of another open file is lost between them.
    changing: tokio::sync::Mutex<()>,
}

impl Kv {
    /// A file that is read and written.
    pub fn new(value: impl Value + 'static) -> Kv {
        Kv::of(value, false)
    }

    /// A file that is only read, whatever the value could do.
    pub fn read_only(value: impl Value + 'static) -> Kv {
        Kv::of(value, true)
    }

    fn of(value: impl Value + 'static, read_only: bool) -> Kv {
        Kv(Arc::new(Shared {
            value: Box::new(value),
            read_only,
            changing: tokio::sync::Mutex::default(),
        }))
    }
}

impl Shared {
    async fn truncate(&self, length: u64) -> datakit_core::vfs::Result<()> {
        self.writable()?;
        let _changing = self.changing.lock().await;
        let mut value =
            if length == 0 { Vec::new() } else { self.value.read().await?.unwrap_or_default() };
        resize(&mut value, length)?;
        self.value.write(value).await
    }

    fn writable(&self) -> datakit_core::vfs::Result<()> {
        if self.read_only { Err(Error::ReadOnlyFile) } else { Ok(()) }
    }
}

impl Leaf for Kv {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        Box::pin(async move {
            let stat = self.0.value.stat().await?;
            Ok(if self.0.read_only { stat.read_only() } else { stat })
        })
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        Box::pin(async move {
            if mode.truncate {
                // EntryKind is only read opens all the same.
                self.0.truncate(0).await.or_else(|error| {
                    if error == Error::ReadOnlyFile { Ok(()) } else { Err(error) }
                })?;
            }
            let opened =
                Opened { file: self.0.clone(), pieces: Pieces::default(), append: mode.append };
            Ok(Box::new(opened) as Box<dyn OpenLeaf>)
        })
    }

    fn truncate(&self, length: u64) -> BoxFuture<'_, ()> {
        Box::pin(self.0.truncate(length))
    }

    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        if self.0.read_only { ready(Err(Error::ReadOnlyFile)) } else { self.0.value.chmod(mode) }
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        if self.0.read_only { ready(Err(Error::ReadOnlyFile)) } else { self.0.value.remove() }
    }
}

struct Opened {
    file: Arc<Shared>,
    pieces: Pieces,
    append: bool,
}

impl Opened {
    async fn lay(&self, piece: Option<Piece>) -> datakit_core::vfs::Result<()> {
        let Some(Piece { start, text }) = piece else { return Ok(()) };
        let _changing = self.file.changing.lock().await;
        let mut value = self.file.value.read().await?.unwrap_or_default();
        let start = if self.append { value.len() as u64 } else { start };
        overlay(&mut value, start, &text)?;
        self.file.value.write(value).await
    }
}

impl OpenLeaf for Opened {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            self.lay(self.pieces.end()).await?;
            let value = self.file.value.read().await?.ok_or(Error::NotFound)?;
            read_at(&value, offset, buf)
        })
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            self.file.writable()?;
            if data.is_empty() {
                return Ok(0);
            }
            // Pieces that are appended follow each other, wherever the client thinks that the end
            // is.
            let offset = if self.append { self.pieces.next() } else { offset };
            end_of(offset, data.len())?;
            self.lay(self.pieces.before(offset, data.len())).await?;
            self.lay(self.pieces.add(offset, data, |_, _| true)?).await?;
            Ok(data.len())
        })
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.lay(self.pieces.end()))
    }
}
