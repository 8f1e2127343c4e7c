//! Read-only files whose content is constant or rendered on demand.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::display::Plain;
use super::render::{Count, render};
use crate::vfs::{
    EntryTable, File, FileStat, OpenFile, OpenMode, Result, Window, read_at, visit_files,
};

/// A file of any length with constant content, which is read from flash.
#[derive(Debug, Clone, Copy)]
pub struct Blob {
    bytes: &'static [u8],
    mode: u32,
    doc: &'static str,
}

impl Blob {
    /// Creates a file that contains the given text.
    #[must_use]
    pub const fn new(text: &'static str) -> Blob {
        Blob::bytes(text.as_bytes())
    }

    /// Creates a file that contains the given bytes.
    #[must_use]
    pub const fn bytes(bytes: &'static [u8]) -> Blob {
        Blob { bytes, mode: 0o444, doc: "" }
    }

    /// Sets the permission bits. The default is `r--r--r--`.
    #[must_use]
    pub const fn mode(self, mode: u32) -> Blob {
        Blob { mode, ..self }
    }

    /// Sets the description, which should be only a few words long.
    #[must_use]
    pub const fn doc(self, doc: &'static str) -> Blob {
        Blob { doc, ..self }
    }
}

impl File for Blob {
    fn stat(&self) -> FileStat {
        FileStat { mode: self.mode, ..FileStat::new(self.bytes.len() as u64) }
    }

    fn poll_read(
        &self,
        _: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(read_at(self.bytes, offset, buf))
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str(self.doc)
    }
}

/// A file whose text is rendered by a function each time it is opened. Opening the file fails if
/// the text does not fit into the buffer that the tree provides for each open file.
pub struct Status<F> {
    render: F,
}

impl<F: Fn(&mut dyn Write) -> fmt::Result> Status<F> {
    /// Creates a file with the text that `render` writes. `render` is called each time the file is
    /// opened and each time its attributes are read.
    #[must_use]
    pub const fn new(render: F) -> Status<F> {
        Status { render }
    }
}

impl<F> fmt::Debug for Status<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").finish_non_exhaustive()
    }
}

impl<F: Fn(&mut dyn Write) -> fmt::Result> File for Status<F> {
    fn stat(&self) -> FileStat {
        Count::stat(|count| (self.render)(count)).read_only()
    }

    fn open(&self, open: &mut OpenFile<'_>, _: OpenMode) -> Result<()> {
        render(open.text, |mut out| (self.render)(&mut out))
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(read_at(open.text.bytes(), offset, buf))
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("status")
    }
}

/// A file that contains one constant line.
#[derive(Debug, Clone, Copy)]
pub struct Doc(&'static str);

impl Doc {
    /// Creates a file that contains the given line, followed by a newline.
    #[must_use]
    pub const fn new(line: &'static str) -> Doc {
        Doc(line)
    }
}

impl File for Doc {
    fn stat(&self) -> FileStat {
        FileStat::new(self.0.len() as u64 + 1).read_only()
    }

    fn poll_read(
        &self,
        _: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(read_window(offset, buf, &|out| writeln!(out, "{}", Plain(self.0))))
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str(self.0)
    }
}

/// A file that lists the files in a directory and its subdirectories. Each line contains the path
/// and the [description](File::describe) of one file. The length of the text is not limited,
/// because each read renders the text again and keeps only the requested part.
#[derive(Clone, Copy)]
pub struct Help(&'static (dyn EntryTable + Sync));

impl Help {
    /// Creates a file that describes the files in `dir`. `dir` may contain the new file itself.
    #[must_use]
    pub const fn new(dir: &'static (dyn EntryTable + Sync)) -> Help {
        Help(dir)
    }
}

impl fmt::Debug for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Help").finish_non_exhaustive()
    }
}

impl File for Help {
    fn stat(&self) -> FileStat {
        Count::stat(|count| list(self.0, count)).read_only()
    }

    fn poll_read(
        &self,
        _: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(read_window(offset, buf, &|out| list(self.0, out)))
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("this list")
    }
}

fn list(dir: &'static dyn EntryTable, out: &mut dyn Write) -> fmt::Result {
    visit_files(dir, |path, node| {
        write!(out, "{path}: ")?;
        #[cfg(feature = "params")]
        use crate::vfs::Node;
        match (node.with_file(|file| file.describe(out)), node) {
            (Some(described), _) => described?,
            #[cfg(feature = "params")]
            (None, Node::Mirror(mirror, _)) => mirror.describe(out)?,
            (None, _) => out.write_str("dynamic directory")?,
        }
        out.write_str("\n")
    })
}

/// Reads part of the text that `write` renders, in the same way as [`read_at`]. The text is
/// rendered again for each read, so no buffer for the whole text is needed.
#[inline(never)]
pub(crate) fn read_window(
    offset: u64,
    buf: &mut [u8],
    write: &dyn Fn(&mut dyn Write) -> fmt::Result,
) -> Result<usize> {
    let mut window = Window::new(offset, buf);
    // When the buffer is full, the `Window` returns an error to stop the rendering.
    let _ = write(&mut window);
    window.finish(offset)
}
