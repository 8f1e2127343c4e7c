//! Files that take commands.

use std::sync::{Arc, Mutex};

use datakit_core::vfs::{Error, FileStat, OpenMode, Result};

use super::leaf::only_normal;
use super::{Leaf, OpenLeaf, Wait, ready};
use crate::locked;

/// A file whose every write is a command, and whose content is the reply to the last one that succeeded.
///
/// The reply belongs to the file, not to who gave the command, and reading consumes it: shells open, write, close, and open
/// again to read.
pub struct Command(Arc<Shared>);

struct Shared {
    handler: Box<Handler>,
    reply: Mutex<Vec<u8>>,
}

type Handler = dyn Fn(String) -> Wait<'static, Vec<u8>> + Send + Sync;

impl Command {
    /// `handler` gets what is written, without white space around it, and returns the reply. Its error is the error of the write
    /// and leaves the last reply in place.
    pub fn new<T: Into<Vec<u8>>>(handler: impl Fn(&str) -> Result<T> + Send + Sync + 'static) -> Command {
        Command::of(Box::new(move |command| ready(handler(&command).map(Into::into))))
    }

    /// The same where the reply has to be waited for. A write that is given up drops the future.
    pub fn waiting<T, F>(handler: impl Fn(String) -> F + Send + Sync + 'static) -> Command
    where
        T: Into<Vec<u8>>,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        Command::of(Box::new(move |command| {
            let reply = handler(command);
            Box::pin(async move { reply.await.map(Into::into) })
        }))
    }

    fn of(handler: Box<Handler>) -> Command {
        Command(Arc::new(Shared { handler, reply: Mutex::default() }))
    }

    /// Starts with this reply.
    #[must_use]
    pub fn with_reply(self, reply: impl Into<Vec<u8>>) -> Command {
        *locked::lock(&self.0.reply) = reply.into();
        self
    }
}

impl Leaf for Command {
    fn stat(&self) -> Wait<'_, FileStat> {
        ready(Ok(FileStat::new(locked::lock(&self.0.reply).len() as u64)))
    }

    fn open(&self, _: OpenMode) -> Wait<'_, Box<dyn OpenLeaf>> {
        ready(Ok(Box::new(Opened { file: self.0.clone(), at: Mutex::default() })))
    }

    fn truncate(&self, length: u64) -> Wait<'_, ()> {
        ready(if length == 0 { Ok(()) } else { Err(Error::ExtendCommand) })
    }

    fn chmod(&self, mode: u32) -> Wait<'_, ()> {
        ready(only_normal(mode))
    }

    fn remove(&self) -> Wait<'_, ()> {
        ready(Err(Error::NotPermitted))
    }
}

struct Opened {
    file: Arc<Shared>,
    at: Mutex<At>,
}

/// Where a read may go on. Clients that keep one position for reads and writes are at either of these.
#[derive(Default)]
struct At {
    /// Bytes read and written so far.
    sum: u64,
    /// Where the last read or write ended.
    end: u64,
}

impl At {
    fn passed(&mut self, offset: u64, count: usize) {
        self.sum = self.sum.saturating_add(count as u64);
        self.end = offset.saturating_add(count as u64);
    }
}

impl OpenLeaf for Opened {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Wait<'a, usize> {
        Box::pin(async move {
            let mut at = locked::lock(&self.at);
            // 0 is the start of the reply, wherever this open file is.
            if ![0, at.sum, at.end].contains(&offset) {
                return Err(Error::Seek);
            }
            let mut reply = locked::lock(&self.file.reply);
            let count = reply.len().min(buf.len());
            buf.iter_mut().zip(reply.drain(..count)).for_each(|(to, from)| *to = from);
            at.passed(offset, count);
            Ok(count)
        })
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> Wait<'a, usize> {
        Box::pin(async move {
            let command = str::from_utf8(data).map_err(|_| Error::Invalid.because("a command must be UTF-8"))?;
            let reply = (self.file.handler)(command.trim().to_owned()).await?;
            *locked::lock(&self.file.reply) = reply;
            locked::lock(&self.at).passed(offset, data.len());
            Ok(data.len())
        })
    }
}
