//! A parameter whose value is one of several names.

use core::fmt::{self, Write};

use super::ParamType;
use crate::files::display::{Json, Plain};
use crate::files::pieces::is_prefix_of_any;

/// An enum whose variants have names. Clients read and write such a value as the variant's name.
///
/// ```
/// use datakit_core::files::{Choice, Param, Value};
/// #[derive(Debug, Clone, Copy, PartialEq, Default)]
/// enum Mode {
///     #[default]
///     Auto,
///     Manual,
/// }
/// impl Choice for Mode {
///     const ALL: &'static [Mode] = &[Mode::Auto, Mode::Manual];
///     const NAMES: &'static [&'static str] = &["auto", "manual"];
/// }
/// static MODE: Value<Mode> = Value::new(Mode::Auto);
/// static FILE: Param<Mode> = Param::new(&MODE);
/// ```
pub trait Choice: Copy + Default + PartialEq + Send + 'static {
    /// All variants of the enum. There must be at least one.
    const ALL: &'static [Self];

    /// The names of the variants, in the same order as [`ALL`](Choice::ALL). A name must not
    /// contain whitespace.
    const NAMES: &'static [&'static str];

    /// The value that a parameter has at startup if its declaration gives no other value. This is the
    /// first variant, or the one with the `#[default]` attribute if `#[derive(Choice)]` is used.
    #[allow(clippy::indexing_slicing)] // A choice without variants is a compile-time error.
    const INITIAL: Self = Self::ALL[0];
}

impl<T: Choice> ParamType for T {
    type Limits = ();
    const ANY: () = ();
    const ZERO: T = {
        assert!(T::ALL.len() == T::NAMES.len(), "a choice has one name for each variant");
        T::INITIAL
    };

    fn parse(text: &[u8], (): &()) -> Option<T> {
        let index = T::NAMES.iter().position(|name| name.as_bytes() == text)?;
        T::ALL.get(index).copied()
    }

    fn may_continue(text: &[u8], (): &()) -> bool {
        is_prefix_of_any(T::NAMES.iter().copied(), text)
    }

    fn render(&self, (): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        let index = T::ALL.iter().position(|variant| variant == self);
        let name = index.and_then(|index| T::NAMES.get(index));
        name.map_or(Ok(()), |name| out.write_str(name))
    }

    fn allowed((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("one of")?;
        T::NAMES.iter().try_for_each(|name| write!(out, " {}", Plain(name)))
    }

    fn schema((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("\"type\":\"choice\",\"names\":[")?;
        for (index, name) in T::NAMES.iter().enumerate() {
            out.write_str(if index == 0 { "\"" } else { ",\"" })?;
            Json(out).write_str(name)?;
            out.write_str("\"")?;
        }
        out.write_str("]")
    }
}
