//! Futures that are polled in a stack frame of their own.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

pin_project! {
    /// A future whose `poll` is not inlined into its caller's.
    ///
    /// A function that awaits thirty handlers would otherwise be one function with the stack of all of them: 5 KiB of a board's.
    pub(super) struct Apart<F> {
        #[pin]
        future: F,
    }
}

pub(super) fn apart<F: Future>(future: F) -> Apart<F> {
    Apart { future }
}

impl<F: Future> Future for Apart<F> {
    type Output = F::Output;

    #[inline(never)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}
