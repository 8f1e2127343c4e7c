//! The file that begins, commits and ends a transaction.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::Slot;
use crate::files::{PieceTarget, apply_piece, check_plain_mode, write_piece};
use crate::params::reply_file::{self, ReplyFile};
use crate::vfs::{Client, Error, File, FileStat, OpenFile, OpenMode, Result, Window};

/// The commands, as they appear in messages.
const COMMANDS: &str = "commit, commit force or abort";

impl<const VALUES: usize, const TEXT: usize> Slot<VALUES, TEXT> {
    fn run(&self, client: Client, command: &[u8]) -> Result<()> {
        // A `match` on the command would compare it byte by byte, which takes up more flash.
        let is = |name: &[u8]| command == name;
        let force = is(b"commit force");
        if force || is(b"commit") {
            self.commit(client, force)
        } else if is(b"abort") {
            self.discard(false);
            Ok(())
        } else {
            Err(reply_file::unknown_command(command, COMMANDS))
        }
    }
}

/// The `ctl` file of the transaction.
// The methods convert `self` to `dyn ReplyFile`, because a conversion to `dyn PieceTarget` would add
// another vtable.
impl<const VALUES: usize, const TEXT: usize> File for Slot<VALUES, TEXT> {
    /// The length of the text changes with every request, so the file reports a length of 0.
    fn stat(&self) -> FileStat {
        FileStat::new(0)
    }

    fn open(&self, open: &mut OpenFile<'_>, _: OpenMode) -> Result<()> {
        self.begin(open.client)
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        reply_file::poll_read(self, open, cx, offset, buf)
    }

    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        open.state.taken = 0;
        write_piece(self as &dyn ReplyFile, open, offset, data)
    }

    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        apply_piece(self as &dyn ReplyFile, open)
    }

    fn close(&self, _: &mut OpenFile<'_>) {
        self.discard(true);
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
        reply_file::describe(COMMANDS, out)
    }
}

impl<const VALUES: usize, const TEXT: usize> PieceTarget for Slot<VALUES, TEXT> {
    fn set(&self, client: Client, _: u64, command: &[u8]) -> Result<()> {
        self.record(client, self.run(client, command.trim_ascii()))
    }
}

impl<const VALUES: usize, const TEXT: usize> ReplyFile for Slot<VALUES, TEXT> {
    fn render_reply(
        &self,
        _: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        out: &mut Window<'_>,
    ) -> bool {
        // When the buffer is full, the window returns an error to stop the rendering.
        let _ = self.with_transaction(|transaction| transaction.render(out));
        true
    }
}
