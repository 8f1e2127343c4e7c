//! Files that accept commands.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use datakit_core::vfs::{Error, FileStat, OpenMode, Result};
use parking_lot::Mutex;

use super::client_number::PROGRAM;
use super::file::check_not_executable;
use super::pieces::{Piece, Pieces};
use super::{BoxFuture, ClientNumber, Leaf, OpenLeaf, ready};

/// A file that accepts commands and contains the reply to the last successful command.
///
/// A command may arrive in multiple writes at consecutive offsets. A write that ends with a
/// newline, a write at a non-consecutive offset, a read, or the clunk completes the command and
/// runs it. With [`complete_unless`](Command::complete_unless), a command can run immediately even
/// without a newline. A write of zero bytes has no effect.
///
/// All open files share one reply, because a shell closes the file after writing the command and
/// reopens it to read the reply. Reading the reply consumes it.
pub struct Command(Arc<CommandInner>);

struct CommandInner {
    handler: Box<Handler>,
    /// Whether a failed command replaces the content of the file with the reason for the failure.
    explains: bool,
    /// Returns `true` if a command without a trailing newline may be incomplete.
    may_continue: fn(&str) -> bool,
    reply: Mutex<CommandReply>,
}

#[derive(Default)]
struct CommandReply {
    text: Vec<u8>,
    /// The reason for the last command's failure, which replaces `text` as the content of the file.
    refusal: Option<Arc<[u8]>>,
}

impl CommandReply {
    fn len(&self) -> usize {
        self.refusal.as_ref().map_or(self.text.len(), |refusal| refusal.len())
    }
}

type CommandResult<T> = std::result::Result<T, CommandError>;
type Handler = dyn Fn(String) -> HandlerFuture + Send + Sync;
type HandlerFuture = Pin<Box<dyn Future<Output = CommandResult<Vec<u8>>> + Send>>;

/// The error and the explanation that a failed command reports to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// The error to return for the request that completed the command.
    pub error: Error,
    /// The explanation, which consists of one or more lines. If the file was created with
    /// [`Command::explaining`], the explanation becomes the content of the file.
    pub text: String,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.trim_end())
    }
}

impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> CommandError {
        CommandError { text: format!("{error}\n"), error }
    }
}

impl Command {
    /// Creates a command file. `handler` receives the command without surrounding white space and
    /// returns the reply. If `handler` fails, the request that completed the command fails with the
    /// same error, and the previous reply is kept.
    pub fn new<T: Into<Vec<u8>>>(
        handler: impl Fn(&str) -> Result<T> + Send + Sync + 'static,
    ) -> Command {
        Command::with_handler(false, move |command| {
            let reply = handler(&command);
            Box::pin(std::future::ready(reply.map(Into::into).map_err(Into::into)))
        })
    }

    /// Like [`new`](Command::new), but with an asynchronous handler. Cancelling the request drops
    /// the handler's future.
    pub fn new_async<T, F>(handler: impl Fn(String) -> F + Send + Sync + 'static) -> Command
    where
        T: Into<Vec<u8>>,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        Command::with_handler(false, move |command| {
            let reply = handler(command);
            Box::pin(async move { reply.await.map(Into::into).map_err(Into::into) })
        })
    }

    /// Like [`new_async`](Command::new_async), but creates a file that explains failures. After a
    /// command fails, the file contains the reason until the next command. Reading the file does
    /// not consume the reason. Without this explanation, users of a mounted tree see only the error
    /// number.
    pub fn explaining<T, F>(handler: impl Fn(String) -> F + Send + Sync + 'static) -> Command
    where
        T: Into<Vec<u8>>,
        F: Future<Output = CommandResult<T>> + Send + 'static,
    {
        Command::with_handler(true, move |command| {
            let reply = handler(command);
            Box::pin(async move { reply.await.map(Into::into) })
        })
    }

    fn with_handler(
        explains: bool,
        handler: impl Fn(String) -> HandlerFuture + Send + Sync + 'static,
    ) -> Command {
        Command(Arc::new(CommandInner {
            handler: Box::new(handler),
            explains,
            may_continue: |_| true,
            reply: Mutex::default(),
        }))
    }

    /// Runs a command immediately if it arrives in a single write without a newline, unless
    /// `may_continue` returns `true` for the command. If the command fails, the write returns the
    /// error, so a client notices the failure even if it ignores errors on close.
    #[must_use]
    pub fn complete_unless(mut self, may_continue: fn(&str) -> bool) -> Command {
        // A newly created file has no clones, so `get_mut` succeeds.
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.may_continue = may_continue;
        }
        self
    }

