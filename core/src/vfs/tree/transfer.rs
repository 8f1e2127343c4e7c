//! Reads, writes and flushes of open files in the two kinds of static trees.

use core::future::{Future, poll_fn};
use core::task::{Context, Poll};

use super::open_files::{Handle, HandleKind, OpenFiles};
use super::report;
use super::static_dir::Node;
use crate::vfs::{
    AsyncTree, Error, File, ImmutableTree, OpenFile, PendingRequest, Result, Transfer, TreeKind,
    Waiter,
};

/// The kind of a [`StaticTree`](super::StaticTree).
pub trait StaticTreeKind: TreeKind {
    /// See [`Vfs::read`](crate::vfs::Vfs::read).
    fn read<const OPENS: usize, const TEXT: usize>(
        files: &OpenFiles<OPENS, TEXT>,
        open: &Handle,
        offset: u64,
        buf: &mut [u8],
    ) -> impl Future<Output = Result<usize>>;

    /// See [`Vfs::write`](crate::vfs::Vfs::write).
    fn write<const OPENS: usize, const TEXT: usize>(
        files: &OpenFiles<OPENS, TEXT>,
        open: &Handle,
        offset: u64,
        data: &[u8],
    ) -> impl Future<Output = Result<usize>>;

    /// See [`Vfs::flush`](crate::vfs::Vfs::flush).
    fn flush<const OPENS: usize, const TEXT: usize>(
        files: &OpenFiles<OPENS, TEXT>,
        open: &Handle,
    ) -> impl Future<Output = Result<()>>;
}

impl StaticTreeKind for ImmutableTree {
    // This is not an `async fn`, because the future of an `async fn` would contain the arguments
    // twice.
    fn read<const OPENS: usize, const TEXT: usize>(
        files: &OpenFiles<OPENS, TEXT>,
        open: &Handle,
        offset: u64,
        buf: &mut [u8],
    ) -> impl Future<Output = Result<usize>> {
        let (open, mut waiter) = (*open, Waiter::new());
        poll_fn(move |cx| {
            let read = files.with_file_and_waiter(open, &mut waiter, |file, open, _| {
                Ok(file.poll_read(open, cx, offset, buf).map(|read| report(open.client, read)))
            });
            read.unwrap_or_else(|error| Poll::Ready(Err(error)))
        })
    }

    async fn write<const OPENS: usize, const TEXT: usize>(
        files: &OpenFiles<OPENS, TEXT>,
        open: &Handle,
        offset: u64,
        data: &[u8],
    ) -> Result<usize> {
        files.with_file(*open, |file, open, append| {
            let offset = if append { end(file, open) } else { offset };
            report(open.client, file.write(open, offset, data))
        })
    }

    async fn flush<const OPENS: usize, const TEXT: usize>(
        files: &OpenFiles<OPENS, TEXT>,
        open: &Handle,
    ) -> Result<()> {
        match open.kind() {
            HandleKind::Dir(_) => Ok(()),
            HandleKind::File { .. } => {
                files.with_file(*open, |file, open, _| report(open.client, file.flush(open)))
            }
        }
    }
}

impl StaticTreeKind for AsyncTree {
    fn read<const OPENS: usize, const TEXT: usize>(
        files: &OpenFiles<OPENS, TEXT>,
        open: &Handle,
        offset: u64,
        buf: &mut [u8],
    ) -> impl Future<Output = Result<usize>> {
        transfer(files, open, Transfer::Read { offset, buf })
    }

    fn write<const OPENS: usize, const TEXT: usize>(
        files: &OpenFiles<OPENS, TEXT>,
        open: &Handle,
        offset: u64,
        data: &[u8],
    ) -> impl Future<Output = Result<usize>> {
        transfer(files, open, Transfer::Write { offset, data })
    }

    fn flush<const OPENS: usize, const TEXT: usize>(
        files: &OpenFiles<OPENS, TEXT>,
        open: &Handle,
    ) -> impl Future<Output = Result<()>> {
        let mut waiting = WaitingTransfer::default();
        poll_fn(move |cx| match open.kind() {
            HandleKind::Dir(_) => Poll::Ready(Ok(())),
            HandleKind::File { .. } => {
                poll_transfer(files, open, &mut waiting, cx, Transfer::Flush).map_ok(drop)
            }
        })
    }
}

/// Carries out a transfer. The future owns its state, because an `async` function would store its
/// arguments twice.
fn transfer<const OPENS: usize, const TEXT: usize>(
    files: &OpenFiles<OPENS, TEXT>,
    open: &Handle,
    mut transfer: Transfer<'_>,
) -> impl Future<Output = Result<usize>> {
    let mut waiting = WaitingTransfer::default();
    poll_fn(move |cx| poll_transfer(files, open, &mut waiting, cx, transfer.reborrow()))
}

/// A transfer that is waiting for an event from a file, or for the completion of a request started
/// by an [`AsyncFile`](crate::vfs::AsyncFile).
#[derive(Default)]
struct WaitingTransfer {
    waiter: Waiter,
    pending: PendingRequest,
}

/// Polls a transfer. Each poll looks up the open file again, so a waiting transfer fails when the
/// file is closed.
#[inline(never)]
fn poll_transfer<const OPENS: usize, const TEXT: usize>(
    files: &OpenFiles<OPENS, TEXT>,
    open: &Handle,
    waiting: &mut WaitingTransfer,
    cx: &mut Context<'_>,
    mut transfer: Transfer<'_>,
) -> Poll<Result<usize>> {
    let WaitingTransfer { waiter, pending } = waiting;
    let polled = files.with_node(*open, waiter, |node, open, append| {
        if let (Transfer::Write { offset, .. }, true) = (&mut transfer, append) {
            *offset = node.with_file(|file| end(file, open)).unwrap_or_default();
        }
        let polled = poll_node(node, open, pending, cx, transfer.reborrow());
        Ok(polled.map(|done| report(open.client, done)))
    });
    polled.unwrap_or_else(|error| Poll::Ready(Err(error)))
}

fn poll_node(
    node: Node,
    open: &mut OpenFile<'_>,
    pending: &mut PendingRequest,
    cx: &mut Context<'_>,
    mut transfer: Transfer<'_>,
) -> Poll<Result<usize>> {
    if let Some(file) = node.async_file() {
        return file.poll_transfer(open, pending, cx, transfer);
    }
    let polled = node.with_file(|file| match transfer.reborrow() {
        Transfer::Read { offset, buf } => file.poll_read(open, cx, offset, buf),
        Transfer::Write { offset, data } => Poll::Ready(file.write(open, offset, data)),
        Transfer::Flush => Poll::Ready(file.flush(open).map(|()| 0)),
    });
    polled.unwrap_or(Poll::Ready(Err(Error::BadFile)))
}

/// Returns the offset of a write to a file that was opened for appending. Each piece of a pending
/// value is appended to the previous pieces.
fn end(file: &dyn File, open: &OpenFile<'_>) -> u64 {
    if open.state.partial && !open.text.bytes().is_empty() {
        open.state.delivered
    } else {
        file.stat().length
    }
}
