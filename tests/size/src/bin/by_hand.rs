//! A hand-written 9P2000 server for a tree with one parameter. The server answers one request at a
//! time and performs only the checks that it needs, so its size is a lower bound for a server on
//! this board.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering};

use datakit_size::{SOCKET, SOCKETS, run, spawn};
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embedded_io_async::Write;

/// The maximum message size in bytes, and the number of fids per connection.
const MSIZE: usize = 512;
const FIDS: usize = 24;

/// The value that clients read and set through the `value` file.
static VALUE: AtomicU32 = AtomicU32::new(1000);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| {
        for _ in 0..SOCKETS {
            spawn(spawner, serve(stack));
        }
    })
}

#[embassy_executor::task(pool_size = SOCKETS)]
async fn serve(stack: Stack<'static>) -> ! {
    let (mut receive, mut transmit) = ([0; SOCKET], [0; SOCKET]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
    loop {
        if socket.accept(564).await.is_ok() {
            let _ = converse(&mut socket).await;
        }
        socket.abort();
        let _ = socket.flush().await;
    }
}

/// Answers requests until the client closes the connection or sends a malformed message.
async fn converse(socket: &mut TcpSocket<'_>) -> Option<()> {
    let mut fids = [None; FIDS];
    let (mut request, mut reply) = ([0; MSIZE], [0; MSIZE]);
    let mut held = 0;
    loop {
        let size = request.get(..held)?.first_chunk().map_or(4, |size| u32::from_le_bytes(*size));
        let size = size as usize;
        if held < size.max(7) {
            match socket.read(request.get_mut(held..)?).await {
                Ok(n @ 1..) => held += n,
                _ => return None,
            }
            continue;
        }
        let len = answer(&mut fids, request.get(4..size)?, &mut reply)?;
        socket.write_all(reply.get(..len)?).await.ok()?;
        request.copy_within(size..held, 0);
        held -= size;
    }
}

/// The number of a fid, and whether the fid refers to the file rather than to the root directory.
type Fid = Option<(u32, bool)>;

/// Answers `request`, which does not include the size field, and returns the length of the reply.
fn answer(fids: &mut [Fid; FIDS], request: &[u8], reply: &mut [u8; MSIZE]) -> Option<usize> {
    let (&[kind, t0, t1], body) = request.split_first_chunk::<3>()?;
    let mut args = Args(body);
    let mut out = Out { buf: reply, len: 4 };
    out.put(&[kind + 1, t0, t1]);
    let done = dispatch(kind, fids, &mut args, &mut out);
    if let Err(text) = done {
        out.len = 4;
        out.put(&[107, t0, t1]);
        out.string(text);
    }
    let len = out.len;
    *reply.first_chunk_mut()? = (len as u32).to_le_bytes();
    Some(len)
}

fn dispatch(
    kind: u8,
    fids: &mut [Fid; FIDS],
    args: &mut Args<'_>,
    out: &mut Out<'_>,
) -> Result<(), &'static str> {
    match kind {
        // Tversion
        100 => {
            *fids = [None; FIDS];
            let msize = args.number(4).min(MSIZE as u32);
            out.put(&msize.to_le_bytes());
            out.string("9P2000");
        }
        // Tattach
        104 => {
            set(fids, args.number(4), false)?;
            out.qid(false);
        }
        // Tflush: no request is in progress.
        108 => {}
        // Twalk
        110 => {
            let (fid, new, count) = (args.number(4), args.number(4), args.number(2));
            let mut file = find(fids, fid)?;
            let start = out.len;
            out.put(&(count as u16).to_le_bytes());
            for found in 0..count {
                file = match args.string() {
                    b".." => false,
                    b"value" if !file => true,
                    _ if found == 0 => return Err("No such file or directory"),
                    _ => {
                        out.patch(start, found as u16);
                        return Ok(());
                    }
                };
                out.qid(file);
            }
            set(fids, new, file)?;
        }
        // Topen
        112 => {
            out.qid(find(fids, args.number(4))?);
            out.put(&[0; 4]);
        }
        // Tread
        116 => {
            let (fid, offset) = (args.number(4), args.number(8) as usize);
            let count = (args.number(4) as usize).min(MSIZE - 24);
            let start = out.len;
            out.put(&[0; 4]);
            if find(fids, fid)? {
                out.decimal(VALUE.load(Ordering::Relaxed));
                out.put(b"\n");
            } else {
                out.stat(true);
            }
            out.window(start, offset, count);
        }
        // Twrite
        118 => {
            let (fid, _, count) = (args.number(4), args.number(8), args.number(4));
            let value =
                parse(args.take(count as usize)).filter(|value| (10..=60_000).contains(value));
            match value {
                Some(value) if find(fids, fid)? => VALUE.store(value, Ordering::Relaxed),
                _ => return Err("the value is not a whole number from 10 to 60000"),
            }
            out.put(&count.to_le_bytes());
        }
        // Tclunk
        120 => *slot(fids, args.number(4)).ok_or("Unknown fid")? = None,
        // Tstat
        124 => {
            let file = find(fids, args.number(4))?;
            let start = out.len;
            out.put(&[0; 2]);
            out.stat(file);
            out.patch(start, (out.len - start - 2) as u16);
        }
        _ => return Err("Operation not supported"),
    }
    Ok(())
}

