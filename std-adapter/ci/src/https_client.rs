//! An HTTPS client for calls to GitHub and for webhooks.

use std::fmt;
use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::RETRY_AFTER;
use hyper::{Request, Response, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

/// How long an idle connection is kept open.
const IDLE: Duration = Duration::from_secs(30);

/// The maximum number of idle connections to a host.
const MAX_IDLE: usize = 4;

/// The maximum size of an ignored body, in bytes. If the body is larger, the connection is closed.
const MAX_IGNORED: usize = 64 << 10;

/// The time to wait for an ignored body.
const IGNORED_TIME: Duration = Duration::from_secs(1);

/// A client that accepts `https` and `http` URLs and trusts the system's root certificates. It does
/// not follow redirects.
#[derive(Clone)]
pub(crate) struct HttpsClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl HttpsClient {
    /// Creates a client.
    ///
    /// # Errors
    /// Returns an error if the system has no root certificates.
    pub(crate) fn new() -> io::Result<HttpsClient> {
        let tls = hyper_rustls::HttpsConnectorBuilder::new().with_native_roots()?;
        Ok(HttpsClient::with(tls.https_or_http().enable_http1().build()))
    }

    /// Creates a client that trusts only one certificate.
    #[cfg(test)]
    pub(crate) fn trusting(certificate: &std::path::Path) -> HttpsClient {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config);
        HttpsClient::with(tls.https_only().enable_http1().build())
    }

    fn with(connector: HttpsConnector<HttpConnector>) -> HttpsClient {
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        HttpsClient(client)
    }

    /// Sends a request and receives a response whose body is at most `limit` bytes long.
    ///
    /// # Errors
    /// Returns an error if the response is too large or is not complete within the timeout.
    pub(crate) async fn send(
        &self,
        request: Request<Bytes>,
        limit: usize,
        time: Duration,
    ) -> Result<Response<Bytes>, HttpsError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let failed = |reason| HttpsError { host: host.clone(), reason };
        let exchange = async {
            let sent = self.0.request(request.map(Full::new)).await;
            let response = sent.map_err(|error| HttpsErrorCause::Connection(error.into()))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(HttpsErrorCause::Body)?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        let result = timeout(time, exchange).await.unwrap_or(Err(HttpsErrorCause::TimedOut(time)));
        result.map_err(failed)
    }

    /// Sends a request and returns the status of the response and the time in its `Retry-After`
    /// header, if any. The body is ignored.
    ///
    /// # Errors
    /// Returns an error if the response does not start within the timeout.
    pub(crate) async fn status(
        &self,
        request: Request<Bytes>,
        time: Duration,
    ) -> Result<(StatusCode, Option<Duration>), HttpsError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let response = match timeout(time, self.0.request(request.map(Full::new))).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                return Err(HttpsError { host, reason: HttpsErrorCause::Connection(error.into()) });
            }
            Err(_) => return Err(HttpsError { host, reason: HttpsErrorCause::TimedOut(time) }),
        };
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let seconds = seconds.and_then(|text| text.trim().parse().ok());
        let status = response.status();
        // The connection can be reused if the body ends soon.
        let body = Limited::new(response.into_body(), MAX_IGNORED).collect();
        let _ = timeout(IGNORED_TIME, body).await;
        Ok((status, seconds.map(Duration::from_secs)))
    }
}

impl fmt::Debug for HttpsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsClient").finish_non_exhaustive()
    }
}

/// The error returned if a request fails.
#[derive(Debug)]
pub(crate) struct HttpsError {
    host: String,
    reason: HttpsErrorCause,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
enum HttpsErrorCause {
    Connection(BoxError),
    /// The body is too large or incomplete.
    Body(BoxError),
    TimedOut(Duration),
}

impl fmt::Display for HttpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match &self.reason {
            HttpsErrorCause::Connection(error) | HttpsErrorCause::Body(error) => {
                write!(f, "{host}: {error}")?;
                // The message of the outermost hyper error does not contain the reason.
                let mut source = error.source();
                while let Some(error) = source {
                    write!(f, ": {error}")?;
                    source = error.source();
                }
                Ok(())
            }
            HttpsErrorCause::TimedOut(time) => {
                write!(f, "{host}: no response within {} s", time.as_secs())
            }
        }
    }
}

impl std::error::Error for HttpsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            HttpsErrorCause::Connection(error) | HttpsErrorCause::Body(error) => Some(&**error),
            HttpsErrorCause::TimedOut(_) => None,
        }
    }
}
