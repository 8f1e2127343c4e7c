//! The text of an open file, which is charged to the client.

use std::fmt;
use std::mem;

use datakit_core::vfs::{Error, Result, Text};

use super::ClientNumber;
use super::client_number::resize_text;
use super::text::TEXT_MAX;
use crate::budget::Reservation;

/// The number of bytes that an emptied text keeps, so that reading a file again does not allocate.
const KEPT_BYTES: usize = 4096;

/// A [`Text`] that grows as needed, up to [`TEXT_MAX`] bytes, and is charged to its client.
///
/// Without a limit, a client could fill the server's memory with pieces of a value or a command
/// that it never completes. The limit also bounds the time that a write takes, because a file may
/// check all pieces again when it receives the next one. The limit is not smaller, because streams
/// and lines have texts of up to 65535 bytes. A client may write such a line in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct GrowingText {
    bytes: Vec<u8>,
    /// The bytes charged to the client. `None` if the program itself opened the file.
    reservation: Option<Reservation>,
}

impl GrowingText {
    /// Creates an empty text that is charged to `client`.
    pub(super) fn new(client: &ClientNumber) -> GrowingText {
        GrowingText { bytes: Vec::new(), reservation: client.text_reservation() }
    }

    /// Removes and returns the text. Leaves an empty text that is charged to the same client.
    pub(super) fn take(&mut self) -> GrowingText {
        let reservation = self.reservation.as_ref().map(Reservation::new_empty);
        mem::replace(self, GrowingText { bytes: Vec::new(), reservation })
    }

    /// Reserves space for `more` bytes.
    fn reserve(&mut self, more: usize) -> Result<()> {
        let length = self.bytes.len().saturating_add(more);
        if length > TEXT_MAX {
            return Err(too_large());
        }
        match &mut self.reservation {
            Some(reserved) if reserved.bytes() < length as u64 => resize_text(reserved, length),
            _ => Ok(()),
        }
    }
}

impl Text for GrowingText {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn truncate(&mut self, length: usize) {
        if length == 0 && self.bytes.capacity() > KEPT_BYTES {
            drop(self.take());
        }
        self.bytes.truncate(length);
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.reserve(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

#[cold]
fn too_large() -> Error {
    Error::TooLarge.with_message(format_args!("a text has at most {TEXT_MAX} bytes"))
}

impl fmt::Write for GrowingText {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.extend(s.as_bytes()).map_err(|_| fmt::Error)
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
        assert_eq!(refused.to_string(), "a text has at most 65536 bytes");
        assert_eq!(refused.errno(), Error::TooLarge.errno());
        assert_eq!(text.write_str("123"), Err(fmt::Error));
        assert_eq!(text.write_str("12"), Ok(()));
        assert_eq!(text.bytes().len(), TEXT_MAX);
        text.truncate(1);
        assert_eq!(text.extend(b"123"), Ok(()));
        assert_eq!(text.bytes(), b"0123");
    }
}
