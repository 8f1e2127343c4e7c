//! Streams of what changes.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::at::At;
use super::error::{Error, Result};
use super::tree::Tree;
use crate::{ByteString, Client, OpenMode};

/// A stream of values, the first of which is mostly the present one. It is followed with
/// [`Watch::next`], or as a [`Stream`].
///
/// An error is the last item: a connection that is lost is not made again. Dropping the watch tells
/// the server, which forgets it.
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
    state: State<T>,
    of_line: OfLine<T>,
}

type Wait<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// What a line of the stream means; that may have to be asked for.
type OfLine<T> = fn(Client, String) -> Wait<Result<T>>;

enum State<T> {
    Idle(Lines),
    /// The stream is with the future meanwhile.
    Busy(Wait<(Lines, Option<Result<T>>)>),
    End,
}

struct Lines {
    client: Client,
    watch: crate::Watch,
    /// What was delivered and not asked for yet.
    ahead: VecDeque<String>,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<String>> {
        while self.ahead.is_empty() {
            let Some(text) = self.watch.next().await? else { return Ok(None) };
            self.ahead.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
        }
        Ok(self.ahead.pop_front())
    }
}

impl<T: Send + 'static> Watch<T> {
    pub(super) async fn open(at: &At, of_line: OfLine<T>) -> Result<Watch<T>> {
        let watch = at.walk().await?.open(OpenMode::READ).await?.watch();
        let lines = Lines { client: at.client.clone(), watch, ahead: VecDeque::new() };
        Ok(Watch { state: State::Idle(lines), of_line })
    }

    /// Waits for the next value. `None` is the end, for good.
    ///
    /// Cancel safe: what was asked for stays under way when the future is dropped, and the next
    /// call goes on with it.
    pub async fn next(&mut self) -> Option<Result<T>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

async fn step<T>(mut lines: Lines, of_line: OfLine<T>) -> (Lines, Option<Result<T>>) {
    let item = match lines.next().await {
        Ok(Some(line)) => Some(of_line(lines.client.clone(), line).await),
        Ok(None) => None,
        Err(error) => Some(Err(error)),
    };
    (lines, item)
}

impl<T: Send + 'static> Stream for Watch<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let mut busy = match std::mem::replace(&mut self.state, State::End) {
            State::Idle(lines) => Box::pin(step(lines, self.of_line)),
            State::Busy(busy) => busy,
            State::End => return Poll::Ready(None),
        };
        let Poll::Ready((lines, item)) = busy.as_mut().poll(cx) else {
            self.state = State::Busy(busy);
            return Poll::Pending;
        };
        if matches!(item, Some(Ok(_))) {
            self.state = State::Idle(lines);
        }
        Poll::Ready(item)
    }
}

/// What is at a path of a branch, as a watch tells it.
#[derive(Clone)]
#[non_exhaustive]
pub enum PathValue {
    /// The bytes of a file.
    File(Vec<u8>),
    /// The bytes of a program.
    Exec(Vec<u8>),
    /// The target of a symbolic link.
    Link(ByteString),
    /// The tree of a directory as it was at that moment.
    Dir(Tree),
}

impl PathValue {
    /// What a line of `tree.live` names: it never changes, and is read at leisure.
    pub(super) async fn read(client: &Client, line: &str) -> Result<Option<PathValue>> {
        let line = line.trim();
        let at = At::root(client).below(["trees", line]);
        Ok(Some(match line.get(..2) {
            None if line.is_empty() => return Ok(None),
            Some("D-") => PathValue::Dir(Tree::new(at)),
            Some("F-") => PathValue::File(at.read().await?),
            Some("X-") => PathValue::Exec(at.read().await?),
            Some("L-") => PathValue::Link(ByteString::from(&*at.read().await?)),
            _ => {
                return Err(Error::unreadable(format_args!(
                    "a line of tree.live that cannot be read: {line:?}"
                )));
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