    /// Sets the initial content of the file to `text`, as if a command had failed.
    #[must_use]
    pub fn with_refusal(self, text: Option<String>) -> Command {
        self.0.reply.lock().refusal = text.map(|text| text.into_bytes().into());
        self
    }

    /// Sets the initial reply.
    #[must_use]
    pub fn with_reply(self, reply: impl Into<Vec<u8>>) -> Command {
        self.0.reply.lock().text = reply.into();
        self
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("explains", &self.0.explains).finish_non_exhaustive()
    }
}

impl Leaf for Command {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(FileStat::new(self.0.reply.lock().len() as u64)))
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        self.open_by(mode, &PROGRAM)
    }

    fn open_by<'a>(
        &'a self,
        _: OpenMode,
        client: &'a ClientNumber,
    ) -> BoxFuture<'a, Box<dyn OpenLeaf>> {
        let (file, position) = (self.0.clone(), Mutex::default());
        ready(Ok(Box::new(OpenCommand { file, pieces: Pieces::new(client), position })))
    }

    fn truncate(&self, length: u64) -> BoxFuture<'_, ()> {
        ready(if length == 0 { Ok(()) } else { Err(Error::ExtendCommand) })
    }

    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        ready(check_not_executable(mode))
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(Err(Error::NotPermitted))
    }
}

struct OpenCommand {
    file: Arc<CommandInner>,
    pieces: Pieces,
    position: Mutex<StreamPosition>,
}

impl OpenCommand {
    /// Runs a complete command.
    async fn run(&self, command: Option<Piece>) -> Result<()> {
        let Some(command) = command else { return Ok(()) };
        let command = str::from_utf8(command.text()).map_err(|_| Error::NotUtf8)?;
        self.file.reply.lock().refusal = None;
        let result = (self.file.handler)(command.trim().to_owned()).await;
        let text = result.map_err(|failure| {
            if self.file.explains {
                self.file.reply.lock().refusal = Some(failure.text.into_bytes().into());
            }
            failure.error
        })?;
        *self.file.reply.lock() = CommandReply { text, refusal: None };
        Ok(())
    }
}

/// The offsets at which the next read from an open file may continue. Some clients keep a single
/// position for reads and writes, so the total number of bytes read and written is also a valid
/// offset.
#[derive(Default)]
struct StreamPosition {
    /// The total number of bytes read and written so far.
    sum: u64,
    /// The offset at which the last read or write ended.
    end: u64,
    /// The explanation that the client is reading, and how many bytes of it the client has read so
    /// far.
    refusal: Option<(Arc<[u8]>, usize)>,
}

impl StreamPosition {
    /// Reads the next part of a failure's explanation.
    fn read_refusal(&mut self, refusal: &Arc<[u8]>, offset: u64, buf: &mut [u8]) -> usize {
        let start = match &self.refusal {
            Some((started, read)) if Arc::ptr_eq(started, refusal) && offset != 0 => *read,
            _ => 0,
        };
        let rest = refusal.get(start..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.refusal = Some((refusal.clone(), start + count));
        count
    }

    fn advance(&mut self, offset: u64, count: usize) {
        self.sum = self.sum.saturating_add(count as u64);
        self.end = offset.saturating_add(count as u64);
    }
}

impl OpenLeaf for OpenCommand {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            self.run(self.pieces.finish()).await?;
            let mut position = self.position.lock();
            // Offset 0 always refers to the beginning of the reply.
            if ![0, position.sum, position.end].contains(&offset) {
                return Err(Error::Seek);
            }
            let mut reply = self.file.reply.lock();
            let count = match &reply.refusal {
                Some(refusal) => position.read_refusal(refusal, offset, buf),
                None => {
                    let count = reply.text.len().min(buf.len());
                    buf.iter_mut().zip(reply.text.drain(..count)).for_each(|(to, from)| *to = from);
                    count
                }
            };
            position.advance(offset, count);
            Ok(count)
        })
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            if data.is_empty() {
                return Ok(0);
            }
            self.run(self.pieces.finish_before(offset, 0)).await?;
            // A command that spans multiple writes and does not end with a newline is always
            // considered incomplete. For example, `commit` may be followed by ` ff-only`.
            let may_continue = |text: &[u8], single: bool| {
                let more = self.file.may_continue;
                !single || str::from_utf8(text).is_ok_and(|text| more(text.trim_start()))
            };
            self.run(self.pieces.add(offset, data, may_continue)?).await?;
            self.position.lock().advance(offset, data.len());
            Ok(data.len())
        })
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.run(self.pieces.finish()))
    }
}
