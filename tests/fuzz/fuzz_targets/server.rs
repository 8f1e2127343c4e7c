//! Checks that a server accepts any bytes, sends only well-formed frames, and closes the connection
//! after the client does. The server serves a scratch tree, a dynamic tree or an in-memory
//! database.
//!
//! The input consists of a byte that selects the tree and the dialect, followed by the bytes to be
//! sent by the client. If the most significant bit of the first byte is set, Tversion and Tattach
//! are sent first, and the size field of each frame is corrected. Otherwise, the fuzzer would
//! rarely generate valid messages and sizes.
#![no_main]

use std::future::pending;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use datakit_core::vfs::Vfs;
use datakit_core::wire::{Dialect, Fid, Numeric, Rmessage, Str, Tag, Tmessage};
use datakit_db::store::MemoryStore;
use datakit_db::{self, Database};
use datakit_server::Url;
use datakit_server::scratch::Scratch;
use datakit_server::tree::{Command, Dir, Entry, Live, Status, Tree};
use datakit_server::{Limits, Peer, Server};
use libfuzzer_sys::fuzz_target;

const MSIZE: u32 = 4096;
/// The maximum time that the server may spend on one input.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The memory limit for each tree in bytes. The limit is low so that fuzzer inputs can reach it.
const SPACE: u64 = 256 * 1024;

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    let dialect = [Dialect::Legacy, Dialect::Unix, Dialect::Linux][usize::from(first % 3)];
    let port = ports()[usize::from(first / 3) % 3];
    let input =
        if first & 0x80 == 0 { rest.to_vec() } else { [begin(dialect), framed(rest)].concat() };
    let replies = exchange(port, &input);
    let mut replies = &*replies;
    while let Some(size) = replies.first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        // The server may close the connection in the middle of a reply.
        let Some(frame) = replies.get(..size) else { break };
        let known = [Dialect::Legacy, Dialect::Unix, Dialect::Linux]
            .iter()
            .any(|dialect| Rmessage::decode(frame, *dialect).is_ok());
        assert!(size >= 7 && known, "{frame:02x?} to {input:02x?}");
        replies = &replies[size..];
    }
});

/// Returns the ports of the servers for the scratch tree, the dynamic tree and the database. Each
/// connection gets a new tree.
fn ports() -> &'static [u16; 3] {
    static PORTS: OnceLock<[u16; 3]> = OnceLock::new();
    PORTS.get_or_init(|| {
        [
            started(|sender| serve(sender, |_| Scratch::with_limit(SPACE))),
            started(|sender| serve(sender, |_| Tree::new(dynamic()))),
            started(|sender| serve(sender, |_| database())),
        ]
    })
}

/// Starts a server on a new thread and returns its port.
fn started(run: impl FnOnce(Sender<u16>) + Send + 'static) -> u16 {
    let (sender, receiver) = channel();
    thread::spawn(move || run(sender));
    receiver.recv().expect("the server listens")
}

fn serve<V: Vfs + 'static>(
    sender: Sender<u16>,
    tree: impl Fn(&Peer) -> V + Clone + Send + 'static,
) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let url: Url = "tcp://127.0.0.1:0".parse().expect("a URL");
        let limits = Limits::default().msize(MSIZE).threads(1).fids(64).requests(8);
        let server = Server::bind(&[url], limits).await.expect("a port");
        let Url::Tcp { port, .. } = server.urls()[0] else { return };
        sender.send(port).expect("the receiver waits");
        server.serve(tree, pending()).await.expect("the server never ends");
    });
}

/// Creates a directory that contains files of different types.
fn dynamic() -> Dir {
    let (root, sub, live) = (Dir::new(), Dir::new(), Live::new(0u32));
    sub.insert(Entry::file("live", live.file(|value| format!("{value}\n"))));
    root.insert(Entry::file("status", Status::new(|| Ok("well\n".to_owned()))));
    root.insert(Entry::file("ctl", Command::new(|line| Ok(format!("you said {line}\n")))));
    root.insert(Entry::dir("sub", sub));
    root
}

fn database() -> Tree {
    let database =
        Database::with_memory(Arc::new(MemoryStore::new()), SPACE).expect("an empty database");
    datakit_db::file_tree(&database, Entry::dir("debug", Dir::new()))
}

/// Encodes Tversion and Tattach.
fn begin(dialect: Dialect) -> Vec<u8> {
    let version = Tmessage::Version { msize: MSIZE, version: Str(dialect.version().as_bytes()) };
    let (uname, aname) = (Str(b"glenda"), Str(b""));
    let attach =
        Tmessage::Attach { fid: Fid(0), afid: Fid::NONE, uname, aname, n_uname: Numeric::NONE };
    let mut all = Vec::new();
    for (tag, request) in [(Tag::NONE, version), (Tag(0), attach)] {
        let mut buf = [0; 64];
        let length = request.encode(tag, dialect, &mut buf).expect("64 bytes are enough");
        all.extend_from_slice(&buf[..length]);
    }
    all
}

/// Converts each record of the form `length[2] type[1] tag[1] body[length]` in the input to a
/// frame. The last body may be truncated by the end of the input.
fn framed(mut data: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some((&[low, high, kind, tag], rest)) = data.split_first_chunk() {
        let (body, rest) =
            rest.split_at(usize::from(u16::from_le_bytes([low, high])).min(rest.len()));
        all.extend_from_slice(&(7 + body.len() as u32).to_le_bytes());
        all.extend_from_slice(&[kind, tag, 0]);
        all.extend_from_slice(body);
        data = rest;
    }
    all
}

/// Sends the input and returns everything that the server sends until it closes the connection.
fn exchange(port: u16, input: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    let mut writer = stream.try_clone().expect("a second handle");
    let mut replies = Vec::new();
    thread::scope(|scope| {
        scope.spawn(move || {
            // The server may close the connection before it has read the entire input.
            let _ = writer.write_all(input);
            let _ = writer.shutdown(Shutdown::Write);
        });
        if let Err(error) = stream.read_to_end(&mut replies) {
            assert_eq!(
                error.kind(),
                std::io::ErrorKind::ConnectionReset,
                "the server does not close the connection: {error}"
            );
        }
    });
    replies
}
