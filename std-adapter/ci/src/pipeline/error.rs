//! The errors in a pipeline file.

use std::fmt;

/// The maximum number of errors to report for a file. Any further errors are counted but not kept.
pub(super) const ERRORS_MAX: usize = 50;

/// A position in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line number, starting at 1.
    pub line: usize,
    /// The column in characters, starting at 1.
    pub column: usize,
}

impl Position {
    /// Returns the position of the character at a byte offset. An offset past the end is treated as
    /// the end.
    pub(super) fn at(text: &str, offset: usize) -> Position {
        let end = (0..=offset.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        let before = text.get(..end.unwrap_or(0)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

/// An error in a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PipelineError {
    /// The position.
    pub position: Position,
    /// Describes what is wrong and what is expected.
    pub message: String,
}

/// All errors in a pipeline file, sorted by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineErrors {
    /// The name of the file.
    pub name: String,
    /// The errors. The list is not empty.
    pub errors: Vec<PipelineError>,
    /// The number of errors that were left out.
    pub more: usize,
}

impl PipelineErrors {
    /// Sorts the errors, removes duplicates and limits their number.
    pub(super) fn new(name: &str, mut errors: Vec<PipelineError>) -> PipelineErrors {
        errors.sort();
        errors.dedup();
        let more = errors.len().saturating_sub(ERRORS_MAX);
        errors.truncate(ERRORS_MAX);
        PipelineErrors { name: name.to_owned(), errors, more }
    }
}

impl fmt::Display for PipelineErrors {
    /// Writes one line for each error: `NAME:LINE:COLUMN: MESSAGE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, PipelineError { position, message }) in self.errors.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{}:{}: {message}", self.name, position.line, position.column)?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n{}: {more} more errors", self.name),
        }
    }
}

impl std::error::Error for PipelineErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let text = "a\n\u{fc}\u{fc}x\n";
        for (offset, line, column) in
            [(0, 1, 1), (1, 1, 2), (2, 2, 1), (6, 2, 3), (3, 2, 1), (8, 3, 1), (99, 3, 1)]
        {
            assert_eq!(Position::at(text, offset), Position { line, column }, "{offset}");
        }
    }
}
