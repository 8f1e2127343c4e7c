//! Values and commands that arrive in multiple writes.
//!
//! A program's buffering or a small iounit may split the text at any point. For example, `12` at
//! offset 0 and `34` at offset 2 form the value `1234`. A value is complete when a write ends with
//! a newline, when a write does not start where the previous one ended, when the file is read, or
//! when the fid is clunked. A value is also complete if it cannot be the beginning of a longer
//! value. If the value is invalid, the request that completes it fails. If the connection is lost,
//! an incomplete value is discarded.

use datakit_core::vfs::{Result, Text as _};
use parking_lot::Mutex;

use super::ClientNumber;
use super::growing_text::GrowingText;
use super::text::TEXT_MAX;

/// The incomplete text written to an open file. The text is charged to the client.
#[derive(Debug)]
pub(super) struct Pieces(Mutex<Piece>);

/// A piece of text and the offset at which it was written.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) start: u64,
    text: GrowingText,
}

impl Piece {
    /// Returns the text.
    pub(super) fn text(&self) -> &[u8] {
        self.text.bytes()
    }

    fn end(&self) -> u64 {
        self.start.saturating_add(self.text().len() as u64)
    }

    /// Removes and returns the text, if any, leaving an empty piece that starts where the text
    /// ended.
    fn take(&mut self) -> Option<Piece> {
        let start = self.start;
        self.start = self.end();
        (!self.text().is_empty()).then(|| Piece { start, text: self.text.take() })
    }
}

impl Pieces {
    /// Creates an empty text for a file opened by `client`.
    pub(super) fn new(client: &ClientNumber) -> Pieces {
        Pieces(Mutex::new(Piece { start: 0, text: GrowingText::new(client) }))
    }

    /// Removes and returns the text if a write of `count` bytes at `offset` does not continue it or
    /// would make it too long.
    pub(super) fn finish_before(&self, offset: u64, count: usize) -> Option<Piece> {
        let mut piece = self.0.lock();
        let fits = piece.text().len().saturating_add(count) <= TEXT_MAX;
        let continues = piece.end() == offset && fits;
        if continues { None } else { piece.take() }
    }

    /// Adds a write, and returns the text if the write completes it. If the text does not end with
    /// a newline, calls `may_continue` to find out whether the text may be incomplete. The second
    /// argument to `may_continue` is `true` if the text arrived in a single write.
    ///
    /// # Errors
    /// Discards the text and returns an error:
    /// - [`TooLarge`](datakit_core::vfs::Error::TooLarge) if the text would be longer than [`TEXT_MAX`]
    /// - [`NoSpace`](datakit_core::vfs::Error::NoSpace) if the texts of the client's open files would be too long together
    pub(super) fn add(
        &self,
        offset: u64,
        data: &[u8],
        may_continue: impl FnOnce(&[u8], bool) -> bool,
    ) -> Result<Option<Piece>> {
        let mut piece = self.0.lock();
        let single = piece.text().is_empty();
        if single {
            // Ignore the trailing newline of a value that is already complete.
            if offset != 0 && offset == piece.start && data.trim_ascii().is_empty() {
                return Ok(None);
            }
            piece.start = offset;
        }
        if let Err(error) = piece.text.extend(data) {
            drop(piece.text.take());
            piece.start = 0;
            return Err(error);
        }
        let complete = data.ends_with(b"\n") || !may_continue(piece.text(), single);
        Ok(if complete { piece.take() } else { None })
    }

    /// Removes and returns the text, if any. This method is called on a read or a clunk, either of
    /// which completes the text.
    pub(super) fn finish(&self) -> Option<Piece> {
        self.0.lock().take()
    }

    /// Returns the offset at which a write continues the text.
    pub(super) fn next_offset(&self) -> u64 {
        self.0.lock().end()
    }
}

/// Returns `true` if `text` is a proper prefix of at least one word in `words`. A command that is a
/// proper prefix of a longer command may be incomplete.
pub fn is_prefix_of_any<'w>(words: impl IntoIterator<Item = &'w str>, text: &str) -> bool {
    words.into_iter().any(|word| word.len() > text.len() && word.starts_with(text))
}
