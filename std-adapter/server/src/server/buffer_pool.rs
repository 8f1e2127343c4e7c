//! Buffers for frames and batches, taken from a per-thread pool. An idle connection holds no
//! buffers.

use std::cell::{Cell, RefCell};

use datakit_core::serve::Buffer;

/// The size of the largest message at the default msize.
const HUGE: usize = super::limits::MSIZE as usize;
/// The size of a batch that contains 32 requests of 4 KiB each, including their headers.
const LARGE: usize = 136 * 1024;
/// The buffer size for blocking reads from streams, and for most reads of directories and text
/// files.
const MIDDLE: usize = datakit_core::session::MAX_BLOCKING_READ + 24;
/// The buffer size for requests without data and for most replies.
const SMALL: usize = 256;

/// The offset within a page at which a large buffer starts. Buffers from the C library's allocator
/// start shortly after a page boundary, but the kernel copies from and to whole pages. On AMD Zen
/// 3, a copy takes 17 times as long if the target's offset within its page exceeds the source's by
/// 1 to 31 bytes.
const PAGE_OFFSET: usize = 1024;
const PAGE: usize = 4096;

/// A buffer from the pool.
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
        let start = PAGE_OFFSET.wrapping_sub(bytes.as_ptr().addr()) % PAGE;
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

/// The free buffers of one size.
struct SizeClass {
    size: usize,
    max_spare: usize,
    spare: Vec<Block>,
}

thread_local! {
    static SIZE_CLASSES: RefCell<[SizeClass; 4]> = const {
        RefCell::new([
            SizeClass { size: SMALL, max_spare: 64, spare: Vec::new() },
            SizeClass { size: MIDDLE, max_spare: 64, spare: Vec::new() },
            SizeClass { size: LARGE, max_spare: 8, spare: Vec::new() },
            SizeClass { size: HUGE, max_spare: 2, spare: Vec::new() },
        ])
    };
}

/// Returns a buffer of at least `n` bytes. Takes the buffer from the smallest size class that fits.
/// If `n` exceeds every size class, the buffer is allocated outside the pool.
fn acquire(n: usize) -> Block {
    SIZE_CLASSES.with_borrow_mut(|classes| match classes.iter_mut().find(|class| n <= class.size) {
        Some(class) => class.spare.pop().unwrap_or_else(|| Block::new(class.size)),
        None => Block::new(n),
    })
}

fn release(block: Block) {
    SIZE_CLASSES.with_borrow_mut(|classes| {
        let class = classes
            .iter_mut()
            .find(|class| block.len() == class.size && class.spare.len() < class.max_spare);
        if let Some(class) = class {
            class.spare.push(block);
        }
    });
}

/// The total size, in bytes, of the buffers that a connection holds.
#[derive(Default)]
pub(super) struct BufferedBytes(Cell<usize>);

impl BufferedBytes {
    pub(super) fn get(&self) -> usize {
        self.0.get()
    }

    fn acquire(&self, n: usize) -> Block {
        let block = acquire(n);
        self.0.set(self.0.get().saturating_add(block.len()));
        block
    }

    fn release(&self, block: Block) {
        self.0.set(self.0.get().saturating_sub(block.len()));
        release(block);
    }
}

/// The buffer for a batch of requests or replies. An empty batch uses no memory.
pub(super) struct BatchBuffer<'h> {
    buffered: &'h BufferedBytes,
    block: Option<Block>,
}

impl<'h> BatchBuffer<'h> {
    pub(super) fn new(buffered: &'h BufferedBytes) -> BatchBuffer<'h> {
        BatchBuffer { buffered, block: None }
    }
}

impl Buffer for BatchBuffer<'_> {
    fn reserve(&mut self, n: usize, keep: usize) -> &mut [u8] {
        // Ignore `keep` because the buffer never moves the bytes that it holds.
        let _ = keep;
        self.block.get_or_insert_with(|| self.buffered.acquire(n.min(LARGE))).get()
    }

    fn release(&mut self) {
        if let Some(block) = self.block.take() {
            self.buffered.release(block);
        }
    }
}

impl Drop for BatchBuffer<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// The buffer for one worker's frame. An idle worker's buffer uses no memory.
pub(super) struct FrameBuffer<'h> {
    buffered: &'h BufferedBytes,
    block: Block,
}

impl<'h> FrameBuffer<'h> {
    pub(super) fn new(buffered: &'h BufferedBytes) -> FrameBuffer<'h> {
        FrameBuffer { buffered, block: Block::default() }
    }
}

impl Buffer for FrameBuffer<'_> {
    fn reserve(&mut self, n: usize, keep: usize) -> &mut [u8] {
        if self.block.len() < n {
            let larger = self.buffered.acquire(n);
            let mut old = std::mem::replace(&mut self.block, larger);
            for (to, from) in self.block.get().iter_mut().zip(old.get().iter().take(keep)) {
                *to = *from;
            }
            self.buffered.release(old);
        }
        self.block.get()
    }

    fn release(&mut self) {
        if self.block.len() > 0 {
            self.buffered.release(std::mem::take(&mut self.block));
        }
    }
}

impl Drop for FrameBuffer<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_reused_and_start_where_copies_are_fast() {
        for size in [LARGE, HUGE, HUGE + 1] {
            let mut block = acquire(size);
            assert_eq!((block.len(), block.get().len()), (size, size));
            assert_eq!(block.get().as_ptr().addr() % PAGE, PAGE_OFFSET);
            let address = block.get().as_ptr();
            release(block);
            // A buffer that is larger than the largest size class is not returned to the pool.
            assert!(size > HUGE || acquire(size).get().as_ptr() == address);
        }
        assert_eq!(acquire(1).get().len(), SMALL);
    }
}
