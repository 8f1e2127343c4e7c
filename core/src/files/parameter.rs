//! Types that a [`Param`](super::Param) can have.

use core::fmt;

use heapless::String;

use super::pieces::begins;
use super::write::Plain;
use crate::Decimal;

/// A type of parameters: how a value is read and written as text, and what is allowed.
pub trait ParamType: Clone + Default + Send {
    /// What limits the values, beside the type.
    type Limits: Copy + Sync;

    /// No limit.
    const ANY: Self::Limits;

    /// The value that `text` stands for, white space cut off; `None` if it is none or is not
    /// allowed. Bytes, because most types need not know whether all of them are UTF-8.
    fn parse(text: &[u8], limits: &Self::Limits) -> Option<Self>;

    /// Whether more may follow `text`, which has no newline, so that it is not parsed yet. Where
    /// nothing can follow it is parsed at once, and refused at once.
    fn goes_on(text: &[u8], limits: &Self::Limits) -> bool {
        let _ = (text, limits);
        true
    }

    /// Writes the value, without a newline.
    fn render(&self, limits: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result;

    /// Writes what is allowed: `a number from 0 to 10`.
    fn allowed(limits: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result;
}

/// A type whose values can be limited to a range.
pub trait Number: ParamType<Limits = (Self, Self)> + Copy {}

/// One of a few names: the index of the name. [`Param::names`](super::Param::names) has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Choice(pub u8);

macro_rules! number {
    ($($type:ident $what:literal $parse:ident $shown:ident)*) => {$(
        impl Number for $type {}

        impl ParamType for $type {
            type Limits = ($type, $type);
            const ANY: Self::Limits = ($type::MIN, $type::MAX);

            fn parse(text: &[u8], (low, high): &Self::Limits) -> Option<$type> {
                // No range has NaN or an infinity in it, which is also what a number that is too
                // large parses as.
                $parse(text)?.try_into().ok().filter(|value| (low..=high).contains(&value))
            }

            fn goes_on(text: &[u8], _: &Self::Limits) -> bool {
                numeric(text)
            }

            fn render(&self, _: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
                write!(out, "{}", $shown::from(*self))
            }

            fn allowed(limits: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
                out.write_str($what)?;
                let (low, high) = *limits;
                // The 39 digits of the least float tell nobody anything.
                if $type::MAX as f32 == f32::MAX && *limits == Self::ANY {
                    return Ok(());
                }
                write!(out, " from {} to {}", $shown::from(low), $shown::from(high))
            }
        }
    )*};
}

number! {
    u8 "a whole number" unsigned Decimal
    u16 "a whole number" unsigned Decimal
    u32 "a whole number" unsigned Decimal
    u64 "a whole number" unsigned Decimal
    i8 "a whole number" signed Decimal
    i16 "a whole number" signed Decimal
    i32 "a whole number" signed Decimal
    i64 "a whole number" signed Decimal
    f32 "a number" float f32
}

/// Whether a number can begin like this: no further look, a number of many digits is seldom cut.
fn numeric(text: &[u8]) -> bool {
    text.trim_ascii_start().iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte))
}

/// One parser for all widths: those of core are a copy each.
fn unsigned(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let value = digits.iter().try_fold(0u64, |value, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        value.checked_mul(10)?.checked_add(digit.into())
    });
    value.filter(|_| !digits.is_empty())
}

fn signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some([b'+', ..]) => None,
        Some(magnitude) => 0i64.checked_sub_unsigned(unsigned(magnitude)?),
        None => unsigned(text)?.try_into().ok(),
    }
}

fn float(text: &[u8]) -> Option<f32> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

impl ParamType for bool {
    type Limits = ();
    const ANY: () = ();

    fn parse(text: &[u8], (): &()) -> Option<bool> {
        match text {
            b"1" | b"on" | b"true" => Some(true),
            b"0" | b"off" | b"false" => Some(false),
            _ => None,
        }
    }

    fn goes_on(text: &[u8], (): &()) -> bool {
        begins(["on", "true", "off", "false"], text)
    }

    fn render(&self, (): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(if *self { "on" } else { "off" })
    }

    fn allowed((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("on or off")
    }
}

impl ParamType for Choice {
    type Limits = &'static [&'static str];
    const ANY: Self::Limits = &[];

    fn parse(text: &[u8], names: &Self::Limits) -> Option<Choice> {
        (0..).zip(*names).find(|(_, name)| name.as_bytes() == text).map(|(index, _)| Choice(index))
    }

    fn goes_on(text: &[u8], names: &Self::Limits) -> bool {
        begins(names.iter().copied(), text)
    }

    fn render(&self, names: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
        match names.get(usize::from(self.0)) {
            Some(name) => out.write_str(name),
            None => write!(out, "{}", Decimal::from(self.0)),
        }
    }

    fn allowed(names: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("one of")?;
        names.iter().try_for_each(|name| write!(out, " {}", Plain(name)))
    }
}

/// A text of at most `N` bytes, without control characters: a file has one line.
impl<const N: usize> ParamType for String<N> {
    type Limits = ();
    const ANY: () = ();

    fn parse(text: &[u8], (): &()) -> Option<Self> {
        String::try_from(core::str::from_utf8(text).ok()?)
            .ok()
            .filter(|text| !text.contains(char::is_control))
    }

    fn goes_on(text: &[u8], (): &()) -> bool {
        // A character may be cut.
        text.len() <= N && !text.iter().any(u8::is_ascii_control)
    }

    fn render(&self, (): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(self)
    }

    fn allowed((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "a line of at most {} bytes", Decimal::from(N))
    }
}
