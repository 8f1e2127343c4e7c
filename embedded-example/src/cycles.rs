//! The arithmetic for a clock that combines a fast 24-bit counter with a counter of seconds. The
//! fast counter counts down and wraps around without an interrupt.

/// The highest value of the fast counter.
pub const TOP: u32 = 0x00ff_ffff;

/// The number of cycles in a round, which is one pass through all values of the fast counter.
const ROUND: u64 = TOP as u64 + 1;

/// Returns the number of cycles since boot. The result is never less than `before`, which must be
/// the previous result.
///
/// `left` is the current value of the fast counter. Each round, including the first, starts with a
/// value of 0. The counter then counts down from the highest value. `least` is the number of cycles
/// in the whole seconds that have passed. A second must be shorter than a round.
///
/// The fast counter tells how far the current round has advanced, and `least` tells which round it
/// is. An emulator on a busy host may count a second late. The clock is then one or more rounds
/// late until the second has been counted.
pub fn cycles(before: u64, left: u32, least: u64) -> u64 {
    let position = ROUND.wrapping_sub(u64::from(left));
    let now = before + (position.wrapping_sub(before) & u64::from(TOP));
    now + least.saturating_sub(now).div_ceil(ROUND) * ROUND
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 12_500_000;

    /// Returns the values of both counters at a time. The seconds are counted `late` cycles late.
    fn counters(time: u64, late: u64) -> (u32, u64) {
        let left = ROUND.wrapping_sub(time) & u64::from(TOP);
        (left as u32, time.saturating_sub(late) / SECOND * SECOND)
    }

    #[test]
    fn rounds_are_contiguous() {
        assert_eq!(cycles(0, 0, 0), 0);
        assert_eq!(cycles(0, TOP, 0), 1);
        assert_eq!(cycles(1, 1, 0), u64::from(TOP));
        assert_eq!(cycles(u64::from(TOP), 0, SECOND), ROUND);
        assert_eq!(cycles(ROUND, TOP, SECOND), ROUND + 1);
    }

    #[test]
    fn time_is_exact_after_any_pause() {
        let mut before = 0;
        for pause in (0..5000).map(|n| n * n * 37) {
            let time = before + pause;
            let (left, least) = counters(time, ROUND - SECOND - 1);
            before = cycles(before, left, least);
            assert_eq!(before, time);
        }
        assert!(before > 1000 * SECOND);
    }

    #[test]
    fn a_late_second_delays_the_clock_by_whole_rounds() {
        let time = 3 * ROUND + 5;
        let (left, least) = counters(time, 2 * SECOND);
        assert_eq!(cycles(7, left, least), time - ROUND);
        assert_eq!(cycles(time - ROUND, left, least), time - ROUND, "time never goes back");
        let (left, least) = counters(time + 1, 0);
        assert_eq!(cycles(time - ROUND, left, least), time + 1);
    }
}
