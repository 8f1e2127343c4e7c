//! Sockets that listen.

use std::fmt::{self, Display};
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream as StdTcp};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream as StdUnix;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Mutex;
use tracing::warn;

use super::inherited::{Inherited, inherited};
use super::transport::Stream;
use crate::keep_alive::enable_keep_alive;
use crate::url::Url;

/// One endpoint that listens. Dropping it closes it, and removes the file of a Unix socket.
pub(super) struct Listener {
    url: Url,
    socket: Listening,
    /// Of a Unix socket that was made here.
    _file: Option<SocketFile>,
    /// The last accept failed, and was logged.
    failing: AtomicBool,
    /// Of a file that is closed when there are no descriptors left.
    spare: Mutex<Option<File>>,
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
        let named = |error: io::Error| match url {
            Url::Tcp { .. } => listen_error(url, error),
            _ => ListenError::wrap(
                url,
                error,
                "stop the process that listens there, or choose another path",
            ),
        };
        match url {
            Url::Tcp { host, port } => {
                let socket = TcpListener::bind((host.as_str(), *port)).await.map_err(named)?;
                let port = socket.local_addr().map_err(named)?.port();
                Ok(Listener::new(
                    Url::Tcp { host: host.clone(), port },
                    Listening::Tcp(socket),
                    None,
                ))
            }
            Url::Unix(path) | Url::File(path) => {
                remove_stale(path).await.map_err(named)?;
                let socket = UnixListener::bind(path).map_err(named)?;
                let socket = Listening::Unix(socket, path.display().to_string());
                Ok(Listener::new(url.clone(), socket, Some(SocketFile(path.clone()))))
            }
            Url::Fd(number) => {
                let socket = match inherited(*number).map_err(named)? {
                    Inherited::Tcp(socket) => {
                        Listening::Tcp(TcpListener::from_std(socket).map_err(named)?)
                    }
                    Inherited::Unix(socket) => Listening::Unix(
                        UnixListener::from_std(socket).map_err(named)?,
                        url.to_string(),
                    ),
                };
                Ok(Listener::new(url.clone(), socket, None))
            }
            other => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{other} is not supported on this system"),
            )),
        }
    }

    fn new(url: Url, socket: Listening, file: Option<SocketFile>) -> Listener {
        let spare = Mutex::new(spare_descriptor());
        Listener { url, socket, _file: file, failing: AtomicBool::new(false), spare }
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The next connection; `None` when one was given up before it was accepted, or there are no
    /// descriptors left for it.
    pub(super) async fn accept(&self) -> io::Result<Option<Socket>> {
        let accepted = self.next().await;
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
                if is_out_of_descriptors(&error) {
                    self.turn_away().await;
                }
                // EMFILE comes back at once until something is closed.
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(None)
            }
        }
    }

    async fn next(&self) -> io::Result<Socket> {
        match &self.socket {
            Listening::Tcp(listener) => {
                listener.accept().await.and_then(|(socket, peer)| Socket::tcp(socket, peer))
            }
            Listening::Unix(listener, peer) => listener
                .accept()
                .await
                .and_then(|(socket, _)| Ok(Socket::Unix(socket.into_std()?, peer.clone()))),
        }
    }

    /// Closes a connection for which there is no descriptor, by one that is kept for this: its
    /// client need not wait for others to go.
    async fn turn_away(&self) {
        let mut spare = self.spare.lock().await;
        drop(spare.take());
        let _ = tokio::time::timeout(Duration::ZERO, self.next()).await;
        *spare = spare_descriptor();
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Any descriptor will do. Where there is none, the next one that is turned away has to wait.
fn spare_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Adds the address, and a hint if the port is in use, to an error from binding a TCP listener.
pub fn listen_error(address: impl Display, error: io::Error) -> io::Error {
    ListenError::wrap(address, error, "choose another port, or 0 for any free one")
}

/// An error from binding a listener, with the address and a hint.
#[derive(Debug)]
struct ListenError {
    message: String,
    source: io::Error,
}

impl ListenError {
    /// Wraps `source`. Its message ends with `hint` if the address is in use.
    fn wrap(address: impl Display, source: io::Error, hint: &str) -> io::Error {
        let cause = source.to_string();
        let cause = cause.split(" (os error").next().unwrap_or_default();
        let mut message = format!("cannot listen on {address}: {cause}");
        if source.kind() == io::ErrorKind::AddrInUse {
            message = format!("{message}; {hint}");
        }
        io::Error::new(source.kind(), ListenError { message, source })
    }
}

impl Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Removes a socket that nobody listens on any more. A file of any other kind stays, and so does a
/// socket that is in use: `bind` reports both.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// A connection that was accepted, on its way to the thread that will serve it.
pub(super) enum Socket {
    Tcp(StdTcp, SocketAddr),
    Unix(StdUnix, String),
}

impl Socket {
    fn tcp(socket: TcpStream, peer: SocketAddr) -> io::Result<Socket> {
        socket.set_nodelay(true)?;
        enable_keep_alive(&socket)?;
        Ok(Socket::Tcp(socket.into_std()?, peer))
    }

    pub(super) fn peer(&self) -> String {
        match self {
            Socket::Tcp(_, peer) => peer.to_string(),
            Socket::Unix(_, peer) => peer.clone(),
        }
    }

    /// The address of the peer; a client of a Unix socket has none.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Socket::Tcp(_, peer) => Some(peer.ip()),
            Socket::Unix(..) => None,
        }
    }

    /// The socket, registered with the reactor of the calling thread, and who is at its other end.
    pub(super) fn register(self) -> (io::Result<Stream>, String) {
        match self {
            Socket::Tcp(socket, peer) => {
                (TcpStream::from_std(socket).map(Stream::Tcp), peer.to_string())
            }
            Socket::Unix(socket, peer) => (UnixStream::from_std(socket).map(Stream::Unix), peer),
        }
    }
}
