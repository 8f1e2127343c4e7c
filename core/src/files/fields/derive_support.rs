//! Items used by the code that `#[derive(Params)]` and `#[derive(Choice)]` generate. Programs
//! should not use this module.
#![doc(hidden)]

pub use core::time::Duration;

pub use super::{
    ArrayInfo, Checked, Fields, Names, Outer, Params, Unchecked, Values, changed, load, store,
};
use crate::files::Fixed;
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

/// Returns whether `number` is a multiple of `step`. A step of 0 allows every number.
#[must_use]
pub const fn is_multiple(number: i128, step: i128) -> bool {
    step == 0 || number % step == 0
}

/// Returns whether a number is a multiple of `digits` / 10^`decimals`.
#[must_use]
pub const fn is_fixed_multiple<const DECIMALS: u8>(
    number: Fixed<DECIMALS>,
    digits: i128,
    decimals: u8,
) -> bool {
    // Both numbers are multiplied by 10^(`DECIMALS` + `decimals`). Only a step with more than 28
    // decimals can saturate the product.
    let number = (number.0 as i128).saturating_mul(10i128.saturating_pow(decimals as u32));
    is_multiple(number, digits.saturating_mul(10i128.saturating_pow(DECIMALS as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_of_a_step_are_exact() {
        assert!(is_multiple(-20, 10) && is_multiple(0, 10) && !is_multiple(15, 10));
        assert!(is_multiple(i128::from(u64::MAX), 5) && !is_multiple(i64::MIN.into(), 10));
        assert!(is_multiple(7, 0));
        // 1.5 is a multiple of 0.5, 0.25 and 0.001.
        let number = Fixed::<1>(15);
        for (digits, decimals) in [(5, 1), (25, 2), (1, 3)] {
            assert!(is_fixed_multiple(number, digits, decimals), "{digits} {decimals}");
        }
        for (digits, decimals) in [(1, 0), (4, 1), (7, 3)] {
            assert!(!is_fixed_multiple(number, digits, decimals), "{digits} {decimals}");
        }
    }
}
