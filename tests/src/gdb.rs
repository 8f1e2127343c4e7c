//! The part of gdb's remote protocol that is needed to make the processor in QEMU continue at a
//! different address.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::TIMEOUT;

/// The numbers that the protocol gives to registers of an ARM processor.
const PC: u32 = 0xf;
const XPSR: u32 = 0x19;

/// The bits of the register xPSR that contain the number of the active exception, and those that
/// are set inside an IT block, where the processor may skip the next instructions.
const EXCEPTION_OR_IT_BLOCK: u32 = 0x0600_fdff;

/// The time for which the processor runs before it is stopped again.
const PAUSE: Duration = Duration::from_millis(1);

/// Connects to the gdb server at `socket` and makes an ARM processor continue at `address`, as if
/// the program had jumped to it. An exception handler is not interrupted, because its number would
/// make the code at `address` behave as part of the handler.
pub(crate) fn resume_at(socket: &Path, address: u32) -> io::Result<()> {
    let mut gdb = UnixStream::connect(socket)?;
    gdb.set_read_timeout(Some(TIMEOUT))?;
    let start = Instant::now();
    while start.elapsed() < TIMEOUT {
        // The gdb server does not accept commands until it has reported that the processor has
        // stopped.
        gdb.write_all(b"\x03")?;
        receive(&mut gdb, |packet| packet.starts_with('T'))?;
        // The gdb server rejects access to individual registers until the client has read the
        // register descriptions.
        send(&mut gdb, "qXfer:features:read:target.xml:0,ffb")?;
        receive(&mut gdb, |packet| packet.starts_with('l'))?;
        let interruptible = read_register(&mut gdb, XPSR)? & EXCEPTION_OR_IT_BLOCK == 0;
        if interruptible {
            send(&mut gdb, &format!("P{PC:x}={:08x}", address.swap_bytes()))?;
            receive(&mut gdb, |packet| packet == "OK")?;
        }
        send(&mut gdb, "c")?;
        if interruptible {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    Err(io::Error::other(format!("the processor handled exceptions for {TIMEOUT:?}")))
}

/// Reads a register. The gdb server sends its bytes in the order of the target.
fn read_register(gdb: &mut UnixStream, register: u32) -> io::Result<u32> {
    send(gdb, &format!("p{register:x}"))?;
    let value = |packet: &str| u32::from_str_radix(packet, 16).ok().filter(|_| packet.len() == 8);
    let packet = receive(gdb, |packet| value(packet).is_some())?;
    value(&packet).map(u32::swap_bytes).ok_or_else(|| io::Error::other(packet))
}

/// Sends a packet.
fn send(gdb: &mut UnixStream, text: &str) -> io::Result<()> {
    let sum = text.bytes().fold(0u8, u8::wrapping_add);
    write!(gdb, "${text}#{sum:02x}")
}

/// Reads and acknowledges packets until one is `expected`, and returns it.
fn receive(gdb: &mut UnixStream, expected: impl Fn(&str) -> bool) -> io::Result<String> {
    let mut packet = Vec::new();
    let mut byte = [0];
    loop {
        gdb.read_exact(&mut byte)?;
        match byte {
            [b'$'] => packet.clear(),
            [b'#'] => {
                gdb.write_all(b"+")?;
                let text = String::from_utf8_lossy(&packet);
                if expected(&text) {
                    return Ok(text.into_owned());
                }
            }
            [other] => packet.push(other),
        }
    }
}
