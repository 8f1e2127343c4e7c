//! Compares rendered text with an expected text.

use core::fmt;

use super::write_char;

/// A writer that compares the text written to it with an expected text, so that the rendered text
/// needs no buffer.
///
/// When `/` is written after the whole expected text, the writer returns an error. This is how
/// [`FilePath::is_within`](super::FilePath::is_within) recognizes the path of a directory.
pub(crate) struct Compare<'a> {
    /// The part of the expected text that has not been written yet, or `None` after a difference.
    rest: Option<&'a [u8]>,
}

impl<'a> Compare<'a> {
    /// Creates a writer that expects `text`.
    pub(crate) fn new(text: &'a [u8]) -> Compare<'a> {
        Compare { rest: Some(text) }
    }

    /// Returns whether exactly the expected text has been written.
    pub(crate) fn is_equal(&self) -> bool {
        self.rest.is_some_and(<[u8]>::is_empty)
    }
}

impl fmt::Write for Compare<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if s == "/" && self.is_equal() {
            self.rest = None;
            return Err(fmt::Error);
        }
        self.rest = self.rest.and_then(|rest| rest.strip_prefix(s.as_bytes()));
        Ok(())
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        write_char(self, character)
    }
}

#[cfg(test)]
mod tests {
    use core::fmt::Write;

    use super::*;

    /// Writes `pieces`, ignoring errors, and returns whether they equal `expected`.
    fn is_equal(expected: &str, pieces: &[&str]) -> bool {
        let mut compare = Compare::new(expected.as_bytes());
        for piece in pieces {
            let _ = compare.write_str(piece);
        }
        compare.is_equal()
    }

    #[test]
    fn only_the_whole_expected_text_is_equal() {
        assert!(is_equal("", &[]));
        assert!(is_equal("a/bc", &["a", "/", "bc"]));
        assert!(is_equal("ab", &["", "a", "", "b", ""]));
        for pieces in [&["a"][..], &["abc"], &["ab", "c"], &["a", "c"], &["ab", "/"], &["b"]] {
            assert!(!is_equal("ab", pieces), "{pieces:?}");
        }
        let mut compare = Compare::new("\u{fc}b".as_bytes());
        compare.write_char('\u{fc}').unwrap();
        compare.write_char('b').unwrap();
        assert!(compare.is_equal());
    }

    #[test]
    fn a_slash_after_the_expected_text_is_an_error() {
        let mut compare = Compare::new(b"a/b");
        compare.write_str("a").unwrap();
        compare.write_str("/").unwrap();
        compare.write_str("b").unwrap();
        compare.write_str("/").unwrap_err();
    }
}
