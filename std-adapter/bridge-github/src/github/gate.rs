//! The HTTP service through which all calls to GitHub are made.
//!
//! The service makes one call at a time. It waits when a rate limit requires it to, adds the
//! credentials, follows redirects, retries failed reads, and reads each response body completely.

mod tokens;

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, ETAG, IF_NONE_MATCH, LINK, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use octocrab::OctoBody;
use tower::Service;

use super::credentials::Credentials;
use super::http_cache::{Cached, HttpCache};
use super::rate::Rate;
use crate::metrics::ApiCounters;

/// The maximum size of a response body.
const MAX_BODY: usize = 32 << 20;

/// The maximum number of attempts for a read that keeps failing.
const ATTEMPTS: u32 = 3;

/// The maximum number of attempts for a call that GitHub refuses because of a rate limit.
const LIMITED_ATTEMPTS: u32 = 10;

/// The maximum number of redirects that a call follows.
const MAX_REDIRECTS: u32 = 3;

type BoxError = Box<dyn Error + Send + Sync>;

/// The account that owns the repository to which a call applies. The account is stored as an
/// extension of the request.
#[derive(Debug, Clone)]
pub(crate) struct Account(pub(crate) Arc<str>);

/// The reason why a call did not receive a usable response from GitHub.
#[derive(Debug)]
pub(crate) enum GateError {
    /// No response arrived in time.
    TimedOut(Duration),
    /// GitHub refused the call too many times because of a rate limit.
    Limited,
    /// The response body was too long or truncated.
    Body(BoxError),
    /// The URL points to another host. The token must be sent only to GitHub's server.
    ForeignHost(String),
    /// There is no usable token.
    Credentials(String),
    /// The connection failed.
    Connection(hyper_util::client::legacy::Error),
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GateError::TimedOut(after) => write!(f, "no answer within {} s", after.as_secs()),
            GateError::Limited => write!(f, "refused {LIMITED_ATTEMPTS} times because of a limit"),
            GateError::Body(_) => {
                write!(f, "the answer is cut off or longer than {MAX_BODY} bytes")
            }
            GateError::ForeignHost(uri) => write!(f, "the address {uri} is on another server"),
            GateError::Credentials(reason) => f.write_str(reason),
            GateError::Connection(_) => f.write_str("the connection failed"),
        }
    }
}

impl Error for GateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            GateError::Body(error) => Some(&**error),
            GateError::Connection(error) => Some(error),
            _ => None,
        }
    }
}

/// The service that octocrab uses as its HTTP client. Clones share all state.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<GateInner>);

#[derive(Debug)]
struct GateInner {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: Uri,
    credentials: Option<Credentials>,
    timeout: Duration,
    rate: Arc<Rate>,
    counters: ApiCounters,
    /// Each call holds the cache lock until it completes, so calls do not overlap.
    cache: tokio::sync::Mutex<HttpCache>,
}

/// A request to GitHub, including its complete body.
#[derive(Debug, Clone)]
struct GithubRequest {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    account: Option<Arc<str>>,
}

impl Gate {
    /// Creates a client for the API at `base`.
    ///
    /// # Errors
    /// Returns an error if no root certificates can be loaded from the system.
    pub(crate) fn new(
        base: Uri,
        credentials: Option<Credentials>,
        timeout: Duration,
        counters: ApiCounters,
    ) -> std::io::Result<Gate> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_native_roots()?
            .https_or_http()
            .enable_http1()
            .build();
        let http = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .build(connector);
        let rate = counters.rate.clone();
        let cache = tokio::sync::Mutex::default();
        Ok(Gate(Arc::new(GateInner { http, base, credentials, timeout, rate, counters, cache })))
    }

    /// Returns the app's id if the app may write check runs in an account's repositories.
    ///
    /// # Errors
    /// Returns an error if the installation token cannot be obtained.
    pub(crate) async fn checks_app(&self, account: &str) -> Result<Option<u64>, GateError> {
        let Some(Credentials::App(app)) = &self.0.credentials else { return Ok(None) };
        let _serial = self.0.cache.lock().await;
        let token = self.0.installation_token(app, account).await?;
        Ok(token.writes_checks.then(|| app.key().id()))
    }
}

impl Service<Request<OctoBody>> for Gate {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<OctoBody>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let account = head.extensions.get::<Account>().map(|account| account.0.clone());
            let call = GithubRequest {
                method: head.method,
                uri: head.uri,
                headers: head.headers,
                body,
                account,
            };
            Ok(shared.call(call).await?.map(Full::new))
        })
    }
}

