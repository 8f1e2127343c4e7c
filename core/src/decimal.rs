//! Formats integers in decimal.

use core::fmt::{self, Write};

use crate::float::write_scaled;

/// An integer that is displayed in decimal. Formatting options such as width, sign and precision
/// are ignored. The code for this type takes up about 1 KiB less flash than the `Display`
/// implementations of the integer types.
///
/// ```
/// use datakit_core::Decimal;
/// assert_eq!(format!("{} {}", Decimal::from(u64::MAX), Decimal::from(-5)), "18446744073709551615 -5");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    magnitude: u64,
}

impl Decimal {
    /// Returns the absolute value.
    pub(crate) fn magnitude(self) -> u64 {
        self.magnitude
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_char('-')?;
        }
        write_scaled(self.magnitude, 0, f)
    }
}

/// Writes a number in decimal. A call takes up less flash than formatting a [`Decimal`].
#[inline(never)]
pub(crate) fn write_decimal(number: u32, out: &mut dyn Write) -> fmt::Result {
    write_scaled(number.into(), 0, out)
}

macro_rules! unsigned {
    ($($type:ident)*) => {$(
        impl From<$type> for Decimal {
            fn from(number: $type) -> Decimal {
                // Every integer type passed to this macro has at most 64 bits.
                Decimal { negative: false, magnitude: number as u64 }
            }
        }
    )*};
}

macro_rules! signed {
    ($($type:ident)*) => {$(
        impl From<$type> for Decimal {
            fn from(number: $type) -> Decimal {
                Decimal { negative: number < 0, magnitude: number.unsigned_abs() as u64 }
            }
        }
    )*};
}

unsigned! { u8 u16 u32 u64 usize }
signed! { i8 i16 i32 i64 }
