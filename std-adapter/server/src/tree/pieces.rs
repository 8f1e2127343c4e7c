//! Values and commands that arrive in several writes.
//!
//! A program that buffers its output, or a small iounit, splits a text anywhere: `12` at offset 0
//! and `34` at offset 2 are the value `1234`. A value is complete after a write that ends with a
//! newline, at a write that does not continue at the offset where the last one ended, at a read, at
//! the clunk, or as soon as nothing can follow it. The request that completes a value reports its
//! error. A lost connection discards an incomplete value.

use datakit_core::vfs::{Error, Result};
use parking_lot::Mutex;

use super::text::TEXT_MAX;

/// The incomplete text that was written to one open file.
#[derive(Debug, Default)]
pub(super) struct Pieces(Mutex<Piece>);

/// A text and the offset at which it was written.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) text: Vec<u8>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.text.len() as u64)
    }

    /// Takes the text, if there is any, and leaves an empty one that starts at its end.
    fn take(&mut self) -> Option<Piece> {
        let next = Piece { start: self.end(), text: Vec::new() };
        let piece = std::mem::replace(self, next);
        if piece.text.is_empty() { None } else { Some(piece) }
    }
}

impl Pieces {
    /// Returns the text that is complete because a write of `count` bytes at `offset` does not
    /// continue it, or would make it too long.
    pub(super) fn finish_before(&self, offset: u64, count: usize) -> Option<Piece> {
        let mut piece = self.0.lock();
        let continues = piece.end() == offset && piece.text.len().saturating_add(count) <= TEXT_MAX;
        if continues { None } else { piece.take() }
    }

    /// Adds a write and returns the text if that completes it. `may_continue` decides about a text
    /// that does not end with a newline; its second argument is whether the text is a single write.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the text exceeds [`TEXT_MAX`]. It is discarded then.
    pub(super) fn add(
        &self,
        offset: u64,
        data: &[u8],
        may_continue: impl FnOnce(&[u8], bool) -> bool,
    ) -> Result<Option<Piece>> {
        let mut piece = self.0.lock();
        let single = piece.text.is_empty();
        if single {
            // Ignores the trailing newline of a value that is complete already.
            if offset != 0 && offset == piece.start && data.trim_ascii().is_empty() {
                return Ok(None);
            }
            piece.start = offset;
        }
        if piece.text.len().saturating_add(data.len()) > TEXT_MAX {
            *piece = Piece::default();
            return Err(Error::TooLarge);
        }
        piece.text.extend_from_slice(data);
        let complete = data.ends_with(b"\n") || !may_continue(&piece.text, single);
        Ok(if complete { piece.take() } else { None })
    }

    /// Returns the text, which a read or a clunk completes.
    pub(super) fn finish(&self) -> Option<Piece> {
        self.0.lock().take()
    }

    /// Returns the offset that continues the text.
    pub(super) fn next_offset(&self) -> u64 {
        self.0.lock().end()
    }
}

/// Returns whether one of `words` starts with `text` and is longer: whether more of a command may
/// follow.
pub fn is_prefix_of_any<'w>(words: impl IntoIterator<Item = &'w str>, text: &str) -> bool {
    words.into_iter().any(|word| word.len() > text.len() && word.starts_with(text))
}
