//! Transfers one file and updates the progress bar.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use datakit_client::{Chunks, Client, File, OpenMode, Writes};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Stdin};

use super::error::CopyError;
use crate::error::{CliError, at, io_reason};
use crate::operand::Location;
use crate::stdio;

/// The maximum size, in bytes, of a single read from a local file.
const CHUNK_SIZE: usize = 1 << 17;

/// An open file that is being copied.
pub(super) enum CopySource {
    Host(HostFile),
    Stdin(Stdin),
    Server(File),
}

impl CopySource {
    /// Opens a file and adds its length to `progress`.
    pub(super) async fn open(
        client: &Client,
        from: &Location,
        progress: &Progress,
    ) -> Result<CopySource, CopyError> {
        match from {
            Location::Host(path) => {
                let opened = HostFile::open_to_read(path).await;
                let (file, length) =
                    opened.map_err(|error| CopyError::of_host_source(from, &error))?;
                progress.add_length(length);
                Ok(CopySource::Host(file))
            }
            Location::Server(path) => {
                let open = async {
                    let fid = client.walk(path).await?;
                    // The length is needed only for the progress bar.
                    if progress.is_shown() {
                        progress.add_length(fid.stat().await?.len);
                    }
                    fid.open(OpenMode::READ).await
                };
                let file = open.await.map_err(|error| CopyError::of_source(from, &error))?;
                Ok(CopySource::Server(file))
            }
            Location::Stdio => Ok(CopySource::Stdin(tokio::io::stdin())),
        }
    }
}

/// An open file that is being written.
pub(super) enum Sink {
    Host(HostFile),
    Server(File),
}

impl Sink {
    /// Closes the file.
    pub(super) async fn close(self, to: &Location) -> Result<(), CopyError> {
        match self {
            Sink::Host(_) => Ok(()),
            Sink::Server(file) => {
                file.close().await.map_err(|error| CopyError::of_target(to, &error))
            }
        }
    }
}

/// Copies all bytes from `source` to `sink`. Returns `sink` without closing it.
pub(super) async fn transfer(
    mut source: CopySource,
    from: &Location,
    mut sink: Sink,
    to: &Location,
    progress: &Progress,
) -> Result<Sink, CopyError> {
    progress.set_name(to);
    let of_source = |error| CopyError::of_source(from, &error);
    let of_host_source = |error| CopyError::of_host_source(from, &error);
    let mut reader = match &mut source {
        CopySource::Host(file) => CopyReader::Host(file),
        CopySource::Stdin(stdin) => CopyReader::Stdin(stdin),
        CopySource::Server(file) => CopyReader::Server(file.chunks()),
    };
    let mut writer = match &mut sink {
        Sink::Host(file) => CopyWriter::Host(file),
        Sink::Server(file) => CopyWriter::Server(file.writes_at(0)),
    };
    loop {
        let data = match &mut reader {
            CopyReader::Host(file) => file.read().await.map_err(of_host_source)?,
            CopyReader::Stdin(stdin) => {
                let mut data = BytesMut::with_capacity(CHUNK_SIZE);
                stdin.read_buf(&mut data).await.map_err(of_host_source)?;
                data.freeze()
            }
            CopyReader::Server(chunks) => {
                chunks.next().await.map_err(of_source)?.unwrap_or_default()
            }
        };
        if data.is_empty() {
            break;
        }
        progress.advance(data.len());
        match &mut writer {
            CopyWriter::Host(file) => {
                file.write(data).await.map_err(|error| host_error(to, &error))?
            }
            CopyWriter::Server(writes) => {
                writes.write(data).await.map_err(|error| CopyError::of_target(to, &error))?;
            }
        }
    }
    match writer {
        CopyWriter::Host(file) => file.flush().await.map_err(|error| host_error(to, &error))?,
        CopyWriter::Server(writes) => {
            writes.finish().await.map_err(|error| CopyError::of_target(to, &error))?;
        }
    }
    Ok(sink)
}

fn host_error(to: &Location, error: &io::Error) -> CopyError {
    at(to)(io_reason(error)).into()
}

