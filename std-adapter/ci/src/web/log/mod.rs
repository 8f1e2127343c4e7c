//! Logs: conversion to HTML, division into pages, and display of logs that are still growing.

pub(in crate::web) mod ansi;
pub(in crate::web) mod index;
pub(in crate::web) mod lines;
pub(in crate::web) mod saved;
pub(in crate::web) mod search;
pub(in crate::web) mod style;
pub(in crate::web) mod tail;

/// Returns the number of bytes at the start of `bytes` that form complete characters. Each invalid
/// byte counts as a character.
pub(in crate::web) fn whole_chars(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    let last = bytes.get(tail..).unwrap_or_default().iter().rposition(|byte| *byte >= 0xc0);
    match last.map(|at| tail + at) {
        Some(start) if is_incomplete(bytes.get(start..).unwrap_or_default()) => start,
        _ => bytes.len(),
    }
}

fn is_incomplete(end: &[u8]) -> bool {
    matches!(std::str::from_utf8(end), Err(error) if error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::whole_chars;

    #[test]
    fn a_character_at_the_end_may_be_incomplete() {
        let text = "a\u{fc}\u{20ac}\u{1f600}".as_bytes();
        let ends: Vec<usize> = (0..=text.len()).map(|end| whole_chars(&text[..end])).collect();
        assert_eq!(ends, [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10]);
        assert_eq!((whole_chars(b"\xff\xff\xff\xff"), whole_chars(b"a\xc3\xc3")), (4, 2));
    }
}
