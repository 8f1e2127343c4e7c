//! How a connection finds out that the machine at its other end is gone.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// A peer that says nothing is asked after this whether it is still there,
const ASK: Duration = Duration::from_secs(60);
/// again and again,
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// and is taken for gone after so many questions without an answer.
const QUESTIONS: u32 = 4;

/// Has the system end the connection when the machine at its other end is gone.
pub fn keep_alive(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, ASK)?;
    sockopt::set_tcp_keepintvl(&socket, ASK_AGAIN)?;
    Ok(sockopt::set_tcp_keepcnt(&socket, QUESTIONS)?)
}
