//! Sockets that listen.

use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, TcpStream as StdTcp};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream as StdUnix;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tracing::warn;

use super::inherited::{Inherited, inherited};
use super::transport::Stream;
use crate::url::Url;

/// One endpoint that listens. Dropping it closes it, and removes the file of a Unix socket.
pub(super) struct Listener {
    url: Url,
    socket: Listening,
    /// Of a Unix socket that was made here.
    _file: Option<SocketFile>,
    /// The last accept failed, and was logged.
    failing: AtomicBool,
}

enum Listening {
    Tcp(TcpListener),
    /// And who its clients are said to be.
    Unix(UnixListener, String),
}

struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone already; nobody is left to be told.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    pub(super) async fn bind(url: &Url) -> io::Result<Listener> {
        let named = |error: io::Error| {
            let hint = match url {
                Url::Tcp { .. } => PORT_IN_USE,
                _ => "; stop who listens there, or choose another path",
            };
            cannot_listen(url, &error, hint)
        };
        match url {
            Url::Tcp { host, port } => {
                let socket = TcpListener::bind((host.as_str(), *port)).await.map_err(named)?;
                let port = socket.local_addr().map_err(named)?.port();
                Ok(Listener::new(Url::Tcp { host: host.clone(), port }, Listening::Tcp(socket), None))
            }
            Url::Unix(path) | Url::File(path) => {
                remove_stale(path).await.map_err(named)?;
                let socket = UnixListener::bind(path).map_err(named)?;
                let socket = Listening::Unix(socket, path.display().to_string());
                Ok(Listener::new(url.clone(), socket, Some(SocketFile(path.clone()))))
            }
            Url::Fd(number) => {
                let socket = match inherited(*number).map_err(named)? {
                    Inherited::Tcp(socket) => Listening::Tcp(TcpListener::from_std(socket).map_err(named)?),
                    Inherited::Unix(socket) => {
                        Listening::Unix(UnixListener::from_std(socket).map_err(named)?, url.to_string())
                    }
                };
                Ok(Listener::new(url.clone(), socket, None))
            }
            other => {
                Err(io::Error::new(io::ErrorKind::Unsupported, format!("{other} is not supported on this system")))
            }
        }
    }

    fn new(url: Url, socket: Listening, file: Option<SocketFile>) -> Listener {
        Listener { url, socket, _file: file, failing: AtomicBool::new(false) }
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The next connection; `None` when one was given up before it was accepted, or there are no descriptors left for it.
    pub(super) async fn accept(&self) -> io::Result<Option<Socket>> {
        let accepted = match &self.socket {
            Listening::Tcp(listener) => listener.accept().await.and_then(|(socket, peer)| Socket::tcp(socket, peer)),
            Listening::Unix(listener, peer) => {
                listener.accept().await.and_then(|(socket, _)| Ok(Socket::Unix(socket.into_std()?, peer.clone())))
            }
        };
        match accepted {
            Ok(socket) => {
                self.failing.store(false, Relaxed);
                Ok(Some(socket))
            }
            Err(error) => {
                // A line for a hundred failures a second is enough.
                if !self.failing.swap(true, Relaxed) {
                    warn!(url = %self.url, %error, "cannot accept");
                }
                // EMFILE comes back at once until something is closed.
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(None)
            }
        }
    }
}

/// What to do about a port in use.
pub(crate) const PORT_IN_USE: &str = "; choose another port, or 0 for any free one";

/// The same error, telling what cannot be listened on, and `hint` about an address in use.
pub(crate) fn cannot_listen(on: impl Display, error: &io::Error, hint: &str) -> io::Error {
    let hint = if error.kind() == io::ErrorKind::AddrInUse { hint } else { "" };
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    io::Error::new(error.kind(), format!("cannot listen on {on}: {text}{hint}"))
}

/// Removes a socket that nobody listens on any more. A file of any other kind stays, and so does a socket that is in use: `bind`
/// reports both.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// A connection that was accepted, on its way to the thread that will serve it.
pub(super) enum Socket {
    Tcp(StdTcp, String),
    Unix(StdUnix, String),
}

impl Socket {
    fn tcp(socket: TcpStream, peer: SocketAddr) -> io::Result<Socket> {
        socket.set_nodelay(true)?;
        Ok(Socket::Tcp(socket.into_std()?, peer.to_string()))
    }

    pub(super) fn peer(&self) -> &str {
        match self {
            Socket::Tcp(_, peer) | Socket::Unix(_, peer) => peer,
        }
    }

    /// The socket, registered with the reactor of the calling thread, and who is at its other end.
    pub(super) fn register(self) -> (io::Result<Stream>, String) {
        match self {
            Socket::Tcp(socket, peer) => (TcpStream::from_std(socket).map(Stream::Tcp), peer),
            Socket::Unix(socket, peer) => (UnixStream::from_std(socket).map(Stream::Unix), peer),
        }
    }
}
