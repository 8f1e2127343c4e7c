//! Files that run commands and return replies.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use crate::files::{PieceTarget, Plain, Quoted, apply_piece};
use crate::vfs::{Error, OpenFile, Result, Window};

/// A file that runs commands and returns a reply.
pub(super) trait ReplyFile: PieceTarget {
    /// Writes the reply for the client that opened `open`. Registers the waker and returns `false`
    /// if there is no reply yet.
    fn render_reply(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        out: &mut Window<'_>,
    ) -> bool;
}

/// Returns the error for a command that does not exist. `commands` lists the existing commands.
#[cold]
pub(super) fn unknown_command(command: &[u8], commands: &'static str) -> Error {
    let (command, commands) = (Quoted(command), Plain(commands));
    Error::Invalid.with_message(format_args!("{command} is not a command: use {commands}"))
}

/// Writes a description of a file that runs these commands.
pub(super) fn describe(commands: &'static str, out: &mut dyn Write) -> fmt::Result {
    out.write_str("command: ")?;
    out.write_str(commands)
}

/// Reads the remainder of the reply. The read must start either at offset 0 or where the last read
/// or write of this open file ended. A read at offset 0 starts at the beginning of the reply.
///
/// In the state of the open file, `taken` is the number of bytes already read.
pub(super) fn poll_read(
    file: &dyn ReplyFile,
    open: &mut OpenFile<'_>,
    cx: &mut Context<'_>,
    offset: u64,
    buf: &mut [u8],
) -> Poll<Result<usize>> {
    apply_piece(file, open)?;
    if offset == 0 {
        open.state.taken = 0;
    } else if offset != open.state.delivered {
        return Poll::Ready(Err(Error::Seek));
    }
    let mut window = Window::new(open.state.taken.into(), buf);
    if !file.render_reply(open, cx, &mut window) {
        return Poll::Pending;
    }
    let count = window.filled();
    // A reply has at most `ERROR_MESSAGE_MAX` bytes and a newline.
    open.state.taken = open.state.taken.saturating_add(count as u16);
    open.state.delivered = offset.saturating_add(count as u64);
    Poll::Ready(Ok(count))
}
