//! Sends a log as a file download.

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_RANGE, RANGE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use datakit_client::db::Error;
use tokio::sync::mpsc;

use super::log::saved::ReadableLog;
use super::pages::error::database_error;

/// The maximum number of bytes kept in memory at once.
const CHUNK: u64 = 256 << 10;

/// Sends a log, or only the requested range of it.
pub(super) async fn send(source: ReadableLog, name: &str, headers: &HeaderMap) -> Response {
    let len = match source.len().await {
        Ok(len) => len,
        Err(error) => return database_error(&error),
    };
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
    let (status, start, end) = match range.map(|range| parse_range(range, len)) {
        None | Some(Range::Ignored) => (StatusCode::OK, 0, len),
        Some(Range::Part(start, end)) => (StatusCode::PARTIAL_CONTENT, start, end),
        Some(Range::Outside) => {
            let header = [(CONTENT_RANGE, format!("bytes */{len}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, header).into_response();
        }
    };
    let is_safe = |c: &char| c.is_ascii_alphanumeric() || "-._".contains(*c);
    let file: String = name.chars().filter(is_safe).take(100).collect();
    let mut response = (
        status,
        [
            (HeaderName::from_static("content-type"), "text/plain; charset=utf-8".to_owned()),
            (CONTENT_DISPOSITION, format!("attachment; filename=\"{file}.log\"")),
            (ACCEPT_RANGES, "bytes".to_owned()),
            (HeaderName::from_static("content-length"), (end - start).to_string()),
        ],
        body(source, start, end),
    )
        .into_response();
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = format!("bytes {start}-{}/{len}", end - 1).parse()
    {
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
    response
}

/// Reads a log in chunks, as fast as the client receives them.
fn body(source: ReadableLog, start: u64, end: u64) -> Body {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, Error>>(1);
    tokio::spawn(async move {
        let mut offset = start;
        while offset < end {
            let length = usize::try_from((end - offset).min(CHUNK)).unwrap_or(usize::MAX);
            let part = match source.read(offset, length).await {
                Ok(part) if part.is_empty() => Err(Error::NotFound),
                part => part.map(Bytes::from),
            };
            offset += part.as_ref().map_or(0, |part| part.len() as u64);
            let failed = part.is_err();
            if sender.send(part).await.is_err() || failed {
                return;
            }
        }
    });
    Body::from_stream(super::events::Receiver(receiver))
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// The offsets of the first byte and of the byte after the last one.
    Part(u64, u64),
    Outside,
    /// The header has a form that servers are allowed to ignore.
    Ignored,
}

/// Parses a header such as `bytes=100-199`, `bytes=100-` or `bytes=-100`.
fn parse_range(header: &str, len: u64) -> Range {
    let parts = header.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let Some((start, end)) = parts else { return Range::Ignored };
    let (start, end) = match (start.trim().parse::<u64>(), end.trim().parse::<u64>()) {
        (Ok(start), Ok(end)) if end >= start => (start, len.min(end.saturating_add(1))),
        (Ok(start), Err(_)) if end.trim().is_empty() => (start, len),
        (Err(_), Ok(last)) if start.trim().is_empty() => (len.saturating_sub(last), len),
        _ => return Range::Ignored,
    };
    if start < end { Range::Part(start, end) } else { Range::Outside }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed() {
        for (header, range) in [
            ("bytes=0-9", Range::Part(0, 10)),
            ("bytes=90-500", Range::Part(90, 100)),
            ("bytes=90-", Range::Part(90, 100)),
            ("bytes=-10", Range::Part(90, 100)),
            ("bytes=-500", Range::Part(0, 100)),
            ("bytes=100-", Range::Outside),
            ("bytes=-0", Range::Outside),
            ("bytes=5-3", Range::Ignored),
            ("bytes=0-1,5-6", Range::Ignored),
            ("lines=0-1", Range::Ignored),
            ("bytes=0-18446744073709551615", Range::Part(0, 100)),
        ] {
            assert_eq!(parse_range(header, 100), range, "{header}");
        }
    }
}
