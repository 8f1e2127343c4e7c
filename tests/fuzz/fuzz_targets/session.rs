//! Checks that a session on a scratch tree answers every frame, regardless of its content, with a
//! well-formed frame that has the same tag.
//!
//! The input consists of a byte that selects the dialect, followed by requests of the form
//! `length[2] type[1] body[length]`. Tversion and Tattach are sent first because the fuzzer would
//! rarely generate them. The input may contain further Tversion and Tattach messages.
#![no_main]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use datakit_core::session::{FidArray, Limits, Session};
use datakit_core::wire::{self, Dialect, Fid, Numeric, Rmessage, Str, Tag, Tmessage};
use datakit_server::scratch::Scratch;
use libfuzzer_sys::fuzz_target;

const MSIZE: u32 = 8192;
/// The memory limit for the tree in bytes. The limit is low so that fuzzer inputs can reach it.
const SPACE: u64 = 64 * 1024;

type Scratched<'v> = Session<'v, Scratch, FidArray<Scratch, 16>>;

fuzz_target!(|data: &[u8]| {
    let Some((&first, mut rest)) = data.split_first() else { return };
    let dialect = [Dialect::Legacy, Dialect::Unix, Dialect::Linux][usize::from(first % 3)];
    let tree = Scratch::with_limit(SPACE);
    let session: Scratched<'_> = Session::new(&tree, FidArray::new(), Limits::new(MSIZE));
    begin(&session, dialect);
    let mut tag = 0u16;
    while let Some((kind, body, after)) = next(rest) {
        ask(&session, &frame(kind, Tag(tag), body));
        tag = tag.wrapping_add(1);
        rest = after;
    }
    let _ = once(session.close());
    assert_eq!(session.fids(), 0);
});

fn begin(session: &Scratched<'_>, dialect: Dialect) {
    let version = Tmessage::Version { msize: MSIZE, version: Str(dialect.version().as_bytes()) };
    let (uname, aname) = (Str(b"glenda"), Str(b""));
    let attach =
        Tmessage::Attach { fid: Fid(0), afid: Fid::NONE, uname, aname, n_uname: Numeric::NONE };
    for (tag, request) in [(Tag::NONE, version), (Tag(0), attach)] {
        let mut buf = [0; 64];
        let len = request.encode(tag, dialect, &mut buf).expect("64 bytes are enough");
        ask(session, &buf[..len]);
    }
    assert_eq!(session.dialect(), Some(dialect));
    assert_eq!(session.fids(), 1);
}

/// Returns the type and body of the next request, followed by the rest of the input. The body may
/// be truncated by the end of the input.
fn next(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[low, high, kind], rest) = data.split_first_chunk()?;
    let len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
    let (body, rest) = rest.split_at(len);
    Some((kind, body, rest))
}

fn frame(kind: u8, tag: Tag, body: &[u8]) -> Vec<u8> {
    let size = (wire::HEADER + body.len()) as u32;
    [&size.to_le_bytes()[..], &[kind], &tag.0.to_le_bytes(), body].concat()
}

/// Submits a request in the same way as the server. If the session cannot answer immediately, the
/// answer's future is polled once and then dropped.
fn ask(session: &Scratched<'_>, request: &[u8]) {
    let msize = session.msize() as usize;
    if request.len() > msize {
        // A server closes the connection after a frame longer than msize.
        return;
    }
    let mut buf = vec![0; msize];
    if let Some(n) = session.try_answer_now(request, &mut buf) {
        return sound(session, request, &buf[..n], msize);
    }
    let mut buf = vec![0; session.buffer_size(request)];
    buf[..request.len()].copy_from_slice(request);
    let Some(n) = once(session.answer(&mut buf, request.len())) else { return };
    sound(session, request, &buf[..n], msize);
}

fn sound(session: &Scratched<'_>, request: &[u8], reply: &[u8], msize: usize) {
    assert!(reply.len() <= msize, "{} bytes, msize {msize}", reply.len());
    let dialect = session.dialect().unwrap_or(Dialect::Legacy);
    let (tag, message) = match Rmessage::decode(reply, dialect) {
        Ok(decoded) => decoded,
        Err(malformed) => panic!("{malformed:?}: {reply:02x?} to {request:02x?}"),
    };
    assert_eq!(tag, wire::tag(request));
    let error = matches!(message, Rmessage::Error { .. } | Rmessage::Lerror { .. });
    assert!(
        error || wire::kind(reply) == wire::kind(request).wrapping_add(1),
        "{message:?} to {request:02x?}"
    );
}

/// Polls a future once and returns its value if it is ready.
fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
