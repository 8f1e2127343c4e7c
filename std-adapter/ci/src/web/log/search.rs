//! Searches a log on the server, so a long log does not have to be sent to the browser.

use datakit_client::db::Result;

use super::ansi::plain;
use super::index::Index;
use super::saved::ReadableLog;

/// The maximum number of lines in a result.
const FOUND_MAX: usize = 200;

/// The maximum number of characters to show for each line.
const SHOWN_MAX: usize = 300;

/// A line that contains the search text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) struct FoundLine {
    pub(in crate::web) line: u64,
    pub(in crate::web) page: usize,
    /// The start of the line, without escape sequences.
    pub(in crate::web) text: String,
}

/// The result of a search.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::web) struct SearchResult {
    pub(in crate::web) found: Vec<FoundLine>,
    /// The last line that was searched, if the search stopped before the end.
    pub(in crate::web) stopped: Option<u64>,
}

/// Searches the lines after line number `after` for a string. The search is not case-sensitive.
pub(in crate::web) async fn search(
    source: &ReadableLog,
    index: &Index,
    text: &str,
    after: u64,
) -> Result<SearchResult> {
    let wanted = text.to_lowercase();
    let mut result = SearchResult::default();
    let mut number = 0;
    // The start of a line that continues in the next chunk.
    let mut rest = Vec::new();
    source
        .scan(index.len(), |chunk| {
            for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
                rest.extend_from_slice(piece);
                // Search overlong lines in parts.
                if !piece.ends_with(b"\n") && rest.len() < 4 * SHOWN_MAX * 1000 {
                    continue;
                }
                number += 1;
                let line = std::mem::take(&mut rest);
                if number > after && !add(&mut result, index, number, &line, &wanted) {
                    return false;
                }
            }
            true
        })
        .await?;
    if !rest.is_empty() && result.stopped.is_none() && number + 1 > after {
        add(&mut result, index, number + 1, &rest, &wanted);
    }
    Ok(result)
}

/// Adds a line if it contains the search text. Returns `false` if the result is full.
fn add(result: &mut SearchResult, index: &Index, number: u64, line: &[u8], wanted: &str) -> bool {
    let line = String::from_utf8_lossy(line);
    let line = if line.contains('\x1b') { plain(&line).into() } else { line };
    if !contains(&line, wanted) {
        return true;
    }
    let text = line.trim_end().chars().take(SHOWN_MAX).collect();
    result.found.push(FoundLine { line: number, page: index.page_of_line(number), text });
    let is_full = result.found.len() >= FOUND_MAX;
    result.stopped = is_full.then_some(number);
    !is_full
}

/// Returns `true` if a line contains the given lowercase string, ignoring case.
fn contains(line: &str, wanted: &str) -> bool {
    if !line.is_ascii() || !wanted.is_ascii() {
        return line.to_lowercase().contains(wanted);
    }
    let (line, wanted) = (line.as_bytes(), wanted.as_bytes());
    let Some(first) = wanted.first() else { return true };
    let starts = line.iter().enumerate().filter(|(_, byte)| byte.to_ascii_lowercase() == *first);
    let mut candidates = starts.filter_map(|(at, _)| line.get(at..at + wanted.len()));
    candidates.any(|part| part.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{BuildLog, LogLimits};

    async fn find(log: &BuildLog, text: &str, after: u64) -> SearchResult {
        let source = ReadableLog::Live(log.clone());
        let mut index = Index::new();
        index.feed(&source.read(0, usize::MAX).await.unwrap());
        search(&source, &index, text, after).await.unwrap()
    }

    #[tokio::test]
    async fn lines_are_found_without_regard_to_colors_and_case() {
        let log = BuildLog::new("Build", Vec::new(), LogLimits { bytes: 10 << 20 });
        log.write("first\nan \x1b[31mER\x1b[0mROR\nlast error");
        let result = find(&log, "error", 0).await;
        let lines: Vec<_> = result.found.iter().map(|f| (f.line, f.text.as_str())).collect();
        assert_eq!(lines, [(3, "an ERROR"), (4, "last error")]);
        assert_eq!(find(&log, "missing", 0).await, SearchResult::default());
    }

    #[tokio::test]
    async fn search_stops_and_continues() {
        let log = BuildLog::new("Build", Vec::new(), LogLimits { bytes: 10 << 20 });
        (0..450).for_each(|n| log.write(&format!("line {n}\n")));
        let (mut after, mut counts) = (Some(0), Vec::new());
        while let Some(line) = after {
            let result = find(&log, "line", line).await;
            counts.push(result.found.len());
            after = result.stopped;
        }
        assert_eq!(counts, [200, 200, 50]);
    }
}
