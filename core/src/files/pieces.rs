//! Values that a client may write in several pieces.
//!
//! A small iounit, or output buffering in the client, can split a value at any position. For
//! example, writing `12` at offset 0 and `34` at offset 2 sets the value `1234`. A value is
//! complete when a write ends with a newline, when the file is read, or when the fid is clunked. A
//! pending value is also complete when a write starts at any offset other than the end of the
//! previous write. A value that cannot be the beginning of a longer value is complete immediately.
//! A value is set only once it is complete. If setting a value fails, the request that completed it
//! returns the error. If the connection is lost, the pending value is not set.

use crate::vfs::{Client, OpenFile, Result};

/// A file that holds one value or accepts one command at a time.
pub(crate) trait PieceTarget {
    /// Sets the value to `text`, which `client` wrote at offset `start`.
    fn set(&self, client: Client, start: u64, text: &[u8]) -> Result<()>;

    /// Returns whether `text`, which contains no newline, could be the beginning of a longer value.
    fn may_continue(&self, text: &[u8]) -> bool {
        let _ = text;
        true
    }

    /// Returns whether a value may be set in several steps if it does not fit into the open file's
    /// buffer.
    fn allows_steps(&self) -> bool {
        false
    }
}

/// Processes a write that contains a value or a piece of a value.
pub(crate) fn write(
    file: &dyn PieceTarget,
    open: &mut OpenFile<'_>,
    offset: u64,
    data: &[u8],
) -> Result<usize> {
    if data.is_empty() {
        return Ok(0);
    }
    let follows = offset == open.state.delivered;
    let continues = follows && is_pending(open);
    if !continues {
        apply(file, open)?;
        // Ignore the newline if the value that it terminates has already been set.
        if follows && offset != 0 && data.trim_ascii().is_empty() {
            return Ok(data.len());
        }
        open.text.truncate(0);
        open.state.partial = true;
    }
    if let Err(error) = open.text.extend(data) {
        // A value that arrives in a single piece may be larger than the capacity of `open.text`.
        if continues {
            if !file.allows_steps() {
                open.text.truncate(0);
                return Err(error);
            }
            apply(file, open)?;
        }
        open.state.partial = false;
        file.set(open.client, offset, data)?;
    }
    open.state.delivered = offset.saturating_add(data.len() as u64);
    if data.ends_with(b"\n") || !file.may_continue(open.text.bytes()) {
        apply(file, open)?;
    }
    Ok(data.len())
}

/// Completes and sets the pending value, if there is one.
#[inline(never)]
pub(crate) fn apply(file: &dyn PieceTarget, open: &mut OpenFile<'_>) -> Result<()> {
    let text = open.text.bytes();
    let result = if is_pending(open) {
        file.set(open.client, open.state.delivered.saturating_sub(text.len() as u64), text)
    } else {
        return Ok(());
    };
    open.state.partial = false;
    open.text.truncate(0);
    result
}

/// Returns whether `text` is a proper prefix of at least one of `words`, ignoring leading
/// whitespace.
pub(super) fn is_prefix_of_any<'w>(words: impl IntoIterator<Item = &'w str>, text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    words.into_iter().any(|word| word.len() > text.len() && word.as_bytes().starts_with(text))
}

/// Returns whether the text is an incomplete value.
pub(super) fn is_pending(open: &OpenFile<'_>) -> bool {
    open.state.partial && !open.text.bytes().is_empty()
}
