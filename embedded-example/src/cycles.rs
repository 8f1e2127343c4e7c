//! The arithmetic for a clock that extends a 24-bit counter. The counter counts down and raises an
//! interrupt each time it wraps around.

/// The highest value of the counter.
pub const TOP: u32 = 0x00ff_ffff;

/// Returns the number of cycles since boot, given the number of completed `rounds` of the counter
/// and its current count `left`. The result is never less than `before`, which must be the previous
/// result.
///
/// A round is one pass through all values of the counter. Each round, including the first, starts
/// with a count of 0, which raises the interrupt. The counter then counts down from the highest
/// value. An emulator on a busy host may report a count of 0 before it raises the interrupt. Until
/// the interrupt is raised, the number of rounds is one too low, and the clock does not advance.
pub fn cycles(rounds: u32, left: u32, before: u64) -> u64 {
    let elapsed = (TOP + 1).wrapping_sub(left) & TOP;
    (u64::from(rounds) * u64::from(TOP + 1) + u64::from(elapsed)).max(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_contiguous() {
        assert_eq!(cycles(0, 0, 0), 0);
        assert_eq!(cycles(0, TOP, 0), 1);
        assert_eq!(cycles(0, 1, 0), u64::from(TOP));
        assert_eq!(cycles(1, 0, 0), u64::from(TOP) + 1);
        assert_eq!(cycles(u32::MAX, 1, 0), (1 << 56) - 1);
    }

    #[test]
    fn time_never_goes_back() {
        let mut before = 0;
        // The fourth reading is taken at the end of the first round, before the interrupt is
        // raised.
        for (rounds, left) in [(0, 0), (0, TOP), (0, 1), (0, 0), (1, 0), (1, TOP), (1, 5)] {
            let now = cycles(rounds, left, before);
            assert!(now >= before, "{now} after {before}");
            before = now;
        }
        assert_eq!(before, 2 * (u64::from(TOP) + 1) - 5);
    }
}
