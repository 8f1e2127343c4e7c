//! Memory for frames and batches: small ones stay with their owner, large ones are borrowed from a pool of the thread.

use std::cell::RefCell;

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
    static POOLS: RefCell<[Pool; 2]> = const {
        RefCell::new([
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

/// A batch in hand: no memory at all while there is none.
#[derive(Default)]
pub(super) struct Batch(Option<Box<[u8]>>);

impl Buffer for Batch {
    fn room(&mut self, n: usize, keep: usize) -> &mut [u8] {
        // Whatever is to be kept fits: it came from this buffer.
        let _ = keep;
        self.0.get_or_insert_with(|| borrow(n.min(LARGE)))
    }

    fn rest(&mut self) {
        if let Some(buf) = self.0.take() {
            give_back(buf);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.rest();
    }
}

/// The frame of one worker.
pub(super) struct Frame {
    small: [u8; SMALL],
    large: Option<Box<[u8]>>,
}

impl Frame {
    pub(super) fn new() -> Frame {
        Frame { small: [0; SMALL], large: None }
    }
}

impl Buffer for Frame {
    fn room(&mut self, n: usize, keep: usize) -> &mut [u8] {
        if self.large.as_ref().map_or(SMALL, |large| large.len()) < n {
            let mut larger = borrow(n);
            let old = self.large.as_deref().unwrap_or(&self.small);
            for (to, from) in larger.iter_mut().zip(old.iter().take(keep)) {
                *to = *from;
            }
            if let Some(old) = self.large.replace(larger) {
                give_back(old);
            }
        }
        match &mut self.large {
            Some(large) => large,
            None => &mut self.small,
        }
    }

    fn rest(&mut self) {
        if let Some(large) = self.large.take() {
            give_back(large);
        }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.rest();
    }
}
