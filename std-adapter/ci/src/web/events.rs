//! Server-sent events.

use std::convert::Infallible;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::WebState;
use super::auth::Reader;
use super::log::tail::{Next, Tail, TailPosition};
use super::urls;
use crate::Target;
use crate::term::Logs;

/// After this time without an event, a comment is sent so that proxies keep the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long changes are collected before they are sent as one event.
const COLLECT: Duration = Duration::from_millis(500);

const END: &str = "event: end\ndata:\n\n";
const CHANGED: &[u8] = b"event: changed\ndata:\n\n";

/// A response body that is sent in parts by another task.
pub(super) struct Receiver<E>(pub(super) mpsc::Receiver<Result<Bytes, E>>);

impl<E> Stream for Receiver<E> {
    type Item = Result<Bytes, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// The sending half of a viewer's event stream.
pub(super) struct Sender(mpsc::Sender<Result<Bytes, Infallible>>);

/// The viewer has closed the connection.
pub(super) struct Closed;

impl Sender {
    async fn send(&self, event: Bytes) -> Result<(), Closed> {
        self.0.send(Ok(event)).await.map_err(|_| Closed)
    }

    /// Waits for an event, sending comments while there is none.
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

/// Starts a stream of the events sent by `run`.
fn stream<F>(state: &WebState, run: impl FnOnce(Sender) -> F) -> Response
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

/// Sends the lines after offset `from` in a log as they are written, and finally an `end` event.
pub(super) fn log(state: &WebState, headers: &HeaderMap, tail: Arc<Tail>, from: u64) -> Response {
    // After a lost connection, the browser reconnects with the id of the last event.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let mut position = TailPosition::at(last.unwrap_or(from));
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
                    return sender.send(Bytes::from_static(END.as_bytes())).await;
                }
            }
        }
    })
}

/// Tells a viewer that a log has ended.
pub(super) fn end() -> Response {
    ([("content-type", "text/event-stream"), ("cache-control", "no-store")], END).into_response()
}

/// Which changes to send to the viewer.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    target: Option<String>,
    /// The fingerprint of the state that the viewer has already seen.
    seen: Option<String>,
}

/// Returns the URL of the event stream for a page that shows a target or all targets. A page must
/// call this function before it reads the state. The URL contains a fingerprint of the state, so no
/// change is lost between sending the page and receiving the request for events.
pub(super) fn url(state: &WebState, target: Option<&Target>) -> String {
    let seen = fingerprint(state, target);
    match target {
        Some(target) => {
            format!("/events?seen={seen}&target={}", urls::encode_query(&target.to_string()))
        }
        None => format!("/events?seen={seen}"),
    }
}

/// Returns a hash of what the pages show for a target or for all targets.
fn fingerprint(state: &WebState, target: Option<&Target>) -> String {
    let mut hasher = DefaultHasher::new();
    let targets = match target {
        Some(target) => state.0.view.target(target).into_iter().collect(),
        None => state.0.view.targets(),
    };
    for view in targets {
        (&view.target, &view.head, &view.title).hash(&mut hasher);
        for job in &view.jobs {
            let result = &job.result;
            (&job.test, result.status.as_str(), job.text()).hash(&mut hasher);
            for log in result.logs.leaves() {
                match log {
                    Logs::Live { branch } => branch.hash(&mut hasher),
                    Logs::Saved(log) => log.commit.hash(&mut hasher),
                    _ => {}
                }
            }
        }
    }
    format!("{:x}", hasher.finish())
}

/// Sends an event whenever a target changes.
pub(super) async fn targets(
    _: Reader,
    State(state): State<WebState>,
    Query(Wanted { target, seen }): Query<Wanted>,
) -> Response {
    let wanted: Option<Target> = match target.map(|text| text.parse()).transpose() {
        Ok(wanted) => wanted,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let mut changes = state.0.view.changes();
    let is_old = |seen: &String| *seen != fingerprint(&state, wanted.as_ref());
    let changed_before = seen.is_some_and(|seen| is_old(&seen));
    stream(&state, |sender| async move {
        if changed_before {
            sender.send(Bytes::from_static(CHANGED)).await?;
        }
        loop {
            match sender.wait(changes.recv()).await? {
                Ok(target) if wanted.as_ref().is_some_and(|wanted| *wanted != target) => continue,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            }
            tokio::time::sleep(COLLECT).await;
            // The event covers all changes up to this point.
            changes = changes.resubscribe();
            sender.send(Bytes::from_static(CHANGED)).await?;
        }
    })
}
