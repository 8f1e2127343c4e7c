//! A text that is made when the file is opened.

use core::fmt;
use core::task::{Context, Poll};

use super::write::{Count, render};
use crate::vfs::{File, FileStat, OpenFile, OpenMode, Result, read_at};

/// A file that only reads: each open has the text that its function wrote then. Longer than the
/// tree has room for is an error.
pub struct Status<F> {
    render: F,
}

impl<F: Fn(&mut dyn fmt::Write) -> fmt::Result> Status<F> {
    /// A file with the text that `render` writes. It is called once for each open and each stat.
    #[must_use]
    pub const fn new(render: F) -> Status<F> {
        Status { render }
    }
}

impl<F: Fn(&mut dyn fmt::Write) -> fmt::Result> File for Status<F> {
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

    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("status")
    }
}
