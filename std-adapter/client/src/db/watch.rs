//! Watches: streams of the heads of a branch or of the values at a path.

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
/// The stream ends after the first error. A watch does not reconnect if the connection is lost.
/// Dropping the watch also cancels it on the server.
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
    values: Pin<Box<dyn Stream<Item = Result<T>> + Send>>,
    ended: bool,
}

impl<T: Send + 'static> Watch<T> {
    /// Creates a watch whose values are computed by `next`. The `next` function takes the current
    /// state and returns the next value and the new state, or `None` at the end of the stream. Back
    /// ends that implement the [`Database`](super::Database) trait use this function to create
    /// their watches.
    #[must_use]
    pub fn unfold<S, F, N>(state: S, next: F) -> Watch<T>
    where
        S: Send + 'static,
        F: FnMut(S) -> N + Send + 'static,
        N: Future<Output = Option<(Result<T>, S)>> + Send + 'static,
    {
        let values = Unfold { state: Some(state), next, pending: None };
        Watch { values: Box::pin(values), ended: false }
    }

    /// Returns a watch that applies `f` to each value of this watch.
    #[must_use]
    pub fn map<U: Send + 'static>(self, f: impl FnMut(T) -> U + Send + 'static) -> Watch<U> {
        Watch::unfold((self, f), |(mut watch, mut f)| async move {
            let value = watch.next().await?;
            Some((value.map(&mut f), (watch, f)))
        })
    }

    /// Waits for the next value. Returns `None` at the end of the stream.
    ///
    /// # Cancel safety
    /// No value is lost if the future is dropped: the next call continues to wait for the same
    /// value.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the connection is lost or the server refuses a read.
    pub async fn next(&mut self) -> Option<Result<T>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<T> Stream for Watch<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = ready!(self.values.as_mut().poll_next(cx));
        self.ended = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}

impl<T> Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// The stream inside a watch created by [`Watch::unfold`].
struct Unfold<S, F, N> {
    /// The current state, or `None` while a value is being computed and after the end of the
    /// stream.
    state: Option<S>,
    next: F,
    pending: Option<Pin<Box<N>>>,
}

/// Implementing `Unpin` is sound because neither the state nor the function is ever pinned.
impl<S, F, N> Unpin for Unfold<S, F, N> {}

impl<T, S, F, N> Stream for Unfold<S, F, N>
where
    F: FnMut(S) -> N,
    N: Future<Output = Option<(Result<T>, S)>>,
{
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let this = &mut *self;
        if let Some(state) = this.state.take() {
            this.pending = Some(Box::pin((this.next)(state)));
        }
        let Some(pending) = &mut this.pending else { return Poll::Ready(None) };
        let computed = ready!(pending.as_mut().poll(cx));
        this.pending = None;
        Poll::Ready(computed.map(|(value, state)| {
            this.state = Some(state);
            value
        }))
    }
}

/// Reads a stream file on the server line by line.
struct Lines {
    client: Client,
    deliveries: crate::Watch,
    /// Lines that the server has delivered but that have not been returned yet.
    lines: VecDeque<String>,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            let Some(text) = self.deliveries.next().await? else { return Ok(None) };
            self.lines.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
        }
    }
}

/// Watches a stream file on the server. `parse_line` converts each line to a value and may send
/// requests.
pub(super) async fn watch_lines<T, N>(
    path: &RemotePath,
    parse_line: impl Fn(Client, String) -> N + Send + Sync + Copy + 'static,
) -> Result<Watch<T>>
where
    T: Send + 'static,
    N: Future<Output = Result<T>> + Send,
{
    let deliveries = path.walk().await?.open(OpenMode::READ).await?.watch();
    let lines = Lines { client: path.client.clone(), deliveries, lines: VecDeque::new() };
    Ok(Watch::unfold(lines, move |mut lines| async move {
        let value = match lines.next().await {
            Ok(None) => return None,
            Ok(Some(line)) => parse_line(lines.client.clone(), line).await,
            Err(error) => Err(error),
        };
        Some((value, lines))
    }))
}

/// The value at a path in a branch. `T` is the back end's tree type.
#[derive(Clone)]
#[non_exhaustive]
pub enum PathValue<T = Tree> {
    /// The bytes of a file that is not executable.
    File(Vec<u8>),
    /// The bytes of an executable file.
    Exec(Vec<u8>),
    /// The target of a symbolic link.
    Link(ByteString),
    /// The tree of a directory as it was at the time of the change.
    Dir(T),
}

impl<T> PathValue<T> {
    /// Converts the tree with `f` if the value is a directory.
    #[must_use]
    pub fn map_tree<U>(self, f: impl FnOnce(T) -> U) -> PathValue<U> {
        match self {
            PathValue::File(bytes) => PathValue::File(bytes),
            PathValue::Exec(bytes) => PathValue::Exec(bytes),
            PathValue::Link(target) => PathValue::Link(target),
            PathValue::Dir(tree) => PathValue::Dir(f(tree)),
        }
    }

    /// Returns the bytes of a file, whether executable or not. Returns `None` for a link or a
    /// directory.
    #[must_use]
    pub fn into_file(self) -> Option<Vec<u8>> {
        match self {
            PathValue::File(bytes) | PathValue::Exec(bytes) => Some(bytes),
            PathValue::Link(_) | PathValue::Dir(_) => None,
        }
    }
}

impl PathValue {
    /// Reads the object identified by a line in the `tree.live` file.
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

impl<T> Debug for PathValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathValue::File(bytes) => write!(f, "File(\"{}\")", bytes.escape_ascii()),
            PathValue::Exec(bytes) => write!(f, "Exec(\"{}\")", bytes.escape_ascii()),
            PathValue::Link(target) => write!(f, "Link({target:?})"),
            PathValue::Dir(_) => f.write_str("Dir"),
        }
    }
}
