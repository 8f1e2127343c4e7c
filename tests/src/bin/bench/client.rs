//! A blocking client that sends one request at a time. The benchmark uses this client to prepare
//! the measured operations.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use crate::{
    Res,
    wire::{Frames, Message, OVERHEAD, kind, kind_of, u16_at, u32_at},
};

/// The fid of the attached root.
pub(crate) const ROOT: u32 = 0;
/// The msize offered by the client, with room for 128 KiB of data and a header.
pub(crate) const MSIZE: u32 = (128 << 10) + OVERHEAD;
/// The maximum time to wait for a reply. If a reply takes longer, the measurement fails.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

const RDWR: u32 = 2;
const ENOENT: u32 = 2;

/// The address of a server, and the paths of the benchmark files on it.
#[derive(Clone)]
pub(crate) struct Target {
    /// The address in the form HOST:PORT, or the path of a Unix socket.
    pub(crate) address: String,
    /// The path from the server's root to the directory that contains the benchmark files.
    pub(crate) under: Vec<String>,
    /// The paths of the small files, which are read one after another.
    pub(crate) small: Vec<String>,
    /// The number of bytes to read from each small file.
    pub(crate) count: u32,
}

impl Target {
    pub(crate) fn new(address: String) -> Self {
        Self { address, under: Vec::new(), small: vec!["small.txt".into()], count: 64 }
    }
}

/// An attached connection.
pub(crate) struct BenchClient {
    pub(crate) socket: Socket,
    pub(crate) frames: Frames,
    pub(crate) out: Vec<u8>,
    /// The msize that the server accepted.
    pub(crate) msize: u32,
}

impl BenchClient {
    /// Connects to the server, negotiates 9P2000.L, and walks [`ROOT`] to the directory specified
    /// by `target`.
    pub(crate) fn attach(target: &Target, msize: u32) -> Res<Self> {
        let socket = Socket::connect(&target.address)
            .map_err(|error| format!("{}: {error}", target.address))?;
        let mut client = Self { socket, frames: Frames::new(), out: Vec::new(), msize };
        let granted = client.call(kind::TVERSION, |m| m.u32(msize).text("9P2000.L"))?;
        if granted.get(13..) != Some(b"9P2000.L") {
            return Err("the server does not speak 9P2000.L".into());
        }
        client.msize = u32_at(granted, 7)?;
        client.call(kind::TATTACH, |m| m.u32(ROOT).u32(u32::MAX).text("root").text("").u32(0))?;
        for name in &target.under {
            client.walk(ROOT, name)?;
        }
        Ok(client)
    }

    /// Sends one request and returns the reply. Fails if the reply is an error.
    pub(crate) fn call(
        &mut self,
        asked: u8,
        fill: impl FnOnce(Message<'_>) -> Message<'_>,
    ) -> Res<&[u8]> {
        let tag = if asked == kind::TVERSION { u16::MAX } else { 0 };
        self.out.clear();
        fill(Message::new(&mut self.out, asked, tag)).finish();
        self.socket.write_all(&self.out).map_err(|error| format!("send: {error}"))?;
        self.out.clear();
        // Return the frame after the loop, because the borrow checker does not allow it to be
        // returned from inside the loop.
        while !self.frames.has_frame() {
            receive(&mut self.frames, &mut self.socket)?;
        }
        let frame = self.frames.next()?.ok_or("no frame")?;
        expect(frame, asked + 1)?;
        Ok(frame)
    }

    /// Walks from the root to `path`.
    pub(crate) fn walk(&mut self, fid: u32, path: &str) -> Res<()> {
        let reply = self.call(kind::TWALK, |m| m.u32(ROOT).u32(fid).path(path))?;
        (usize::from(u16_at(reply, 7)?) == path.split('/').count())
            .then_some(())
            .ok_or_else(|| format!("{path} not found"))
    }

    /// Opens a fid for reading, or for reading and writing if `write` is set. Returns the maximum
    /// number of data bytes per message.
    pub(crate) fn open(&mut self, fid: u32, write: bool) -> Res<u32> {
        let flags = if write { RDWR } else { 0 };
        let reply = self.call(kind::TLOPEN, |m| m.u32(fid).u32(flags))?;
        let iounit = u32_at(reply, 20)?;
        let most = self.msize - OVERHEAD;
        Ok(if iounit == 0 { most } else { iounit.min(most) })
    }

    pub(crate) fn clunk(&mut self, fid: u32) -> Res<()> {
        self.call(kind::TCLUNK, |m| m.u32(fid)).map(drop)
    }
}

/// A connected TCP or Unix socket.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn connect(address: &str) -> io::Result<Self> {
        if address.starts_with('/') {
            let socket = UnixStream::connect(address)?;
            socket.set_read_timeout(Some(TIMEOUT))?;
            socket.set_write_timeout(Some(TIMEOUT))?;
            return Ok(Self::Unix(socket));
        }
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self::Tcp(socket))
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buf),
            Self::Unix(socket) => socket.read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(data),
            Self::Unix(socket) => socket.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Reads once from the socket. Returns an error at the end of the stream.
