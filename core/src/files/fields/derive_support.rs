//! Items used by the code that `#[derive(Params)]` and `#[derive(Choice)]` generate. Programs
//! should not use this module.
#![doc(hidden)]

pub use core::time::Duration;

pub use super::{
    ArrayInfo, Checked, Fields, Names, Outer, Params, Unchecked, Values, changed, load, store,
};
pub use crate::files::{Field, ParamFile, ParamInfo, ParamType, Proposed, Rule, Value};
use crate::vfs::Client;
pub use crate::vfs::{File, Node, WithFile};

/// Sets `value` to `new` if the two differ, and returns whether they differed. The caller must call
/// [`notify_value`] afterwards.
pub fn replace_value<T: ParamType>(value: &Value<T>, new: &T) -> bool {
    let differs = value.get() != *new;
    if differs {
        drop(value.replace(new.clone()));
    }
    differs
}

/// Wakes the tasks waiting for the value to change, and calls the observers. Does nothing if
/// `changed` is `false`.
pub fn notify_value<T: ParamType>(value: &Value<T>, changed: bool) {
    if changed {
        value.notify(Client::PROGRAM);
    }
}

/// Returns the node for a subdirectory. If there is a `rule`, the rule applies to the values in the
/// subdirectory.
#[inline]
pub fn directory<F: Fields>(fields: &'static F, rule: Option<&'static (dyn Rule + Sync)>) -> Node {
    if let Some(rule) = rule {
        fields.set_outer(rule);
    }
    Node::Table(fields, F::DEPTH)
}

/// Returns the number of levels in a directory after a subdirectory with `below` levels is added to
/// it. `depth` is the number of levels without the subdirectory.
#[must_use]
pub const fn depth_above(below: u8, depth: u8) -> u8 {
    if below < depth { depth } else { below + 1 }
}
