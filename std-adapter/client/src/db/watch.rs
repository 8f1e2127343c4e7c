//! Watches, which stream the heads of a branch or the values at a path.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::error::{Error, Result};
use super::remote_path::RemotePath;
use super::tree::Tree;
use crate::{ByteString, Client, OpenMode};

/// A stream of values. Most watches return the current value first. Read the values as a [`Stream`]
/// or with [`Watch::next`].
///
/// The stream ends after the first error. A watch does not reconnect after a lost connection.
/// Dropping the watch also stops it on the server.
///
/// ```no_run
/// # async fn example(branch: datakit_client::db::Branch) -> datakit_client::db::Result<()> {
/// let mut heads = branch.watch_head().await?;
/// while let Some(head) = heads.next().await {
///     match head? {
///         Some(commit) => println!("{}", commit.message().await?),
///         None => println!("no commits"),
///     }
/// }
/// # Ok(()) }
/// ```
pub struct Watch<T> {
    client: Client,
    deliveries: crate::Watch,
    /// Lines that were delivered but have not been returned yet.
    lines: VecDeque<String>,
    parse_line: ParseLine<T>,
    /// The pending read of the current line's value, if any.
    value: Option<BoxFuture<Result<T>>>,
    ended: bool,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// A function that parses a line of the stream. The function may send requests.
type ParseLine<T> = fn(Client, String) -> BoxFuture<Result<T>>;

impl<T: Send + 'static> Watch<T> {
    pub(super) async fn open(path: &RemotePath, parse_line: ParseLine<T>) -> Result<Watch<T>> {
        let deliveries = path.walk().await?.open(OpenMode::READ).await?.watch();
        Ok(Watch {
            client: path.client.clone(),
            deliveries,
            lines: VecDeque::new(),
            parse_line,
            value: None,
            ended: false,
        })
    }

    /// Waits for the next value. Returns `None` at the end of the stream.
    ///
    /// # Cancel safety
    /// If the future is dropped, its requests stay in flight, and the next call waits for their
    /// replies.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the connection is lost or the server refuses a read.
    pub async fn next(&mut self) -> Option<Result<T>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn poll_value(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        loop {
            if let Some(value) = &mut self.value {
                let value = ready!(value.as_mut().poll(cx));
                self.value = None;
                return Poll::Ready(Some(value));
            }
            if let Some(line) = self.lines.pop_front() {
                self.value = Some((self.parse_line)(self.client.clone(), line));
                continue;
            }
            match ready!(Pin::new(&mut self.deliveries).poll_next(cx)) {
                Some(Ok(text)) => {
                    self.lines.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<T: Send + 'static> Stream for Watch<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = ready!(self.poll_value(cx));
        self.ended = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}

impl<T> Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// The value at a path in a branch.
#[derive(Clone)]
#[non_exhaustive]
pub enum PathValue {
    /// The bytes of a file that is not executable.
    File(Vec<u8>),
    /// The bytes of an executable file.
    Exec(Vec<u8>),
    /// The target of a symbolic link.
    Link(ByteString),
    /// The tree of a directory at the time of the change.
    Dir(Tree),
}

impl PathValue {
    /// Reads the object identified by a line of the `tree.live` file.
    pub(super) async fn read(client: &Client, line: &str) -> Result<Option<PathValue>> {
        let line = line.trim();
        let object = RemotePath::root(client).join_all(["trees", line]);
        Ok(Some(match line.get(..2) {
            None if line.is_empty() => return Ok(None),
            Some("D-") => PathValue::Dir(Tree::new(object)),
            Some("F-") => PathValue::File(object.read().await?),
            Some("X-") => PathValue::Exec(object.read().await?),
            Some("L-") => PathValue::Link(ByteString::from(&*object.read().await?)),
            _ => {
                return Err(Error::unreadable(format_args!("invalid line of tree.live: {line:?}")));
            }
        }))
    }
}

impl Debug for PathValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathValue::File(bytes) => write!(f, "File(\"{}\")", bytes.escape_ascii()),
            PathValue::Exec(bytes) => write!(f, "Exec(\"{}\")", bytes.escape_ascii()),
            PathValue::Link(target) => write!(f, "Link({target:?})"),
            PathValue::Dir(_) => f.write_str("Dir"),
        }
    }
}
