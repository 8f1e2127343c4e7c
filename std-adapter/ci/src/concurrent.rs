//! Sends database requests concurrently, because each of them can take a long time.

use std::future::Future;

use datakit_client::db::{BoxFuture, Error};
use futures_util::stream::{self, StreamExt, TryStreamExt};

/// The maximum number of futures that run concurrently. Each future can send several requests at
/// once.
const CONCURRENCY: usize = 16;

/// Futures that do not depend on each other.
pub(crate) struct Concurrent<'f, T>(Vec<BoxFuture<'f, T>>);

impl<'f, T: Send + 'f> Concurrent<'f, T> {
    pub(crate) fn new() -> Concurrent<'f, T> {
        Concurrent(Vec::new())
    }

    pub(crate) fn push(&mut self, future: impl Future<Output = T> + Send + 'f) {
        self.0.push(Box::pin(future));
    }

    /// Runs all futures, at most [`CONCURRENCY`] at a time, and returns their results in order.
    pub(crate) fn all(self) -> BoxFuture<'f, Vec<T>> {
        Box::pin(stream::iter(self.0).buffered(CONCURRENCY).collect())
    }
}

impl<'f, T: Send + 'f> Concurrent<'f, Result<T, Error>> {
    /// Same as [`all`](Concurrent::all), but returns the first error and drops the remaining
    /// futures.
    pub(crate) fn try_all(self) -> BoxFuture<'f, Result<Vec<T>, Error>> {
        Box::pin(stream::iter(self.0).buffered(CONCURRENCY).try_collect())
    }
}

/// Boxes a future so that the compiler knows that the future is `Send`. The compiler cannot infer
/// this in generic functions that join futures.
pub(crate) fn boxed<'f, T>(future: impl Future<Output = T> + Send + 'f) -> BoxFuture<'f, T> {
    Box::pin(future)
}
