//! Numbers that look like chance and are the same in every run.

/// A generator of Marsaglia's, "xorshift".
pub struct Random(u32);

impl Random {
    /// One of its sequences.
    pub fn new(seed: u32) -> Random {
        // From 0 it never gets away.
        Random(seed.wrapping_mul(0x9e37_79b9) | 1)
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// A number below `bound`, which is small.
    pub fn below(&mut self, bound: u32) -> u32 {
        (self.next() >> 8) % bound
    }
}
