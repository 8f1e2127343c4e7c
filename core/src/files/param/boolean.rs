//! A parameter whose value is on or off.

use core::fmt;

use super::ParamType;
use crate::files::pieces::is_prefix_of_any;

impl ParamType for bool {
    type Limits = ();
    const ANY: () = ();
    const ZERO: bool = false;

    fn parse(text: &[u8], (): &()) -> Option<bool> {
        match text {
            b"1" | b"on" | b"true" => Some(true),
            b"0" | b"off" | b"false" => Some(false),
            _ => None,
        }
    }

    fn may_continue(text: &[u8], (): &()) -> bool {
        is_prefix_of_any(["on", "true", "off", "false"], text)
    }

    fn render(&self, (): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(if *self { "on" } else { "off" })
    }

    fn allowed((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("on or off")
    }

    fn schema((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("\"type\":\"bool\"")
    }
}
