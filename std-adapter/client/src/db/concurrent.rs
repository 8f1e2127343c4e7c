//! Runs futures concurrently so that their requests are pipelined.

use std::pin::Pin;
use std::task::Poll;

use super::error::Result;

/// The maximum number of futures that run concurrently.
const CONCURRENCY: usize = 32;

/// Runs the futures, at most [`CONCURRENCY`] at a time, and returns their results in order. If one
/// of the futures fails or the returned future is dropped, the remaining futures are dropped.
pub(crate) async fn try_join_all<T, F>(futures: impl IntoIterator<Item = F>) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>>,
{
    let mut futures = futures.into_iter();
    let mut results: Vec<Option<T>> = Vec::new();
    let mut running: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    loop {
        while running.len() < CONCURRENCY
            && let Some(future) = futures.next()
        {
            running.push((results.len(), Box::pin(future)));
            results.push(None);
        }
        if running.is_empty() {
            return Ok(results.into_iter().flatten().collect());
        }
        let (index, result) = std::future::poll_fn(|cx| {
            // Poll all running futures after each wake-up. This is cheap because there are at most
            // `CONCURRENCY` of them.
            for position in 0..running.len() {
                if let Some((index, future)) = running.get_mut(position)
                    && let Poll::Ready(result) = future.as_mut().poll(cx)
                {
                    let index = *index;
                    drop(running.swap_remove(position));
                    return Poll::Ready((index, result));
                }
            }
            Poll::Pending
        })
        .await;
        let result = result?;
        if let Some(place) = results.get_mut(index) {
            *place = Some(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::super::error::Error;
    use super::*;

    #[tokio::test]
    async fn results_keep_their_order_and_the_concurrency_is_limited() {
        let (running, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let task = |number: usize| {
            let (running, peak) = (&running, &peak);
            async move {
                peak.fetch_max(running.fetch_add(1, Relaxed) + 1, Relaxed);
                for _ in 0..number % 7 {
                    tokio::task::yield_now().await;
                }
                running.fetch_sub(1, Relaxed);
                Ok(number)
            }
        };
        let results = try_join_all((0..200).map(task)).await.unwrap();
        assert_eq!(results, (0..200).collect::<Vec<_>>());
        assert!((2..=CONCURRENCY).contains(&peak.load(Relaxed)), "{peak:?}");
    }

    #[tokio::test]
    async fn first_error_ends_the_others() {
        let started = AtomicUsize::new(0);
        let task = |number: usize| {
            let started = &started;
            async move {
                started.fetch_add(1, Relaxed);
                if number == 3 { Err(Error::NotFound) } else { std::future::pending().await }
            }
        };
        assert_eq!(try_join_all::<(), _>((0..200).map(task)).await, Err(Error::NotFound));
        assert_eq!(started.load(Relaxed), 4);
    }
}
