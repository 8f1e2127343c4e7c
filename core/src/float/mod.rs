//! Converts floating-point numbers to text and back exactly. The conversions in the Rust core
//! library are faster but take up 26 KiB more flash.
//!
//! Both conversions call [`scale`](scale::scale), which multiplies an integer by a power of ten in
//! 896-bit arithmetic.

mod parse;
mod print;
mod scale;
#[cfg(test)]
mod tests;

pub use parse::{parse_f32, parse_f64};
pub use print::Float;

pub(crate) use parse::scan;
pub(crate) use print::write_scaled;

/// A binary floating-point format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    /// The number of bits in the significand, including the implicit leading bit.
    precision: u32,
    /// The base-2 exponent of the smallest positive number, which is a power of two.
    min_exponent: i32,
    /// The bits that represent infinity. Larger values represent NaN.
    infinity: u64,
}

const F32: Format = Format {
    precision: f32::MANTISSA_DIGITS,
    min_exponent: -149,
    infinity: f32::INFINITY.to_bits() as u64,
};

const F64: Format = Format {
    precision: f64::MANTISSA_DIGITS,
    min_exponent: -1074,
    infinity: f64::INFINITY.to_bits(),
};
