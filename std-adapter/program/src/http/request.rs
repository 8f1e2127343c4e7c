//! The head of an HTTP request (RFC 9112, section 2).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The maximum size of a request's head, in bytes.
const MAX_HEAD: usize = 8 << 10;
/// The maximum number of headers.
const MAX_HEADERS: usize = 64;

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Other,
}

/// Reads the head of a request. Returns the method and the path, without the query, or `None` if
/// the head is invalid or longer than [`MAX_HEAD`].
///
/// # Errors
/// Returns an error if the client closes the connection before the end of the head.
pub(super) async fn read(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<(Method, String)>> {
    let mut head = Vec::with_capacity(MAX_HEAD);
    while head.len() < MAX_HEAD {
        if from.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match parse(&head) {
            Ok(None) => {}
            Ok(request) => return Ok(request),
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// Returns the method and the path, or `None` if the head is incomplete.
fn parse(head: &[u8]) -> Result<Option<(Method, String)>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    if request.parse(head)?.is_partial() {
        return Ok(None);
    }
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        _ => Method::Other,
    };
    Ok(Some((method, path(request.path.unwrap_or_default()).to_owned())))
}

/// Returns the path in a request target, which may be a whole URL.
fn path(target: &str) -> &str {
    let target = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |start| &rest[start..]),
        None => target,
    };
    target.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_text(text: &str) -> io::Result<Option<(Method, String)>> {
        read(&mut text.as_bytes()).await
    }

    #[tokio::test]
    async fn the_method_and_the_path_are_read() {
        for (line, method, path) in [
            ("GET /metrics HTTP/1.1", Method::Get, "/metrics"),
            ("GET /metrics?name=a HTTP/1.0", Method::Get, "/metrics"),
            ("GET http://host:9090/metrics HTTP/1.1", Method::Get, "/metrics"),
            ("GET http://host?/ HTTP/1.1", Method::Get, "/"),
            ("HEAD / HTTP/1.1", Method::Head, "/"),
            ("get / HTTP/1.1", Method::Other, "/"),
        ] {
            let request = read_text(&format!("{line}\r\nHost: a\r\n\r\nbody")).await.unwrap();
            assert_eq!(request, Some((method, path.to_owned())), "{line}");
        }
    }

    #[tokio::test]
    async fn a_head_in_single_bytes_is_read() {
        let (mut client, mut server) = tokio::io::duplex(1);
        let send =
            async { tokio::io::copy(&mut &b"GET /a HTTP/1.1\r\n\r\n"[..], &mut client).await };
        let (sent, request) = tokio::join!(send, read(&mut server));
        assert_eq!((sent.unwrap(), request.unwrap()), (19, Some((Method::Get, "/a".to_owned()))));
    }

    #[tokio::test]
    async fn an_invalid_or_too_large_head_is_refused() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(MAX_HEAD));
        for text in ["nonsense HTTP/1.1\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "\0", &many, &long] {
            assert_eq!(read_text(text).await.unwrap(), None, "{text:.40}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_within_the_head_is_an_error() {
        for text in ["", "GET / HTTP/1.1\r\nHost"] {
            let error = read_text(text).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
