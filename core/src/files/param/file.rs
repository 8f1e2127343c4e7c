//! The file for a parameter.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::{Flags, Parameter};
use crate::files::display::Plain;
use crate::files::input::check_plain_mode;
use crate::files::pieces::{self, PieceTarget};
use crate::files::render::{Count, render};
#[cfg(feature = "params")]
use crate::files::stream;
use crate::vfs::{Client, Error, File, FileStat, OpenFile, OpenMode, Result, Text, read_at};

/// A file through which clients read and set a parameter of any type.
#[derive(Clone, Copy)]
pub struct ParamFile<'a> {
    parameter: &'a dyn Parameter,
    #[cfg(feature = "params")]
    staging: Option<&'a dyn Staging>,
}

/// Storage for new values that have not been set yet.
#[cfg(feature = "params")]
pub(crate) trait Staging {
    /// Writes the new value of `parameter`. Returns `None` if it has no new value.
    fn render(&self, parameter: &dyn Parameter, out: &mut dyn Text) -> Option<fmt::Result>;

    /// Checks and stores a new value of `parameter` on behalf of `client`.
    fn stage(&self, parameter: &dyn Parameter, text: &[u8], client: Client) -> Result<()>;
}

impl<'a> ParamFile<'a> {
    /// Creates the file for a parameter.
    #[must_use]
    pub const fn new(parameter: &'a dyn Parameter) -> ParamFile<'a> {
        ParamFile {
            parameter,
            #[cfg(feature = "params")]
            staging: None,
        }
    }

    /// Creates the file through which clients read and stage a new value of a parameter.
    #[cfg(feature = "params")]
    pub(crate) const fn staged(
        parameter: &'a dyn Parameter,
        staging: &'a dyn Staging,
    ) -> ParamFile<'a> {
        ParamFile { parameter, staging: Some(staging) }
    }
}

impl ParamFile<'_> {
    /// Writes the value, followed by a newline.
    fn render_line(&self, out: &mut dyn Text) -> fmt::Result {
        if self.parameter.flags().contains(Flags::WRITE_ONLY) {
            return Ok(());
        }
        self.render_value(out)?;
        out.write_str("\n")
    }

    fn render_value(&self, out: &mut dyn Text) -> fmt::Result {
        #[cfg(feature = "params")]
        if let Some(staging) = self.staging
            && let Some(rendered) = staging.render(self.parameter, out)
        {
            return rendered;
        }
        self.parameter.render(out)
    }

    #[inline(never)]
    fn render_text(&self, text: &mut dyn Text) -> Result<()> {
        render(text, |out| self.render_line(out))
    }

    /// Returns whether the open file behaves like a stream, so that reads return each new value.
    /// The value of a write-only parameter is never returned.
    #[cfg(feature = "params")]
    fn is_followed(&self, open: &OpenFile<'_>) -> bool {
        open.follows
            && self.staging.is_none()
            && !self.parameter.flags().contains(Flags::WRITE_ONLY)
    }

    fn is_read_only(&self) -> bool {
        self.parameter.flags().contains(Flags::READ_ONLY)
    }

    fn check_writable(&self) -> Result<()> {
        if self.is_read_only() { Err(Error::ReadOnlyFile) } else { Ok(()) }
    }
}

impl fmt::Debug for ParamFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ParamFile").field(self.parameter.description()).finish()
    }
}

impl File for ParamFile<'_> {
    fn stat(&self) -> FileStat {
        let stat = Count::stat(|count| self.render_line(count));
        if self.is_read_only() { stat.read_only() } else { stat }
    }

    fn open(&self, open: &mut OpenFile<'_>, mode: OpenMode) -> Result<()> {
        // Keep the value when the file is truncated, because shells truncate a file before writing
        // to it. Subsequent reads through this open file return no bytes.
        open.state.partial = mode.truncate;
        #[cfg(feature = "params")]
        if self.is_followed(open) {
            // Store a version other than the current one, so that the first read returns the value.
            open.state.next = self.parameter.version().wrapping_sub(1);
            return Ok(());
        }
        if mode.truncate { Ok(()) } else { self.render_text(open.text) }
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        #[cfg(feature = "params")]
        if self.is_followed(open) {
            return stream::poll_stream(self, open, cx, offset, buf);
        }
        let _ = cx;
        Poll::Ready(pieces::apply(self, open).and_then(|()| {
            if !open.state.partial && (offset == 0 || open.text.bytes().is_empty()) {
                self.render_text(open.text)?;
            }
            read_at(open.text.bytes(), offset, buf)
        }))
    }

    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        self.check_writable()?;
        pieces::write(self, open, offset, data)
    }

    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        pieces::apply(self, open)
    }

    fn truncate(&self, _: u64) -> Result<()> {
        self.check_writable()
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        check_plain_mode(mode)
    }

    #[cfg(feature = "params")]
    fn with_parameter(&self, with: &mut crate::vfs::WithParameter<'_>) {
        with.call(self.parameter);
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        self.parameter.render_allowed(out)?;
        if self.is_read_only() {
            out.write_str(", read-only")?;
        }
        let doc = self.parameter.doc();
        if doc.is_empty() { Ok(()) } else { write!(out, ": {}", Plain(doc)) }
    }
}

#[cfg(feature = "params")]
impl stream::StreamSource for ParamFile<'_> {
    fn next(&self, at: &mut u32, text: &mut dyn Text) -> core::result::Result<(), stream::Missed> {
        // The version is read before the value, so that a change between the two reads is not
        // missed.
        let version = self.parameter.version();
        if core::mem::replace(at, version) == version {
            return Err(stream::Missed::NOTHING);
        }
        self.render_text(text).map_err(|_| stream::Missed::TOO_LONG)
    }

    fn waiters(&self) -> &crate::vfs::Waiters {
        super::value::waiters()
    }
}

impl PieceTarget for ParamFile<'_> {
    fn set(&self, client: Client, _: u64, text: &[u8]) -> Result<()> {
        let text = text.trim_ascii();
        #[cfg(feature = "params")]
        if let Some(staging) = self.staging {
            return staging.stage(self.parameter, text, client);
        }
        self.parameter.set(text, client)
    }

    fn may_continue(&self, text: &[u8]) -> bool {
        self.parameter.may_continue(text)
    }
}
