//! Multiplies an integer by a power of ten and determines whether the result is exact.

/// The size of [`Big`] in 32-bit words. The longest integers have 849 bits. They are 5^341 times a
/// 56-bit integer from [`print`](super::print), or 5^310 times a 127-bit integer from
/// [`parse`](super::parse), each shifted left by one bit.
const WORDS: usize = 28;

/// An integer stored as 32-bit words, least significant word first.
type Big = [u32; WORDS];

/// The smallest and largest powers of ten that [`scale`] accepts for every integer.
pub(super) const POWERS: (i32, i32) = (-363, 310);

/// A number rounded down to 64 significant bits, stored as `mantissa` * 2^`exponent`.
pub(super) struct Scaled {
    /// The most significant bit is set, unless the number is zero.
    pub(super) mantissa: u64,
    pub(super) exponent: i32,
    /// Whether the number is exact rather than rounded down.
    pub(super) exact: bool,
}

/// Returns `integer` * 10^`power`. The integer must not be zero. The power must be in the range
/// [`POWERS`]. If the integer has at most 56 bits, powers up to 341 are also accepted.
pub(super) fn scale(mut integer: u128, power: i32) -> Scaled {
    let (mut dividend, mut divisor): (Big, Big) = ([0; WORDS], [0; WORDS]);
    for word in dividend.iter_mut().take(4) {
        // The cast keeps the lower 32 bits.
        *word = integer as u32;
        integer >>= 32;
    }
    multiply(&mut divisor, 0, 1);
    // 10^n equals 5^n * 2^n, and the factor 2^n changes only the exponent.
    let fives = if power < 0 { &mut divisor } else { &mut dividend };
    raise(fives, 5, 13, power.unsigned_abs());
    let (long, short) = (bits(&dividend), bits(&divisor));
    raise(&mut dividend, 2, 31, short.saturating_sub(long));
    raise(&mut divisor, 2, 31, long.saturating_sub(short));
    let mut exponent = power + long.cast_signed() - short.cast_signed();

    // Use an additional word, because doubling can make the dividend one bit longer than the
    // divisor.
    let used = long.max(short) as usize / 32 + 2;
    let dividend = dividend.get_mut(..used).unwrap_or_default();
    let divisor = divisor.get(..used).unwrap_or_default();
    // Divide bit by bit. The quotient is between 1/2 and 2, so one of its first two bits is set.
    // The dividend stays less than twice the divisor.
    let mut mantissa = 0;
    for _ in 0..=u64::BITS {
        mantissa = mantissa << 1 | u64::from(reduce(dividend, divisor));
        if mantissa >> 63 != 0 {
            break;
        }
        multiply(dividend, 2, 0);
        exponent -= 1;
    }
    let exact = dividend.iter().all(|word| *word == 0);
    Scaled { mantissa, exponent, exact }
}

/// Multiplies `big` by `base`^`power`. The number `base`^`step` must fit into 32 bits.
fn raise(big: &mut [u32], base: u32, step: u32, mut power: u32) {
    while power > 0 {
        let now = power.min(step);
        multiply(big, base.wrapping_pow(now), 0);
        power -= now;
    }
}

/// Computes `big` * `factor` + `carry`.
fn multiply(big: &mut [u32], factor: u32, mut carry: u64) {
    for word in big {
        carry += u64::from(*word) * u64::from(factor);
        // The cast keeps the lower 32 bits.
        *word = carry as u32;
        carry >>= 32;
    }
}

/// Subtracts `other` from `big` and returns `true`, or returns `false` if `big` is less than
/// `other`.
fn reduce(big: &mut [u32], other: &[u32]) -> bool {
    // Subtract by adding the complement and 1. There is no final carry if `big` is less than
    // `other`.
    let enough = add(big, other, u32::MAX);
    if !enough {
        add(big, other, 0);
    }
    enough
}

/// XORs each word of `other` with `flip` and adds the result to `big`. Starts with a carry if
/// `flip` is odd. Returns the final carry.
fn add(big: &mut [u32], other: &[u32], flip: u32) -> bool {
    let mut sum = u64::from(flip & 1);
    for (word, other) in big.iter_mut().zip(other) {
        sum += u64::from(*word) + u64::from(other ^ flip);
        // The cast keeps the lower 32 bits.
        *word = sum as u32;
        sum >>= 32;
    }
    sum != 0
}

/// Returns the length of `big` in bits, without leading zeros.
fn bits(big: &[u32]) -> u32 {
    let (mut bits, mut end) = (0, 0);
    for word in big {
        end += u32::BITS;
        if *word != 0 {
            bits = end - word.leading_zeros();
        }
    }
    bits
}
