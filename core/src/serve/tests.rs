//! Tests for the server loop over a scripted transport.

use core::convert::Infallible;
use std::vec::Vec;

use embassy_futures::block_on;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

use super::{Disconnect, Memory, serve};
use crate::files::Live;
use crate::session::{FidArray, Limits, Session};
use crate::vfs::{Dir, StaticTree, file};
use crate::wire::{Dialect, Fid, Numeric, Rmessage as R, Tag, Tmessage as T};

static NEWS: Live<u32> = Live::new(0);
static ROOT: Dir = Dir::new(&[file("news", &NEWS.file(|value, out| writeln!(out, "{value}")))]);

/// A reader that returns the scripted bytes, followed by EOF.
struct Script<'a>(&'a [u8]);

impl ErrorType for Script<'_> {
    type Error = ErrorKind;
}

impl Read for Script<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        self.0.read(buf).await.map_err(|_| ErrorKind::Other)
    }
}

/// A writer that collects the replies.
struct Sent<'a>(&'a mut Vec<u8>);

impl ErrorType for Sent<'_> {
    type Error = Infallible;
}

impl Write for Sent<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        self.0.extend_from_slice(buf);
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

fn script(messages: &[(u16, T<'_>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, message) in messages {
        let mut frame = [0; 256];
        let len = message.encode(Tag(*tag), Dialect::Unix, &mut frame).unwrap();
        bytes.extend_from_slice(&frame[..len]);
    }
    bytes
}

/// Serves one connection that sends `messages` and then closes, and returns the replies.
fn converse(
    memory: &mut Memory<4, 512>,
    fids: &mut FidArray<StaticTree, 4>,
    messages: &[(u16, T<'_>)],
) -> Vec<(Tag, std::string::String)> {
    let tree: StaticTree = StaticTree::new(&ROOT);
    let session = Session::new(&tree, fids, Limits::new(4096).iounit(400));
    let (bytes, mut sent) = (script(messages), Vec::new());
    assert_eq!(
        block_on(serve(&session, Script(&bytes), Sent(&mut sent), memory)),
        Disconnect::Closed
    );
    let (mut replies, mut rest) = (Vec::new(), &sent[..]);
    while let Some(size) = rest.first_chunk() {
        let (frame, next) = rest.split_at(u32::from_le_bytes(*size) as usize);
        let (tag, reply) = R::decode(frame, Dialect::Unix).unwrap();
        replies.push((tag, std::format!("{reply}")));
        rest = next;
    }
    replies
}

const OPENING: [(u16, T<'static>); 5] = [
    (!0, T::Version { msize: 131_096, version: crate::wire::Str(b"9P2000.u") }),
    (
        1,
        T::Attach {
            fid: Fid(0),
            afid: Fid::NONE,
            uname: crate::wire::Str(b""),
            aname: crate::wire::Str(b""),
            n_uname: Numeric::NONE,
        },
    ),
    (
        2,
        T::Walk {
            fid: Fid(0),
            newfid: Fid(1),
            wnames: crate::wire::List::Slice(&[crate::wire::Str(b"news")]),
        },
    ),
    (3, T::Open { fid: Fid(1), mode: 0 }),
    (4, T::Read { fid: Fid(1), offset: 0, count: 64 }),
];

#[test]
fn memory_is_clean_for_the_next_connection() {
    let (mut memory, mut fids) = (Memory::new(), FidArray::new());
    // The first of these reads returns no data, which marks the end of a value. The other two reads
    // wait.
    let waits = T::Read { fid: Fid(1), offset: 2, count: 64 };
    let messages: Vec<_> =
        OPENING.into_iter().chain([(5, waits), (6, waits), (7, waits)]).collect();
    for _ in 0..3 {
        // The connection closes while two requests are waiting and two fids are in use. If a slot
        // stayed busy, the Tversion of the next connection would wait forever. If a fid stayed in
        // use, Tattach would fail.
        let replies = converse(&mut memory, &mut fids, &messages);
        assert_eq!(replies.len(), 6, "{replies:?}");
    }
}

#[test]
fn a_blocking_read_gets_a_small_buffer() {
    let tree: StaticTree = StaticTree::new(&ROOT);
    let session = Session::new(&tree, FidArray::<_, 4>::new(), Limits::default());
    let mut buf = std::vec![0; 1 << 17];
    let mut size = 0;
    for message in
        OPENING.into_iter().chain([(5, T::Read { fid: Fid(1), offset: 2, count: 100_000 })])
    {
        let bytes = script(&[message]);
        size = session.buffer_size(&bytes);
        buf[..bytes.len()].copy_from_slice(&bytes);
        let _ = embassy_futures::poll_once(session.answer(&mut buf, bytes.len()));
    }
    assert_eq!(size, crate::session::MAX_BLOCKING_READ + crate::wire::RREAD_HEADER);
}
