//! Listening sockets.

use std::fmt::{self, Display};
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Mutex;
use tracing::warn;

use super::transport::Stream;
use crate::io_reason::io_reason;
use crate::url::Url;

/// How long to wait after a failed attempt to accept a connection. Without this delay, the server
/// would spin in a loop until a descriptor became free.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// The idle time before the first keep-alive probe.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(60);
/// The interval between keep-alive probes.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// The number of unanswered keep-alive probes after which the connection is dropped.
const KEEP_ALIVE_PROBES: u32 = 4;

/// A listening socket of a [`Server`](super::Server). Dropping the listener closes the socket and
/// removes any socket file that the server created.
///
/// [`Server::with_listener`](super::Server::with_listener) accepts anything that can be converted
/// to this type, including the standard library's and tokio's TCP and Unix listeners.
#[derive(Debug)]
pub struct Listener {
    url: Url,
    socket: ListenSocket,
    _file: Option<SocketFile>,
    /// Whether the last attempt to accept a connection failed. Further failures are not logged
    /// until an attempt succeeds.
    failing: AtomicBool,
    /// A spare descriptor. If the process has run out of descriptors, the spare descriptor is
    /// closed so that a connection can be accepted and refused.
    spare: Mutex<Option<File>>,
}

#[derive(Debug)]
enum ListenSocket {
    Tcp(TcpListener),
    /// A Unix listener and the name used for its clients in the log and in statistics.
    Unix(UnixListener, String),
}

/// The socket file of a Unix listener. Dropping this value removes the file.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Ignore errors, because another process may already have removed the file.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens on an endpoint. Removes an existing socket file if no process is listening on it.
    pub(super) async fn bind(url: &Url) -> io::Result<Listener> {
        let with_url = |error: io::Error| match url {
            Url::Tcp { .. } => listen_error(url, error),
            _ => ListenError::wrap(
                url,
                error,
                "stop the process that listens there, or choose another path",
            ),
        };
        match url {
            Url::Tcp { host, port } => {
                let socket = TcpListener::bind((host.as_str(), *port)).await.map_err(with_url)?;
                let port = socket.local_addr().map_err(with_url)?.port();
                let url = Url::Tcp { host: host.clone(), port };
                Ok(Listener::new(url, ListenSocket::Tcp(socket), None))
            }
            Url::Unix(path) | Url::File(path) => {
                remove_stale(path).await.map_err(with_url)?;
                let socket = UnixListener::bind(path).map_err(with_url)?;
                let socket = ListenSocket::Unix(socket, path.display().to_string());
                Ok(Listener::new(url.clone(), socket, Some(SocketFile(path.clone()))))
            }
            Url::Fd(number) => {
                let socket = inherited_socket(*number, url).map_err(with_url)?;
                Ok(Listener::new(url.clone(), socket, None))
            }
            other => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{other} is not supported on this system"),
            )),
        }
    }

    fn new(url: Url, socket: ListenSocket, file: Option<SocketFile>) -> Listener {
        let spare = Mutex::new(open_spare());
        Listener { url, socket, _file: file, failing: AtomicBool::new(false), spare }
    }

    /// Returns the endpoint. If the system chose the port, the endpoint contains that port.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Accepts a connection. Returns `None` if accepting fails, for example because the client has
    /// closed the connection or no descriptor is left.
    pub(super) async fn accept(&self) -> Option<AcceptedSocket> {
        match self.accept_once().await {
            Ok(socket) => {
                self.failing.store(false, Relaxed);
                Some(socket)
            }
            Err(error) => {
                // Attempts to accept a connection can fail a hundred times a second, so log only
                // the first of several consecutive failures.
                if !self.failing.swap(true, Relaxed) {
                    warn!(url = %self.url, %error, "cannot accept");
                }
                if is_out_of_descriptors(&error) {
                    self.refuse_one().await;
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
                None
            }
        }
    }

    async fn accept_once(&self) -> io::Result<AcceptedSocket> {
        match &self.socket {
            ListenSocket::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                socket.set_nodelay(true)?;
                enable_keep_alive(&socket)?;
                Ok(AcceptedSocket::Tcp(socket.into_std()?, peer))
            }
            ListenSocket::Unix(listener, peer) => {
                let (socket, _) = listener.accept().await?;
                Ok(AcceptedSocket::Unix(socket.into_std()?, peer.clone()))
            }
        }
    }

    /// Closes the spare descriptor so that a connection can be accepted, accepts the connection and
    /// immediately closes it. If the connection were not accepted, the client would block until a
    /// descriptor became free.
    async fn refuse_one(&self) {
        let mut spare = self.spare.lock().await;
        drop(spare.take());
        let _ = tokio::time::timeout(Duration::ZERO, self.accept_once()).await;
        *spare = open_spare();
    }
}

impl TryFrom<TcpListener> for Listener {
    type Error = io::Error;

    fn try_from(socket: TcpListener) -> io::Result<Listener> {
        let address = socket.local_addr()?;
        let url = Url::Tcp { host: address.ip().to_string(), port: address.port() };
        Ok(Listener::new(url, ListenSocket::Tcp(socket), None))
    }
}

impl TryFrom<UnixListener> for Listener {
    type Error = io::Error;

