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

    /// The future that handles a request.
    type Handler<T, F: Future<Output = Result<T>>>: Future<Output = Result<T>>;

    /// Starts to handle a request. A tree of one kind calls `now`, and a tree of the other kind
    /// calls `later`. Only one of the two functions is compiled.
    fn dispatch<A, T, F: Future<Output = Result<T>>>(
        call: A,
        now: impl FnOnce(A) -> Result<T>,
        later: impl FnOnce(A) -> F,
    ) -> Self::Handler<T, F>;

    /// Starts to handle a request in a separate stack frame. Inlining all thirty handlers into one
    /// function would make that function's stack frame 5 KiB large on an embedded board.
    fn handle<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Self::Handler<T, F>;

    /// Whether writes and clunks may wait although the tree is immutable.
    const WRITES_WAIT: bool;

    /// The future for a request that may wait. `R` handles reads, and `A` handles reads, writes and
    /// clunks.
    type Transfer<R: Future, A: Future<Output = R::Output>>: Future<Output = R::Output>;

    /// Starts to handle a request that may wait. Only one of the two functions is compiled.
    fn transfer<C, R: Future, A: Future<Output = R::Output>>(
        call: C,
        read: impl FnOnce(C) -> R,
        any: impl FnOnce(C) -> A,
    ) -> Self::Transfer<R, A>;

    /// The future for a read that may wait.
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

    /// Starts to handle a request like [`handle`](TreeKind::handle), but stores the future on the
    /// heap if a heap is available. A future stored in the connection would take up memory even
    /// while the connection is idle.
    fn boxed<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Self::Boxed<T, F>;
}

/// The kind of a tree that has no restrictions. Any method of the tree may wait, and any file may
/// change.
#[derive(Debug)]
pub enum MutableTree {}

/// The kind of a tree that has a fixed structure. Of the tree's methods, only
/// [`read`](super::Vfs::read) may wait.
///
/// Nothing can be created, moved or linked in an immutable tree, and the tree has no symbolic
/// links, extended attributes or locks. The session never calls methods such as
/// [`create`](super::Vfs::create) and [`rename`](super::Vfs::rename), whose default implementations
/// refuse the operation. Immutable trees save flash, because the handlers for unsupported requests
/// are not monomorphized. Immutable trees also save RAM, because requests that never wait need no
/// state in a future.
#[derive(Debug)]
pub enum ImmutableTree {}

/// The kind of a tree that has a fixed structure and contains files whose writes may wait. Of the
/// tree's methods, only [`read`](super::Vfs::read), [`write`](super::Vfs::write) and
/// [`flush`](super::Vfs::flush) may wait. In all other respects, the tree is like an
/// [`ImmutableTree`].
#[derive(Debug)]
pub enum AsyncTree {}

impl TreeKind for MutableTree {
    const IMMUTABLE: bool = false;
    const HAS_FAST_PATH: bool = true;

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

    type Transfer<R: Future, A: Future<Output = R::Output>> = R;

    fn transfer<C, R: Future, A: Future<Output = R::Output>>(
        call: C,
        read: impl FnOnce(C) -> R,
        _: impl FnOnce(C) -> A,
    ) -> R {
        read(call)
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

    type Transfer<R: Future, A: Future<Output = R::Output>> = R;

    fn transfer<C, R: Future, A: Future<Output = R::Output>>(
        call: C,
        read: impl FnOnce(C) -> R,
        _: impl FnOnce(C) -> A,
    ) -> R {
        read(call)
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

    type Transfer<R: Future, A: Future<Output = R::Output>> = A;

    fn transfer<C, R: Future, A: Future<Output = R::Output>>(
        call: C,
        _: impl FnOnce(C) -> R,
        any: impl FnOnce(C) -> A,
    ) -> A {
        any(call)
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

impl<T> Unpin for Completed<T> {}

impl<T> Future for Completed<T> {
    type Output = T;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        self.0.take().map_or(Poll::Pending, Poll::Ready)
    }
}

pin_project! {
    /// The future for a read that fails once its file is closed.
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

pub(crate) fn outlined<F: Future>(future: F) -> Outlined<F> {
    Outlined { future }
}

impl<F: Future> Future for Outlined<F> {
    type Output = F::Output;

    #[inline(never)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}
