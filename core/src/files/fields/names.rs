//! The names of the entries in a parameter directory.

use core::fmt;

use crate::Decimal;
use crate::files::ParamType;
use crate::vfs::{Key, WithName};

/// The names of the entries in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// An ordered list of at most 255 names.
    List(&'static [&'static str]),
    /// The numbers from 0 up to, but not including, this number.
    Numbers(u8),
}

impl Names {
    /// Returns the names of the elements of an array.
    ///
    /// # Panics
    /// Panics if `count` is greater than 255.
    #[must_use]
    #[allow(clippy::panic)] // In a constant, the panic is a compile-time error.
    pub const fn numbers(count: usize) -> Names {
        assert!(count <= 255, "an array of parameters has at most 255 elements");
        Names::Numbers(count as u8)
    }

    pub(super) fn key(self, index: u8) -> Option<Key> {
        let count = match self {
            Names::List(names) => names.len(),
            Names::Numbers(count) => count.into(),
        };
        (usize::from(index) < count).then(|| Key::new(index, 0))
    }

    pub(super) fn find(self, name: &[u8]) -> Option<Key> {
        match self {
            Names::List(names) => {
                let mut entries = names.iter().zip(0..);
                let (_, index) = entries.find(|(entry, _)| entry.as_bytes() == name)?;
                Some(Key::new(index, 0))
            }
            // A number with leading zeros is not a name, because each entry has exactly one name.
            Names::Numbers(_) if name.len() > 1 && name.starts_with(b"0") => None,
            Names::Numbers(_) => {
                let digits = name.iter().all(u8::is_ascii_digit).then_some(name)?;
                let index = u8::parse(digits, &u8::ANY)?;
                self.key(index)
            }
        }
    }

    pub(super) fn with_name(self, key: Key, with: &mut WithName<'_>) {
        let Some(index) = key.index() else { return };
        match self {
            Names::List(names) => {
                if let Some(name) = names.get(usize::from(index)) {
                    with.call(name);
                }
            }
            Names::Numbers(_) => {
                let mut name = heapless::String::<3>::new();
                // The write cannot fail, because the index has at most three digits.
                let _ = fmt::write(&mut name, format_args!("{}", Decimal::from(index)));
                with.call(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    #[test]
    fn numbers_have_no_leading_zeros() {
        let names = Names::numbers(12);
        let find = |name: &str| names.find(name.as_bytes()).and_then(Key::index);
        assert_eq!((find("0"), find("7"), find("11")), (Some(0), Some(7), Some(11)));
        for name in ["", "12", "00", "07", "+1", "0x1", "0b1", "1_1", "256", "-1", "a"] {
            assert_eq!(find(name), None, "{name}");
        }
        let mut text = String::new();
        names.with_name(Key::new(11, 0), &mut |name: &str| text.push_str(name));
        assert_eq!(text, "11");
        assert_eq!((names.key(11), names.key(12)), (Some(Key::new(11, 0)), None));
    }
}
