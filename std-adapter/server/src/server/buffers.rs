//! Memory for frames and batches, borrowed from a pool of the thread: a connection that does
//! nothing has none.

use std::cell::{Cell, RefCell};

use datakit_core::serve::Buffer;

/// The largest message, unless `--msize` allows a larger one.
const HUGE: usize = super::MSIZE as usize;
/// A batch of 32 requests of 4 KiB and their headers.
const LARGE: usize = 136 * 1024;
/// A read that waits in a stream, and most listings and texts.
const MIDDLE: usize = datakit_core::session::MAX_BLOCKING_READ + 24;
/// Enough for every request without data and most replies.
const SMALL: usize = 256;

/// Where in a page a large buffer starts. The C library puts it right behind the start of one, and
/// the kernel copies to and from whole pages: on AMD's Zen 3 a copy to an address 1 to 31 bytes
/// further in its page than the one it comes from takes 17 times as long as any other.
const IN_PAGE: usize = 1024;
const PAGE: usize = 4096;

/// A buffer that can be given back.
#[derive(Default)]
struct Block {
    bytes: Box<[u8]>,
    start: usize,
}

impl Block {
    fn new(size: usize) -> Block {
        if size < LARGE {
            return Block { bytes: vec![0; size].into(), start: 0 };
        }
        let bytes: Box<[u8]> = vec![0; size.saturating_add(PAGE)].into();
        let start = IN_PAGE.wrapping_sub(bytes.as_ptr().addr()) % PAGE;
        Block { bytes, start }
    }

    fn len(&self) -> usize {
        if self.bytes.len() < LARGE { self.bytes.len() } else { self.bytes.len() - PAGE }
    }

    fn get(&mut self) -> &mut [u8] {
        let end = self.start.saturating_add(self.len());
        self.bytes.get_mut(self.start..end).unwrap_or_default()
    }
}

/// Buffers of one size that a thread keeps for its next request.
struct Pool {
    size: usize,
    most: usize,
    spare: Vec<Block>,
}

thread_local! {
    static POOLS: RefCell<[Pool; 4]> = const {
        RefCell::new([
            Pool { size: SMALL, most: 64, spare: Vec::new() },
            Pool { size: MIDDLE, most: 64, spare: Vec::new() },
            Pool { size: LARGE, most: 8, spare: Vec::new() },
            Pool { size: HUGE, most: 2, spare: Vec::new() },
        ])
    };
}

/// A buffer of at least `n` bytes: of the smallest size kept that has them, or made for this one.
fn borrow(n: usize) -> Block {
    POOLS.with_borrow_mut(|pools| match pools.iter_mut().find(|pool| n <= pool.size) {
        Some(pool) => pool.spare.pop().unwrap_or_else(|| Block::new(pool.size)),
        None => Block::new(n),
    })
}

fn give_back(block: Block) {
    POOLS.with_borrow_mut(|pools| {
        if let Some(pool) =
            pools.iter_mut().find(|pool| block.len() == pool.size && pool.spare.len() < pool.most)
        {
            pool.spare.push(block);
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

    fn borrow(&self, n: usize) -> Block {
        let block = borrow(n);
        self.0.set(self.0.get().saturating_add(block.len()));
        block
    }

    fn give_back(&self, block: Block) {
        self.0.set(self.0.get().saturating_sub(block.len()));
        give_back(block);
    }
}

/// A batch in hand: no memory at all while there is none.
pub(super) struct Batch<'h> {
    held: &'h Held,
    block: Option<Block>,
}

impl<'h> Batch<'h> {
    pub(super) fn new(held: &'h Held) -> Batch<'h> {
        Batch { held, block: None }
    }
}

impl Buffer for Batch<'_> {
    fn reserve(&mut self, n: usize, keep: usize) -> &mut [u8] {
        // Whatever is to be kept fits: it came from this buffer.
        let _ = keep;
        self.block.get_or_insert_with(|| self.held.borrow(n.min(LARGE))).get()
    }

    fn release(&mut self) {
        if let Some(block) = self.block.take() {
            self.held.give_back(block);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// The frame of one worker: no memory either while it waits for a request.
pub(super) struct Frame<'h> {
    held: &'h Held,
    block: Block,
}

impl<'h> Frame<'h> {
    pub(super) fn new(held: &'h Held) -> Frame<'h> {
        Frame { held, block: Block::default() }
    }
}

impl Buffer for Frame<'_> {
    fn reserve(&mut self, n: usize, keep: usize) -> &mut [u8] {
        if self.block.len() < n {
            let larger = self.held.borrow(n);
            let mut old = std::mem::replace(&mut self.block, larger);
            for (to, from) in self.block.get().iter_mut().zip(old.get().iter().take(keep)) {
                *to = *from;
            }
            self.held.give_back(old);
        }
        self.block.get()
    }

    fn release(&mut self) {
        if self.block.len() > 0 {
            self.held.give_back(std::mem::take(&mut self.block));
        }
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_start_where_copies_are_fast_and_are_used_again() {
        for size in [LARGE, HUGE, HUGE + 1] {
            let mut block = borrow(size);
            assert_eq!((block.len(), block.get().len()), (size, size));
            assert_eq!(block.get().as_ptr().addr() % PAGE, IN_PAGE);
            let place = block.get().as_ptr();
            give_back(block);
            // One that is larger than all that are kept may come to lie anywhere.
            assert!(size > HUGE || borrow(size).get().as_ptr() == place);
        }
        assert_eq!(borrow(1).get().len(), SMALL);
    }
}
