//! Parses hashes that clients write, and formats hashes that clients read.

use datakit_core::vfs;

use crate::{Error, Id};

/// The reply to a command that returns no data.
pub(super) const NO_REPLY: &str = "";

/// Parses a file name as a hash.
pub(super) fn parse_name(name: vfs::Name<'_>) -> vfs::Result<Id> {
    Ok(Id::parse(name.as_bytes()).map_err(Error::from)?)
}

/// Returns the hash followed by a newline, or just a newline for `None`.
pub(super) fn line(id: Option<Id>) -> String {
    id.map_or_else(|| "\n".to_owned(), |id| format!("{id}\n"))
}

/// Returns `true` if `text` could be an incomplete hash.
pub(super) fn is_partial_hash(text: &str) -> bool {
    text.len() < 40 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}
