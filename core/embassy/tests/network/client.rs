//! A client that sends individual messages.

use datakit_core::wire::{Data, Dialect, Fid, List, Numeric, Rmessage, Str, Tag, Tmessage};
use embassy_net::tcp::TcpSocket;
use embassy_net::{Ipv4Address, Stack};
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{Read, Write};

use super::leak;

/// A connection that sends and receives 9P2000.u messages.
pub(crate) struct Client {
    socket: TcpSocket<'static>,
}

impl Client {
    pub(super) async fn connect(stack: Stack<'static>, server: Ipv4Address) -> Client {
        let mut socket = TcpSocket::new(stack, leak([0; 1460]), leak([0; 1460]));
        while socket.connect((server, 564)).await.is_err() {
            socket.abort();
            Timer::after_millis(1).await;
        }
        Client { socket }
    }

    /// Negotiates a version and attaches fid 0 to the root.
    pub(crate) async fn attach(&mut self) {
        let version = Tmessage::Version { msize: 8192, version: "9P2000.u".into() };
        assert!(self.rpc(&version).await.starts_with("Rversion"));
        let attach = Tmessage::Attach {
            fid: Fid(0),
            afid: Fid::NONE,
            uname: "u".into(),
            aname: "".into(),
            n_uname: Numeric::NONE,
        };
        assert!(self.rpc(&attach).await.starts_with("Rattach"));
    }

    /// Opens a file in the root directory. Returns the reply.
    pub(crate) async fn open(&mut self, fid: u32, name: &str, mode: u8) -> String {
        let wnames = [Str(name.as_bytes())];
        let newfid = Fid(fid);
        let walk = Tmessage::Walk { fid: Fid(0), newfid, wnames: List::Slice(&wnames) };
        assert!(self.rpc(&walk).await.starts_with("Rwalk"));
        self.rpc(&Tmessage::Open { fid: newfid, mode }).await
    }

    /// Reads a file in the root directory.
    pub(crate) async fn read(&mut self, name: &str) -> String {
        self.open(90, name, 0).await;
        let text = self.rpc(&Tmessage::Read { fid: Fid(90), offset: 0, count: 400 }).await;
        self.rpc(&Tmessage::Clunk { fid: Fid(90) }).await;
        text
    }

    /// Writes to a file in the root directory, and returns the reply.
    pub(crate) async fn write(&mut self, name: &str, text: &str) -> String {
        self.open(91, name, 1).await;
        let data = Data(text.as_bytes());
        let reply = self.rpc(&Tmessage::Write { fid: Fid(91), offset: 0, data }).await;
        self.rpc(&Tmessage::Clunk { fid: Fid(91) }).await;
        reply
    }

    /// Sends a request. Returns the data of an Rread, or any other reply as text.
    pub(crate) async fn rpc(&mut self, request: &Tmessage<'_>) -> String {
        self.send(request).await;
        self.reply().await
    }

    pub(crate) async fn send(&mut self, request: &Tmessage<'_>) {
        let tag = if matches!(request, Tmessage::Version { .. }) { Tag::NONE } else { Tag(1) };
        let mut frame = [0; 256];
        let len = request.encode(tag, Dialect::Unix, &mut frame).unwrap();
        self.socket.write_all(&frame[..len]).await.unwrap();
    }

    /// Sends a request one byte at a time.
    pub(crate) async fn send_slowly(&mut self, request: &Tmessage<'_>, pause: Duration) {
        let mut frame = [0; 256];
        let len = request.encode(Tag(1), Dialect::Unix, &mut frame).unwrap();
        for byte in &frame[..len] {
            Timer::after(pause).await;
            self.socket.write_all(&[*byte]).await.unwrap();
        }
    }

    pub(crate) async fn reply(&mut self) -> String {
        let mut frame = [0; 1024];
        self.socket.read_exact(&mut frame[..4]).await.unwrap();
        let len = u32::from_le_bytes(*frame.first_chunk().unwrap()) as usize;
        self.socket.read_exact(&mut frame[4..len]).await.unwrap();
        match Rmessage::decode(&frame[..len], Dialect::Unix).unwrap().1 {
            Rmessage::Read { data } => String::from_utf8(data.0.into()).unwrap(),
            reply => reply.to_string(),
        }
    }

    /// Waits until the server closes the connection, and returns how long that took.
    pub(crate) async fn closed(&mut self) -> Duration {
        let start = Instant::now();
        while let Ok(1..) = self.socket.read(&mut [0; 64]).await {}
        start.elapsed()
    }

    /// Closes the connection and waits until the server has closed it too.
    pub(crate) async fn close(mut self) {
        self.socket.close();
        self.closed().await;
    }
}
