//! The part of the flash where a store keeps its values.

use core::ops::Range;

use embedded_storage_async::nor_flash::NorFlash;

/// The largest supported read or write size of a flash, in bytes.
pub(crate) const WORD_MAX: usize = 32;

/// The part of the flash where a store keeps its values, divided into blocks of equal size.
///
/// All values must fit into one block. At least two blocks are needed, because a block is erased
/// only after its values have been written to the next block. The blocks are used in turn, so they
/// wear evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    start: u32,
    block: u32,
    blocks: u32,
}

impl Region {
    /// Creates a region with blocks of `block` bytes each. `range` contains the addresses of the
    /// region.
    ///
    /// # Panics
    /// Panics if `block` or the start of `range` is not a multiple of the flash's erase size, or if
    /// `range` does not consist of at least two whole blocks. Also panics if the flash's read or
    /// write size is not a power of two or exceeds 32 bytes. A block must have at least 64 bytes,
    /// and must be at least four times as large as the read size and the write size. In a `const`,
    /// a panic is a compile error.
    #[must_use]
    pub const fn new<F: NorFlash>(range: Range<u32>, block: u32) -> Region {
        let erase = F::ERASE_SIZE as u32;
        let word = word::<F>();
        assert!(
            word <= WORD_MAX && F::READ_SIZE.is_power_of_two() && F::WRITE_SIZE.is_power_of_two(),
            "the read and write sizes of the flash are powers of two of at most 32 bytes"
        );
        assert!(
            block.is_multiple_of(erase) && range.start.is_multiple_of(erase),
            "the start and the block size are multiples of the erase size"
        );
        assert!(
            block >= 64 && block as usize >= 4 * word,
            "a block has at least 64 bytes and at least four words"
        );
        assert!(range.start < range.end, "the range is not empty");
        let size = range.end - range.start;
        assert!(
            size.is_multiple_of(block) && size / block >= 2,
            "the range consists of at least two whole blocks"
        );
        Region { start: range.start, block, blocks: size / block }
    }

    /// Returns the number of bytes in a block.
    #[must_use]
    pub const fn block_size(&self) -> u32 {
        self.block
    }

    /// Returns the number of blocks.
    #[must_use]
    pub const fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Returns the addresses of the region.
    #[cfg(feature = "sequential-storage")]
    pub(crate) const fn range(&self) -> Range<u32> {
        self.start..self.start + self.block * self.blocks
    }

    /// Returns the address of a block.
    pub(crate) const fn address(&self, block: u32) -> u32 {
        self.start + self.block * block
    }

    /// Returns the block after `block`. The last block is followed by the first block.
    pub(crate) const fn next(&self, block: u32) -> u32 {
        if block + 1 < self.blocks { block + 1 } else { 0 }
    }
}

/// Returns the size to which all reads and writes are aligned.
pub(crate) const fn word<F: NorFlash>() -> usize {
    if F::READ_SIZE > F::WRITE_SIZE { F::READ_SIZE } else { F::WRITE_SIZE }
}
