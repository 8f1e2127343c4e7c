//! The file that begins, commits and ends a transaction.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::Slot;
use crate::files::{PieceTarget, Quoted, apply_piece, check_plain_mode, write_piece};
use crate::vfs::{Client, Error, File, FileStat, OpenFile, OpenMode, Result, Window};

/// The `ctl` file of a transaction.
pub(super) struct TransactionCtl<'a, const VALUES: usize, const TEXT: usize> {
    pub(super) slot: &'a Slot<VALUES, TEXT>,
}

impl<const VALUES: usize, const TEXT: usize> TransactionCtl<'_, VALUES, TEXT> {
    fn run(&self, client: Client, command: &[u8]) -> Result<()> {
        // A `match` on the command would compare it byte by byte, which takes up more flash.
        let is = |name: &[u8]| command == name;
        let force = is(b"commit force");
        if force || is(b"commit") {
            self.slot.commit(client, force)
        } else if is(b"abort") {
            self.slot.with_transaction(|transaction| transaction.clear());
            Ok(())
        } else {
            Err(Error::Invalid.with_message(format_args!(
                "{} is not a command: use commit, commit force or abort",
                Quoted(command)
            )))
        }
    }

    fn commands(&self, client: Client) -> Commands<'_, VALUES, TEXT> {
        Commands { ctl: self, client }
    }
}

impl<const VALUES: usize, const TEXT: usize> File for TransactionCtl<'_, VALUES, TEXT> {
    /// The length of the text changes with every request, so the file reports a length of 0.
    fn stat(&self) -> FileStat {
        FileStat::new(0)
    }

    fn open(&self, open: &mut OpenFile<'_>, _: OpenMode) -> Result<()> {
        self.slot.begin(open.client)
    }

    /// Reads the remainder of the text that describes the transaction. The read must start either
    /// at offset 0 or where the last read or write of this open file ended. A read at offset 0
    /// starts at the beginning of the text.
    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        apply_piece(&self.commands(open.client), open)?;
        if offset == 0 {
            open.state.taken = 0;
        } else if offset != open.state.delivered {
            return Poll::Ready(Err(Error::Seek));
        }
        let mut window = Window::new(open.state.taken.into(), buf);
        // When the buffer is full, the `Window` returns an error to stop the rendering.
        let _ = self.slot.with_transaction(|transaction| transaction.render(&mut window));
        let count = window.filled();
        // The text has at most `ERROR_MESSAGE_MAX` bytes and a newline.
        open.state.taken = open.state.taken.saturating_add(count as u16);
        open.state.delivered = offset.saturating_add(count as u64);
        Poll::Ready(Ok(count))
    }

    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        open.state.taken = 0;
        write_piece(&self.commands(open.client), open, offset, data)
    }

    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        apply_piece(&self.commands(open.client), open)
    }

    fn close(&self, _: &mut OpenFile<'_>) {
        self.slot.with_transaction(|transaction| transaction.end());
    }

    fn truncate(&self, length: u64) -> Result<()> {
        if length == 0 { Ok(()) } else { Err(Error::ExtendCommand) }
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        check_plain_mode(mode)
    }

    fn remove(&self) -> Result<()> {
        Err(Error::NotPermitted)
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("command: commit, commit force or abort")
    }
}

/// The commands of one client.
struct Commands<'a, const VALUES: usize, const TEXT: usize> {
    ctl: &'a TransactionCtl<'a, VALUES, TEXT>,
    client: Client,
}

impl<const VALUES: usize, const TEXT: usize> PieceTarget for Commands<'_, VALUES, TEXT> {
    fn set(&self, _: u64, command: &[u8]) -> Result<()> {
        self.ctl.slot.record(self.client, self.ctl.run(self.client, command.trim_ascii()))
    }
}
