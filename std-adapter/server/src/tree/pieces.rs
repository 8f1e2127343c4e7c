//! Values and commands that a client may write in pieces.
//!
//! A program that buffers, or a small iounit, cuts a text anywhere: `12` at offset 0 and `34` at
//! offset 2 are the value `1234`. A value ends with a newline at the end of a write, with a write
//! at another offset than where the last one ended (0, most of all), with a read, with the clunk,
//! or as soon as nothing can follow it. EntryKind is wrong with it is the error of the request that
//! ended it. A connection that is lost sets nothing.

use parking_lot::Mutex;

use datakit_core::vfs::{Error, Result};

use super::text::LARGEST;

/// EntryKind was written on one open file and has not ended.
#[derive(Debug, Default)]
pub(super) struct Pieces(Mutex<Piece>);

/// A text and the offset that it was written at.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) text: Vec<u8>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.text.len() as u64)
    }

    /// Leaves an empty text at its end.
    fn take(&mut self) -> Option<Piece> {
        let next = Piece { start: self.end(), text: Vec::new() };
        let begun = std::mem::replace(self, next);
        if begun.text.is_empty() { None } else { Some(begun) }
    }
}

impl Pieces {
    /// EntryKind ends because a write of `count` bytes at `offset` does not go on with it, or would make
    /// it too long.
    pub(super) fn before(&self, offset: u64, count: usize) -> Option<Piece> {
        let mut begun = self.0.lock();
        let goes_on = begun.end() == offset && begun.text.len().saturating_add(count) <= LARGEST;
        if goes_on { None } else { begun.take() }
    }

    /// Adds what was written: the whole value, if it ends here. `goes_on` tells whether more may
    /// follow a text without a newline; it is also told whether the text was written in one piece.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`LARGEST`]; nothing is kept then.
    pub(super) fn add(
        &self,
        offset: u64,
        data: &[u8],
        goes_on: impl FnOnce(&[u8], bool) -> bool,
    ) -> Result<Option<Piece>> {
        let mut begun = self.0.lock();
        let in_one_piece = begun.text.is_empty();
        if in_one_piece {
            // The newline of a value that was set without it.
            if offset != 0 && offset == begun.start && data.trim_ascii().is_empty() {
                return Ok(None);
            }
            begun.start = offset;
        }
        if begun.text.len().saturating_add(data.len()) > LARGEST {
            *begun = Piece::default();
            return Err(Error::TooLarge);
        }
        begun.text.extend_from_slice(data);
        let ended = data.ends_with(b"\n") || !goes_on(&begun.text, in_one_piece);
        Ok(if ended { begun.take() } else { None })
    }

    /// EntryKind ends with a read or a clunk.
    pub(super) fn end(&self) -> Option<Piece> {
        self.0.lock().take()
    }

    /// The offset at which the next piece goes on.
    pub(super) fn next(&self) -> u64 {
        self.0.lock().end()
    }
}

/// Whether a longer one of these words is_prefix_of_any with `text`, which is without white space before it.
pub fn is_prefix_of_any<'w>(words: impl IntoIterator<Item = &'w str>, text: &str) -> bool {
    words.into_iter().any(|word| word.len() > text.len() && word.starts_with(text))
}
