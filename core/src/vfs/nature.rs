//! What a session may take for granted of a tree: whether its calls wait, whether it changes.

use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use super::{Error, Result};

/// One of [`MutableTree`] and [`ImmutableTree`], for [`Vfs::TreeKind`](super::Vfs::TreeKind).
pub trait TreeKind {
    /// Nothing can be made, moved or linked in the tree.
    const IMMUTABLE: bool;

    /// Some reads or writes are answered [at once](super::Vfs::try_read_now).
    const HAS_FAST_PATH: bool;

    /// A request on its way.
    type Handler<T, F: Future<Output = Result<T>>>: Future<Output = Result<T>>;

    /// Begins a request. It has a stack frame of its own: a function that awaits thirty handlers
    /// would otherwise be one function with the stack of all of them, 5 KiB of a board's.
    fn handle<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Self::Handler<T, F>;

    /// A read that may wait.
    type Wait<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>>: Future<
        Output = Result<T>,
    >;

    /// Waits for `read` as long as `there` says that what is read is still open. It is asked once
    /// `read` waits, and before each further poll. A [`ImmutableTree`] is not in need of that: it finds
    /// closed what it is to read.
    fn wait_while<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>>(
        read: F,
        there: W,
    ) -> Self::Wait<T, F, W>;

    /// A request that is seldom made and takes much memory.
    type Boxed<T, F: Future<Output = Result<T>>>: Future<Output = Result<T>>;

    /// As [`handle`](TreeKind::handle), but where there is a heap it is on that: every connection
    /// that does nothing would have room for it.
    fn boxed<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Self::Boxed<T, F>;
}

/// A tree of which nothing is known: any call may wait, anything may change.
#[derive(Debug)]
pub enum MutableTree {}

/// A tree in which [`read`](super::Vfs::read) alone waits, and which is what it was built as.
///
/// Nothing can be made, moved or linked in it, and it has neither symbolic links, extended
/// attributes nor locks: [`create`](super::Vfs::create), [`rename`](super::Vfs::rename) and all
/// others whose defaults refuse that are not called. What serves these is not even compiled, and no
/// memory is kept for requests that never wait: a board is thankful for both.
#[derive(Debug)]
pub enum ImmutableTree {}

impl TreeKind for MutableTree {
    const IMMUTABLE: bool = false;
    const HAS_FAST_PATH: bool = true;

    type Handler<T, F: Future<Output = Result<T>>> = Outlined<F>;

    fn handle<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Outlined<F> {
        outlined(make())
    }

    type Wait<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>> = While<F, W>;

    fn wait_while<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>>(
        read: F,
        there: W,
    ) -> While<F, W> {
        While { read, there, waited: false }
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

    type Handler<T, F: Future<Output = Result<T>>> = Done<Result<T>>;

    // Made and polled in one place: the compiler sees that the future never goes on from a wait.
    #[inline(never)]
    fn handle<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Done<Result<T>> {
        match pin!(make()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Done(Some(done)),
            Poll::Pending => Done(Some(Err(Error::TooManyWaiting))),
        }
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

/// What was done already, as a future: [`Ready`](core::future::Ready) without its panic.
#[derive(Debug)]
pub struct Done<T>(Option<T>);

impl<T> Unpin for Done<T> {}

impl<T> Future for Done<T> {
    type Output = T;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        self.0.take().map_or(Poll::Pending, Poll::Ready)
    }
}

pin_project! {
    /// A read, for as long as what is read is there.
    #[derive(Debug)]
    pub struct While<F, W> {
        #[pin]
        read: F,
        there: W,
        waited: bool,
    }
}

impl<T, F: Future<Output = Result<T>>, W: FnMut() -> Result<()>> Future for While<F, W> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.project();
        if *this.waited {
            (this.there)()?;
        }
        let polled = this.read.poll(cx);
        if polled.is_pending() && !*this.waited {
            *this.waited = true;
            (this.there)()?;
        }
        polled
    }
}

pin_project! {
    /// A future whose `poll` is not inlined into its caller's.
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
