//! The HTTP endpoint, which answers only `GET /metrics`.

use std::convert::Infallible;
use std::fmt::{self, Display};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use datakit_server::{PeerLimiter, listen_error};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// The URL path of the metrics.
const PATH: &str = "/metrics";
/// The content type, which the original server also uses. The text is ASCII, so no charset is
/// specified.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4";
/// The maximum number of concurrent connections. Additional connections wait until an open
/// connection is closed.
const MAX_CONNECTIONS: usize = 16;
/// The maximum number of concurrent connections from one IP address.
const MAX_CONNECTIONS_PER_PEER: usize = 8;
/// The time limit for a request and its response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A listening socket. [`Display`] formats the socket as the metrics URL.
#[derive(Debug)]
pub struct Endpoint {
    socket: TcpListener,
    address: HttpAddress,
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{PATH}", self.address)
    }
}

impl Endpoint {
    /// Listens on an address.
    ///
    /// # Errors
    /// Returns an error if the address cannot be bound, for example because the port is in use or
    /// the name cannot be resolved. The error message includes the URL.
    pub async fn bind(address: &HttpAddress) -> io::Result<Endpoint> {
        let (socket, bound) = address.bind(&format!("http://{address}{PATH}")).await?;
        Ok(Endpoint { socket, address: bound })
    }

    /// Serves the text that `render` returns. The server runs until the future is dropped. The text
    /// must be in version 0.0.4 of the Prometheus text format. Dropping the future does not close
    /// open connections.
    pub async fn serve(self, render: impl Fn() -> String + Send + Sync + 'static) {
        let (render, permits) = (Arc::new(render), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
        let peers = Arc::<PeerLimiter>::default();
        // Acquiring a permit cannot fail, because the semaphore is never closed.
        while let Ok(permit) = permits.clone().acquire_owned().await {
            match self.socket.accept().await {
                Ok((socket, peer)) => {
                    let Some(slot) = peers.try_acquire(Some(peer.ip()), MAX_CONNECTIONS_PER_PEER)
                    else {
                        continue;
                    };
                    let render = render.clone();
                    // Boxing the task avoids another copy of tokio's code.
                    let task: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
                        serve_connection(socket, &*render).await;
                        drop((permit, slot));
                    });
                    tokio::spawn(task);
                }
                Err(error) => {
                    warn!(url = %self, %error, "cannot accept");
                    // If the process has run out of file descriptors, `accept` fails until a
                    // descriptor is closed.
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// Serves one request. Disables keep-alive to avoid idle connections, because a scraper sends a
/// request only every few seconds.
async fn serve_connection(socket: TcpStream, render: &(impl Fn() -> String + Sync)) {
    let service = service_fn(async |request| Ok::<_, Infallible>(respond(&request, render)));
    let connection =
        http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(socket), service);
    // Ignore errors, because a client that has disconnected or is too slow cannot receive a reply.
    let _ = timeout(TIMEOUT, connection).await;
}

fn respond(request: &Request<Incoming>, render: &impl Fn() -> String) -> Response<Full<Bytes>> {
    let (status, kind, text) = if request.method() == Method::GET && request.uri().path() == PATH {
        (StatusCode::OK, TEXT_FORMAT, render())
    } else {
        (StatusCode::BAD_REQUEST, "text/plain", format!("only GET {PATH}\n"))
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An address to listen on: a host and a port, or a port on all interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAddress {
    /// A host name, an IPv4 address, or an IPv6 address without brackets. `None` means all
    /// interfaces.
    host: Option<String>,
    /// The port, or 0 to let the system choose a free one.
    port: u16,
}

impl HttpAddress {
    /// Listens on the address. Returns the socket, and the address with the port that the system
    /// has picked.
    ///
    /// # Errors
    /// Returns an error if the address cannot be bound, for example because the port is in use or
    /// the name cannot be resolved. The error message includes `url`.
    pub async fn bind(&self, url: &str) -> io::Result<(TcpListener, HttpAddress)> {
        let HttpAddress { host, port } = self;
        let socket = match host {
            Some(host) => TcpListener::bind((host.as_str(), *port)).await,
            // The IPv6 socket also accepts IPv4 connections, but some systems do not support IPv6.
            None => {
                let any: [SocketAddr; 2] =
                    [(Ipv6Addr::UNSPECIFIED, *port).into(), (Ipv4Addr::UNSPECIFIED, *port).into()];
                TcpListener::bind(&any[..]).await
            }
        };
        let named = |error| listen_error(format_args!("{url}"), error);
        let socket = socket.map_err(named)?;
        let port = socket.local_addr().map_err(named)?.port();
        Ok((socket, HttpAddress { host: host.clone(), port }))
    }

    /// Returns the host and port for a URL that a program on this computer can open. The host is
    /// `127.0.0.1` if the address means all interfaces.
    #[must_use]
    pub fn local(&self) -> String {
        match &self.host {
            None => format!("127.0.0.1:{}", self.port),
            Some(_) => self.to_string(),
        }
    }
}

/// The error returned if text is not a valid address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidAddress;

impl Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("use PORT or HOST:PORT, for example 9090 or 127.0.0.1:9090")
    }
}

impl std::error::Error for InvalidAddress {}

impl FromStr for HttpAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<HttpAddress, InvalidAddress> {
        let (host, port) =
            text.rsplit_once(':').map_or((None, text), |(host, port)| (Some(host), port));
        let port = port.parse().map_err(|_| InvalidAddress)?;
        let host = match host {
            None | Some("*") => None,
            Some(host) => Some(parse_host(host).ok_or(InvalidAddress)?.to_owned()),
        };
        Ok(HttpAddress { host, port })
    }
}

/// Returns the host without brackets, or `None` if the host is invalid. An IPv6 address must be
/// enclosed in brackets.
fn parse_host(host: &str) -> Option<&str> {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|inner| inner.contains(':')),
        None => Some(host).filter(|host| !host.is_empty() && !host.contains([':', '/'])),
    }
}

impl Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => write!(f, "*:{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_address_parses_to_itself() {
        for (text, printed) in [
            ("0", "*:0"),
            ("*:9090", "*:9090"),
            ("localhost:9090", "localhost:9090"),
            ("0.0.0.0:1", "0.0.0.0:1"),
            ("[::1]:65535", "[::1]:65535"),
        ] {
            let address: HttpAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(printed.parse(), Ok(address));
        }
    }

    #[test]
    fn an_invalid_address_is_refused() {
        for text in [
            "",
            "x",
            "65536",
            "-1",
            "localhost",
            ":9090",
            "localhost:",
            "::1:9090",
            "[]:1",
            "http://a:1",
        ] {
            assert_eq!(text.parse::<HttpAddress>(), Err(InvalidAddress), "{text}");
        }
    }
}
