//! The file for a parameter in a transaction.

use core::fmt;
use core::task::{Context, Poll};

use super::Slot;
use crate::Decimal;
use crate::files::{Count, Flags, PieceTarget, apply_piece, check_plain_mode, render, write_piece};
use crate::params::Parameter;
use crate::vfs::{Client, Error, File, FileStat, OpenFile, OpenMode, Result, Text, read_at};

/// A file that lets a client read and stage the value that a parameter will have after the commit.
pub(super) struct StagedFile<'a, const VALUES: usize, const TEXT: usize> {
    pub(super) slot: &'a Slot<VALUES, TEXT>,
    pub(super) parameter: &'a dyn Parameter,
}

impl<const VALUES: usize, const TEXT: usize> StagedFile<'_, VALUES, TEXT> {
    /// Writes the staged value (or the current value if none is staged), followed by a newline.
    fn render_line(&self, out: &mut dyn Text) -> fmt::Result {
        if self.parameter.flags().contains(Flags::WRITE_ONLY) {
            return Ok(());
        }
        let address = self.parameter.address();
        let staged = self.slot.with_transaction(|transaction| {
            let staged = transaction.find(address)?;
            Some(out.extend(&staged.text).map_err(|_| fmt::Error))
        });
        staged.unwrap_or_else(|| self.parameter.render(&mut &mut *out))?;
        out.extend(b"\n").map_err(|_| fmt::Error)
    }

    fn check_writable(&self) -> Result<()> {
        let read_only = self.parameter.flags().contains(Flags::READ_ONLY);
        if read_only { Err(Error::ReadOnlyFile) } else { Ok(()) }
    }

    fn stage(&self, client: Client, text: &[u8]) -> Result<()> {
        let Self { slot, parameter } = self;
        // The version is read first, so that any later change counts as a conflict.
        let version = parameter.version();
        parameter.check_limits(text)?;
        if text.len() > TEXT {
            let most = Decimal::from(TEXT);
            return Err(Error::TooLarge
                .with_message(format_args!("a value in a transaction has at most {most} bytes")));
        }
        let address = parameter.address();
        let staged = slot.with_transaction(|transaction| match transaction.holder() {
            Some(holder) if holder == client => Ok(transaction.stage(address, version, text)),
            other => Err(other),
        });
        match staged {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::NoSpace.with_message(format_args!(
                "a transaction changes at most {} parameters",
                Decimal::from(VALUES)
            ))),
            Err(holder) => Err(slot.refuse(holder)),
        }
    }

    fn writer(&self, client: Client) -> Writer<'_, VALUES, TEXT> {
        Writer { file: self, client }
    }
}

impl<const VALUES: usize, const TEXT: usize> File for StagedFile<'_, VALUES, TEXT> {
    fn stat(&self) -> FileStat {
        let stat = Count::stat(|count| self.render_line(count));
        if self.check_writable().is_ok() { stat } else { stat.read_only() }
    }

    fn open(&self, open: &mut OpenFile<'_>, mode: OpenMode) -> Result<()> {
        // Truncation keeps the value, because shells truncate a file before writing to it.
        open.state.partial = mode.truncate;
        Ok(())
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(apply_piece(&self.writer(open.client), open).and_then(|()| {
            if !open.state.partial && (offset == 0 || open.text.bytes().is_empty()) {
                render(open.text, |out| self.render_line(out))?;
            }
            read_at(open.text.bytes(), offset, buf)
        }))
    }

    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        self.check_writable()?;
        write_piece(&self.writer(open.client), open, offset, data)
    }

    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        apply_piece(&self.writer(open.client), open)
    }

    fn truncate(&self, _: u64) -> Result<()> {
        self.check_writable()
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        check_plain_mode(mode)
    }
}

/// A file and the client that writes to it.
struct Writer<'a, const VALUES: usize, const TEXT: usize> {
    file: &'a StagedFile<'a, VALUES, TEXT>,
    client: Client,
}

impl<const VALUES: usize, const TEXT: usize> PieceTarget for Writer<'_, VALUES, TEXT> {
    fn set(&self, _: u64, text: &[u8]) -> Result<()> {
        let Self { file, client } = self;
        file.slot.record(*client, file.stage(*client, text.trim_ascii()))
    }

    fn may_continue(&self, text: &[u8]) -> bool {
        self.file.parameter.may_continue(text)
    }
}
