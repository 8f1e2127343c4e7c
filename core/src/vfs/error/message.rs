//! The representation of errors, and error messages that are formatted at run time.
//!
//! Most functions propagate errors, so errors must be small. On an embedded board, an error takes
//! up four bytes. The message is therefore not stored in the error itself. With the `alloc`
//! feature, the message is stored on the heap. Without `alloc`, a static buffer holds the program's
//! most recent messages.

#[cfg(any(feature = "reasons", feature = "params"))]
use core::fmt::{self, Write};

use heapless::String;

#[cfg(all(feature = "reasons", any(feature = "alloc", test)))]
pub(super) use heap::Packed;
#[cfg(not(all(feature = "reasons", any(feature = "alloc", test))))]
pub(super) use word::Packed;

/// The maximum length, in bytes, of an error message. Linux receives the text of an error reply in
/// a 128-byte buffer.
pub const ERROR_MESSAGE_MAX: usize = 108;

/// The end of a truncated message.
#[cfg(any(feature = "reasons", feature = "params"))]
const MARK: &str = "...";

/// The error to which an [`Error`](super::Error) refers.
pub(super) enum ErrorKind {
    /// The error's row in the table.
    Row(u8),
    /// An error with this error number and a separate message.
    Custom(u8),
}

/// Formats a message. If the message is more than 105 bytes long, it is truncated and ends with
/// `...`.
#[cfg(any(feature = "reasons", feature = "params"))]
#[inline(never)]
pub(crate) fn truncated(message: &dyn fmt::Display) -> String<ERROR_MESSAGE_MAX> {
    let mut truncating = Truncating(String::new());
    // If a `Display` implementation fails, the output that it wrote before the failure is kept.
    let _ = write!(truncating, "{message}");
    truncating.0
}

/// A string of limited length. If a text does not fit, the string ends with `...`.
#[cfg(any(feature = "reasons", feature = "params"))]
struct Truncating(String<ERROR_MESSAGE_MAX>);

#[cfg(any(feature = "reasons", feature = "params"))]
impl Write for Truncating {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = (ERROR_MESSAGE_MAX - MARK.len()).saturating_sub(self.0.len());
        let mut fits = s.len().min(room);
        while !s.is_char_boundary(fits) {
            fits = fits.saturating_sub(1);
        }
        let _ = self.0.push_str(s.get(..fits).unwrap_or_default());
        if fits == s.len() {
            return Ok(());
        }
        let _ = self.0.push_str(MARK);
        Err(fmt::Error)
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        crate::vfs::write_char(self, character)
    }
}

/// Keeps messages on the heap. Tests also use the heap, because they run in parallel and would
/// replace each other's messages in a shared buffer.
#[cfg(all(feature = "reasons", any(feature = "alloc", test)))]
mod heap {
    use alloc::boxed::Box;
    use core::fmt;
    use core::ops::Deref;

    use super::{ERROR_MESSAGE_MAX, ErrorKind, String, truncated};

    #[derive(Clone, PartialEq, Eq)]
    pub(crate) enum Packed {
        Row(u8),
        Custom(u8, Box<String<ERROR_MESSAGE_MAX>>),
    }

    impl Packed {
        pub(crate) const fn row(row: u8) -> Packed {
            Packed::Row(row)
        }

        #[cold]
        pub(crate) fn custom(errno: u8, message: &dyn fmt::Display) -> Packed {
            Packed::Custom(errno, Box::new(truncated(message)))
        }

        pub(crate) fn kind(&self) -> ErrorKind {
            match self {
                Packed::Row(row) => ErrorKind::Row(*row),
                Packed::Custom(errno, _) => ErrorKind::Custom(*errno),
            }
        }

        pub(crate) fn message(&self) -> Option<impl Deref<Target = str> + '_> {
            match self {
                Packed::Row(_) => None,
                Packed::Custom(_, message) => Some(message.as_str()),
            }
        }
    }
}

/// Packs an error into a word that is never 0, so that a `Result<()>` fits into a register.
#[cfg(any(test, not(all(feature = "reasons", feature = "alloc"))))]
#[cfg_attr(test, allow(dead_code))]
mod word {
    use core::fmt;
    use core::num::NonZeroU32;

    use super::{ERROR_MESSAGE_MAX, ErrorKind, String};

