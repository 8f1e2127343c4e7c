//! The text of an open `datakit-core` file.

use std::fmt;

use datakit_core::vfs::{Error, Result, Text};

use super::text::TEXT_MAX;

/// A [`Text`] that grows as needed, up to [`TEXT_MAX`] bytes.
///
/// Without a limit, a client could fill the server's memory with pieces of a value or a command
/// that it never completes. The limit also bounds the time that a write takes, because a file may
/// check all pieces again when it receives the next one. The limit is not smaller, because streams
/// and lines have texts of up to 65535 bytes. A client may write such a line in pieces of any size.
#[derive(Default)]
pub(super) struct GrowingText(Vec<u8>);

impl GrowingText {
    fn has_room(&self, bytes: &[u8]) -> bool {
        self.0.len().saturating_add(bytes.len()) <= TEXT_MAX
    }
}

impl Text for GrowingText {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.has_room(bytes) {
            return Err(too_large());
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

#[cold]
fn too_large() -> Error {
    Error::TooLarge
        .with_message(format_args!("a text written in pieces has at most {TEXT_MAX} bytes"))
}

impl fmt::Write for GrowingText {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if !self.has_room(s.as_bytes()) {
            return Err(fmt::Error);
        }
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn a_text_that_does_not_fit_is_refused_as_a_whole() {
        let mut text = GrowingText::default();
        assert_eq!(text.extend(&[b'0'; TEXT_MAX - 2]), Ok(()));
        let refused = text.extend(b"123").unwrap_err();
        assert_eq!(refused.to_string(), "a text written in pieces has at most 65536 bytes");
        assert_eq!(refused.errno(), Error::TooLarge.errno());
        assert_eq!(text.write_str("123"), Err(fmt::Error));
        assert_eq!(text.write_str("12"), Ok(()));
        assert_eq!(text.bytes().len(), TEXT_MAX);
        text.truncate(1);
        assert_eq!(text.extend(b"123"), Ok(()));
        assert_eq!(text.bytes(), b"0123");
    }
}
