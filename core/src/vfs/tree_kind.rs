//! The kinds of trees, and the assumptions that each kind allows a session to make.

use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use super::{Error, Result};

/// The kind of a tree, which is [`MutableTree`], [`ImmutableTree`] or [`AsyncTree`]. Each tree
/// declares its kind as [`Vfs::TreeKind`](super::Vfs::TreeKind).
pub trait TreeKind {
    /// Whether the tree is immutable. In an immutable tree, files cannot be created, moved or
    /// linked.
    const IMMUTABLE: bool;

    /// Whether to call [`Vfs::try_read_now`](super::Vfs::try_read_now) and
    /// [`Vfs::try_write_now`](super::Vfs::try_write_now).
    const HAS_FAST_PATH: bool;

    /// The data that a session stores with each fid, in addition to its inode and state.
    type FidRecord: FidRecord;

    /// The cookie for a directory position, which a session stores with the fid. An immutable tree
    /// must use cookies below 65,536.
    type Cookie: Copy + Default + Into<u64> + TryFrom<u64>;

    /// The future that handles a request.
    type Handler<T, F: Future<Output = Result<T>>>: Future<Output = Result<T>>;

    /// Starts handling a request. Depending on the tree's kind, this function calls either `now` or
    /// `later`, so only one of the two is compiled.
    fn dispatch<A, T, F: Future<Output = Result<T>>>(
        call: A,
        now: impl FnOnce(A) -> Result<T>,
        later: impl FnOnce(A) -> F,
    ) -> Self::Handler<T, F>;

    /// Starts handling a request in a separate stack frame. Inlining all thirty handlers into one
    /// function would increase that function's stack frame to 5 KiB on an embedded board.
    fn handle<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Self::Handler<T, F>;

    /// Whether writes and clunks may have to wait even though the tree is immutable.
    const WRITES_WAIT: bool;

    /// The future for a write or a clunk that may have to wait.
    type Transfer<T, F: Future<Output = Result<T>>>: Future<Output = Result<T>>;

    /// Starts handling a write or a clunk. Only a tree whose [writes wait](TreeKind::WRITES_WAIT)
    /// calls `make`.
    fn transfer<A, T, F: Future<Output = Result<T>>>(
        call: A,
        make: impl FnOnce(A) -> F,
    ) -> Self::Transfer<T, F>;

    /// The future for a read that may have to wait.
    type Wait<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>>: Future<
        Output = Result<T>,
    >;

    /// Polls `read` and fails as soon as `check_open` fails. The check runs when `read` first waits
    /// and before each later poll. An [`ImmutableTree`] does not need the check, because its reads
    /// detect that the file was closed.
    fn wait_while<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>>(
        read: F,
        check_open: W,
    ) -> Self::Wait<T, F, W>;

    /// The future for a rare request that needs a lot of memory.
    type Boxed<T, F: Future<Output = Result<T>>>: Future<Output = Result<T>>;

    /// Like [`handle`](TreeKind::handle), but stores the future on the heap if a heap is available.
    /// A future stored in the connection would take up memory even while the connection is idle.
    fn boxed<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Self::Boxed<T, F>;
}

/// The data that a session stores with each fid, in addition to its inode and state. To save RAM, a
/// session stores less data for an immutable tree.
pub trait FidRecord: Copy {
    /// Creates the record for a fid that refers to the root directory on behalf of `user`.
    fn new(user: u32) -> Self;

    /// Sets the serial number, which distinguishes this use of the fid number from later uses.
    /// After a wait, a request compares serial numbers to check that the fid number still refers to
    /// the same fid.
    fn set_serial(&mut self, serial: u32);

    /// Returns the serial number.
    fn serial(&self) -> u32;

    /// Returns the number of the user who attached. Files created through the fid belong to this
    /// user.
    fn user(&self) -> u32;

    /// Makes the current inode the attach point. `ino` is its inode number. Walking `..` never goes
    /// above the attach point.
    fn set_attach_point(&mut self, ino: u64);

    /// Returns whether the current inode is the attach point. `ino` is its inode number.
    fn is_attach_point(&self, ino: u64) -> bool;

    /// Records a walk from the current inode to one of its entries.
    fn enter(&mut self);

    /// Records a walk from the current inode to its parent.
    fn leave(&mut self);
}

/// The [`FidRecord`] for a [`MutableTree`].
#[derive(Debug, Clone, Copy)]
pub struct MutableRecord {
    serial: u32,
    user: u32,
    /// The inode number of the attach point. A file can be moved out of the attached subtree, so
    /// the number of levels below the attach point can change.
    attach_point: u64,
}

