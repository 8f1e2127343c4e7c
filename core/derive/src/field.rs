//! The fields of a settings struct.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, Ident, Result, Type, Visibility};

use crate::assertion::assertion;
use crate::attributes::{ContainerAttributes, ParamAttributes};
use crate::constant::{Bounds, Number, elements, single, value};
use crate::names::{Name, description};
use crate::value_type::{Leaf, Shape, ValueType, check_supported};

/// The maximum number of digits in a step.
const STEP_MAX: i128 = u16::MAX as i128;

/// The maximum number of entries in a directory.
pub(crate) const ENTRIES_MAX: usize = 255;

pub(crate) const ENTRIES_ERROR: &str = "a directory has at most 255 entries";

/// The maximum number of array elements on one line.
const LINE_MAX: usize = 32;

/// A field of a settings struct.
pub(crate) struct Field<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) vis: &'a Visibility,
    /// The type of the field.
    pub(crate) ty: &'a Type,
    pub(crate) name: Name,
    /// The documentation comments.
    pub(crate) docs: Vec<&'a Attribute>,
    pub(crate) kind: Kind<'a>,
}

/// The kind of directory entry generated for a field.
pub(crate) enum Kind<'a> {
    /// A file.
    Value(Param),
    /// A directory with a file for each element.
    Array(Param, &'a Type, &'a Expr),
    /// A subdirectory.
    Directory,
}

/// The constants of a parameter.
pub(crate) struct Param {
    /// The initial value.
    pub(crate) initial: TokenStream,
    /// The `ParamInfo`.
    pub(crate) info: TokenStream,
    /// The compile-time checks of the default, the range and the step.
    pub(crate) assertion: TokenStream,
}

impl<'a> Field<'a> {
    pub(crate) fn new(field: &'a syn::Field) -> Result<Field<'a>> {
        let Some(ident) = &field.ident else {
            return Err(Error::new_spanned(field, "the field has no name"));
        };
        let attributes = ParamAttributes::parse(&field.attrs)?;
        let directory = ContainerAttributes::parse(&field.attrs, "params", &["name"])?;
        let name = attributes.as_ref().and_then(|attributes| attributes.name.as_ref());
        let name = Name::new(ident, name.or(directory.name.as_ref()))?;
        check_supported(&field.ty)?;
        let ty = ValueType::of(&field.ty);
        check_length(&ty, attributes.as_ref().is_some_and(|attributes| attributes.line.is_some()))?;
        let kind = match attributes {
            None if !ty.is_known() => Kind::Directory,
            _ if directory.name.is_some() => {
                return Err(Error::new_spanned(
                    directory.name,
                    "the field is a value; write `#[param(name = \"...\")]`",
                ));
            }
            attributes => {
                let attributes = attributes.unwrap_or_default();
                let doc = description(&field.attrs);
                match ty.shape {
                    Shape::Array(length) if attributes.line.is_none() => {
                        let element = ValueType::of(ty.leaf_type);
                        Kind::Array(
                            param(&attributes, ty.leaf_type, &element, doc)?,
                            ty.leaf_type,
                            length,
                        )
                    }
                    Shape::Array(_) => Kind::Value(param(&attributes, &field.ty, &ty, doc)?),
                    Shape::One | Shape::Optional => {
                        if let Some(line) = attributes.line {
                            return Err(Error::new(
                                line,
                                "only an array can be written on one line",
                            ));
                        }
                        Kind::Value(param(&attributes, &field.ty, &ty, doc)?)
                    }
                }
            }
        };
        let docs =
            field.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).collect();
        Ok(Field { ident, vis: &field.vis, ty: &field.ty, name, docs, kind })
    }
}

/// Checks the length of an array if the length is a literal. The compiler checks other expressions.
fn check_length(ty: &ValueType<'_>, line: bool) -> Result<()> {
    let Shape::Array(length) = ty.shape else { return Ok(()) };
    let (max, reason) = if line {
        (LINE_MAX, "an array on one line has at most 32 elements")
    } else {
        (ENTRIES_MAX, ENTRIES_ERROR)
    };
    match Number::of(length) {
        Some(number) if number.digits > max as i128 => Err(Error::new_spanned(length, reason)),
        _ => Ok(()),
    }
}

