//! The formats in which a store keeps its values in flash.

use crate::Error;
use crate::image::Image;
use crate::record::Header;

/// The format in which a [`Store`](crate::Store) keeps its values in flash: a [`Log`](crate::Log)
/// or, with the `sequential-storage` feature, a `SequentialStorage`. Other crates cannot implement
/// this trait.
pub trait Backend: Records {}

impl<R: Records> Backend for R {}

/// Reads and writes records in flash.
pub trait Records {
    /// Whether [`remove`](Records::remove) replaces records with records of defaults that have to be
    /// written.
    const REPLACES_REMOVED: bool;

    /// Returns whether all values can be erased after reading them has failed with `error`.
    fn can_erase(error: Error) -> bool;

    /// Copies the newest record of each parameter to `image`.
    async fn mount<const N: usize>(&mut self, image: &mut Image<N>) -> Result<(), Error>;

    /// Removes the records that `is_wanted` accepts from `image`. The next rewrite removes them from
    /// flash.
    fn remove<const N: usize>(image: &mut Image<N>, is_wanted: &mut dyn FnMut(&Header) -> bool);

    /// Requires that the next write is a rewrite.
    fn require_rewrite(&mut self);

    /// Returns whether `size` bytes of records can be [appended](Records::append).
    fn fits(&self, size: usize) -> bool;

    /// Writes the records in `image` that are not in flash.
    async fn append<const N: usize>(&mut self, image: &mut Image<N>) -> Result<(), Error>;

    /// Writes all records in `image` to a block that has been erased.
    async fn rewrite<const N: usize>(&mut self, image: &mut Image<N>) -> Result<(), Error>;

    /// Returns the number of blocks that an erase of all values erases.
    fn blocks(&self) -> u32;

    /// Returns how many times a block has been erased.
    fn erases(&self) -> u32;
}
