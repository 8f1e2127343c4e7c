//! The texts of errors that are made when the error is.
//!
//! Most functions hand errors on, so that an error must be small: four bytes on a board. Its text
//! is elsewhere: on the heap, or without one (feature `alloc`) among the last few of the program.

use core::fmt::{self, Write};
use core::ops::Deref;

use heapless::String;

/// The longest reason that is made at run time, in bytes. Linux sets aside 128 bytes for the text
/// of an error reply.
pub const ERROR_MESSAGE_MAX: usize = 104;

/// The text of an error that was made at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorMessage(kept::Said);

impl ErrorMessage {
    // One copy for all callers, away from their straight line.
    #[cold]
    #[inline(never)]
    pub(super) fn new(text: &dyn fmt::Display) -> ErrorMessage {
        let mut cut = Cut(String::new());
        // `Cut` takes what fits and never fails; a `Display` that fails gives the text so far.
        let _ = write!(cut, "{text}");
        ErrorMessage(kept::Said::new(cut.0))
    }

    /// The text; `None` if so many were made since that it is no longer kept.
    pub(super) fn text(&self) -> Option<impl Deref<Target = str> + '_> {
        self.0.text()
    }
}

/// A string that takes what fits, whole characters.
struct Cut(String<ERROR_MESSAGE_MAX>);

impl Write for Cut {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let mut fits = s.len().min(ERROR_MESSAGE_MAX.saturating_sub(self.0.len()));
        while !s.is_char_boundary(fits) {
            fits = fits.saturating_sub(1);
        }
        let _ = self.0.push_str(s.get(..fits).unwrap_or_default());
        Ok(())
    }
}

/// On the heap. Tests run side by side, and not one after the other as what a board does.
#[cfg(any(feature = "alloc", test))]
mod kept {
    use alloc::boxed::Box;

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(super) struct Said(Box<super::String<{ super::ERROR_MESSAGE_MAX }>>);

    impl Said {
        pub(super) fn new(text: super::String<{ super::ERROR_MESSAGE_MAX }>) -> Said {
            Said(Box::new(text))
        }

        pub(super) fn text(&self) -> Option<&str> {
            Some(&self.0)
        }
    }
}

#[cfg(not(any(feature = "alloc", test)))]
use last as kept;

/// The last few of the program. An error is told where it is made, or at the end of the same
/// request.
#[cfg(any(not(feature = "alloc"), test))]
#[cfg_attr(test, allow(dead_code))]
mod last {
    use core::cell::RefCell;

    use embassy_sync::blocking_mutex::CriticalSectionMutex;

    use super::{ERROR_MESSAGE_MAX, String};

    const KEPT: u16 = 2;

    static LAST: CriticalSectionMutex<RefCell<Last>> =
        CriticalSectionMutex::new(RefCell::new(Last::new()));

    /// The number of a text.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(super) struct Said(u16);

    impl Said {
        pub(super) fn new(text: String<ERROR_MESSAGE_MAX>) -> Said {
            LAST.lock(|last| last.borrow_mut().keep(text))
        }

        pub(super) fn text(&self) -> Option<String<ERROR_MESSAGE_MAX>> {
            LAST.lock(|last| last.borrow().get(self).cloned())
        }
    }

    struct Last {
        /// How many were ever made, modulo 2^16.
        made: u16,
        texts: [String<ERROR_MESSAGE_MAX>; KEPT as usize],
    }

    impl Last {
        const fn new() -> Last {
            Last { made: 0, texts: [const { String::new() }; KEPT as usize] }
        }

        fn keep(&mut self, text: String<ERROR_MESSAGE_MAX>) -> Said {
            let said = Said(self.made);
            self.made = self.made.wrapping_add(1);
            if let Some(place) = self.texts.get_mut(usize::from(said.0 % KEPT)) {
                *place = text;
            }
            said
        }

        fn get(&self, said: &Said) -> Option<&String<ERROR_MESSAGE_MAX>> {
            let kept = self.made.wrapping_sub(said.0) <= KEPT;
            self.texts.get(usize::from(said.0 % KEPT)).filter(|_| kept)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_last_few_are_kept() {
            let mut last = Last::new();
            let texts = ["first", "second", "third"];
            let said = texts.map(|text| last.keep(text.try_into().unwrap()));
            let kept = said.map(|said| last.get(&said).map(String::as_str));
            assert_eq!(kept, [None, Some("second"), Some("third")]);
        }
    }
}
