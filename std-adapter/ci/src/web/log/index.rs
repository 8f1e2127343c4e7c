//! The pages of a log.
//!
//! A log of 100 MB is too large for a single page. An index divides the log into pages and stores
//! where each page starts, so a page can be read and converted without the text before it.

use super::ansi::Converter;
use super::style::Style;

/// The target length of a page in bytes. A page ends at the first line break after this length.
pub(in crate::web) const PAGE: u64 = 128 << 10;

/// The maximum length of a page in bytes. If a line is longer, the page ends in the middle of the
/// line.
const PAGE_MAX: u64 = 4 * PAGE;

/// The maximum number of lines on a page. In HTML, a line takes about 90 bytes more than its text.
const LINES_MAX: u64 = 2000;

/// The start of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) struct PageStart {
    /// The offset of the first byte.
    pub(in crate::web) offset: u64,
    /// The number of the first line. Lines are numbered from 1.
    pub(in crate::web) line: u64,
    /// The style of the first character.
    pub(in crate::web) style: Style,
}

/// An index of the pages in a log. The index grows with the log.
#[derive(Debug, Clone)]
pub(in crate::web) struct Index {
    pages: Vec<PageStart>,
    /// The length of the text that has been read.
    len: u64,
    /// The number of the line that starts or continues at `len`.
    line: u64,
    /// The end of the last complete line.
    line_end: u64,
    converter: Converter,
}

impl Index {
    pub(in crate::web) fn new() -> Index {
        let first = PageStart { offset: 0, line: 1, style: Style::default() };
        Index { pages: vec![first], len: 0, line: 1, line_end: 0, converter: Converter::default() }
    }

    /// Adds the next part of the log, which must consist of whole characters.
    pub(in crate::web) fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            // Most lines do not contain escape sequences, so the style does not change.
            if piece.contains(&0x1b) || !self.converter.is_in_text() {
                self.converter.scan(&String::from_utf8_lossy(piece), |_| {});
            }
            self.len += piece.len() as u64;
            let is_line = piece.ends_with(b"\n");
            if is_line {
                self.line += 1;
                self.line_end = self.len;
            }
            let (start, line) = self.pages.last().map_or((0, 1), |page| (page.offset, page.line));
            let limit = if is_line { PAGE } else { PAGE_MAX };
            if self.len - start >= limit || self.line - line >= LINES_MAX {
                let style = self.converter.style();
                self.pages.push(PageStart { offset: self.len, line: self.line, style });
            }
        }
    }

    /// Returns the number of pages.
    pub(in crate::web) fn page_count(&self) -> usize {
        match self.pages.last() {
            // If the log ends at the end of a page, there is an empty last page.
            Some(last) if last.offset == self.len && self.pages.len() > 1 => self.pages.len() - 1,
            _ => self.pages.len(),
        }
    }

    /// Returns the start and the end of a page. Pages are numbered from 1.
    pub(in crate::web) fn page(&self, number: usize) -> Option<(PageStart, u64)> {
        let start = self.pages.get(number.checked_sub(1)?)?;
        let end = self.pages.get(number).map_or(self.len, |next| next.offset);
        Some((*start, end))
    }

    /// Returns the number of the page that contains a line, or the last page if the line is past
    /// the end.
    pub(in crate::web) fn page_of_line(&self, line: u64) -> usize {
        let after = self.pages.partition_point(|page| page.line <= line);
        after.clamp(1, self.page_count())
    }

    /// Returns the number of lines, including a last line without a line feed.
    pub(in crate::web) fn lines(&self) -> u64 {
        if self.line_end < self.len { self.line } else { self.line - 1 }
    }

    /// Returns the end of the last complete line, and the number of the line after it.
    pub(in crate::web) fn end(&self) -> (u64, u64) {
        (self.line_end, self.line)
    }

    /// Returns the length of the log.
    pub(in crate::web) fn len(&self) -> u64 {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_at_lines() {
        let mut index = Index::new();
        let line = format!("{}\n", "x".repeat(99));
        for _ in 0..10_000 {
            index.feed(line.as_bytes());
        }
        assert_eq!((index.len(), index.lines()), (1_000_000, 10_000));
        assert_eq!(index.page_count(), 8);
        let mut end = 0;
        for number in 1..=8 {
            let (start, next) = index.page(number).unwrap();
            assert_eq!((start.offset, start.offset % 100, start.line), (end, 0, end / 100 + 1));
            for line in [start.line, start.line + 1000] {
                assert_eq!(index.page_of_line(line), number);
            }
            end = next;
        }
        assert_eq!((end, index.page(9), index.page(0)), (1_000_000, None, None));
        assert_eq!((index.page_of_line(0), index.page_of_line(u64::MAX)), (1, 8));
    }

    #[test]
    fn short_lines_do_not_make_a_large_page() {
        let mut index = Index::new();
        index.feed(&[b'\n'; 10_000]);
        assert_eq!((index.page_count(), index.lines()), (5, 10_000));
        assert_eq!(index.page(2).unwrap().0.line, 2001);
        assert_eq!((index.page_of_line(2000), index.page_of_line(2001)), (1, 2));
    }

    #[test]
    fn a_page_begins_with_the_style_of_the_text_before_it() {
        let mut index = Index::new();
        index.feed(b"\x1b[3");
        index.feed(b"1m");
        index.feed("0123456789\n".repeat(20_000).as_bytes());
        assert_eq!(index.page(2).unwrap().0.style.to_string(), "fg-red");
    }

    #[test]
    fn endless_line_is_divided() {
        let mut index = Index::new();
        for _ in 0..1000 {
            index.feed("x".repeat(1000).as_bytes());
        }
        assert_eq!((index.page_count(), index.lines()), (2, 1));
        assert_eq!(index.page(2).unwrap().0.line, 1);
        assert_eq!((Index::new().page_count(), Index::new().lines()), (1, 0));
    }
}