/// Generates the constants of a parameter whose values have type `ty`.
fn param(
    attributes: &ParamAttributes,
    ty: &Type,
    kind: &ValueType<'_>,
    doc: String,
) -> Result<Param> {
    let mut calls = TokenStream::new();
    let initial = match &attributes.default {
        Some(default) => value(default, kind)?,
        None => quote!(<#ty as __support::ParamType>::ZERO),
    };
    // A read-only value has no default unless the attribute sets one.
    if attributes.default.is_some() || !attributes.flags.read_only {
        calls.extend(quote!(.default(#initial)));
    }
    let limits = Limits::of(attributes, ty, kind)?;
    calls.extend(limits.as_ref().map(Limits::call));
    if let Some(step) = &attributes.step {
        calls.extend(step_call(step, attributes, kind)?);
    }
    if let Some(unit) = &attributes.unit {
        if kind.leaf == Leaf::Duration {
            let reason = "a duration is written with its unit, as in `1.5 s`; remove this argument";
            return Err(Error::new_spanned(unit, reason));
        }
        calls.extend(quote!(.unit(&#unit)));
    }
    let doc = attributes.doc.as_ref().map_or(doc, syn::LitStr::value);
    if !doc.is_empty() {
        calls.extend(quote!(.doc(#doc)));
    }
    if let Some(check) = &attributes.check {
        calls.extend(quote_spanned!(check.span()=> .check(#check)));
    }
    let flags = attributes.flags;
    for (set, call) in [
        (flags.read_only, quote!(.read_only())),
        (flags.write_only, quote!(.write_only())),
        (flags.restart, quote!(.needs_restart())),
        (flags.volatile, quote!(.volatile())),
    ] {
        if set {
            calls.extend(call);
        }
    }
    let assertion = assertion(attributes, limits.as_ref(), ty, kind)?;
    Ok(Param { initial, info: quote!(&__support::ParamInfo::<#ty>::new() #calls), assertion })
}

/// The range of a parameter.
pub(crate) struct Limits<'a> {
    /// The range as it is written in the attribute.
    pub(crate) range: &'a Expr,
    /// The minimum, as a constant expression.
    pub(crate) low: TokenStream,
    /// The maximum, as a constant expression.
    pub(crate) high: TokenStream,
}

impl<'a> Limits<'a> {
    /// Returns the range of a parameter whose values have type `ty`, or `None` if it has none.
    fn of(
        attributes: &'a ParamAttributes,
        ty: &Type,
        kind: &ValueType<'_>,
    ) -> Result<Option<Limits<'a>>> {
        let Some(range) = &attributes.range else { return Ok(None) };
        if !kind.leaf.has_range() {
            return Err(Error::new_spanned(
                range,
                format!("a value of the type `{}` has no range", shown(kind.leaf_type)),
            ));
        }
        let bounds = Bounds::of(range)?;
        check_literals(range, &bounds, attributes, kind)?;
        let bound = |bound: Option<&Expr>, index: usize| match bound {
            Some(bound) => single(bound, kind.leaf, kind.leaf_type),
            None => {
                let index = syn::Index::from(index);
                Ok(quote!(<#ty as __support::ParamType>::ANY.#index))
            }
        };
        Ok(Some(Limits { range, low: bound(bounds.low, 0)?, high: bound(bounds.high, 1)? }))
    }

    /// Generates the call that sets the range.
    fn call(&self) -> TokenStream {
        let Limits { range, low, high } = self;
        quote_spanned!(range.span()=> .range(#low, #high))
    }
}

/// Compares literals. The compiler compares other expressions.
fn check_literals(
    range: &Expr,
    bounds: &Bounds<'_>,
    attributes: &ParamAttributes,
    kind: &ValueType<'_>,
) -> Result<()> {
    let (low, high) = (bounds.low.and_then(Number::of), bounds.high.and_then(Number::of));
    if low.zip(high).is_some_and(|(low, high)| high.is_below(low)) {
        return Err(Error::new_spanned(range, "the range is empty"));
    }
    let is_outside = |number: Number| {
        low.is_some_and(|low| number.is_below(low))
            || high.is_some_and(|high| high.is_below(number))
    };
    let range_text = shown(range);
    let Some(default) = &attributes.default else {
        let zero = Number { digits: 0, decimals: 0 };
        if is_outside(zero) && !matches!(kind.shape, Shape::Optional) && !attributes.flags.read_only
        {
            let reason =
                format!("the default 0 is outside the range {range_text}; add `default = ...`");
            return Err(Error::new_spanned(range, reason));
        }
        return Ok(());
    };
    for value in elements(default, kind.shape) {
        if Number::of(value).is_some_and(is_outside) {
            let reason = format!("the default {} is outside the range {range_text}", shown(value));
            return Err(Error::new_spanned(value, reason));
        }
    }
    Ok(())
}

/// Generates the call that sets the step.
fn step_call(
    step: &Expr,
    attributes: &ParamAttributes,
    kind: &ValueType<'_>,
) -> Result<TokenStream> {
    if !kind.leaf.has_range() {
        return Err(Error::new_spanned(
            step,
            format!("a value of the type `{}` has no step", shown(kind.leaf_type)),
        ));
    }
    if kind.leaf == Leaf::Duration {
        let duration = single(step, kind.leaf, kind.leaf_type)?;
        return Ok(quote_spanned! {step.span()=>
            .step(
                {
                    let step = #duration.0;
                    assert!(step != 0 && step <= 65535, "a step is 1 to 65535 units of the type");
                    step as u16
                },
                0,
            )
        });
    }
    let Some(number) = Number::of(step) else {
        return Err(Error::new_spanned(step, "expected a number such as 5 or 0.25"));
    };
    if !(1..=STEP_MAX).contains(&number.digits) {
        let reason =
            "a step is greater than 0 and its digits are at most 65535 without the decimal point";
        return Err(Error::new_spanned(step, reason));
    }
    if kind.leaf == Leaf::Integer && number.decimals > 0 {
        return Err(Error::new_spanned(step, "the step of an integer is an integer"));
    }
    let is_multiple = |value: Number| value.is_multiple_of(number);
    for value in attributes.default.iter().flat_map(|default| elements(default, kind.shape)) {
        if !Number::of(value).is_none_or(is_multiple) {
            let reason = format!("the default is not a multiple of the step {}", shown(step));
            return Err(Error::new_spanned(value, reason));
        }
    }
    let (digits, decimals) = (number.digits as u16, number.decimals);
    Ok(quote_spanned!(step.span()=> .step(#digits, #decimals)))
}

/// Returns the source code of a type or an expression.
fn shown(tokens: &impl quote::ToTokens) -> String {
    let mut text = quote!(#tokens).to_string();
    for (spaced, joined) in [(" ..", ".."), ("..= ", "..="), (".. ", ".."), ("- ", "-")] {
        text = text.replace(spaced, joined);
    }
    for (spaced, joined) in [(" < ", "<"), (" >", ">"), (" :: ", "::")] {
        text = text.replace(spaced, joined);
    }
    text
}
