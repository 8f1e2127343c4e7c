//! Files whose content is stored elsewhere and is read and written as a whole.

use std::fmt;
use std::sync::Arc;

use datakit_core::vfs::{Error, FileStat, OpenMode, Result, read_at};
use tokio::sync::Mutex;

use super::client_number::PROGRAM;
use super::pieces::{Piece, Pieces};
use super::text::{end_of_write, overlay, resize};
use super::{BoxFuture, ClientNumber, IntoBoxFuture, Leaf, OpenLeaf, ready};

/// A stored value that is read and written as a whole.
pub trait Value: Send + Sync {
    /// Returns the value, or `None` if it does not exist.
    fn read(&self) -> BoxFuture<'_, Option<Vec<u8>>>;

    /// Replaces the value.
    fn write(&self, value: Vec<u8>) -> BoxFuture<'_, ()> {
        let _ = value;
        ready(Err(Error::ReadOnlyFile))
    }

    /// Returns the length and permission bits. The default implementation reads the value to
    /// determine its length.
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

/// A file backed by a [`Value`]. Every read request reads the entire value. To change the value,
/// the file reads it, replaces the bytes at the given offset, and writes the entire value back.
///
/// The file collects writes at consecutive offsets so that it changes the value only once. The
/// change takes effect on a write that ends with a newline, a write at a non-consecutive offset, a
/// read, or the clunk. A write of zero bytes has no effect.
pub struct Kv(Arc<KvInner>);

struct KvInner {
    value: Box<dyn Value>,
    read_only: bool,
    /// A lock held while the value is read, changed and written back, so that concurrent changes
    /// are not lost.
    changing: Mutex<()>,
}

impl Kv {
    /// Creates a file that clients can read and write.
    pub fn new(value: impl Value + 'static) -> Kv {
        Kv::with_access(value, false)
    }

    /// Creates a file that clients can read but not write, even if the value is writable.
    pub fn read_only(value: impl Value + 'static) -> Kv {
        Kv::with_access(value, true)
    }

    /// Creates a file from two closures. The first closure returns the value, or `None` if it does
    /// not exist. The second closure replaces the value. Each closure returns a [`Result`] or, if
    /// it has to wait, a boxed future whose output is a [`Result`].
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use datakit_core::vfs::Error;
    /// use datakit_server::tree::{Entry, Kv};
    ///
    /// let gain = Arc::new(Mutex::new(1.0));
    /// let written = gain.clone();
    /// let file = Kv::from_fns(
    ///     move || Ok(Some(format!("{}\n", gain.lock().unwrap()).into_bytes())),
    ///     move |text| {
    ///         let text = String::from_utf8(text).map_err(|_| Error::NotUtf8)?;
    ///         *written.lock().unwrap() = text.trim().parse::<f64>().map_err(|_| Error::Invalid)?;
    ///         Ok(())
    ///     },
    /// );
    /// let entry = Entry::file("gain", file);
    /// ```
    pub fn from_fns<R, W>(
        read: impl Fn() -> R + Send + Sync + 'static,
        write: impl Fn(Vec<u8>) -> W + Send + Sync + 'static,
    ) -> Kv
    where
        R: IntoBoxFuture<Option<Vec<u8>>>,
        W: IntoBoxFuture<()>,
    {
        Kv::new(ValueFns { read, write })
    }

    fn with_access(value: impl Value + 'static, read_only: bool) -> Kv {
        Kv(Arc::new(KvInner { value: Box::new(value), read_only, changing: Mutex::default() }))
    }
}

struct ValueFns<R, W> {
    read: R,
    write: W,
}

impl<R, W, A, B> Value for ValueFns<R, W>
where
    R: Fn() -> A + Send + Sync,
    W: Fn(Vec<u8>) -> B + Send + Sync,
    A: IntoBoxFuture<Option<Vec<u8>>>,
    B: IntoBoxFuture<()>,
{
    fn read(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        (self.read)().into_box_future()
    }

    fn write(&self, value: Vec<u8>) -> BoxFuture<'_, ()> {
        (self.write)(value).into_box_future()
    }
}

impl fmt::Debug for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kv").field("read_only", &self.0.read_only).finish_non_exhaustive()
    }
}

impl KvInner {
    async fn truncate(&self, length: u64) -> Result<()> {
        self.check_writable()?;
        let _changing = self.changing.lock().await;
        let mut value =
            if length == 0 { Vec::new() } else { self.value.read().await?.unwrap_or_default() };
        resize(&mut value, length)?;
        self.value.write(value).await
    }

    fn check_writable(&self) -> Result<()> {
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
        self.open_by(mode, &PROGRAM)
    }

    fn open_by<'a>(
        &'a self,
        mode: OpenMode,
        client: &'a ClientNumber,
    ) -> BoxFuture<'a, Box<dyn OpenLeaf>> {
        Box::pin(async move {
            if mode.truncate {
                // Truncation on open is ignored if the file is read-only.
                self.0.truncate(0).await.or_else(|error| {
                    if error == Error::ReadOnlyFile { Ok(()) } else { Err(error) }
                })?;
            }
            let file = self.0.clone();
            let open = OpenKv { file, pieces: Pieces::new(client), append: mode.append };
            Ok(Box::new(open) as Box<dyn OpenLeaf>)
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

struct OpenKv {
    file: Arc<KvInner>,
    pieces: Pieces,
    append: bool,
}

impl OpenKv {
    /// Writes a complete piece of text to the value.
    async fn store(&self, piece: Option<Piece>) -> Result<()> {
        let Some(piece) = piece else { return Ok(()) };
        let _changing = self.file.changing.lock().await;
        let mut value = self.file.value.read().await?.unwrap_or_default();
        let start = if self.append { value.len() as u64 } else { piece.start };
        overlay(&mut value, start, piece.text())?;
        self.file.value.write(value).await
    }
}

impl OpenLeaf for OpenKv {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            self.store(self.pieces.finish()).await?;
            let value = self.file.value.read().await?.ok_or(Error::NotFound)?;
            read_at(&value, offset, buf)
        })
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            self.file.check_writable()?;
            if data.is_empty() {
                return Ok(0);
            }
            // In append mode, each write continues at the end of the previous write, regardless of
            // the offset that the client sends.
            let offset = if self.append { self.pieces.next_offset() } else { offset };
            end_of_write(offset, data.len())?;
            self.store(self.pieces.finish_before(offset, data.len())).await?;
            self.store(self.pieces.add(offset, data, |_, _| true)?).await?;
            Ok(data.len())
        })
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.store(self.pieces.finish()))
    }
}