    /// The lowest byte of an error with a separate message. The lowest byte of any other error is
    /// its row plus 1.
    const CUSTOM: u8 = u8::MAX;

    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Packed(NonZeroU32);

    impl Packed {
        pub(crate) const fn row(row: u8) -> Packed {
            Packed(NonZeroU32::MIN.saturating_add(row as u32))
        }

        // Disable inlining to keep a single copy of this code, outside the hot paths of its
        // callers.
        #[cold]
        #[inline(never)]
        pub(crate) fn custom(errno: u8, message: &dyn fmt::Display) -> Packed {
            #[cfg(feature = "reasons")]
            let number = super::recent::store(super::truncated(message));
            #[cfg(not(feature = "reasons"))]
            let number = {
                let _ = message;
                0u16
            };
            let [low, high] = number.to_le_bytes();
            Packed(NonZeroU32::MIN | u32::from_le_bytes([CUSTOM, errno, low, high]))
        }

        pub(crate) fn kind(self) -> ErrorKind {
            match self.0.get().to_le_bytes() {
                [CUSTOM, errno, ..] => ErrorKind::Custom(errno),
                [row, ..] => ErrorKind::Row(row.wrapping_sub(1)),
            }
        }

        /// Returns the message, or `None` if newer messages have replaced it.
        #[cfg(feature = "reasons")]
        pub(crate) fn message(self) -> Option<String<ERROR_MESSAGE_MAX>> {
            match self.0.get().to_le_bytes() {
                [CUSTOM, _, low, high] => super::recent::text(u16::from_le_bytes([low, high])),
                _ => None,
            }
        }

        /// Returns `None`, because no message is kept.
        #[cfg(not(feature = "reasons"))]
        pub(crate) fn message(self) -> Option<String<ERROR_MESSAGE_MAX>> {
            None
        }
    }
}

/// Keeps the most recent messages in a static buffer. A few messages are enough, because an error
/// is reported immediately or at the end of the same request.
#[cfg(all(feature = "reasons", any(not(feature = "alloc"), test)))]
#[cfg_attr(test, allow(dead_code))]
mod recent {
    use core::cell::RefCell;

    use embassy_sync::blocking_mutex::CriticalSectionMutex;

    use super::{ERROR_MESSAGE_MAX, String};

    const CAPACITY: u16 = 2;

    static RECENT: CriticalSectionMutex<RefCell<Recent>> =
        CriticalSectionMutex::new(RefCell::new(Recent::new()));

    /// Stores a message and returns its number.
    pub(super) fn store(text: String<ERROR_MESSAGE_MAX>) -> u16 {
        RECENT.lock(|recent| recent.borrow_mut().store(text))
    }

    /// Returns the message with this number, or `None` if newer messages have replaced it.
    pub(super) fn text(number: u16) -> Option<String<ERROR_MESSAGE_MAX>> {
        RECENT.lock(|recent| {
            let mut copy = String::new();
            // The copy has the same capacity as the text, so the text fits.
            let _ = copy.push_str(recent.borrow().get(number)?);
            Some(copy)
        })
    }

    struct Recent {
        /// The number of messages created so far, modulo 2^16.
        count: u16,
        texts: [String<ERROR_MESSAGE_MAX>; CAPACITY as usize],
    }

    impl Recent {
        const fn new() -> Recent {
            Recent { count: 0, texts: [const { String::new() }; CAPACITY as usize] }
        }

        fn store(&mut self, text: String<ERROR_MESSAGE_MAX>) -> u16 {
            let number = self.count;
            self.count = self.count.wrapping_add(1);
            if let Some(slot) = self.texts.get_mut(usize::from(number % CAPACITY)) {
                *slot = text;
            }
            number
        }

        fn get(&self, number: u16) -> Option<&String<ERROR_MESSAGE_MAX>> {
            let is_recent = self.count.wrapping_sub(number) <= CAPACITY;
            self.texts.get(usize::from(number % CAPACITY)).filter(|_| is_recent)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn keeps_only_the_last_two_messages() {
            let mut recent = Recent::new();
            let texts = ["first", "second", "third"];
            let stored = texts.map(|text| recent.store(text.try_into().unwrap()));
            let found = stored.map(|number| recent.get(number).map(String::as_str));
            assert_eq!(found, [None, Some("second"), Some("third")]);
        }
    }
}
