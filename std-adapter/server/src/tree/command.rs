//! Files that take commands.

use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use datakit_core::vfs::{Error, FileStat, OpenMode, Result};

use super::file::only_normal;
use super::pieces::{Piece, Pieces};
use super::{BoxFuture, Leaf, OpenLeaf, ready};

/// A file that takes commands, and whose content is the reply to the last one that succeeded.
///
/// A command may be written in pieces at offsets that follow each other. It ends, and is run, with
/// a newline at the end of a write, a write elsewhere, a read, or the clunk, unless the file knows
/// [when it is complete](Command::complete_unless). A write of no bytes is none.
///
/// The reply belongs to the file, not to who gave the command, and reading consumes it: shells
/// open, write, close, and open again to read.
pub struct Command(Arc<Shared>);

struct Shared {
    handler: Box<Handler>,
    /// Whether the reason of a failure is to be read.
    explains: bool,
    /// Whether more may follow a text that has no newline.
    goes_on: fn(&str) -> bool,
    answer: Mutex<Answer>,
}

#[derive(Default)]
struct Answer {
    reply: Vec<u8>,
    /// Why the last command failed, in place of the reply.
    refusal: Option<Arc<[u8]>>,
}

impl Answer {
    fn len(&self) -> usize {
        self.refusal.as_ref().map_or(self.reply.len(), |refusal| refusal.len())
    }
}

type Handler = dyn Fn(String) -> Answering + Send + Sync;
type Answering = Pin<Box<dyn Future<Output = std::result::Result<Vec<u8>, CommandError>> + Send>>;

/// Why a command failed: the error of the request that ended it, and a text that may be longer than
/// that of an error can be.
#[derive(Debug, Clone)]
pub struct CommandError {
    /// The error of that request.
    pub error: Error,
    /// EntryKind is read then, in lines, where the file [explains](Command::explaining).
    pub text: String,
}

impl From<Error> for CommandError {
    fn from(error: Error) -> CommandError {
        CommandError { text: format!("{error}\n"), error }
    }
}

impl Command {
    /// `handler` gets what is written, without white space around it, and returns the reply. Its
    /// error is the error of the request that ended the command, and leaves the last reply in
    /// place.
    pub fn new<T: Into<Vec<u8>>>(
        handler: impl Fn(&str) -> Result<T> + Send + Sync + 'static,
    ) -> Command {
        Command::of(Box::new(move |command| {
            let reply = handler(&command);
            Box::pin(std::future::ready(reply.map(Into::into).map_err(Into::into)))
        }))
    }

    /// The same where the reply has to be waited for. A request that is given up drops the future.
    pub fn new_async<T, F>(handler: impl Fn(String) -> F + Send + Sync + 'static) -> Command
    where
        T: Into<Vec<u8>>,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        Command::of(Box::new(move |command| {
            let reply = handler(command);
            Box::pin(async move { reply.await.map(Into::into).map_err(Into::into) })
        }))
    }

    /// The same with a reason that can be read: after a failure that is the content, until the next
    /// command. 9P2000.L carries only the number of an error, and a kernel shows no more of it in
    /// any dialect. The reason stays when it is read.
    pub fn explaining<T, F>(handler: impl Fn(String) -> F + Send + Sync + 'static) -> Command
    where
        T: Into<Vec<u8>>,
        F: Future<Output = std::result::Result<T, CommandError>> + Send + 'static,
    {
        let handler: Box<Handler> = Box::new(move |command| {
            let reply = handler(command);
            Box::pin(async move { reply.await.map(Into::into) })
        });
        Command::with(handler, true)
    }

    fn of(handler: Box<Handler>) -> Command {
        Command::with(handler, false)
    }

    fn with(handler: Box<Handler>, explains: bool) -> Command {
        Command(Arc::new(Shared { handler, explains, goes_on: |_| true, answer: Mutex::default() }))
    }

    /// Runs a command that is written in one piece and without a newline at once, unless `goes_on`
    /// says that more may follow it: clients that close without a look at the answer see its error
    /// on their write.
    #[must_use]
    pub fn complete_unless(mut self, goes_on: fn(&str) -> bool) -> Command {
        // It was made just now, nobody else has it.
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.goes_on = goes_on;
        }
        self
    }

