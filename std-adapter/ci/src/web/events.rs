//! Server-sent events.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::State;
use super::auth::Reader;
use super::log::tail::{Next, Position, Tail};
use crate::Target;

/// A comment is sent after this time without an event, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The time during which changes are collected for one event.
const COLLECT: Duration = Duration::from_millis(500);

/// The body of a response, which another task sends in parts.
pub(super) struct Receiver<E>(pub(super) mpsc::Receiver<Result<Bytes, E>>);

impl<E> Stream for Receiver<E> {
    type Item = Result<Bytes, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// The sending side of the events of one viewer.
pub(super) struct Sender(mpsc::Sender<Result<Bytes, Infallible>>);

/// The viewer has closed the connection.
pub(super) struct Closed;

impl Sender {
    async fn send(&self, event: Bytes) -> Result<(), Closed> {
        self.0.send(Ok(event)).await.map_err(|_| Closed)
    }

    /// Waits for an event, and sends comments while there is none.
    async fn wait<T>(&self, event: impl Future<Output = T>) -> Result<T, Closed> {
        let mut event = std::pin::pin!(event);
        loop {
            tokio::select! {
                event = &mut event => return Ok(event),
                () = self.0.closed() => return Err(Closed),
                () = tokio::time::sleep(KEEP_ALIVE) => {
                    self.send(Bytes::from_static(b":\n\n")).await?;
                }
            }
        }
    }
}

/// Starts a stream of events that `run` sends.
fn stream<F>(state: &State, run: impl FnOnce(Sender) -> F) -> Response
where
    F: Future<Output = Result<(), Closed>> + Send + 'static,
{
    let Ok(permit) = Arc::clone(&state.0.streams).try_acquire_owned() else {
        let text = "too many viewers; try again later\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "30")], text).into_response();
    };
    let (sender, receiver) = mpsc::channel(2);
    let running = run(Sender(sender));
    tokio::spawn(async move {
        let _ = running.await;
        drop(permit);
    });
    let headers = [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        // Tells proxies not to buffer the response.
        ("x-accel-buffering", "no"),
    ];
    (headers, Body::from_stream(Receiver(receiver))).into_response()
}

/// Sends the lines of a log after an offset as they are written, and an event `end` at the end.
pub(super) fn log(state: &State, headers: &HeaderMap, tail: Arc<Tail>, from: u64) -> Response {
    // After a lost connection, the browser sends the id of the last event.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let mut position = Position::at(last.unwrap_or(from));
    stream(state, |sender| async move {
        loop {
            match sender.wait(tail.next(position)).await? {
                Next::Events(events, end) => {
                    for event in events {
                        sender.send(event).await?;
                    }
                    position = end;
                }
                Next::Behind | Next::End => {
                    return sender.send(Bytes::from_static(b"event: end\ndata:\n\n")).await;
                }
            }
        }
    })
}

/// The target whose changes the viewer wants to know.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    target: Option<String>,
}

/// Sends an event when a target has changed.
pub(super) async fn targets(
    _: Reader,
    Extract(state): Extract<State>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let wanted: Option<Target> = match wanted.target.map(|text| text.parse()).transpose() {
        Ok(wanted) => wanted,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let mut changes = state.0.view.changes();
    stream(&state, |sender| async move {
        loop {
            match sender.wait(changes.recv()).await? {
                Ok(target) if wanted.as_ref().is_some_and(|wanted| *wanted != target) => continue,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            }
            tokio::time::sleep(COLLECT).await;
            // The event covers all changes so far.
            changes = changes.resubscribe();
            sender.send(Bytes::from_static(b"event: changed\ndata:\n\n")).await?;
        }
    })
}
