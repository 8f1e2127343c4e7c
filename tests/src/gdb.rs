//! As much of gdb's remote protocol as it takes to have QEMU's processor go on elsewhere.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::PATIENCE;

/// Has an ARM processor go on at `address`, by the server for gdb at `socket`.
pub(crate) fn go_on_at(socket: &Path, address: u32) -> io::Result<()> {
    let mut gdb = UnixStream::connect(socket)?;
    gdb.set_read_timeout(Some(PATIENCE))?;
    // It takes commands only when it has told that the processor stands still, ...
    gdb.write_all(b"\x03")?;
    wait_for(&mut gdb, b'T')?;
    // ... and sets a single register only for a gdb that has asked which there are.
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

/// Reads on to the end of a packet with this first letter, and says of each that it came.
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
