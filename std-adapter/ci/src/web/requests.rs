//! Counts requests, for the metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use parking_lot::Mutex;

/// The numbers of requests that a router has answered. All clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<Mutex<RequestCounts>>);

/// The state of [`Requests`] at one point in time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RequestCounts {
    /// The requests by method. Methods other than the usual ones are counted as `other`.
    pub methods: BTreeMap<&'static str, u64>,
    /// The responses by status.
    pub codes: BTreeMap<u16, u64>,
    /// The requests without a response.
    pub in_progress: u64,
    /// The total time from the requests to the beginnings of their responses.
    pub time: Duration,
}

impl Requests {
    /// Creates numbers that are all zero.
    #[must_use]
    pub fn new() -> Requests {
        Requests::default()
    }

    /// Adds a layer that counts the requests to a router.
    pub fn count<S: Clone + Send + Sync + 'static>(&self, router: Router<S>) -> Router<S> {
        let requests = self.clone();
        router.layer(from_fn(move |request: Request, next: Next| {
            let requests = requests.clone();
            async move { requests.answer(request, next).await }
        }))
    }

    /// Returns the numbers.
    #[must_use]
    pub fn get(&self) -> RequestCounts {
        self.0.lock().clone()
    }

    async fn answer(&self, request: Request, next: Next) -> Response {
        *self.0.lock().methods.entry(name(request.method())).or_default() += 1;
        let progress = InProgress::new(self.clone());
        let began = Instant::now();
        let response = next.run(request).await;
        drop(progress);
        let mut counts = self.0.lock();
        *counts.codes.entry(response.status().as_u16()).or_default() += 1;
        counts.time = counts.time.saturating_add(began.elapsed());
        response
    }
}

/// Returns the name of a method. A client may send any method, so the number of names is limited.
fn name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// A request without a response. The client may close the connection, which drops the request.
struct InProgress(Requests);

impl InProgress {
    fn new(requests: Requests) -> InProgress {
        requests.0.lock().in_progress += 1;
        InProgress(requests)
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.0.lock().in_progress -= 1;
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn requests_are_counted_by_method_and_status() {
        let requests = Requests::new();
        let slow = get(async || std::future::pending::<()>().await);
        let router = Router::new().route("/", get(async || "page")).route("/slow", slow);
        let router = requests.count(router);
        for (method, path) in [("GET", "/"), ("GET", "/none"), ("BREW", "/"), ("POST", "/")] {
            let request = Request::builder().method(method).uri(path).body(Body::empty());
            router.clone().oneshot(request.unwrap()).await.unwrap();
        }
        let request = Request::get("/slow").body(Body::empty()).unwrap();
        let slow = tokio::spawn(router.oneshot(request));
        while requests.get().in_progress == 0 {
            tokio::task::yield_now().await;
        }
        slow.abort();
        let _ = slow.await;
        let counts = requests.get();
        assert_eq!(counts.methods, [("GET", 3), ("POST", 1), ("other", 1)].into());
        assert_eq!(counts.codes, [(200, 1), (404, 1), (405, 2)].into());
        assert_eq!(counts.in_progress, 0);
    }
}
