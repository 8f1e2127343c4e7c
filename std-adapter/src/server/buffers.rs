//! Memory for frames and batches, borrowed from a pool of the thread: a connection that does nothing has none.

use std::cell::{Cell, RefCell};

use datakit_core::serve::Buffer;

/// A batch of 32 requests of 4 KiB and their headers, or the largest message.
const LARGE: usize = 136 * 1024;
/// A read that waits in a stream, and most listings and texts.
const MIDDLE: usize = datakit_core::session::WAITING + 24;
/// Enough for every request without data and most replies.
const SMALL: usize = 256;

/// Buffers of one size that a thread keeps for its next request.
struct Pool {
    size: usize,
    most: usize,
    spare: Vec<Box<[u8]>>,
}

thread_local! {
    static POOLS: RefCell<[Pool; 3]> = const {
        RefCell::new([
            Pool { size: SMALL, most: 64, spare: Vec::new() },
            Pool { size: MIDDLE, most: 64, spare: Vec::new() },
            Pool { size: LARGE, most: 8, spare: Vec::new() },
        ])
    };
}

/// A buffer of at least `n` bytes: of the smallest size kept that has them, or made for this one.
fn borrow(n: usize) -> Box<[u8]> {
    POOLS.with_borrow_mut(|pools| match pools.iter_mut().find(|pool| n <= pool.size) {
        Some(pool) => pool.spare.pop().unwrap_or_else(|| vec![0; pool.size].into()),
        None => vec![0; n].into(),
    })
}

fn give_back(buf: Box<[u8]>) {
    POOLS.with_borrow_mut(|pools| {
        if let Some(pool) = pools.iter_mut().find(|pool| buf.len() == pool.size && pool.spare.len() < pool.most) {
            pool.spare.push(buf);
        }
    });
}

/// Bytes that one connection holds in borrowed buffers.
#[derive(Default)]
pub(super) struct Held(Cell<usize>);

impl Held {
    pub(super) fn bytes(&self) -> usize {
        self.0.get()
    }

    fn borrow(&self, n: usize) -> Box<[u8]> {
        let buf = borrow(n);
        self.0.set(self.0.get().saturating_add(buf.len()));
        buf
    }

    fn give_back(&self, buf: Box<[u8]>) {
        self.0.set(self.0.get().saturating_sub(buf.len()));
        give_back(buf);
    }
}

/// A batch in hand: no memory at all while there is none.
pub(super) struct Batch<'h> {
    held: &'h Held,
    buf: Option<Box<[u8]>>,
}

impl<'h> Batch<'h> {
    pub(super) fn new(held: &'h Held) -> Batch<'h> {
        Batch { held, buf: None }
    }
}

impl Buffer for Batch<'_> {
    fn room(&mut self, n: usize, keep: usize) -> &mut [u8] {
        // Whatever is to be kept fits: it came from this buffer.
        let _ = keep;
        self.buf.get_or_insert_with(|| self.held.borrow(n.min(LARGE)))
    }

    fn rest(&mut self) {
        if let Some(buf) = self.buf.take() {
            self.held.give_back(buf);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.rest();
    }
}

/// The frame of one worker: no memory either while it waits for a request.
pub(super) struct Frame<'h> {
    held: &'h Held,
    buf: Box<[u8]>,
}

impl<'h> Frame<'h> {
    pub(super) fn new(held: &'h Held) -> Frame<'h> {
        Frame { held, buf: Box::default() }
    }
}

impl Buffer for Frame<'_> {
    fn room(&mut self, n: usize, keep: usize) -> &mut [u8] {
        if self.buf.len() < n {
            let larger = self.held.borrow(n);
            let old = std::mem::replace(&mut self.buf, larger);
            for (to, from) in self.buf.iter_mut().zip(old.iter().take(keep)) {
                *to = *from;
            }
            self.held.give_back(old);
        }
        &mut self.buf
    }

    fn rest(&mut self) {
        if !self.buf.is_empty() {
            self.held.give_back(std::mem::take(&mut self.buf));
        }
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        self.rest();
    }
}
