//! The HTTP endpoint, which answers only `GET /metrics`.

mod address;
mod request;

use std::fmt::{self, Display};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use address::{HttpAddress, InvalidAddress};
use datakit_server::PeerLimiter;
use request::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
/// The maximum number of bytes that are read and discarded after the head of a request.
const MAX_BODY: u64 = 64 << 10;
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

/// Serves one request and then closes the connection, because a scraper sends a request only every
/// few seconds. Errors are ignored, because a client that has disconnected or is too slow cannot
/// receive a response.
async fn serve_connection(mut socket: TcpStream, render: &(impl Fn() -> String + Sync)) {
    let _ = timeout(TIMEOUT, async {
        let request = request::read(&mut socket).await?;
        let response = match request {
            Some((Method::Get, path)) if path == PATH => response("200 OK", TEXT_FORMAT, &render()),
            Some((Method::Head, _)) => response("400 Bad Request", "text/plain", ""),
            _ => response("400 Bad Request", "text/plain", &format!("only GET {PATH}\n")),
        };
        socket.write_all(response.as_bytes()).await?;
        socket.shutdown().await?;
        // If a socket is closed while it has unread input, the system discards the response.
        tokio::io::copy(&mut socket.take(MAX_BODY), &mut tokio::io::sink()).await
    })
    .await;
}

fn response(status: &str, kind: &str, text: &str) -> String {
    let length = text.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{text}"
    )
}
