//! The part of gdb's remote protocol that is needed to make the processor in QEMU continue at a
//! different address.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::TIMEOUT;

/// The number that the protocol assigns to the program counter of an ARM processor.
const PC: u32 = 0xf;

/// The WFI instruction, which waits for an interrupt.
const WFI: u16 = 0xbf30;

/// The time for which the processor runs before it is stopped again.
const PAUSE: Duration = Duration::from_millis(1);

/// Connects to the gdb server at `socket`, waits until an ARM processor is idle, and makes it
/// continue at `address`. If the processor were not idle, the link register might not contain a
/// return address, and an exception might be active.
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
        let pc = read_register(&mut gdb, PC)?;
        let is_idle = read_halfword(&mut gdb, pc.wrapping_sub(2))? == WFI;
        if is_idle {
            send(&mut gdb, &format!("P{PC:x}={:08x}", address.swap_bytes()))?;
            receive(&mut gdb, |packet| packet == "OK")?;
        }
        send(&mut gdb, "c")?;
        if is_idle {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    Err(io::Error::other(format!("the processor was not idle for {TIMEOUT:?}")))
}

fn read_register(gdb: &mut UnixStream, register: u32) -> io::Result<u32> {
    read_hex(gdb, &format!("p{register:x}"), 4).map(u32::swap_bytes)
}

/// Reads two bytes of memory, or returns 0 if there is no memory at `address`.
fn read_halfword(gdb: &mut UnixStream, address: u32) -> io::Result<u16> {
    let bytes = read_hex(gdb, &format!("m{address:x},2"), 2)?;
    Ok(u16::try_from(bytes).unwrap_or_default().swap_bytes())
}

/// Sends a request for `length` bytes and returns them as a number. The gdb server sends bytes in
/// the order in which the processor stores them.
fn read_hex(gdb: &mut UnixStream, request: &str, length: usize) -> io::Result<u32> {
    send(gdb, request)?;
    let value = |packet: &str| u32::from_str_radix(packet, 16).ok();
    let is_reply = |packet: &str| packet.len() == 2 * length && value(packet).is_some();
    // A reply such as `E14` means that there is no memory at the address.
    let packet = receive(gdb, |packet| is_reply(packet) || packet.starts_with('E'))?;
    Ok(value(&packet).filter(|_| is_reply(&packet)).unwrap_or_default())
}

/// Sends a packet.
fn send(gdb: &mut UnixStream, text: &str) -> io::Result<()> {
    let sum = text.bytes().fold(0u8, u8::wrapping_add);
    write!(gdb, "${text}#{sum:02x}")
}

/// Reads and acknowledges packets until `expected` accepts one, and returns that packet.
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
