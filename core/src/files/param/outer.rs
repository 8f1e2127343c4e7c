//! The check function of a struct that contains a directory.

use core::cell::Cell;
use core::fmt;

use critical_section::Mutex;

use super::Rule;

/// The rule of the struct that contains a directory. The rule also applies to the values in the
/// directory.
///
/// The parameter struct of a directory has a field of this type, which is either [`Unchecked`] or
/// [`Checked`].
pub trait Outer: Sized + Sync + 'static {
    /// The initial state, in which no rule has been set.
    const NEW: Self;

    /// Whether there can be a rule.
    const IS_CHECKED: bool;

    /// Sets the rule.
    fn set(&self, rule: &'static (dyn Rule + Sync));

    /// Returns the rule, if there is one.
    fn rule(&self) -> Option<&'static (dyn Rule + Sync)>;
}

/// No struct that contains the directory has a check function. This type is zero-sized and its
/// methods compile to no code.
#[derive(Debug, Clone, Copy)]
pub struct Unchecked;

impl Outer for Unchecked {
    const NEW: Self = Unchecked;
    const IS_CHECKED: bool = false;

    #[inline(always)]
    fn set(&self, _: &'static (dyn Rule + Sync)) {}

    #[inline(always)]
    fn rule(&self) -> Option<&'static (dyn Rule + Sync)> {
        None
    }
}

/// A struct that contains the directory has a check function.
///
/// A constant cannot contain a reference to itself, so the reference to the struct is set when the
/// struct returns the node of the directory. A file in the directory can be reached only through
/// this node.
pub struct Checked(Mutex<Cell<Option<&'static (dyn Rule + Sync)>>>);

impl Outer for Checked {
    const NEW: Self = Checked(Mutex::new(Cell::new(None)));
    const IS_CHECKED: bool = true;

    fn set(&self, rule: &'static (dyn Rule + Sync)) {
        critical_section::with(|cs| self.0.borrow(cs).set(Some(rule)));
    }

    fn rule(&self) -> Option<&'static (dyn Rule + Sync)> {
        critical_section::with(|cs| self.0.borrow(cs).get())
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").finish_non_exhaustive()
    }
}
