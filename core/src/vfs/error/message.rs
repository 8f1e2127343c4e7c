//! Error messages that are formatted at run time.
//!
//! Most functions propagate errors, so errors must be small. On an embedded board, an error takes
//! up four bytes. The message is therefore not stored in the error itself. With the `alloc`
//! feature, the message is stored on the heap. Without `alloc`, a static buffer holds the program's
//! most recent messages.

use core::fmt::{self, Write};
use core::ops::Deref;

use heapless::String;

/// The maximum length, in bytes, of an error message. Linux receives the text of an error reply in
/// a 128-byte buffer.
pub const ERROR_MESSAGE_MAX: usize = 104;

/// An error message that was formatted at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorMessage(storage::Stored);

impl ErrorMessage {
    // Disable inlining to keep a single copy of this code, outside the hot paths of its callers.
    #[cold]
    #[inline(never)]
    pub(super) fn new(text: &dyn fmt::Display) -> ErrorMessage {
        if cfg!(not(feature = "reasons")) {
            return ErrorMessage(storage::Stored::new(String::new()));
        }
        let mut truncating = Truncating(String::new());
        // Writing to `Truncating` never fails. If a `Display` implementation fails, the output that
        // it wrote before the failure is kept.
        let _ = write!(truncating, "{text}");
        ErrorMessage(storage::Stored::new(truncating.0))
    }

    /// Returns the text, or `None` if newer messages have replaced it.
    pub(super) fn text(&self) -> Option<impl Deref<Target = str> + '_> {
        self.0.text()
    }
}

/// A string of limited length. Text that does not fit is truncated at a character boundary.
struct Truncating(String<ERROR_MESSAGE_MAX>);

impl Write for Truncating {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let mut fits = s.len().min(ERROR_MESSAGE_MAX.saturating_sub(self.0.len()));
        while !s.is_char_boundary(fits) {
            fits = fits.saturating_sub(1);
        }
        let _ = self.0.push_str(s.get(..fits).unwrap_or_default());
        Ok(())
    }
}

/// Stores no messages.
#[cfg(not(feature = "reasons"))]
mod none {
    use super::{ERROR_MESSAGE_MAX, String};

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(super) struct Stored;

    impl Stored {
        pub(super) fn new(_: String<ERROR_MESSAGE_MAX>) -> Stored {
            Stored
        }

        pub(super) fn text(&self) -> Option<&str> {
            None
        }
    }
}

/// Keeps messages on the heap. Tests also use the heap, because they run in parallel and would
/// replace each other's messages in a shared buffer.
#[cfg(all(feature = "reasons", any(feature = "alloc", test)))]
mod heap {
    use alloc::boxed::Box;

    use super::{ERROR_MESSAGE_MAX, String};

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(super) struct Stored(Box<String<ERROR_MESSAGE_MAX>>);

    impl Stored {
        pub(super) fn new(text: String<ERROR_MESSAGE_MAX>) -> Stored {
            Stored(Box::new(text))
        }

        pub(super) fn text(&self) -> Option<&str> {
            Some(&self.0)
        }
    }
}

#[cfg(all(feature = "reasons", any(feature = "alloc", test)))]
use heap as storage;
#[cfg(not(feature = "reasons"))]
use none as storage;
#[cfg(all(feature = "reasons", not(any(feature = "alloc", test))))]
use recent as storage;

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

    /// The sequence number of a message.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(super) struct Stored(u16);

    impl Stored {
        pub(super) fn new(text: String<ERROR_MESSAGE_MAX>) -> Stored {
            RECENT.lock(|recent| recent.borrow_mut().store(text))
        }

        pub(super) fn text(&self) -> Option<String<ERROR_MESSAGE_MAX>> {
            RECENT.lock(|recent| recent.borrow().get(self).cloned())
        }
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

        fn store(&mut self, text: String<ERROR_MESSAGE_MAX>) -> Stored {
            let stored = Stored(self.count);
            self.count = self.count.wrapping_add(1);
            if let Some(slot) = self.texts.get_mut(usize::from(stored.0 % CAPACITY)) {
                *slot = text;
            }
            stored
        }

        fn get(&self, stored: &Stored) -> Option<&String<ERROR_MESSAGE_MAX>> {
            let is_recent = self.count.wrapping_sub(stored.0) <= CAPACITY;
            self.texts.get(usize::from(stored.0 % CAPACITY)).filter(|_| is_recent)
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
            let found = stored.map(|stored| recent.get(&stored).map(String::as_str));
            assert_eq!(found, [None, Some("second"), Some("third")]);
        }
    }
}
