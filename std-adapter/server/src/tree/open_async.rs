//! An open `datakit-core` file whose writes may have to wait.

use std::future::poll_fn;

use datakit_core::vfs::{
    AsyncFile, Client, OpenFile, OpenMode, OpenState, PendingRequest, Result, Transfer, Waiter,
};
use parking_lot::Mutex;

use super::growing_text::GrowingText;
use super::{BoxFuture, ClientNumber, OpenLeaf};

/// An open [`AsyncFile`]. Dropping the future of a transfer cancels the transfer.
pub(super) struct OpenAsyncFile {
    file: &'static dyn AsyncFile,
    client: Client,
    follows: bool,
    /// Keeps the client's number in use while the file is open.
    _number: ClientNumber,
    state: Mutex<(GrowingText, OpenState)>,
}

impl OpenAsyncFile {
    pub(super) fn open(
        file: &'static dyn AsyncFile,
        mode: OpenMode,
        number: ClientNumber,
    ) -> Result<OpenAsyncFile> {
        let client = number.get()?;
        let follows = mode.follows();
        let state = Mutex::new((GrowingText::new(&number), OpenState::default()));
        let open = OpenAsyncFile { file, client, follows, _number: number, state };
        open.with_open_file(|open| file.open(open, mode))?;
        Ok(open)
    }

    fn with_open_file<R>(&self, call: impl FnOnce(&mut OpenFile<'_>) -> R) -> R {
        let (text, state) = &mut *self.state.lock();
        let waiter = &mut Waiter::new();
        let OpenAsyncFile { client, follows, .. } = *self;
        call(&mut OpenFile { text, state, waiter, client, follows })
    }

    async fn transfer(&self, mut transfer: Transfer<'_>) -> Result<usize> {
        let mut pending = PendingRequest::new();
        poll_fn(|cx| {
            self.with_open_file(|open| {
                self.file.poll_transfer(open, &mut pending, cx, transfer.reborrow())
            })
        })
        .await
    }
}

impl OpenLeaf for OpenAsyncFile {
    fn may_block(&self) -> bool {
        self.file.may_block()
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        Box::pin(self.transfer(Transfer::Read { offset, buf }))
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        Box::pin(self.transfer(Transfer::Write { offset, data }))
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.transfer(Transfer::Flush).await.map(drop) })
    }

    fn close(&self) {
        self.with_open_file(|open| self.file.close(open));
    }
}