impl FidRecord for MutableRecord {
    fn new(user: u32) -> MutableRecord {
        MutableRecord { serial: 0, user, attach_point: 0 }
    }

    fn set_serial(&mut self, serial: u32) {
        self.serial = serial;
    }

    fn serial(&self) -> u32 {
        self.serial
    }

    fn user(&self) -> u32 {
        self.user
    }

    fn set_attach_point(&mut self, ino: u64) {
        self.attach_point = ino;
    }

    fn is_attach_point(&self, ino: u64) -> bool {
        self.attach_point == ino
    }

    fn enter(&mut self) {}

    fn leave(&mut self) {}
}

/// The [`FidRecord`] for an [`ImmutableTree`] or an [`AsyncTree`]. A waiting request detects that
/// its file was closed, so no serial number is needed. The tree has no owners, and its files never
/// move.
#[derive(Debug, Clone, Copy)]
pub struct ImmutableRecord {
    /// The number of levels below the attach point.
    depth: u16,
}

impl FidRecord for ImmutableRecord {
    fn new(_: u32) -> ImmutableRecord {
        ImmutableRecord { depth: 0 }
    }

    fn set_serial(&mut self, _: u32) {}

    fn serial(&self) -> u32 {
        0
    }

    fn user(&self) -> u32 {
        0
    }

    fn set_attach_point(&mut self, _: u64) {
        self.depth = 0;
    }

    fn is_attach_point(&self, _: u64) -> bool {
        self.depth == 0
    }

    fn enter(&mut self) {
        // If the number overflows, the client cannot walk back up to the attach point, but cannot
        // walk above it either.
        self.depth = self.depth.saturating_add(1);
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}

/// The kind for trees without restrictions. Any method of the tree may have to wait, and any file
/// may change.
#[derive(Debug)]
pub enum MutableTree {}

/// The kind for trees with a fixed structure. Of the tree's methods, only
/// [`read`](super::Vfs::read) may have to wait.
///
/// Nothing can be created, moved or linked in an immutable tree, and the tree has no symbolic
/// links, extended attributes or locks. The session never calls methods such as
/// [`create`](super::Vfs::create) and [`rename`](super::Vfs::rename), whose default implementations
/// refuse the operation. Immutable trees save flash, because the handlers for unsupported requests
/// are not monomorphized. Immutable trees also save RAM, because requests that never wait need no
/// state in a `Future`.
#[derive(Debug)]
pub enum ImmutableTree {}

/// The kind for trees that have a fixed structure and contain files whose writes may have to wait.
/// Of the tree's methods, only [`read`](super::Vfs::read), [`write`](super::Vfs::write) and
/// [`flush`](super::Vfs::flush) may have to wait. In all other respects, the tree is like an
/// [`ImmutableTree`].
#[derive(Debug)]
pub enum AsyncTree {}

impl TreeKind for MutableTree {
    const IMMUTABLE: bool = false;
    const HAS_FAST_PATH: bool = true;

    type FidRecord = MutableRecord;
    type Cookie = u64;

    type Handler<T, F: Future<Output = Result<T>>> = Outlined<F>;

    fn dispatch<A, T, F: Future<Output = Result<T>>>(
        call: A,
        _: impl FnOnce(A) -> Result<T>,
        later: impl FnOnce(A) -> F,
    ) -> Outlined<F> {
        outlined(later(call))
    }

    fn handle<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Outlined<F> {
        outlined(make())
    }

    const WRITES_WAIT: bool = false;

    type Transfer<T, F: Future<Output = Result<T>>> = Completed<Result<T>>;

    fn transfer<A, T, F: Future<Output = Result<T>>>(
        _: A,
        _: impl FnOnce(A) -> F,
    ) -> Completed<Result<T>> {
        Completed(Some(Err(Error::NotSupported)))
    }

    type Wait<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>> = ReadWhileOpen<F, W>;

    fn wait_while<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>>(
        read: F,
        check_open: W,
    ) -> ReadWhileOpen<F, W> {
        ReadWhileOpen { read, check_open, waited: false }
    }

    #[cfg(feature = "alloc")]
    type Boxed<T, F: Future<Output = Result<T>>> = Pin<alloc::boxed::Box<F>>;
    #[cfg(not(feature = "alloc"))]
    type Boxed<T, F: Future<Output = Result<T>>> = Outlined<F>;

    #[cfg(feature = "alloc")]
    fn boxed<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Self::Boxed<T, F> {
        alloc::boxed::Box::pin(make())
    }

