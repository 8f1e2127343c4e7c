//! The interface to a parameter whose type is not known at compile time.

use core::fmt::{self, Write};

use super::change_count::change_count;
use super::proposed::NewTexts;
use super::value::notify;
use super::{Description, Flags, Proposed, Step};
use crate::files::display::{Plain, Quoted};
use crate::vfs::{Client, Error, Result, WithText};
#[cfg(feature = "params")]
use crate::vfs::{FixedText, Text};

/// A parameter whose type is not known at compile time. All values are passed as text, without a
/// newline. [`Field`](super::Field) implements this trait for every type. Code that uses `dyn
/// Parameter` is compiled only once, not once for each type.
pub trait Parameter {
    /// Returns the address of the parameter's value, which identifies the parameter.
    fn address(&self) -> usize;

    /// Returns the type-independent part of the parameter's description.
    fn description(&self) -> &Description;

    /// Writes the value.
    ///
    /// # Errors
    /// Returns an error if writing to `out` fails.
    fn render(&self, out: &mut dyn Write) -> fmt::Result;

    /// Writes a description of the values that the type and its limits allow, for example `a number
    /// from 0 to 10`.
    ///
    /// # Errors
    /// Returns an error if writing to `out` fails.
    fn render_limits(&self, out: &mut dyn Write) -> fmt::Result;

    /// Returns whether `text`, which contains no newline, could be the beginning of a longer value.
    fn may_continue(&self, text: &[u8]) -> bool;

    /// Parses `text`. Also checks the value with the parameter's [check function](super::Check) and
    /// [rule](super::Rule) if `proposed` is given. Sets the value if `store` is `true`.
    ///
    /// # Errors
    /// Returns the reason that the value is rejected.
    #[doc(hidden)]
    fn accept(
        &self,
        text: &[u8],
        proposed: Option<&Proposed<'_>>,
        store: bool,
    ) -> core::result::Result<(), Refusal>;

    /// Returns the number of times that the value has been set, modulo 2^32.
    #[cfg(feature = "params")]
    fn version(&self) -> u32;

    /// Writes the default, or nothing if the parameter has no default.
    ///
    /// # Errors
    /// Returns an error if writing to `out` fails.
    #[cfg(feature = "params")]
    fn render_default(&self, out: &mut dyn Write) -> fmt::Result;

    /// Applies the parameter's [check function](super::Check) and [rule](super::Rule). The check
    /// function receives the value in `text`, or the current value if `text` is `None`. Both
    /// receive the `proposed` values of the other parameters. Does nothing if `text` is not a value
    /// of the parameter's type.
    ///
    /// # Errors
    /// Returns the message from the function or the rule.
    #[cfg(feature = "params")]
    fn check_rules(
        &self,
        text: Option<&[u8]>,
        proposed: &Proposed<'_>,
    ) -> core::result::Result<(), &'static str>;

    /// Writes the type and its limits as members of a JSON object, for example
    /// `"type":"u32","min":10,"max":60000`.
    ///
    /// # Errors
    /// Returns an error if writing to `out` fails.
    #[cfg(feature = "params")]
    fn schema(&self, out: &mut dyn Write) -> fmt::Result;

    /// Returns `true` if the text of every value is also a JSON value, such as a number.
    #[cfg(feature = "params")]
    fn is_json(&self) -> bool;
}

/// The reason that a value is rejected.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The text is not a value of the type, or the value is outside the limits.
    Limits,
    /// A check function or a rule rejects the value for this reason.
    Rule(&'static str),
}

