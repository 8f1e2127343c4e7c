//! The arithmetic of a clock: a counter of 24 bits that counts down, and an interrupt each time it
//! comes round.

/// The highest count.
pub const TOP: u32 = 0x00ff_ffff;

/// Cycles since boot, after so many rounds and with so much `left` of the next one; never less than
/// `before`, the last answer.
///
/// A round begins at 0, where the interrupt is raised, and goes on with the highest count; so does
/// the very first one. An emulator that its host keeps waiting shows the 0 of a round that has
/// ended, but raises the interrupt later: between the two a round is missing, and the clock stands
/// still.
pub fn cycles(rounds: u32, left: u32, before: u64) -> u64 {
    let elapsed = (TOP + 1).wrapping_sub(left) & TOP;
    (u64::from(rounds) * u64::from(TOP + 1) + u64::from(elapsed)).max(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_follow_each_other_without_a_gap() {
        assert_eq!(cycles(0, 0, 0), 0);
        assert_eq!(cycles(0, TOP, 0), 1);
        assert_eq!(cycles(0, 1, 0), u64::from(TOP));
        assert_eq!(cycles(1, 0, 0), u64::from(TOP) + 1);
        assert_eq!(cycles(u32::MAX, 1, 0), (1 << 56) - 1);
    }

    #[test]
    fn time_never_goes_back() {
        let mut before = 0;
        // The fourth shows the end of the first round, of which the interrupt is still to come.
        for (rounds, left) in [(0, 0), (0, TOP), (0, 1), (0, 0), (1, 0), (1, TOP), (1, 5)] {
            let now = cycles(rounds, left, before);
            assert!(now >= before, "{now} after {before}");
            before = now;
        }
        assert_eq!(before, 2 * (u64::from(TOP) + 1) - 5);
    }
}
