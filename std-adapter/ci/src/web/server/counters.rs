//! Counts requests and responses for use in metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};

/// The methods that are counted separately. All others are counted as `other`.
const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "other"];

/// The smallest status code of a response.
const MIN_CODE: usize = 100;

/// The number of status codes.
const CODES: usize = 500;

/// Counts the requests of a web server. All clones share the counters.
#[derive(Debug, Clone)]
pub struct RequestCounters(Arc<RequestCountersInner>);

#[derive(Debug)]
struct RequestCountersInner {
    methods: [AtomicU64; METHODS.len()],
    /// The number of responses with each status code, starting at [`MIN_CODE`].
    codes: Vec<AtomicU64>,
    in_progress: AtomicU64,
    /// The total time from each request to the start of its response, in microseconds.
    micros: AtomicU64,
}

/// The request and response counts since the server was started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestCounts {
    /// The number of requests by method: `GET`, `HEAD`, `POST` or `other`.
    pub requests: Vec<(&'static str, u64)>,
    /// The number of responses by status code. Status codes that have not been sent are absent.
    pub responses: Vec<(u16, u64)>,
    /// The number of requests whose response has not started.
    pub in_progress: u64,
    /// The total time from each request to the start of its response.
    pub response_time: Duration,
}

impl RequestCounters {
    /// Creates counters that start at zero.
    #[must_use]
    pub fn new() -> RequestCounters {
        RequestCounters(Arc::new(RequestCountersInner {
            methods: Default::default(),
            codes: (0..CODES).map(|_| AtomicU64::new(0)).collect(),
            in_progress: AtomicU64::new(0),
            micros: AtomicU64::new(0),
        }))
    }

    /// Counts requests to a router.
    pub fn count(&self, router: Router) -> Router {
        let counters = self.clone();
        router.layer(from_fn(move |request: Request, next: Next| {
            let counters = counters.clone();
            async move {
                counters.add_request(request.method().as_str());
                let running = Running::start(&counters.0);
                let response = next.run(request).await;
                drop(running);
                counters.add_response(response.status().as_u16());
                response
            }
        }))
    }

    /// Returns the current numbers.
    #[must_use]
    pub fn get(&self) -> RequestCounts {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let codes = (100..).zip(self.0.codes.iter().map(load));
        RequestCounts {
            requests: METHODS.into_iter().zip(self.0.methods.iter().map(load)).collect(),
            responses: codes.filter(|(_, count)| *count > 0).collect(),
            in_progress: load(&self.0.in_progress),
            response_time: Duration::from_micros(load(&self.0.micros)),
        }
    }

    fn add_request(&self, method: &str) {
        let index = METHODS.iter().position(|known| *known == method);
        if let Some(counter) = self.0.methods.get(index.unwrap_or(METHODS.len() - 1)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    fn add_response(&self, code: u16) {
        let index = usize::from(code).checked_sub(MIN_CODE);
        if let Some(counter) = index.and_then(|index| self.0.codes.get(index)) {
            counter.fetch_add(1, Relaxed);
        }
    }
}

impl Default for RequestCounters {
    fn default() -> RequestCounters {
        RequestCounters::new()
    }
}

/// A request whose response has not started. The client can disconnect before the response starts.
struct Running {
    counters: Arc<RequestCountersInner>,
    began: Instant,
}

impl Running {
    fn start(counters: &Arc<RequestCountersInner>) -> Running {
        counters.in_progress.fetch_add(1, Relaxed);
        Running { counters: counters.clone(), began: Instant::now() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.counters.in_progress.fetch_sub(1, Relaxed);
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.micros.fetch_add(micros, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    #[tokio::test]
    async fn requests_and_responses_are_counted() {
        let counters = RequestCounters::new();
        let seen = counters.clone();
        let page = get(async move || seen.get().in_progress.to_string());
        let router = counters.count(Router::new().route("/", page));
        for (method, path) in [("GET", "/"), ("GET", "/x"), ("POST", "/"), ("BREW", "/")] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap();
        }
        let counts = counters.get();
        assert_eq!(counts.requests, [("GET", 2), ("HEAD", 0), ("POST", 1), ("other", 1)]);
        assert_eq!(counts.responses, [(200, 1), (404, 1), (405, 2)]);
        assert_eq!(counts.in_progress, 0);
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_is_not_in_progress() {
        let counters = RequestCounters::new();
        let page = get(std::future::pending::<()>);
        let router = counters.count(Router::new().route("/", page));
        let request = Request::get("/").body(Body::empty()).unwrap();
        let mut response = Box::pin(router.oneshot(request));
        tokio::select! { biased; _ = &mut response => {}, () = async {} => {} }
        assert_eq!(counters.get().in_progress, 1);
        drop(response);
        assert_eq!(counters.get().in_progress, 0);
        assert_eq!(counters.get().responses, []);
    }
}