fn slot(fids: &mut [Fid; FIDS], number: u32) -> Option<&mut Fid> {
    fids.iter_mut().find(|fid| fid.is_some_and(|(at, _)| at == number))
}

fn find(fids: &mut [Fid; FIDS], number: u32) -> Result<bool, &'static str> {
    slot(fids, number).and_then(|fid| *fid).map(|(_, file)| file).ok_or("Unknown fid")
}

fn set(fids: &mut [Fid; FIDS], number: u32, file: bool) -> Result<(), &'static str> {
    let free = match slot(fids, number) {
        None => fids.iter_mut().find(|fid| fid.is_none()),
        _ => slot(fids, number),
    };
    *free.ok_or("all fids are in use")? = Some((number, file));
    Ok(())
}

fn parse(text: &[u8]) -> Option<u32> {
    let digits = text.trim_ascii();
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10 + u32::from(digit - b'0'))
    })
}

/// The fields of a request. A missing field is 0 or empty.
struct Args<'a>(&'a [u8]);

impl<'a> Args<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(len).unwrap_or_default();
        self.0 = rest;
        taken
    }

    /// Removes an integer of `len` bytes from the start of the arguments and returns its lowest 32
    /// bits.
    fn number(&mut self, len: usize) -> u32 {
        self.take(len).iter().take(4).rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
    }

    fn string(&mut self) -> &'a [u8] {
        let len = self.number(2);
        self.take(len as usize)
    }
}

/// A reply. Bytes that do not fit are dropped.
struct Out<'a> {
    buf: &'a mut [u8; MSIZE],
    len: usize,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(to) = self.buf.get_mut(self.len) {
                *to = *byte;
                self.len += 1;
            }
        }
    }

    fn patch(&mut self, at: usize, number: u16) {
        if let Some(to) = self.buf.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *to = number.to_le_bytes();
        }
    }

    fn string(&mut self, text: &str) {
        self.put(&(text.len() as u16).to_le_bytes());
        self.put(text.as_bytes());
    }

    fn qid(&mut self, file: bool) {
        self.put(&[if file { 0 } else { 0x80 }, 0, 0, 0, 0, u8::from(file) + 1]);
        self.put(&[0; 7]);
    }

    fn decimal(&mut self, number: u32) {
        if number >= 10 {
            self.decimal(number / 10);
        }
        self.put(&[b'0' + (number % 10) as u8]);
    }

    /// Writes a stat record.
    fn stat(&mut self, file: bool) {
        let start = self.len;
        self.put(&[0; 8]);
        self.qid(file);
        self.put(&[if file { 0xb4 } else { 0xfd }, 1, 0, if file { 0 } else { 0x80 }]);
        self.put(&[0; 16]);
        for text in [if file { "value" } else { "/" }, "root", "root", "none"] {
            self.string(text);
        }
        self.patch(start, (self.len - start - 2) as u16);
    }

    /// Of the data that follows the count field at `start`, keeps at most `count` bytes, beginning
    /// at `offset`. Also updates the count field.
    fn window(&mut self, start: usize, offset: usize, count: usize) {
        let data = start + 4;
        let from = self.len.min(data.saturating_add(offset));
        let kept = (self.len - from).min(count);
        self.buf.copy_within(from..from + kept, data);
        self.len = data + kept;
        self.patch(start, kept as u16);
    }
}
