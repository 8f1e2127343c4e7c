//! Generates the code that checks defaults, ranges and steps at compile time. The macro itself can
//! check only literals.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Result;
use syn::spanned::Spanned;

use crate::attributes::ParamAttributes;
use crate::constant::{Number, single, value};
use crate::field::Limits;
use crate::value_type::{Leaf, Shape, ValueType};

/// Generates the checks of a parameter whose values have type `ty`. Returns no code if there is
/// nothing to check or if values of the type cannot be compared in constants.
pub(crate) fn assertion(
    attributes: &ParamAttributes,
    limits: Option<&Limits<'_>>,
    ty: &syn::Type,
    kind: &ValueType<'_>,
) -> Result<TokenStream> {
    let Some(number) = number_field(kind.leaf) else { return Ok(TokenStream::new()) };
    let range = limits.map(|limits| range_checks(limits, kind, &number));
    let checks = default_checks(attributes, limits, kind, &number)?;
    let default = for_each_value(attributes, ty, kind, &checks)?;
    Ok(match (range, default) {
        (None, None) => TokenStream::new(),
        (range, default) => quote! {
            const _: () = {
                #range
                #default
            };
        },
    })
}

/// Returns the code that selects the number in a value, or `None` if the value is not a number.
fn number_field(leaf: Leaf) -> Option<TokenStream> {
    match leaf {
        Leaf::Integer | Leaf::Float => Some(quote!()),
        Leaf::Duration | Leaf::Fixed => Some(quote!(.0)),
        Leaf::Bool
        | Leaf::Line
        | Leaf::String
        | Leaf::Bytes
        | Leaf::Ipv4
        | Leaf::Mac
        | Leaf::Other => None,
    }
}

/// Defines `low` and `high`, and checks them.
fn range_checks(limits: &Limits<'_>, kind: &ValueType<'_>, number: &TokenStream) -> TokenStream {
    let Limits { range, low, high } = limits;
    let leaf = kind.leaf_type;
    let at = located_at(range.span());
    let finite = (kind.leaf == Leaf::Float).then(|| {
        quote_spanned! {at=>
            assert!(
                low.is_finite() && high.is_finite(),
                "a limit is not a finite number; omit it, as in `1.0..` or `..=1.0`"
            );
        }
    });
    let order = quote_spanned!(at=> assert!(low #number <= high #number, "the range is empty"););
    quote! {
        let (low, high): (#leaf, #leaf) = (#low, #high);
        #finite
        #order
    }
}

/// Generates the checks of each single `value` of the default.
fn default_checks(
    attributes: &ParamAttributes,
    limits: Option<&Limits<'_>>,
    kind: &ValueType<'_>,
    number: &TokenStream,
) -> Result<TokenStream> {
    let default = attributes.default.as_ref().map(Spanned::span);
    let range = limits.map(|limits| limits.range.span());
    let at = located_at(default.or(range).unwrap_or_else(Span::call_site));
    let mut checks = TokenStream::new();
    if kind.leaf == Leaf::Float {
        checks.extend(quote_spanned! {at=>
            assert!(value.is_finite(), "the default is not a finite number");
        });
    }
    if range.is_some() {
        checks.extend(quote_spanned! {at=>
            assert!(
                low #number <= value #number && value #number <= high #number,
                "the default is outside the range"
            );
        });
    }
    if let Some(is_multiple) = is_multiple(attributes, kind)? {
        checks.extend(quote_spanned! {at=>
            assert!(#is_multiple, "the default is not a multiple of the step");
        });
    }
    Ok(checks)
}

/// Returns the expression that is `true` if `value` is a multiple of the step. Returns `None` for
/// floats, because their multiples are determined by their decimal digits, which a constant
/// expression cannot compute.
fn is_multiple(attributes: &ParamAttributes, kind: &ValueType<'_>) -> Result<Option<TokenStream>> {
    let Some(step) = &attributes.step else { return Ok(None) };
    if kind.leaf == Leaf::Duration {
        let step = single(step, kind.leaf, kind.leaf_type)?;
        return Ok(Some(quote!(__support::is_multiple(value.0 as i128, #step.0 as i128))));
    }
    let Some(Number { digits, decimals }) = Number::of(step) else { return Ok(None) };
    Ok(match kind.leaf {
        Leaf::Integer => Some(quote!(__support::is_multiple(value as i128, #digits))),
        Leaf::Fixed => Some(quote!(__support::is_fixed_multiple(value, #digits, #decimals))),
        _ => None,
    })
}

/// Applies the checks to each single value of the default. Returns `None` if there is no value to
/// check.
fn for_each_value(
    attributes: &ParamAttributes,
    ty: &syn::Type,
    kind: &ValueType<'_>,
    checks: &TokenStream,
) -> Result<Option<TokenStream>> {
    if checks.is_empty() {
        return Ok(None);
    }
    let leaf = kind.leaf_type;
    let Some(default) = &attributes.default else {
        let has_default = !attributes.flags.read_only && !matches!(kind.shape, Shape::Optional);
        // Without a range, the default 0 is always accepted.
        return Ok((has_default && attributes.range.is_some()).then(|| {
            quote! {
                let value = <#leaf as __support::ParamType>::ZERO;
                #checks
            }
        }));
    };
    let default = value(default, kind)?;
    // The checks have the span of the default. If the `0` in `i = 0` had this span too, clippy
    // would mistake the default's source code for the source code of the `0`.
    Ok(Some(match kind.shape {
        Shape::One => quote! {
            let value: #ty = #default;
            #checks
        },
        Shape::Optional => quote! {
            let value: #ty = #default;
            if let ::core::option::Option::Some(value) = value {
                #checks
            }
        },
        Shape::Array(_) => quote! {
            let values: #ty = #default;
            let mut i = 0;
            while i < values.len() {
                let value = values[i];
                #checks
                i += 1;
            }
        },
    }))
}

/// Returns a span for generated code whose errors refer to `span`. The code can use the variables
/// of the code around it, even if `span` is in an argument of a `macro_rules!` macro.
fn located_at(span: Span) -> Span {
    span.resolved_at(Span::call_site())
}
