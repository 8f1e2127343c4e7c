//! Pseudo-random numbers that are the same on every run.

/// Marsaglia's xorshift generator.
pub struct Random(u32);

impl Random {
    /// Creates a generator. The seed determines the sequence.
    pub fn new(seed: u32) -> Random {
        // The state must not be 0, because the generator would then return only zeros.
        Random(seed.wrapping_mul(0x9e37_79b9) | 1)
    }

    /// Returns the next number.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// Returns a number less than `bound`. The numbers are evenly distributed only if `bound` is
    /// small.
    pub fn below(&mut self, bound: u32) -> u32 {
        (self.next() >> 8) % bound
    }
}
