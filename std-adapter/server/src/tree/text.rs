//! Files whose text is constant, changeable or computed.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use datakit_core::vfs::{
    Error, FileStat, OpenMode, Result, Time, check_offset, check_write_offset, read_at,
};

use parking_lot::Mutex;

use super::client_number::{PROGRAM, resize_text};
use super::file::check_not_executable;
use super::{BoxFuture, ClientNumber, Leaf, OpenLeaf, ready};
use crate::budget::{Budget, Reservation};

/// The maximum length, in bytes, of text that a client can write. The limit applies to text that is
/// kept in memory as a whole, such as parameters and messages. It also applies to the text of an
/// open `datakit-core` file.
pub(super) const TEXT_MAX: usize = 64 * 1024;

/// A file whose text never changes.
#[derive(Debug, Clone)]
pub struct ReadOnlyText {
    text: Arc<[u8]>,
    mode: u32,
    changed: Option<Time>,
}

impl ReadOnlyText {
    /// Creates a non-executable file with the content `text`.
    pub fn new(text: impl AsRef<[u8]>) -> ReadOnlyText {
        ReadOnlyText { text: text.as_ref().into(), mode: 0o444, changed: None }
    }

    /// Makes the file executable.
    #[must_use]
    pub fn executable(self) -> ReadOnlyText {
        ReadOnlyText { mode: 0o555, ..self }
    }

    /// Sets the file's modification time.
    #[must_use]
    pub fn with_mtime(self, time: Time) -> ReadOnlyText {
        ReadOnlyText { changed: Some(time), ..self }
    }
}

impl Leaf for ReadOnlyText {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(FileStat { mode: self.mode, ..FileStat::new(self.text.len() as u64) }))
    }

    fn mtime(&self) -> Option<Time> {
        self.changed
    }

    fn open(&self, _: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        ready(Ok(Box::new(OpenBytes(self.text.clone()))))
    }
}

/// An open file whose content never changes.
#[derive(Debug)]
pub struct OpenBytes<T>(pub T);

impl<T: Deref<Target = [u8]> + Send + Sync> OpenLeaf for OpenBytes<T> {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        ready(read_at(&self.0, offset, buf))
    }

    fn try_read_now(&self, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        Some(read_at(&self.0, offset, buf))
    }
}

/// A file with text that both clients and the program can change. Clones refer to the same text.
///
/// Clients can write at most 64 KiB of text.
#[derive(Debug, Clone, Default)]
pub struct Text(Arc<Mutex<TextState>>);

/// The text and, if it is charged to a budget, a memory reservation.
#[derive(Debug, Default)]
struct TextState {
    text: Arc<Vec<u8>>,
    grant: Option<Reservation>,
}

impl TextState {
    fn change(&mut self, change: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let Some(grant) = &mut self.grant else { return change(Arc::make_mut(&mut self.text)) };
        let mut text = self.text.clone();
        change(Arc::make_mut(&mut text))?;
        grant.resize(text.len() as u64)?;
        self.text = text;
        Ok(())
    }
}

impl Text {
    /// Creates a file with the content `text`.
    pub fn new(text: impl Into<Vec<u8>>) -> Text {
        Text(Arc::new(Mutex::new(TextState { text: Arc::new(text.into()), grant: None })))
    }

    /// Creates a file whose content is charged to the memory budget `space`. A client's write fails
    /// if it would exceed the budget.
    pub fn in_space(text: impl Into<Vec<u8>>, space: &Arc<Budget>) -> Text {
        Text(Arc::new(Mutex::new(TextState {
            text: Arc::new(text.into()),
            grant: Some(space.empty_reservation()),
        })))
    }

    /// Returns the current content. Subsequent writes to the file do not change the returned bytes.
    #[must_use]
    pub fn get(&self) -> Arc<Vec<u8>> {
        self.0.lock().text.clone()
    }

    /// Replaces the content. The limit of 64 KiB applies only to clients, not to this method.
    pub fn set(&self, text: impl Into<Vec<u8>>) {
        let state = &mut *self.0.lock();
        state.text = Arc::new(text.into());
        if let Some(grant) = &mut state.grant {
            // Ignore the error if the budget is exhausted, because the budget applies only to
            // clients.
            let _ = grant.resize(state.text.len() as u64);
        }
    }
}

impl Leaf for Text {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(FileStat::new(self.get().len() as u64)))
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        if mode.truncate {
            self.set("");
        }
        ready(Ok(Box::new(OpenText { text: self.clone(), append: mode.append })))
    }

    fn truncate(&self, length: u64) -> BoxFuture<'_, ()> {
        ready(self.0.lock().change(|text| resize(text, length)))
    }

    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        ready(check_not_executable(mode))
    }
}

struct OpenText {
    text: Text,
    append: bool,
}