    /// Starts with this reason, as if a command had failed.
    #[must_use]
    pub fn with_refusal(self, text: Option<String>) -> Command {
        self.0.answer.lock().refusal = text.map(|text| text.into_bytes().into());
        self
    }

    /// Starts with this reply.
    #[must_use]
    pub fn with_reply(self, reply: impl Into<Vec<u8>>) -> Command {
        self.0.answer.lock().reply = reply.into();
        self
    }
}

impl Leaf for Command {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(FileStat::new(self.0.answer.lock().len() as u64)))
    }

    fn open(&self, _: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        ready(Ok(Box::new(Opened {
            file: self.0.clone(),
            pieces: Pieces::default(),
            at: Mutex::default(),
        })))
    }

    fn truncate(&self, length: u64) -> BoxFuture<'_, ()> {
        ready(if length == 0 { Ok(()) } else { Err(Error::ExtendCommand) })
    }

    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        ready(only_normal(mode))
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(Err(Error::NotPermitted))
    }
}

struct Opened {
    file: Arc<Shared>,
    pieces: Pieces,
    at: Mutex<At>,
}

impl Opened {
    async fn run(&self, command: Option<Piece>) -> Result<()> {
        let Some(Piece { text, .. }) = command else { return Ok(()) };
        let command = str::from_utf8(&text)
            .map_err(|_| Error::Invalid.with_message("a command must be UTF-8"))?;
        self.file.answer.lock().refusal = None;
        let answer = (self.file.handler)(command.trim().to_owned()).await;
        let reply = answer.map_err(|refusal| {
            if self.file.explains {
                self.file.answer.lock().refusal = Some(refusal.text.into_bytes().into());
            }
            refusal.error
        })?;
        *self.file.answer.lock() = Answer { reply, refusal: None };
        Ok(())
    }
}

/// Where a read may go on. Clients that keep one position for reads and writes are at either of
/// these.
#[derive(Default)]
struct At {
    /// Bytes read and written so far.
    sum: u64,
    /// Where the last read or write ended.
    end: u64,
    /// The reason that is being read, and how much of it was.
    refusal: Option<(Arc<[u8]>, usize)>,
}

impl At {
    /// The next of a reason.
    fn explain(&mut self, refusal: &Arc<[u8]>, offset: u64, buf: &mut [u8]) -> usize {
        let start = match &self.refusal {
            Some((begun, read)) if Arc::ptr_eq(begun, refusal) && offset != 0 => *read,
            _ => 0,
        };
        let rest = refusal.get(start..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.refusal = Some((refusal.clone(), start + count));
        count
    }

    fn passed(&mut self, offset: u64, count: usize) {
        self.sum = self.sum.saturating_add(count as u64);
        self.end = offset.saturating_add(count as u64);
    }
}

impl OpenLeaf for Opened {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            self.run(self.pieces.end()).await?;
            let mut at = self.at.lock();
            // 0 is the start of the reply, wherever this open file is.
            if ![0, at.sum, at.end].contains(&offset) {
                return Err(Error::Seek);
            }
            let mut answer = self.file.answer.lock();
            let count = match &answer.refusal {
                Some(refusal) => at.explain(refusal, offset, buf),
                None => {
                    let count = answer.reply.len().min(buf.len());
                    buf.iter_mut()
                        .zip(answer.reply.drain(..count))
                        .for_each(|(to, from)| *to = from);
                    count
                }
            };
            at.passed(offset, count);
            Ok(count)
        })
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            if data.is_empty() {
                return Ok(0);
            }
            self.run(self.pieces.before(offset, 0)).await?;
            // EntryKind came in pieces may go on: `commit` with ` ff-only`.
            let goes_on = |text: &[u8], in_one_piece: bool| {
                !in_one_piece
                    || str::from_utf8(text).is_ok_and(|text| (self.file.goes_on)(text.trim_start()))
            };
            self.run(self.pieces.add(offset, data, goes_on)?).await?;
            self.at.lock().passed(offset, data.len());
            Ok(data.len())
        })
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.run(self.pieces.end()))
    }
}
