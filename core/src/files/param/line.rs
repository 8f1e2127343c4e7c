//! A parameter whose value is a line of text.

use core::fmt;

use heapless::String;

use super::ParamType;
use crate::Decimal;

/// A line of at most `N` bytes without control characters.
impl<const N: usize> ParamType for String<N> {
    type Limits = ();
    const ANY: () = ();
    const ZERO: Self = String::new();

    fn parse(text: &[u8], (): &()) -> Option<Self> {
        String::try_from(core::str::from_utf8(text).ok()?)
            .ok()
            .filter(|text| !text.contains(char::is_control))
    }

    fn may_continue(text: &[u8], (): &()) -> bool {
        // Do not check for valid UTF-8, because a piece may end in the middle of a character.
        text.len() <= N && !text.iter().any(u8::is_ascii_control)
    }

    fn render(&self, (): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(self)
    }

    fn allowed((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "a line of at most {} bytes", Decimal::from(N))
    }

    fn schema((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "\"type\":\"string\",\"max-bytes\":{}", Decimal::from(N))
    }
}
