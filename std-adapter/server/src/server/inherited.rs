//! A socket that the process was started with: `fd://N`, as inetd and systemd hand one over.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, sockopt};

/// What kind of socket it was.
pub(super) enum Inherited {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// The listening socket of this number, ready for a reactor. What listens for others is not closed
/// when this is dropped.
pub(super) fn inherited(number: u32) -> io::Result<Inherited> {
    let fd = duplicate(number)?;
    let listens = sockopt::socket_type(&fd)
        .and_then(|kind| Ok(kind == SocketType::STREAM && sockopt::socket_acceptconn(&fd)?));
    let family = match listens {
        Ok(true) => sockopt::socket_domain(&fd)?,
        Ok(false) | Err(rustix::io::Errno::NOTSOCK) => {
            return Err(other("it is not a socket that listens"));
        }
        Err(error) => return Err(error.into()),
    };
    rustix::io::ioctl_fionbio(&fd, true)?;
    match family {
        AddressFamily::INET | AddressFamily::INET6 => Ok(Inherited::Tcp(fd.into())),
        AddressFamily::UNIX => Ok(Inherited::Unix(fd.into())),
        _ => Err(other("it is neither a TCP nor a Unix socket")),
    }
}

fn other(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// A descriptor of this process by its number, asked of the kernel as if it were another's: taking
/// it just so is `unsafe`, since somebody here may have it already.
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
