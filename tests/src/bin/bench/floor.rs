//! The baseline server, which answers requests without doing the work of a real 9P server. The
//! `bench floor` command runs only this server.
//!
//! The baseline server answers every request with prepared bytes of the correct length. The
//! baseline server has no fids or files and allocates no memory for messages. After each read, it
//! answers all received requests with a single write. With the same client on the same CPU, no
//! server can be much faster than the baseline server. A server's result is therefore its speed
//! divided by the speed of the baseline server.

use std::{
    collections::HashMap,
    io::{self, IoSlice, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    process::{Signal, set_parent_process_death_signal},
};

use crate::{
    Res,
    wire::{Frames, HEADER, Message, OVERHEAD, kind, kind_of, tag_of, u16_at, u32_at, u64_at},
};

const MSIZE: u32 = (1 << 20) + OVERHEAD;
/// The minimum read size, in bytes, for which data is sent directly from `BLOCK` without being
/// copied.
const DIRECT: usize = 16 * 1024;
static BLOCK: [u8; MSIZE as usize] = [b'x'; MSIZE as usize];
/// The number of entries in the baseline server's only directory.
const ENTRIES: usize = 1000;

/// Prints the address of the baseline server and serves requests until the parent process exits.
pub(crate) fn run(single: bool) -> Res<()> {
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| format!("floor: {error}"))?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("listen: {error}"))?;
    let address = listener.local_addr().map_err(|error| format!("listen: {error}"))?;
    println!("listening on tcp://{address}");
    serve(&listener, single).map_err(|error| format!("floor: {error}"))
}

/// Serves each connection on its own thread, or all connections on the current thread if `single`
/// is set. Returns only if an error occurs.
pub(crate) fn serve(listener: &TcpListener, single: bool) -> io::Result<()> {
    if single { serve_in_one(listener) } else { serve_in_threads(listener) }
}

fn serve_in_threads(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (socket, _) = listener.accept()?;
        let mut peer = Peer::new(socket)?;
        thread::Builder::new().spawn(move || while peer.serve_batch() {})?;
    }
}

fn serve_in_one(listener: &TcpListener) -> io::Result<()> {
    const LISTENER: u64 = u64::MAX;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let (mut peers, mut serial) = (HashMap::new(), 0);
    let mut events = Vec::with_capacity(256);
    loop {
        epoll::wait(&poll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let key = event.data.u64();
            if key == LISTENER {
                let peer = Peer::new(listener.accept()?.0)?;
                epoll::add(&poll, &peer.socket, EventData::new_u64(serial), EventFlags::IN)?;
                peers.insert(serial, peer);
                serial += 1;
            } else if !peers.get_mut(&key).is_some_and(Peer::serve_batch) {
                peers.remove(&key);
            }
        }
    }
}

struct Peer {
    socket: TcpStream,
    frames: Frames,
    out: Vec<u8>,
}

impl Peer {
    fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self { socket, frames: Frames::new(), out: Vec::new() })
    }

    /// Reads once from the socket and answers all complete requests. Returns `false` if the peer
    /// closed the connection or sent a malformed message.
    fn serve_batch(&mut self) -> bool {
        self.try_serve_batch().unwrap_or(false)
    }

    fn try_serve_batch(&mut self) -> Res<bool> {
        let Self { socket, frames, out } = self;
        if frames.fill(socket).map_err(|error| error.to_string())? == 0 {
            return Ok(false);
        }
        while let Some(frame) = frames.next()? {
            let block = answer(frame, out)?;
            if !block.is_empty() {
                send(socket, out, block).map_err(|error| error.to_string())?;
                out.clear();
            }
        }
        socket.write_all(out).map_err(|error| error.to_string())?;
        out.clear();
        Ok(true)
    }
}

/// Answers the request in `frame` and appends the reply to `out`. Data that can be sent without
/// being copied is returned instead of appended.
fn answer(frame: &[u8], out: &mut Vec<u8>) -> Res<&'static [u8]> {
    let asked = kind_of(frame);
    let reply = Message::new(out, asked.wrapping_add(1), tag_of(frame));
    match asked {
        kind::TVERSION => reply.u32(u32_at(frame, HEADER)?.min(MSIZE)).text("9P2000.L").finish(),
        kind::TATTACH | kind::TMKDIR => reply.bytes(&[0; 13]).finish(),
        kind::TWALK => {
            let names = u16_at(frame, 15)?.min(16);
            reply.u16(names).bytes(&[0; 13 * 16][..13 * usize::from(names)]).finish();
        }
        kind::TLOPEN | kind::TLCREATE => reply.bytes(&[0; 17]).finish(),
        kind::TGETATTR => reply.bytes(&[0; 153]).finish(),
        kind::TWRITE => reply.u32(u32_at(frame, 19)?).finish(),
        kind::TREAD => {
            let count = u32_at(frame, 19)?.min(MSIZE - OVERHEAD) as usize;
            let data = &BLOCK[..count];
            if count >= DIRECT {
                reply.u32(count as u32).finish_before(count);
                return Ok(data);
            }
            reply.u32(count as u32).bytes(data).finish();
        }
        kind::TREADDIR => {
            let data = page(u64_at(frame, 11)?, u32_at(frame, 19)?);
            reply.u32(data.len() as u32).bytes(data).finish();
        }
        _ => reply.finish(),
    }
    Ok(&[])
}

/// The encoded length of a directory entry that consists of a qid, an offset, a type, the name's
/// length, and a five-byte name.
const ENTRY: usize = 13 + 8 + 1 + 2 + 5;
static LISTING: [u8; ENTRY * ENTRIES] = listing();

/// Returns the directory entries that start at `offset` and fit into `count` bytes.
fn page(offset: u64, count: u32) -> &'static [u8] {
    let from = (offset as usize).min(ENTRIES);
    let entries = (count as usize / ENTRY).min(ENTRIES - from);
    &LISTING[from * ENTRY..(from + entries) * ENTRY]
}

const fn listing() -> [u8; ENTRY * ENTRIES] {
    let mut all = [0; ENTRY * ENTRIES];
    let mut index = 0;
    while index < ENTRIES {
        let (at, next) = (index * ENTRY, (index + 1) as u16);
        [all[at + 13], all[at + 14]] = next.to_le_bytes();
        all[at + 21] = 8;
        all[at + 22] = 5;
        all[at + 24] = b'f';
        let digits = [index / 1000, index / 100 % 10, index / 10 % 10, index % 10];
        let mut digit = 0;
        while digit < 4 {
            all[at + 25 + digit] = b'0' + digits[digit] as u8;
            digit += 1;
        }
        index += 1;
    }
    all
}

/// Sends both parts of the output. Uses a single system call if the socket accepts all bytes.
fn send(socket: &mut TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    let sent = socket.write_vectored(&[IoSlice::new(head), IoSlice::new(body)])?;
    socket.write_all(head.get(sent..).unwrap_or_default())?;
    socket.write_all(&body[sent.saturating_sub(head.len())..])
}
