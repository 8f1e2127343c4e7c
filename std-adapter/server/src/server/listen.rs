//! Sockets that listen.

use std::fmt::Display;
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
use crate::keep_alive::keep_alive;
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

/// What to do about a port in use.
pub const PORT_IN_USE: &str = "; choose another port, or 0 for any free one";

/// The same error, telling what cannot be listened on, and `hint` about an address in use.
pub fn cannot_listen(on: impl Display, error: &io::Error, hint: &str) -> io::Error {
    let hint = if error.kind() == io::ErrorKind::AddrInUse { hint } else { "" };
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    io::Error::new(error.kind(), format!("cannot listen on {on}: {text}{hint}"))
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
        keep_alive(&socket)?;
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
