//! Checks the data that clients write, and applies it to byte strings.

use crate::vfs::{Error, Result, Text, check_offset, check_write_offset};

/// Copies `old` to `new` and then writes `data` over the copy, starting at `offset`. A gap before
/// `data` is filled with zeros, and bytes after `data` are kept, so a write never shortens the
/// content.
///
/// # Errors
/// Returns [`Error::Invalid`] with a message such as `Bad write offset -2` if `offset` is negative
/// when interpreted as a signed number. Returns [`Error::TooLarge`] if the result does not fit in
/// `new`.
pub(super) fn overlay(old: &[u8], offset: u64, data: &[u8], new: &mut dyn Text) -> Result<()> {
    check_write_offset(offset)?;
    let start = usize::try_from(offset).map_err(|_| Error::TooLarge)?;
    resize(old, start as u64, new)?;
    new.extend(data)?;
    new.extend(old.get(start.saturating_add(data.len())..).unwrap_or_default())
}

/// Copies `old` to `new` and then truncates the copy to `length` bytes or extends it with zeros.
///
/// # Errors
/// Returns [`Error::Invalid`] with a message such as `Negative offset -1` if `length` is negative
/// when interpreted as a signed number. Returns [`Error::TooLarge`] if the result does not fit in
/// `new`.
pub(super) fn resize(old: &[u8], length: u64, new: &mut dyn Text) -> Result<()> {
    check_offset(length)?;
    let length = usize::try_from(length).map_err(|_| Error::TooLarge)?;
    new.truncate(0);
    new.extend(old.get(..length).unwrap_or(old))?;
    for _ in old.len()..length {
        new.extend(&[0])?;
    }
    Ok(())
}

/// Rejects permission bits that would make a file executable.
///
/// # Errors
/// Returns [`Error::ChmodSpecial`] if an execute bit is set.
pub(crate) fn check_plain_mode(mode: u32) -> Result<()> {
    if mode & 0o111 == 0 { Ok(()) } else { Err(Error::ChmodSpecial) }
}

/// Returns the written bytes as text, without leading or trailing whitespace.
///
/// # Errors
/// Returns [`Error::NotUtf8`] if `data` is not UTF-8.
pub(super) fn trimmed(data: &[u8]) -> Result<&str> {
    core::str::from_utf8(data.trim_ascii()).map_err(|_| Error::NotUtf8)
}
