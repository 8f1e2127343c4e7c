//! TCP keep-alive.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// Silence before the first probe.
const IDLE: Duration = Duration::from_secs(60);
/// Time between probes.
const INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered probes before the connection is dropped.
const PROBES: u32 = 4;

/// Enables TCP keep-alive (`tcp(7)`): the system drops the connection 2 minutes after the peer's
/// machine has disappeared.
///
/// # Errors
/// The error of `setsockopt(2)`.
pub fn enable_keep_alive(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, IDLE)?;
    sockopt::set_tcp_keepintvl(&socket, INTERVAL)?;
    Ok(sockopt::set_tcp_keepcnt(&socket, PROBES)?)
}