impl dyn Parameter + '_ {
    /// Returns the parameter's properties.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.description().flags()
    }

    /// Returns the unit, or an empty string if the value has no unit.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        self.description().unit()
    }

    /// Returns the description, or an empty string if there is none.
    #[must_use]
    pub fn doc(&self) -> &'static str {
        self.description().doc()
    }

    /// Returns the distance between adjacent values.
    #[must_use]
    pub fn step(&self) -> Step {
        self.description().step()
    }

    /// Checks whether the parameter would accept `text` as its value if the other parameters had
    /// the `proposed` values.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] with a message that names the allowed values.
    pub fn check(&self, text: &[u8], proposed: &Proposed<'_>) -> Result<()> {
        self.apply(text, Some(proposed), false)
    }

    /// Checks whether `text` is a value of the parameter's type and within its limits. Does not
    /// call the parameter's [check function](super::Check), which may depend on other parameters.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] with a message that names the allowed values.
    pub fn check_limits(&self, text: &[u8]) -> Result<()> {
        self.apply(text, None, false)
    }

    /// Checks whether the parameter's check function and rule would accept the current value if the
    /// other parameters had the `proposed` values.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] with the message from the function or the rule.
    #[cfg(feature = "params")]
    pub fn check_current(&self, proposed: &Proposed<'_>) -> Result<()> {
        let refused = |reason| Error::Invalid.with_message(Plain(reason));
        self.check_rules(None, proposed).map_err(refused)
    }

    /// Sets the value to `text`, which `check` has accepted. Returns `false` and changes nothing if
    /// `text` is not a valid value. The caller must call `notify` afterwards, outside a critical
    /// section.
    pub fn store(&self, text: &[u8]) -> bool {
        self.accept(text, None, true).is_ok()
    }

    /// Returns `true` if the value's text equals `text`. Returns `false` if the value's text is
    /// longer than 255 bytes.
    #[cfg(feature = "params")]
    #[must_use]
    pub fn has_text(&self, text: &[u8]) -> bool {
        let mut own = FixedText::<255>::new();
        self.render(&mut own).is_ok() && own.bytes() == text
    }

    /// Returns `true` if the value equals the default, or if the parameter has no default.
    #[cfg(feature = "params")]
    #[must_use]
    #[inline(never)]
    pub fn is_default(&self) -> bool {
        !self.flags().contains(Flags::HAS_DEFAULT)
            || self.default_text().is_some_and(|default| self.has_text(default.bytes()))
    }

    /// Sets the value to the default, if there is one. Does nothing if the text of the default is
    /// longer than 255 bytes. The caller must call `notify` afterwards.
    #[cfg(feature = "params")]
    pub fn reset(&self) {
        if self.flags().contains(Flags::HAS_DEFAULT)
            && let Some(default) = self.default_text()
        {
            self.store(default.bytes());
        }
    }

    #[cfg(feature = "params")]
    fn default_text(&self) -> Option<FixedText<255>> {
        let mut text = FixedText::new();
        self.render_default(&mut text).is_ok().then_some(text)
    }

    /// Wakes the tasks waiting for the value to change, and tells the observers that `client` set
    /// it.
    pub fn notify(&self, client: Client) {
        notify(self.address(), client);
    }

    /// Sets the value to `text` on behalf of `client`.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] with a message that names the allowed values.
    pub(super) fn set(&self, text: &[u8], client: Client) -> Result<()> {
        let new = OneText { address: self.address(), text };
        let proposed = Proposed::new(&new);
        let before = change_count();
        self.check(text, &proposed)?;
        critical_section::with(|_| {
            // The checks run outside the critical section, because they may take a long time. They
            // are repeated only if an interrupt handler or another thread has set a value in the
            // meantime.
            let again = (change_count() != before).then_some(&proposed);
            self.apply(text, again, true)
        })?;
        self.notify(client);
        Ok(())
    }

    /// Calls [`accept`](Parameter::accept) and converts the error.
    fn apply(&self, text: &[u8], proposed: Option<&Proposed<'_>>, store: bool) -> Result<()> {
        self.accept(text, proposed, store).map_err(|refusal| match refusal {
            Refusal::Limits => Error::Invalid.with_message(OutsideLimits { parameter: self, text }),
            Refusal::Rule(reason) => Error::Invalid.with_message(Plain(reason)),
        })
    }

    /// Writes a description of the allowed values, for example `a number from 0 to 10 dB`.
    pub(super) fn render_allowed(&self, out: &mut dyn Write) -> fmt::Result {
        self.render_limits(out)?;
        if !self.unit().is_empty() {
            write!(out, " {}", Plain(self.unit()))?;
        }
        let step = self.step();
        if step.digits == 0 {
            return Ok(());
        }
        write!(out, " that is a multiple of {step}{}", Plain(self.description().step_unit()))
    }
}

/// The new text of a change that sets one value.
struct OneText<'a> {
    address: usize,
    text: &'a [u8],
}

impl NewTexts for OneText<'_> {
    fn with_text(&self, address: usize, with: &mut WithText<'_>) {
        if address == self.address {
            with.call(self.text);
        }
    }
}

/// The error message for a rejected value, such as `"abc" is not a number from 0 to 10 dB`.
struct OutsideLimits<'a> {
    parameter: &'a dyn Parameter,
    text: &'a [u8],
}

impl fmt::Display for OutsideLimits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not ", Quoted(self.text))?;
        self.parameter.render_allowed(f)
    }
}
