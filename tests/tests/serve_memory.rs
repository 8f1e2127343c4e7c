//! Tests for the memory that a connection's workers hold while they wait. The tests do not use
//! sockets.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use datakit_core::serve::{Buffer, Connection, Io, RequestSlot};
use datakit_core::session::{FidArray, Limits, Session};
use datakit_core::wire::{Dialect, Fid, List, Numeric, Str, Tag, Tmessage as T};
use datakit_server::tree::{Dir, Entry, Live, Tree};
use embedded_io_async::{ErrorType, Read, Write};

/// One direction of an in-memory transport with unlimited capacity.
#[derive(Clone, Default)]
struct Bytes(Rc<RefCell<VecDeque<u8>>>);

impl ErrorType for Bytes {
    type Error = Infallible;
}

impl Read for Bytes {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        // The waker is not stored, because the test polls until nothing changes.
        poll_fn(|_| match self.0.borrow_mut().pop_front() {
            Some(byte) => {
                buf[0] = byte;
                Poll::Ready(Ok(1))
            }
            None => Poll::Pending,
        })
        .await
    }
}

impl Write for Bytes {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        self.0.borrow_mut().extend(buf);
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A buffer that shares a counter with other buffers. The counter contains the number of buffers
/// that are larger than [`SMALL`].
struct Counted {
    bytes: Vec<u8>,
    large: Rc<Cell<usize>>,
}

const SMALL: usize = 256;

impl Counted {
    fn new(large: &Rc<Cell<usize>>) -> Counted {
        Counted { bytes: vec![0; SMALL], large: large.clone() }
    }
}

impl Buffer for Counted {
    fn reserve(&mut self, n: usize, _: usize) -> &mut [u8] {
        if n > self.bytes.len() {
            self.large.set(self.large.get() + usize::from(self.bytes.len() == SMALL));
            self.bytes.resize(n, 0);
        }
        &mut self.bytes
    }

    fn release(&mut self) {
        if self.bytes.len() > SMALL {
            self.large.set(self.large.get() - 1);
            self.bytes.truncate(SMALL);
        }
    }
}

#[test]
fn only_requests_in_flight_hold_large_buffers() {
    let (root, live) = (Dir::new(), Live::new(0));
    root.insert(Entry::file("live", live.file(|n| format!("{n}\n"))));
    let (tree, large) = (Tree::new(root), Rc::new(Cell::new(0)));
    let session: Session<'_, _, FidArray<_, 8>> =
        Session::new(&tree, FidArray::new(), Limits::default());
    let slots: [RequestSlot; 4] = Default::default();
    let (rx, tx) = (Bytes::default(), Bytes::default());
    let mut io = Io::new(rx.clone(), tx.clone(), [0; 4096], [0; 4096]);
    let connection = Connection::new(&session, &mut io, slots.as_slice());
    let mut workers = [
        pin!(connection.worker(0, Counted::new(&large))),
        pin!(connection.worker(1, Counted::new(&large))),
        pin!(connection.worker(2, Counted::new(&large))),
    ];
    let mut run = || {
        let mut cx = Context::from_waker(Waker::noop());
        (0..3).for_each(|_| {
            workers
                .iter_mut()
                .for_each(|worker| assert!(worker.as_mut().poll(&mut cx).is_pending()))
        });
    };
    let mut tag = 0;
    let mut send = |request: &T<'_>| {
        let mut frame = [0; 128];
        tag += 1;
        let len = request.encode(Tag(tag), Dialect::Legacy, &mut frame).unwrap();
        rx.0.borrow_mut().extend(&frame[..len]);
    };
    let (uname, aname) = ("u".into(), "".into());
    send(&T::Version { msize: 65536, version: "9P2000".into() });
    send(&T::Attach { fid: Fid(0), afid: Fid::NONE, uname, aname, n_uname: Numeric::NONE });
    for fid in [Fid(1), Fid(2)] {
        send(&T::Walk { fid: Fid(0), newfid: fid, wnames: List::Slice(&[Str(b"live")]) });
        send(&T::Open { fid, mode: 0 });
        // The first read returns the value. The second read returns no bytes, because it starts at
        // the end of the value. The third read waits for the next value.
        for offset in [0, 2, 2] {
            send(&T::Read { fid, offset, count: 60_000 });
        }
    }
    run();
    assert_eq!((connection.in_flight(), large.get()), (2, 2));
    live.publish(1);
    run();
    assert_eq!((connection.in_flight(), large.get()), (0, 0));
}
