//! Writes the text of an open file, or measures its length.

use core::fmt;

use crate::vfs::{Error, FileStat, Result, Text, write_char};

/// A writer that counts the bytes written to it.
#[derive(Default)]
pub(crate) struct Count(pub(crate) u64);

impl Count {
    /// Returns the attributes of a file whose content is the text that `render` writes.
    pub(crate) fn stat(render: impl FnOnce(&mut Count) -> fmt::Result) -> FileStat {
        let mut count = Count::default();
        let _ = render(&mut count);
        FileStat::new(count.0)
    }
}

impl fmt::Write for Count {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0 += s.len() as u64;
        Ok(())
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        write_char(self, character)
    }
}

impl Text for Count {
    fn bytes(&self) -> &[u8] {
        &[]
    }

    fn truncate(&mut self, length: usize) {
        self.0 = self.0.min(length as u64);
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.0 += bytes.len() as u64;
        Ok(())
    }
}

/// Replaces the text of an open file with the text that `with` writes.
///
/// # Errors
/// Returns [`Error::TextTooLong`] if the new text does not fit. After an error, the text of the
/// open file is empty.
pub(crate) fn render(
    text: &mut dyn Text,
    with: impl FnOnce(&mut dyn Text) -> fmt::Result,
) -> Result<()> {
    text.truncate(0);
    with(text).map_err(|_| {
        text.truncate(0);
        Error::TextTooLong
    })
}
