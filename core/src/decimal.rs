//! Numbers in texts.

use core::fmt::{self, Write};

/// A number in decimal digits. `Display` of the integers looks for a width, a sign and a precision,
/// for which a board would pay with a kilobyte of flash.
///
/// ```
/// use datakit_core::Decimal;
/// assert_eq!(format!("{} {} {}", Decimal::from(0u8), Decimal::from(u64::MAX), Decimal::from(-5i32)), "0 18446744073709551615 -5");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    magnitude: u64,
}

impl fmt::Display for Decimal {
    // Called again for each digit but the last, of which there are twenty at most.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rest, digit) = (self.magnitude / 10, self.magnitude % 10);
        if rest != 0 {
            Decimal { magnitude: rest, ..*self }.fmt(f)?;
        } else if self.negative {
            f.write_char('-')?;
        }
        // One digit is a byte.
        f.write_char(char::from(b'0' + digit as u8))
    }
}

macro_rules! unsigned {
    ($($type:ident)*) => {$(
        impl From<$type> for Decimal {
            fn from(number: $type) -> Decimal {
                // Nothing is wider than 64 bits.
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