pub(crate) fn receive(frames: &mut Frames, socket: &mut Socket) -> Res<()> {
    match frames.fill(socket) {
        Ok(0) => Err("the server closed the connection".into()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("receive: {error}")),
    }
}

/// Returns an error unless `frame` has the `wanted` type.
pub(crate) fn expect(frame: &[u8], wanted: u8) -> Res<()> {
    match kind_of(frame) {
        got if got == wanted => Ok(()),
        kind::RLERROR => Err(format!("errno {} instead of type {wanted}", u32_at(frame, 7)?)),
        got => Err(format!("type {got} instead of type {wanted}")),
    }
}

/// Creates the benchmark files that do not exist yet.
pub(crate) fn fill_tree(target: &Target, big: u64) -> Res<()> {
    let mut client = BenchClient::attach(target, MSIZE)?;
    for (name, length) in [("small.txt", 32), ("rw.bin", 4096), ("big.bin", big)] {
        if !exists(&mut client, name)? {
            create(&mut client, ROOT, name, length).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    if !exists(&mut client, "dir1k")? {
        client.call(kind::TMKDIR, |m| m.u32(ROOT).text("dir1k").u32(0o755).u32(0))?;
        client.walk(DIRECTORY, "dir1k")?;
        for index in 0..1000 {
            create(&mut client, DIRECTORY, &format!("f{index:04}"), 0)
                .map_err(|error| format!("dir1k: {error}"))?;
        }
    }
    Ok(())
}

const DIRECTORY: u32 = 2;
const FILE: u32 = 1;

fn exists(client: &mut BenchClient, name: &str) -> Res<bool> {
    match client.walk(FILE, name) {
        Ok(()) => client.clunk(FILE).map(|()| true),
        Err(error) if error.starts_with(&format!("errno {ENOENT} ")) => Ok(false),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

fn create(client: &mut BenchClient, parent: u32, name: &str, length: u64) -> Res<()> {
    client.call(kind::TWALK, |m| m.u32(parent).u32(FILE).u16(0))?;
    let made =
        client.call(kind::TLCREATE, |m| m.u32(FILE).text(name).u32(RDWR).u32(0o644).u32(0))?;
    let iounit = u32_at(made, 20)?;
    let most =
        if iounit == 0 { client.msize - OVERHEAD } else { iounit.min(client.msize - OVERHEAD) };
    let block = vec![b'd'; most as usize];
    let mut offset = 0;
    while offset < length {
        let data = &block[..block.len().min((length - offset) as usize)];
        let taken = client
            .call(kind::TWRITE, |m| m.u32(FILE).u64(offset).u32(data.len() as u32).bytes(data))?;
        match u32_at(taken, 7)? {
            0 => return Err("the server wrote 0 bytes".into()),
            taken => offset += u64::from(taken),
        }
    }
    client.clunk(FILE)
}