impl OpenLeaf for OpenText {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        ready(read_at(&self.text.get(), offset, buf))
    }

    fn try_read_now(&self, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        Some(read_at(&self.text.get(), offset, buf))
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let mut text = self.text.0.lock();
            text.change(|text| {
                let offset = if self.append { text.len() as u64 } else { offset };
                overlay(text, offset, data)
            })?;
            Ok(data.len())
        })
    }
}

/// Overwrites `text` with `data` at `offset`. Bytes after the data are kept, and a gap before the
/// data is filled with zeros. This function changes the text in place. The function of the same
/// name in `datakit_core` writes the result to a fixed buffer instead.
///
/// # Errors
/// Returns an error such as `Bad write offset -2` if `offset`, interpreted as a signed number, is
/// negative. Returns [`Error::TooLarge`] if the write would end beyond [`TEXT_MAX`]. On failure,
/// the text is unchanged.
pub(super) fn overlay(text: &mut Vec<u8>, offset: u64, data: &[u8]) -> Result<()> {
    let end = end_of_write(offset, data.len())?;
    let start = end - data.len();
    if text.len() < end {
        text.resize(end, 0);
    }
    if let Some(part) = text.get_mut(start..end) {
        part.copy_from_slice(data);
    }
    Ok(())
}

/// Returns the end offset of a write of `count` bytes at `offset`.
///
/// # Errors
/// Returns an error such as `Bad write offset -2` if `offset`, interpreted as a signed number, is
/// negative. Returns [`Error::TooLarge`] if the write would end beyond [`TEXT_MAX`].
pub(super) fn end_of_write(offset: u64, count: usize) -> Result<usize> {
    check_write_offset(offset)?;
    let start = usize::try_from(offset).map_err(|_| Error::TooLarge)?;
    start.checked_add(count).filter(|end| *end <= TEXT_MAX).ok_or(Error::TooLarge)
}

/// Truncates `text` to `length` bytes or pads it with zeros to that length.
///
/// # Errors
/// Returns an error such as `Negative offset -1` if `length`, interpreted as a signed number, is
/// negative. Returns [`Error::TooLarge`] if `length` is greater than [`TEXT_MAX`].
pub(super) fn resize(text: &mut Vec<u8>, length: u64) -> Result<()> {
    check_offset(length)?;
    let length =
        usize::try_from(length).ok().filter(|length| *length <= TEXT_MAX).ok_or(Error::TooLarge)?;
    text.resize(length, 0);
    Ok(())
}

type Evaluate = dyn Fn() -> BoxFuture<'static, Vec<u8>> + Send + Sync;

/// A file whose text is computed each time the file is opened. The text of an open file does not
/// change.
pub struct Status {
    evaluate: Box<Evaluate>,
    length: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
}

impl Status {
    /// Creates a file whose text is the result of calling `evaluate`. The closure is called on each
    /// open and, to determine the length, on each stat.
    pub fn new<T: Into<Vec<u8>>>(
        evaluate: impl Fn() -> Result<T> + Send + Sync + 'static,
    ) -> Status {
        Status { evaluate: Box::new(move || ready(evaluate().map(Into::into))), length: None }
    }

    /// Like [`new`](Status::new), but with an asynchronous `evaluate`.
    pub fn new_async<T, F>(evaluate: impl Fn() -> F + Send + Sync + 'static) -> Status
    where
        T: Into<Vec<u8>>,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let evaluate = move || -> BoxFuture<'static, Vec<u8>> {
            let text = evaluate();
            Box::pin(async move { text.await.map(Into::into) })
        };
        Status { evaluate: Box::new(evaluate), length: None }
    }

    /// Sets a function that returns the length in bytes. If this function is set, each stat calls
    /// `length` instead of `evaluate`.
    #[must_use]
    pub fn with_length(self, length: impl Fn() -> u64 + Send + Sync + 'static) -> Status {
        Status { length: Some(Box::new(length)), ..self }
    }
}

impl Leaf for Status {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        match &self.length {
            Some(length) => ready(Ok(FileStat::new(length()).read_only())),
            None => Box::pin(async {
                Ok(FileStat::new((self.evaluate)().await?.len() as u64).read_only())
            }),
        }
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        self.open_by(mode, &PROGRAM)
    }

    fn open_by<'a>(
        &'a self,
        _: OpenMode,
        client: &'a ClientNumber,
    ) -> BoxFuture<'a, Box<dyn OpenLeaf>> {
        let mut charged = client.text_reservation();
        Box::pin(async move {
            let text = (self.evaluate)().await?;
            if let Some(charged) = &mut charged {
                resize_text(charged, text.len())?;
            }
            Ok(Box::new(OpenBytes(ComputedText { text, _charged: charged })) as Box<dyn OpenLeaf>)
        })
    }
}

/// The text of an open [`Status`] file.
struct ComputedText {
    text: Vec<u8>,
    _charged: Option<Reservation>,
}

impl Deref for ComputedText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.text
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").finish_non_exhaustive()
    }
}
