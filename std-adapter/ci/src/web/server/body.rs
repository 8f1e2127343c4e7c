//! A request body with limits.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body with a time limit and a size limit. The time limit starts when the body is first read.
pub(super) struct LimitedBody {
    body: Limited<Incoming>,
    time: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl LimitedBody {
    pub(super) fn new(body: Incoming, bytes: usize, time: Duration) -> LimitedBody {
        LimitedBody { body: Limited::new(body, bytes), time, deadline: None }
    }
}

impl Body for LimitedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let limits = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut limits.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let time = limits.time;
        let deadline = limits.deadline.get_or_insert_with(|| Box::pin(sleep(time)));
        deadline.as_mut().poll(context).map(|()| Some(Err(Box::new(TooSlow(time)).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The error returned if a body does not arrive within the time limit.
#[derive(Debug)]
struct TooSlow(Duration);

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body did not arrive within {} s", self.0.as_secs())
    }
}

impl std::error::Error for TooSlow {}

/// Returns `true` if an error or one of its sources indicates that the body is too large.
pub(in crate::web) fn is_too_large(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<LengthLimitError>() {
            return true;
        }
        next = error.source();
    }
    false
}