enum CopyReader<'f> {
    Host(&'f mut HostFile),
    Stdin(&'f mut Stdin),
    Server(Chunks<'f>),
}

enum CopyWriter<'f> {
    Host(&'f mut HostFile),
    Server(Writes<'f>),
}

/// A file on this machine. The first chunk of a regular file is read or written on the calling
/// thread, because dispatching to the thread pool would cost more than the system call itself.
pub(super) enum HostFile {
    Direct { file: fs::File, is_at_end: bool, length: usize },
    Pooled(tokio::fs::File),
}

impl HostFile {
    /// Opens a file for reading. Returns the file and its length in bytes.
    async fn open_to_read(path: &Path) -> io::Result<(HostFile, u64)> {
        let metadata = fs::metadata(path)?;
        if metadata.is_file() {
            let file = fs::File::open(path)?;
            return Ok((HostFile::direct(file, metadata.len()), metadata.len()));
        }
        // Open the file in the thread pool, because opening a FIFO blocks until there is a writer.
        let file = tokio::fs::File::open(path).await?;
        Ok((HostFile::Pooled(file), 0))
    }

    /// Wraps a regular file. `length` is the file's length in bytes, or 0 if the file is open for
    /// writing.
    pub(super) fn direct(file: fs::File, length: u64) -> HostFile {
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(CHUNK_SIZE);
        HostFile::Direct { file, is_at_end: false, length }
    }

    /// Wraps a file whose reads and writes may block.
    pub(super) fn pooled(file: fs::File) -> HostFile {
        HostFile::Pooled(tokio::fs::File::from_std(file))
    }

    /// Converts the file to [`HostFile::Pooled`].
    fn make_pooled(&mut self) -> io::Result<&mut tokio::fs::File> {
        if let HostFile::Direct { file, .. } = self {
            *self = HostFile::pooled(file.try_clone()?);
        }
        match self {
            HostFile::Pooled(file) => Ok(file),
            HostFile::Direct { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Returns the next chunk, which is empty at the end of the file.
    async fn read(&mut self) -> io::Result<Bytes> {
        if let HostFile::Direct { file, is_at_end, length } = self {
            if *is_at_end {
                return Ok(Bytes::new());
            }
            // Make the buffer one byte longer than the file, so that a single read also detects the
            // end of the file.
            let mut data = Vec::with_capacity(length.saturating_add(1));
            let count = file.take(CHUNK_SIZE as u64).read_to_end(&mut data)?;
            if count < CHUNK_SIZE {
                *is_at_end = true;
            } else {
                self.make_pooled()?;
            }
            return Ok(data.into());
        }
        let mut data = BytesMut::with_capacity(CHUNK_SIZE);
        self.make_pooled()?.read_buf(&mut data).await?;
        Ok(data.freeze())
    }

    async fn write(&mut self, data: Bytes) -> io::Result<()> {
        match self {
            HostFile::Direct { file, length, .. } if *length == 0 => {
                *length = data.len();
                file.write_all(&data)
            }
            _ => self.make_pooled()?.write_all(&data).await,
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match self {
            HostFile::Direct { .. } => Ok(()),
            HostFile::Pooled(file) => file.flush().await,
        }
    }
}

/// The progress bar of a command. The bar is hidden unless standard error is a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    /// The total length, in bytes, of all files opened so far.
    length: Mutex<u64>,
}

impl Progress {
    pub(super) fn new() -> Progress {
        let style = ProgressStyle::with_template("{spinner} {prefix} {bytes} {bytes_per_sec}");
        let bar = ProgressBar::new(0)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Progress { bar, length: Mutex::new(0) }
    }

    fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Adds a file's length, in bytes, to the total. A length of 0 means that the length is
    /// unknown, as for a stream.
    fn add_length(&self, length: u64) {
        if length == 0 || !self.is_shown() {
            return;
        }
        let mut total = self.length.lock();
        if *total == 0 {
            let style = ProgressStyle::with_template(
                "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            );
            self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
        *total = total.saturating_add(length);
        self.bar.set_length(*total);
    }

    fn set_name(&self, to: &Location) {
        if self.is_shown() {
            self.bar.set_prefix(stdio::printable(&to.to_string()));
        }
    }

    fn advance(&self, count: usize) {
        if self.is_shown() {
            self.bar.inc(count as u64);
        }
    }

    /// Prints an error above the progress bar.
    pub(super) fn complain(&self, error: &CliError) {
        self.bar.suspend(|| stdio::complain(&error.to_string()));
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
