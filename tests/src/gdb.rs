//! The part of gdb's remote protocol that is needed to make the processor in QEMU continue at a
//! different address.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::TIMEOUT;

/// Connects to the gdb server at `socket` and makes an ARM processor continue at `address`.
pub(crate) fn resume_at(socket: &Path, address: u32) -> io::Result<()> {
    let mut gdb = UnixStream::connect(socket)?;
    gdb.set_read_timeout(Some(TIMEOUT))?;
    // The gdb server does not accept commands until it has reported that the processor has stopped.
    gdb.write_all(b"\x03")?;
    wait_for(&mut gdb, b'T')?;
    // The gdb server rejects writes to individual registers until the client has read the register
    // descriptions.
    send(&mut gdb, "qXfer:features:read:target.xml:0,ffb")?;
    wait_for(&mut gdb, b'l')?;
    send(&mut gdb, &format!("Pf={:08x}", address.swap_bytes()))?;
    wait_for(&mut gdb, b'O')?;
    send(&mut gdb, "c")
}

/// Sends a packet.
fn send(gdb: &mut UnixStream, text: &str) -> io::Result<()> {
    let sum = text.bytes().fold(0u8, u8::wrapping_add);
    write!(gdb, "${text}#{sum:02x}")
}

/// Reads and acknowledges packets until one starts with `first`.
fn wait_for(gdb: &mut UnixStream, first: u8) -> io::Result<()> {
    let mut packet = Vec::new();
    let mut byte = [0];
    loop {
        gdb.read_exact(&mut byte)?;
        match byte {
            [b'$'] => packet.clear(),
            [b'#'] => gdb.write_all(b"+")?,
            [other] => packet.push(other),
        }
        if byte == *b"#" && packet.first() == Some(&first) {
            return Ok(());
        }
    }
}