    #[cfg(not(feature = "alloc"))]
    fn boxed<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Self::Boxed<T, F> {
        outlined(make())
    }
}

impl TreeKind for ImmutableTree {
    const IMMUTABLE: bool = true;
    const HAS_FAST_PATH: bool = false;

    type FidRecord = ImmutableRecord;
    type Cookie = u16;

    type Handler<T, F: Future<Output = Result<T>>> = Completed<Result<T>>;

    fn dispatch<A, T, F: Future<Output = Result<T>>>(
        call: A,
        now: impl FnOnce(A) -> Result<T>,
        _: impl FnOnce(A) -> F,
    ) -> Completed<Result<T>> {
        Completed(Some(now(call)))
    }

    #[inline(always)]
    fn handle<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Completed<Result<T>> {
        Completed(Some(poll_once(make)))
    }

    const WRITES_WAIT: bool = false;

    type Transfer<T, F: Future<Output = Result<T>>> = Completed<Result<T>>;

    fn transfer<A, T, F: Future<Output = Result<T>>>(
        _: A,
        _: impl FnOnce(A) -> F,
    ) -> Completed<Result<T>> {
        Completed(Some(Err(Error::NotSupported)))
    }

    type Wait<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>> = F;

    fn wait_while<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>>(read: F, _: W) -> F {
        read
    }

    type Boxed<T, F: Future<Output = Result<T>>> = Self::Handler<T, F>;

    fn boxed<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Self::Boxed<T, F> {
        Self::handle(make)
    }
}

impl TreeKind for AsyncTree {
    const IMMUTABLE: bool = true;
    const HAS_FAST_PATH: bool = false;

    type FidRecord = ImmutableRecord;
    type Cookie = u16;

    type Handler<T, F: Future<Output = Result<T>>> = Completed<Result<T>>;

    fn dispatch<A, T, F: Future<Output = Result<T>>>(
        call: A,
        now: impl FnOnce(A) -> Result<T>,
        later: impl FnOnce(A) -> F,
    ) -> Completed<Result<T>> {
        ImmutableTree::dispatch(call, now, later)
    }

    fn handle<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Completed<Result<T>> {
        ImmutableTree::handle(make)
    }

    const WRITES_WAIT: bool = true;

    type Transfer<T, F: Future<Output = Result<T>>> = Outlined<F>;

    fn transfer<A, T, F: Future<Output = Result<T>>>(
        call: A,
        make: impl FnOnce(A) -> F,
    ) -> Outlined<F> {
        outlined(make(call))
    }

    type Wait<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>> = F;

    fn wait_while<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>>(read: F, _: W) -> F {
        read
    }

    type Boxed<T, F: Future<Output = Result<T>>> = Self::Handler<T, F>;

    fn boxed<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Self::Boxed<T, F> {
        Self::handle(make)
    }
}

/// Polls a future that never waits.
#[inline(always)]
pub(crate) fn poll_now<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Error::TooManyWaiting),
    }
}

/// Creates and polls a future in one function. The compiler can then detect that the future never
/// waits, so no memory is reserved for its state.
#[inline(never)]
fn poll_once<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Result<T> {
    poll_now(make())
}

/// A future that is immediately ready. Unlike [`Ready`](core::future::Ready), this future does not
/// panic when polled again, which saves flash.
#[derive(Debug)]
pub struct Completed<T>(Option<T>);

/// Returns a future that is ready with `value`.
pub(super) fn completed<T>(value: T) -> Completed<T> {
    Completed(Some(value))
}

impl<T> Unpin for Completed<T> {}

impl<T> Future for Completed<T> {
    type Output = T;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        self.0.take().map_or(Poll::Pending, Poll::Ready)
    }
}

pin_project! {
    /// The future for a read that fails when its file is closed.
    #[derive(Debug)]
    pub struct ReadWhileOpen<F, W> {
        #[pin]
        read: F,
        check_open: W,
        waited: bool,
    }
}

impl<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>> Future for ReadWhileOpen<F, W> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.project();
        if *this.waited {
            (this.check_open)()?;
        }
        let polled = this.read.poll(cx);
        if polled.is_pending() && !*this.waited {
            *this.waited = true;
            (this.check_open)()?;
        }
        polled
    }
}

pin_project! {
    /// A future whose `poll` is not inlined into the caller.
    #[derive(Debug)]
    pub struct Outlined<F> {
        #[pin]
        future: F,
    }
}

fn outlined<F: Future>(future: F) -> Outlined<F> {
    Outlined { future }
}

impl<F: Future> Future for Outlined<F> {
    type Output = F::Output;

    #[inline(never)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}
