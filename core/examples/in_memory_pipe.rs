//! Serves a tree over an in-memory pipe, sets a parameter through 9P and prints every message.
//!
//! Run the example with `cargo run -p datakit-core --example in_memory_pipe`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use datakit_core::files::{Param, Value};
use datakit_core::serve::{Memory, serve};
use datakit_core::session::{FidArray, Limits, Session};
use datakit_core::vfs::{Dir, StaticTree, dir, file};
use datakit_core::wire::{Data, Dialect, Fid, List, Numeric, Rmessage, Tag, Tmessage};
use embassy_futures::block_on;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::pipe::Pipe;
use embedded_io_async::Read;

// The server's tree has one directory, which contains one parameter.
static GAIN: Value<f32> = Value::new(1.0);
static RADIO: Dir = Dir::new(&[file(
    "gain",
    &Param::new(&GAIN).range(0.0, 10.0).unit(&"dB").doc("front-end gain"),
)]);
static ROOT: Dir = Dir::new(&[dir("radio", &RADIO)]);

type Bytes = Pipe<NoopRawMutex, 1024>;

/// A client that prints every request and reply.
struct Client<'p> {
    requests: &'p Bytes,
    replies: &'p Bytes,
}

impl Client<'_> {
    /// Sends a request and returns the reply as a line of text.
    async fn ask(&mut self, request: Tmessage<'_>) -> String {
        let mut frame = [0; 256];
        let len = request.encode(Tag(1), Dialect::Legacy, &mut frame).unwrap();
        self.requests.write_all(&frame[..len]).await;
        self.replies.read_exact(&mut frame[..4]).await.unwrap();
        let [a, b, c, d, ..] = frame;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        self.replies.read_exact(&mut frame[4..len]).await.unwrap();
        let (_, reply) = Rmessage::decode(&frame[..len], Dialect::Legacy).unwrap();
        let text = match reply {
            Rmessage::Read { data } => String::from_utf8_lossy(data.0).into_owned(),
            reply => reply.to_string(),
        };
        println!("{request}\n    {text}");
        text
    }

    /// Sets the gain to 2.5, reads it back and then tries to set it to an out-of-range value.
    /// Returns the replies to the read and to the failed write.
    async fn run(&mut self) -> [String; 2] {
        let (uname, aname) = ("user".into(), "".into());
        self.ask(Tmessage::Version { msize: 1024, version: "9P2000".into() }).await;
        let attach =
            Tmessage::Attach { fid: Fid(0), afid: Fid::NONE, uname, aname, n_uname: Numeric::NONE };
        self.ask(attach).await;
        let path = ["radio".into(), "gain".into()];
        let walk = Tmessage::Walk { fid: Fid(0), newfid: Fid(1), wnames: List::Slice(&path) };
        self.ask(walk).await;
        self.ask(Tmessage::Open { fid: Fid(1), mode: 2 }).await;
        self.ask(Tmessage::Write { fid: Fid(1), offset: 0, data: Data(b"2.5\n") }).await;
        let value = self.ask(Tmessage::Read { fid: Fid(1), offset: 0, count: 64 }).await;
        let refusal =
            self.ask(Tmessage::Write { fid: Fid(1), offset: 0, data: Data(b"11\n") }).await;
        [value, refusal]
    }
}

fn main() {
    let (requests, replies) = (Bytes::new(), Bytes::new());
    let tree: StaticTree = StaticTree::new(&ROOT);
    let session = Session::new(&tree, FidArray::<_, 8>::new(), Limits::new(1024));
    let mut memory = Memory::<2, 1024>::new();
    let server = serve(&session, &requests, &replies, &mut memory);
    let mut client = Client { requests: &requests, replies: &replies };
    match block_on(select(server, client.run())) {
        Either::First(end) => panic!("the server ended: {end}"),
        Either::Second([value, refusal]) => {
            assert_eq!(value, "2.5\n");
            assert!(refusal.starts_with("Rerror"), "{refusal}");
            assert_eq!(GAIN.get(), 2.5);
        }
    }
}

#[test]
fn sets_a_parameter_through_the_pipe() {
    main();
}
