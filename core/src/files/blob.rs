//! Bytes that never change.

use core::fmt;
use core::task::{Context, Poll};

use crate::vfs::{File, FileStat, OpenFile, Result, read_at};

/// A file that only reads, out of flash: of any length.
#[derive(Debug, Clone, Copy)]
pub struct Blob {
    bytes: &'static [u8],
    mode: u32,
    doc: &'static str,
}

impl Blob {
    /// This text.
    #[must_use]
    pub const fn new(text: &'static str) -> Blob {
        Blob::bytes(text.as_bytes())
    }

    /// These bytes.
    #[must_use]
    pub const fn bytes(bytes: &'static [u8]) -> Blob {
        Blob { bytes, mode: 0o444, doc: "" }
    }

    /// Shows other permission bits than `r--r--r--`.
    #[must_use]
    pub const fn mode(self, mode: u32) -> Blob {
        Blob { mode, ..self }
    }

    /// What it is for, in a few words.
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

    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(self.doc)
    }
}
