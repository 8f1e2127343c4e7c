//! Serves a tree over a transport with a custom API. Two newtypes adapt the transport to
//! `embedded-io-async`.
//!
//! Run the example with `cargo run -p datakit-core --example transport`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt;

use datakit_core::files::Blob;
use datakit_core::serve::{Disconnect, Memory, serve};
use datakit_core::session::{FidArray, Limits, Session};
use datakit_core::vfs::{Dir, StaticTree, file};
use datakit_core::wire::{Dialect, Rmessage, Tag, Tmessage};
use embassy_futures::block_on;
use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};

/// A third-party driver that does not use `embedded-io-async`. The driver in this example replays a
/// recording.
mod driver {
    #[derive(Debug)]
    pub(crate) struct LineError;

    pub(crate) struct Receiver {
        pub(crate) recording: Vec<u8>,
    }

    impl Receiver {
        /// Waits for bytes, copies them to `buf` and returns the number of bytes copied. Returns
        /// `None` after the peer has closed the connection.
        pub(crate) async fn receive(&mut self, buf: &mut [u8]) -> Result<Option<usize>, LineError> {
            let n = buf.len().min(self.recording.len());
            buf[..n].copy_from_slice(&self.recording[..n]);
            self.recording.drain(..n);
            Ok(Some(n).filter(|n| *n > 0))
        }
    }

    #[derive(Default)]
    pub(crate) struct Sender {
        pub(crate) sent: Vec<u8>,
    }

    impl Sender {
        /// Sends all bytes.
        pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), LineError> {
            self.sent.extend_from_slice(bytes);
            Ok(())
        }
    }
}

/// Wraps the driver's error to provide the error kind and the `core::error::Error` implementation
/// that `embedded-io` requires.
#[derive(Debug)]
struct UartError(driver::LineError);

impl fmt::Display for UartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial line: {:?}", self.0)
    }
}

impl std::error::Error for UartError {}

impl Error for UartError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// The receiving half. A read returns `Ok(0)` after the peer has closed the connection.
struct UartRx(driver::Receiver);

impl ErrorType for UartRx {
    type Error = UartError;
}

impl Read for UartRx {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, UartError> {
        Ok(self.0.receive(buf).await.map_err(UartError)?.unwrap_or(0))
    }
}

/// The sending half.
struct UartTx<'d>(&'d mut driver::Sender);

impl ErrorType for UartTx<'_> {
    type Error = UartError;
}

impl Write for UartTx<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, UartError> {
        self.0.send(buf).await.map_err(UartError)?;
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), UartError> {
        Ok(())
    }
}

static ROOT: Dir = Dir::new(&[file("version", &Blob::new("1.0\n"))]);

fn main() {
    let mut recording = vec![0; 64];
    let hello = Tmessage::Version { msize: 8192, version: "9P2000.u".into() };
    let len = hello.encode(Tag::NONE, Dialect::Legacy, &mut recording).unwrap();
    recording.truncate(len);

    let tree: StaticTree = StaticTree::new(&ROOT);
    let session = Session::new(&tree, FidArray::<_, 8>::new(), Limits::new(4096).iounit(512));
    let mut memory = Memory::<2, 600>::new();
    let (rx, mut sender) = (UartRx(driver::Receiver { recording }), driver::Sender::default());
    let end = block_on(serve(&session, rx, UartTx(&mut sender), &mut memory));
    assert!(matches!(end, Disconnect::Closed), "{end}");

    let (_, reply) = Rmessage::decode(&sender.sent, Dialect::Legacy).unwrap();
    println!("{hello}\n    {reply}");
    assert_eq!(reply, Rmessage::Version { msize: 4096, version: "9P2000.u".into() });
}

#[test]
fn answers_over_a_foreign_transport() {
    main();
}