impl GateInner {
    async fn call(&self, call: GithubRequest) -> Result<Response<Bytes>, GateError> {
        let mut cache = self.cache.lock().await;
        let is_read = call.method == Method::GET;
        let (mut failures, mut refusals, mut renewed) = (0, 0, false);
        loop {
            self.wait_for_limits().await;
            let cached = cache.get(&call.uri.to_string()).filter(|_| is_read).cloned();
            let result = self.follow(&call, cached.as_ref()).await;
            let delay = match result {
                Ok(response) if response.status().is_server_error() => {
                    failures += 1;
                    if !is_read || failures >= ATTEMPTS {
                        return Ok(response);
                    }
                    Duration::from_secs(u64::from(failures))
                }
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && !renewed => {
                    // The installation token may have been revoked before it expired.
                    let (Some(Credentials::App(app)), Some(account)) =
                        (&self.credentials, &call.account)
                    else {
                        return Ok(response);
                    };
                    renewed = true;
                    app.forget_token(account);
                    Duration::ZERO
                }
                Ok(response) => {
                    let (status, headers) = (response.status().as_u16(), response.headers());
                    let Some(wait) = self.rate.refused(status, headers, response.body()) else {
                        return Ok(finished(&call, response, cached, &mut cache));
                    };
                    self.counters.limited.inc();
                    tracing::warn!(call = %call.uri.path(), wait = wait.as_secs(), "GitHub's limit is reached");
                    refusals += 1;
                    if refusals >= LIMITED_ATTEMPTS {
                        return Err(GateError::Limited);
                    }
                    Duration::ZERO
                }
                // Do not retry the call, because the error would recur or the timeout has already
                // expired.
                Err(
                    error @ (GateError::ForeignHost(_)
                    | GateError::Credentials(_)
                    | GateError::TimedOut(_)),
                ) => return Err(error),
                Err(error) => {
                    failures += 1;
                    if !is_read || failures >= ATTEMPTS {
                        return Err(error);
                    }
                    tracing::debug!(call = %call.uri.path(), %error, "call failed, trying again");
                    Duration::from_secs(u64::from(failures))
                }
            };
            tokio::time::sleep(delay).await;
        }
    }

    async fn wait_for_limits(&self) {
        loop {
            let wait = self.rate.wait();
            if wait.is_zero() {
                return;
            }
            if wait > Duration::from_secs(1) {
                tracing::info!(seconds = wait.as_secs(), "waiting for GitHub's limit");
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Makes a call, following redirects for renamed repositories.
    async fn follow(
        &self,
        call: &GithubRequest,
        cached: Option<&Cached>,
    ) -> Result<Response<Bytes>, GateError> {
        let mut call = call.clone();
        let authorization = self.authorization(call.account.as_deref()).await?;
        call.headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        call.headers.extend(cached.map(|cached| (IF_NONE_MATCH, cached.etag.clone())));
        for _ in 0..MAX_REDIRECTS {
            let response = self.send(&call).await?;
            let Some(location) = redirection(&call.method, &response) else { return Ok(response) };
            tracing::info!(from = %call.uri.path(), "the repository was renamed");
            call.uri = location;
        }
        self.send(&call).await
    }

    /// Sends a request once.
    async fn send(&self, call: &GithubRequest) -> Result<Response<Bytes>, GateError> {
        let (base, uri) = (&self.base, &call.uri);
        if (uri.scheme(), uri.authority()) != (base.scheme(), base.authority()) {
            return Err(GateError::ForeignHost(uri.to_string()));
        }
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = call.headers.clone();
        let agent = concat!("datakit-bridge-github/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
        self.counters.calls.get_or_create(&[("method", call.method.to_string())]).inc();
        let answered = tokio::time::timeout(self.timeout, async {
            let response = self.http.request(request).await.map_err(GateError::Connection)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(GateError::Body)?;
            Ok(Response::from_parts(head, body.to_bytes()))
        });
        let result = answered.await.unwrap_or(Err(GateError::TimedOut(self.timeout)));
        match &result {
            Ok(response) => {
                self.rate.record(response.headers());
                let status = response.status().as_u16();
                tracing::debug!(method = %call.method, path = %uri.path(), status, "called GitHub");
            }
            Err(_) => drop(self.counters.failures.inc()),
        }
        result
    }
}

fn redirection(method: &Method, response: &Response<Bytes>) -> Option<Uri> {
    let status = response.status().as_u16();
    let is_followed = match status {
        301 | 302 => method == Method::GET,
        307 | 308 => true,
        _ => false,
    };
    if !is_followed {
        return None;
    }
    response.headers().get(LOCATION)?.to_str().ok()?.parse().ok()
}

/// Stores a new response in the cache, or restores the body of an unchanged response from the
/// cache.
fn finished(
    call: &GithubRequest,
    response: Response<Bytes>,
    cached: Option<Cached>,
    cache: &mut HttpCache,
) -> Response<Bytes> {
    if let (StatusCode::NOT_MODIFIED, Some(cached)) = (response.status(), cached) {
        let mut response = response.map(|_| cached.body);
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().extend(cached.link.map(|link| (LINK, link)));
        return response;
    }
    let headers = response.headers();
    if let Some(etag) = headers.get(ETAG)
        && call.method == Method::GET
        && response.status() == StatusCode::OK
    {
        let (etag, link) = (etag.clone(), headers.get(LINK).cloned());
        let entry = Cached { etag, link, body: response.body().clone() };
        cache.insert(&call.uri.to_string(), entry);
    }
    response
}
