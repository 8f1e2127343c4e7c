//! Values that a client may write in pieces.
//!
//! A program that buffers, or a small iounit, cuts a value anywhere: `12` at offset 0 and `34` at
//! offset 2 are the value `1234`. A value ends with a newline at the end of a write, with a write
//! at another offset than where the last one ended (0, most of all), with a read, with the clunk,
//! or as soon as nothing can follow it. Only then it is set, as a whole, and what is wrong with it
//! is the error of the request that ended it. A connection that is lost sets nothing.

use crate::vfs::{OpenFile, Result};

/// A file that has one value, or takes one command at a time.
pub(super) trait Valued {
    /// Sets the value to what was written from the offset `start` on.
    fn set(&self, start: u64, text: &[u8]) -> Result<()>;

    /// Whether more may follow `text`, which has no newline.
    fn goes_on(&self, text: &[u8]) -> bool {
        let _ = text;
        true
    }

    /// Whether a long value may be set in several steps.
    fn in_steps(&self) -> bool {
        false
    }
}

/// Takes a write of a value, or of a piece of one.
pub(super) fn write(
    file: &dyn Valued,
    open: &mut OpenFile<'_>,
    offset: u64,
    data: &[u8],
) -> Result<usize> {
    if data.is_empty() {
        return Ok(0);
    }
    let follows = offset == open.state.delivered;
    let continues = follows && begun(open);
    if !continues {
        end(file, open)?;
        // The newline of a value that was set without it.
        if follows && offset != 0 && data.trim_ascii().is_empty() {
            return Ok(data.len());
        }
        open.text.clear();
        open.state.partial = true;
    }
    if let Err(error) = open.text.extend(data) {
        // Most values come in one piece, which may be longer than the text has room for.
        if continues {
            if !file.in_steps() {
                open.text.clear();
                return Err(error);
            }
            end(file, open)?;
        }
        open.state.partial = false;
        file.set(offset, data)?;
    }
    open.state.delivered = offset.saturating_add(data.len() as u64);
    if data.ends_with(b"\n") || !file.goes_on(open.text.bytes()) {
        end(file, open)?;
    }
    Ok(data.len())
}

/// Ends the value that was begun, if one was.
#[inline(never)]
pub(super) fn end(file: &dyn Valued, open: &mut OpenFile<'_>) -> Result<()> {
    let text = open.text.bytes();
    let done = if begun(open) {
        file.set(open.state.delivered.saturating_sub(text.len() as u64), text)
    } else {
        return Ok(());
    };
    open.state.partial = false;
    open.text.clear();
    done
}

/// Whether a longer one of these words begins with `text`.
pub(super) fn begins<'w>(words: impl IntoIterator<Item = &'w str>, text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    words.into_iter().any(|word| word.len() > text.len() && word.as_bytes().starts_with(text))
}

fn begun(open: &OpenFile<'_>) -> bool {
    open.state.partial && !open.text.bytes().is_empty()
}
