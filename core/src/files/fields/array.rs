//! Directories whose entries are the elements of an array. Each entry is named after the index of
//! its element.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

use super::derive_support::{notify_value, replace_value};
use super::{Fields, Names, Outer, Unchecked};
use crate::files::{Field, ParamFile, ParamInfo, ParamType, Proposed, Rule, Value};
use crate::vfs::{Node, WithFile};

/// A directory for each element.
impl<F: Fields, const N: usize> Fields for [F; N] {
    type Plain = [F::Plain; N];
    type Changed = [Option<F::Changed>; N];
    const NEW: Self = [const { F::NEW }; N];
    const DEPTH: u8 = F::DEPTH + 1;
    const IS_CHECKED: bool = F::IS_CHECKED;
    const NAMES: Names = Names::numbers(N);

    fn directory(&'static self, index: u8) -> Option<Node> {
        Some(Node::Table(self.as_slice().get(usize::from(index))?, F::DEPTH))
    }

    fn with_file(&self, _: u8, _: &mut WithFile<'_>) {}

    fn set_outer(&self, rule: &'static (dyn Rule + Sync)) {
        self.iter().for_each(|fields| fields.set_outer(rule));
    }

    fn proposed(&self, proposed: &Proposed<'_>) -> Self::Plain {
        self.each_ref().map(|fields| fields.proposed(proposed))
    }

    fn values(&self) -> Self::Plain {
        self.each_ref().map(F::values)
    }

    fn replace(&self, new: &Self::Plain) -> Self::Changed {
        let mut pairs = self.iter().zip(new);
        [(); N].map(|()| pairs.next().map(|(fields, new)| fields.replace(new)))
    }

    fn notify(&self, changed: &Self::Changed) {
        for (fields, changed) in self.iter().zip(changed) {
            changed.iter().for_each(|changed| fields.notify(changed));
        }
    }

    fn version(&self) -> u32 {
        self.iter().fold(0, |sum, fields| sum.wrapping_add(fields.version()))
    }
}

/// The constant part of the parameters in an array, which all elements share.
pub trait ArrayInfo: Send + Sync + 'static {
    /// The type of the values.
    type Type: ParamType + 'static;

    /// The initial value of each element.
    const INITIAL: Self::Type;

    /// The limits, the default, the unit and the description.
    const INFO: &'static ParamInfo<Self::Type>;
}

/// An array of parameters: a directory with a file for each element.
pub struct Values<I: ArrayInfo, const N: usize, O: Outer = Unchecked> {
    values: [Value<I::Type>; N],
    info: PhantomData<I>,
    outer: O,
}

impl<I: ArrayInfo, const N: usize, O: Outer> Deref for Values<I, N, O> {
    type Target = [Value<I::Type>; N];

    fn deref(&self) -> &[Value<I::Type>; N] {
        &self.values
    }
}

impl<I: ArrayInfo, const N: usize, O: Outer> fmt::Debug for Values<I, N, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").field("len", &N).finish_non_exhaustive()
    }
}

impl<I: ArrayInfo, const N: usize, O: Outer> Fields for Values<I, N, O> {
    type Plain = [I::Type; N];
    type Changed = [bool; N];
    const NEW: Self =
        Values { values: [const { Value::new(I::INITIAL) }; N], info: PhantomData, outer: O::NEW };
    const DEPTH: u8 = 1;
    const IS_CHECKED: bool = O::IS_CHECKED;
    const NAMES: Names = Names::numbers(N);

    fn with_file(&self, index: u8, with: &mut WithFile<'_>) {
        if let Some(value) = self.values.get(usize::from(index)) {
            with.call(&ParamFile::new(&Field::new(value, I::INFO).outer_rule(&self.outer)));
        }
    }

    fn set_outer(&self, rule: &'static (dyn Rule + Sync)) {
        self.outer.set(rule);
    }

    fn proposed(&self, proposed: &Proposed<'_>) -> [I::Type; N] {
        self.values.each_ref().map(|value| proposed.get(value))
    }

    fn values(&self) -> [I::Type; N] {
        self.values.each_ref().map(Value::get)
    }

    fn replace(&self, new: &[I::Type; N]) -> [bool; N] {
        let mut pairs = self.values.iter().zip(new);
        [(); N].map(|()| pairs.next().is_some_and(|(value, new)| replace_value(value, new)))
    }

    fn notify(&self, changed: &[bool; N]) {
        self.values.iter().zip(changed).for_each(|(value, changed)| notify_value(value, *changed));
    }

    fn version(&self) -> u32 {
        self.values.iter().fold(0, |sum, value| sum.wrapping_add(value.version()))
    }
}
