//! The connection table as a file.

use core::fmt::{self, Write};
use core::mem::size_of;
use core::task::{Context, Poll};

use datakit_core::Decimal;
use datakit_core::vfs::{File, FileStat, OpenFile, Result, Window, check_offset};
use embassy_net::IpAddress;
use embassy_time::Instant;
use heapless::String;

use crate::{ConnectionInfo, Connections};

/// The width of a client number, in characters.
const CLIENT: usize = 3;
/// The width of a peer's address and port, in characters. IPv6 addresses need more characters than
/// IPv4 addresses.
const PEER: usize = if size_of::<IpAddress>() > 4 { 47 } else { 21 };
/// The width of the idle time, in characters.
const IDLE: usize = 5;
/// The length of a line, including two spaces and the newline.
const LINE: usize = CLIENT + PEER + IDLE + 3;

impl<const CLIENTS: usize> File for Connections<CLIENTS> {
    fn stat(&self) -> FileStat {
        FileStat::new((self.len() * LINE) as u64).read_only()
    }

    fn poll_read(
        &self,
        _: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(self.read(offset, buf))
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("connections: number, peer, seconds since the last transfer")
    }
}

impl<const CLIENTS: usize> Connections<CLIENTS> {
    /// A read beyond the end is not an error, because a connection may have been closed since the
    /// client's last read.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        check_offset(offset)?;
        let now = Instant::now();
        let mut window = Window::new(offset, buf);
        for info in (0..CLIENTS).map_while(|index| self.get(index)) {
            // Writing to a `Window` never fails.
            let _ = window.write_str(&line(&info, now));
        }
        Ok(window.filled())
    }
}

/// Returns the line for a connection. All lines have the same length, so a line keeps its offset
/// when a client reads the file in several pieces.
fn line(info: &ConnectionInfo, now: Instant) -> String<LINE> {
    let idle = now.saturating_duration_since(info.last_active).as_secs().min(99_999) as u32;
    let mut line = String::new();
    // Writing cannot fail, because the string has room for the widest columns.
    let _ = right(&mut line, CLIENT, info.client.0.into());
    let _ = write!(line, " {}", info.peer);
    while line.len() < CLIENT + 1 + PEER && line.push(' ').is_ok() {}
    let _ = line.write_str(" ");
    let _ = right(&mut line, LINE - 1, idle);
    let _ = line.write_str("\n");
    line
}

/// Appends a number, right-aligned so that it ends at column `end`.
fn right(line: &mut String<LINE>, end: usize, number: u32) -> fmt::Result {
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    while line.len() + digits < end && line.push(' ').is_ok() {}
    write!(line, "{}", Decimal::from(number))
}
