//! The subset of RESP, the Redis protocol, that sessions need.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The maximum length of a line, in bytes.
const MAX_LINE: u64 = 1024;

/// The maximum length of a value, in bytes.
const MAX_VALUE: usize = 64 << 10;

/// A reply from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A status or an integer.
    Simple(String),
    /// A value.
    Value(Vec<u8>),
    /// The key does not exist.
    Nothing,
}

/// Sends a command.
pub(super) async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    parts: &[&[u8]],
) -> io::Result<()> {
    let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Receives a reply.
///
/// # Errors
/// Returns an error if the server reports one, or if the reply is malformed or too long.
pub(super) async fn receive(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Reply> {
    let line = read_line(stream).await?;
    let malformed = || invalid(format!("malformed reply {line:?} from Redis"));
    match line.split_at_checked(1) {
        Some(("+" | ":", text)) => Ok(Reply::Simple(text.to_owned())),
        Some(("-", text)) => Err(io::Error::other(format!("Redis: {text}"))),
        Some(("$", "-1")) | Some(("_", "")) => Ok(Reply::Nothing),
        Some(("$", length)) => {
            let length: usize = length.parse().map_err(|_| malformed())?;
            read_value(stream, length).await.map(Reply::Value)
        }
        _ => Err(malformed()),
    }
}

async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    stream.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let text = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok());
    text.map(str::to_owned).ok_or_else(|| {
        invalid(format!("a line from Redis is longer than {MAX_LINE} bytes or is not UTF-8"))
    })
}

async fn read_value(
    stream: &mut (impl AsyncBufRead + Unpin),
    length: usize,
) -> io::Result<Vec<u8>> {
    if length > MAX_VALUE {
        return Err(invalid(format!(
            "a value of {length} bytes: at most {MAX_VALUE} are expected"
        )));
    }
    let mut value = vec![0; length + 2];
    stream.read_exact(&mut value).await?;
    if !value.ends_with(b"\r\n") {
        return Err(invalid(format!("a value from Redis is longer than its length {length}")));
    }
    value.truncate(length);
    Ok(value)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reply(mut text: &[u8]) -> io::Result<Reply> {
        receive(&mut text).await
    }

    #[tokio::test]
    async fn replies_are_read() {
        assert_eq!(reply(b"+OK\r\n").await.unwrap(), Reply::Simple("OK".into()));
        assert_eq!(reply(b":1\r\n").await.unwrap(), Reply::Simple("1".into()));
        assert_eq!(reply(b"$-1\r\n").await.unwrap(), Reply::Nothing);
        assert_eq!(reply(b"$4\r\na\r\nb\r\n").await.unwrap(), Reply::Value(b"a\r\nb".to_vec()));
        let error = reply(b"-NOAUTH needed\r\n").await.unwrap_err();
        assert_eq!(error.to_string(), "Redis: NOAUTH needed");
    }

    #[tokio::test]
    async fn malformed_replies_are_errors() {
        let long = [b'+'; 2000];
        for text in [
            &b""[..],
            b"+",
            b"+OK",
            b"OK\r\n",
            b"$x\r\n",
            b"$5\r\nabc\r\n",
            b"$2\r\nabcd\r\n",
            b"$-2\r\n",
            b"$99999999999999999999\r\n",
            b"$1000000000\r\n",
            b"\r\n",
            b"*1\r\n+a\r\n",
            b"\xff\xff\r\n",
            &long,
        ] {
            assert!(reply(text).await.is_err(), "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[tokio::test]
    async fn a_command_states_the_lengths_of_its_parts() {
        let mut sent = Vec::new();
        send(&mut sent, &[b"SET", b"k", b"a\r\nb"]).await.unwrap();
        assert_eq!(sent, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n");
    }
}