    fn try_from(socket: UnixListener) -> io::Result<Listener> {
        let address = socket.local_addr()?;
        // A socket without a path is in Linux's abstract namespace.
        let path = address.as_pathname().unwrap_or(Path::new("(abstract)"));
        let socket = ListenSocket::Unix(socket, path.display().to_string());
        Ok(Listener::new(Url::Unix(path.into()), socket, None))
    }
}

impl TryFrom<StdTcpListener> for Listener {
    type Error = io::Error;

    fn try_from(socket: StdTcpListener) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)?.try_into()
    }
}

impl TryFrom<StdUnixListener> for Listener {
    type Error = io::Error;

    fn try_from(socket: StdUnixListener) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        UnixListener::from_std(socket)?.try_into()
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Opens a spare descriptor, which is used to refuse clients when the process has run out of
/// descriptors.
fn open_spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Enables TCP keep-alive (`tcp(7)`) so that the system drops the connection 2 minutes after the
/// peer's machine disappears.
///
/// # Errors
/// Returns any error from `setsockopt(2)`.
pub fn enable_keep_alive(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, KEEP_ALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&socket, KEEP_ALIVE_INTERVAL)?;
    Ok(sockopt::set_tcp_keepcnt(&socket, KEEP_ALIVE_PROBES)?)
}

/// Adds the address to an error from binding a TCP listener, along with a hint if the port is in
/// use.
pub fn listen_error(address: impl Display, error: io::Error) -> io::Error {
    ListenError::wrap(address, error, "choose another port, or 0 for any free one")
}

/// An error that occurred while binding a listener. Contains the address and a hint.
#[derive(Debug)]
struct ListenError {
    message: String,
    source: io::Error,
}

impl ListenError {
    /// Creates an error whose source is `source`. The message ends with `hint` if the address is in
    /// use.
    fn wrap(address: impl Display, source: io::Error, hint: &str) -> io::Error {
        let cause = io_reason(&source);
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

/// Removes a socket file if no process is listening on it. Keeps the file if the socket is in use
/// or the file is not a socket. In that case, binding to the path fails.
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

/// Returns the inherited listening socket with descriptor number `number`. The original descriptor
/// remains open when the listener is dropped.
fn inherited_socket(number: u32, url: &Url) -> io::Result<ListenSocket> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text);
    let fd = duplicate(number)?;
    let listens = sockopt::socket_type(&fd)
        .and_then(|kind| Ok(kind == SocketType::STREAM && sockopt::socket_acceptconn(&fd)?));
    let family = match listens {
        Ok(true) => sockopt::socket_domain(&fd)?,
        Ok(false) | Err(rustix::io::Errno::NOTSOCK) => {
            return Err(invalid("it is not a listening socket"));
        }
        Err(error) => return Err(error.into()),
    };
    rustix::io::ioctl_fionbio(&fd, true)?;
    match family {
        AddressFamily::INET | AddressFamily::INET6 => {
            TcpListener::from_std(fd.into()).map(ListenSocket::Tcp)
        }
        AddressFamily::UNIX => {
            let socket = UnixListener::from_std(fd.into())?;
            Ok(ListenSocket::Unix(socket, url.to_string()))
        }
        _ => Err(invalid("it is neither a TCP nor a Unix socket")),
    }
}

/// Duplicates this process's descriptor with the given number. Using the number directly would
/// require `unsafe` code, so the function calls `pidfd_getfd(2)`, which is normally used to
/// duplicate descriptors of other processes.
#[cfg(target_os = "linux")]
fn duplicate(number: u32) -> io::Result<OwnedFd> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let number = i32::try_from(number).map_err(|_| rustix::io::Errno::BADF)?;
    Ok(pidfd_getfd(pidfd_open(getpid(), PidfdFlags::empty())?, number, PidfdGetfdFlags::empty())?)
}

#[cfg(not(target_os = "linux"))]
fn duplicate(_: u32) -> io::Result<OwnedFd> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "it is not supported on this system"))
}

/// An accepted connection that has not yet been assigned to a thread.
#[derive(Debug)]
pub(super) enum AcceptedSocket {
    Tcp(StdTcpStream, SocketAddr),
    Unix(StdUnixStream, String),
}

impl AcceptedSocket {
    /// Returns the peer's name.
    pub(super) fn peer_name(&self) -> String {
        match self {
            AcceptedSocket::Tcp(_, peer) => peer.to_string(),
            AcceptedSocket::Unix(_, peer) => peer.clone(),
        }
    }

    /// Returns the peer's address, or `None` for a client on a Unix socket.
    pub(super) fn peer_address(&self) -> Option<IpAddr> {
        match self {
            AcceptedSocket::Tcp(_, peer) => Some(peer.ip()),
            AcceptedSocket::Unix(..) => None,
        }
    }

    /// Registers the socket with the calling thread's reactor.
    pub(super) fn register(self) -> io::Result<Stream> {
        match self {
            AcceptedSocket::Tcp(socket, _) => TcpStream::from_std(socket).map(Stream::Tcp),
            AcceptedSocket::Unix(socket, _) => UnixStream::from_std(socket).map(Stream::Unix),
        }
    }
}
