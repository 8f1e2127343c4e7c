//! A parameter whose value is a duration with a unit, such as `1.5 s`.

use core::fmt;
use core::time::Duration;

use super::number::{shift_digits, write_trimmed};
use super::{Number, ParamType, Step, StepUnit};
use crate::float::scan;

/// A duration in milliseconds, at most 49 days. Clients read and write the duration with a unit,
/// such as `1.5 s`, `250 ms` or `2 min`. A duration that is not a whole number of milliseconds is
/// rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Millis(pub u32);

/// A duration in microseconds. Clients read and write the duration with a unit, such as `1.5 s`,
/// `250 ms` or `10 us`. A duration that is not a whole number of microseconds is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Micros(pub u64);

macro_rules! duration {
    ($($type:ident $integer:ident $power:literal $unit:literal $constructor:ident $examples:literal)*) => {$(
        impl $type {
            /// Converts a duration. This function is intended for use in constants.
            ///
            /// # Panics
            /// Panics if the duration is too long or is not a whole multiple of this type's unit.
            #[must_use]
            #[allow(clippy::panic)] // In a constant, the panic is a compile-time error.
            pub const fn from_duration(duration: Duration) -> $type {
                let (value, rest) = (
                    duration.as_nanos() / const { 10u128.pow((9 + $power) as u32) },
                    duration.as_nanos() % const { 10u128.pow((9 + $power) as u32) },
                );
                assert!(rest == 0, concat!("the duration is not a whole number of ", $unit));
                assert!(value <= $integer::MAX as u128, "the duration is too long");
                $type(value as $integer)
            }
        }

        impl From<$type> for Duration {
            fn from(value: $type) -> Duration {
                Duration::$constructor(value.0.into())
            }
        }

        impl Number for $type {
            type Bound = $type;
            const STEP_UNIT: StepUnit = StepUnit::$type;
        }

        impl ParamType for $type {
            type Limits = ($type, $type);
            const ANY: Self::Limits = ($type($integer::MIN), $type($integer::MAX));
            const ZERO: $type = $type(0);
            const SPACES: bool = true;

            fn parse(text: &[u8], (low, high): &Self::Limits) -> Option<$type> {
                let value = $type(parse(text, $power)?.try_into().ok()?);
                Some(value).filter(|value| (low..=high).contains(&value))
            }

            fn render(&self, _: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
                render(self.0.into(), $power, out)
            }

            fn allowed((low, high): &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
                out.write_str(concat!("a duration such as ", $examples, ", from "))?;
                render(low.0.into(), $power, out)?;
                out.write_str(" to ")?;
                render(high.0.into(), $power, out)
            }

            fn is_multiple(&self, _: &[u8], step: Step) -> bool {
                u64::from(self.0).is_multiple_of(step.digits.into())
            }

            fn schema((low, high): &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
                out.write_str("\"type\":\"duration\",\"min\":\"")?;
                render(low.0.into(), $power, out)?;
                out.write_str("\",\"max\":\"")?;
                render(high.0.into(), $power, out)?;
                out.write_str("\"")
            }
        }
    )*};
}

duration! {
    Millis u32 -3 "ms" from_millis "1.5 s or 250 ms"
    Micros u64 -6 "us" from_micros "1.5 s, 250 ms or 10 us"
}

/// The units, each stored as `(name, factor, power)`. A unit equals `factor` *
/// 10^`power` seconds.
const UNITS: [(&str, u64, i32); 5] =
    [("s", 1, 0), ("ms", 1, -3), ("us", 1, -6), ("min", 60, 0), ("h", 3600, 0)];

/// Returns the duration as a multiple of 10^`power` seconds, or `None` if it is not a whole
/// multiple.
fn parse(text: &[u8], power: i32) -> Option<u64> {
    let (number, unit) = scan(text)?;
    let unit = unit.trim_ascii_start();
    let (_, factor, unit_power) = UNITS.iter().find(|(name, ..)| name.as_bytes() == unit)?;
    let value = u64::try_from(number.digits).ok()?.checked_mul(*factor)?;
    if value != 0 && (number.negative || number.truncated) {
        return None;
    }
    shift_digits(value, number.exponent.saturating_add(unit_power - power))
}

/// Writes a duration of `value` * 10^`power` seconds. The unit is the largest of s, ms and us that
/// does not exceed the duration. A zero duration is written as `0 s`.
fn render(value: u64, power: i32, out: &mut dyn fmt::Write) -> fmt::Result {
    let (unit, unit_power) = match value {
        0 => ("s", power),
        1..1_000 => (if power == -3 { "ms" } else { "us" }, power),
        1_000..1_000_000 if power == -6 => ("ms", -3),
        _ => ("s", 0),
    };
    write_trimmed(value, power - unit_power, out)?;
    out.write_str(" ")?;
    out.write_str(unit)
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    fn shown<T: ParamType>(value: T) -> String {
        let mut text = String::new();
        value.render(&T::ANY, &mut text).unwrap();
        text
    }

    fn micros(text: &str) -> Option<u64> {
        Micros::parse(text.as_bytes(), &Micros::ANY).map(|value| value.0)
    }

    #[test]
    fn durations_are_read_with_a_unit() {
        assert_eq!(micros("1.5 s"), Some(1_500_000));
        assert_eq!(micros("250ms"), Some(250_000));
        assert_eq!(micros("10 us"), Some(10));
        assert_eq!(micros("2 min"), Some(120_000_000));
        assert_eq!(micros("0.5 h"), Some(1_800_000_000));
        assert_eq!(micros("1e-6 s"), Some(1));
        assert_eq!(micros("0 s"), Some(0));
        assert_eq!(micros("0e99999999999 s"), Some(0));
        assert_eq!(micros("18446744073709551615 us"), Some(u64::MAX));
        for refused in [
            "",
            "s",
            "1",
            "1 sec",
            "1 ks",
            "-1 s",
            "1.5 us",
            "1 s 5 ms",
            "18446744073709551616 us",
            "1e99999999999 s",
            "1e-99999999999 s",
            "99999999999999999999999999999999999999999 s",
        ] {
            assert_eq!(micros(refused), None, "{refused}");
        }
        assert_eq!(Millis::parse(b"1.5 s", &Millis::ANY), Some(Millis(1500)));
        assert_eq!(Millis::parse(b"10 us", &Millis::ANY), None);
        assert_eq!(Millis::parse(b"50 days", &Millis::ANY), None);
        assert_eq!(Millis::parse(b"1.5 s", &(Millis(0), Millis(1499))), None);
    }

    #[test]
    fn durations_are_shown_in_the_largest_unit_and_read_back() {
        for (value, text) in [
            (0, "0 s"),
            (10, "10 us"),
            (999, "999 us"),
            (1_000, "1 ms"),
            (250_000, "250 ms"),
            (1_001, "1.001 ms"),
            (1_500_000, "1.5 s"),
            (100_000_000, "100 s"),
            (60_000_001, "60.000001 s"),
            (u64::MAX, "18446744073709.551615 s"),
        ] {
            assert_eq!(shown(Micros(value)), text);
            assert_eq!(micros(text), Some(value));
        }
        for (value, text) in [(0, "0 s"), (250, "250 ms"), (1_010, "1.01 s"), (60_000, "60 s")] {
            assert_eq!(shown(Millis(value)), text);
        }
    }

    #[test]
    fn a_refusal_names_the_range() {
        let mut text = String::new();
        Millis::allowed(&(Millis(10), Millis(60_000)), &mut text).unwrap();
        assert_eq!(text, "a duration such as 1.5 s or 250 ms, from 10 ms to 60 s");
    }
}
