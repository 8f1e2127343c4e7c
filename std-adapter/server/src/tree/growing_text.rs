//! The text of an open `datakit-core` file.

use std::fmt;

use datakit_core::vfs::{Result, Text};

/// A [`Text`] that grows as needed.
#[derive(Default)]
pub(super) struct GrowingText(Vec<u8>);

impl Text for GrowingText {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl fmt::Write for GrowingText {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}
