//! Converts defaults, limits and steps to constant expressions.

use std::net::Ipv4Addr;

use proc_macro2::{Literal, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Lit, LitStr, RangeLimits, Result, Type, UnOp};

use crate::value_type::{Leaf, Shape, ValueType};

/// Converts a value, such as a default, to a constant expression.
///
/// # Errors
/// Returns an error if the value is a literal that the type does not accept.
pub(crate) fn value(expr: &Expr, ty: &ValueType<'_>) -> Result<TokenStream> {
    let single = |expr: &Expr| single(expr, ty.leaf, ty.leaf_type);
    let present = |expr: &Expr| match string(expr) {
        Some(text) if text.value() == "none" => Err(Error::new_spanned(
            text,
            "the text `none` means that there is no value; write `default = None`",
        )),
        _ => single(expr),
    };
    match (ty.shape, expr) {
        (Shape::One, expr) => single(expr),
        (Shape::Optional, Expr::Call(call))
            if is_path(&call.func, "Some") && call.args.len() == 1 =>
        {
            let value = call.args.iter().map(present).collect::<Result<Vec<_>>>()?;
            Ok(quote!(::core::option::Option::Some(#(#value)*)))
        }
        (Shape::Optional, expr) if is_literal(expr) => {
            let value = present(expr)?;
            Ok(quote!(::core::option::Option::Some(#value)))
        }
        (Shape::Array(_), Expr::Array(array)) => {
            let values = array.elems.iter().map(single).collect::<Result<Vec<_>>>()?;
            Ok(quote!([#(#values),*]))
        }
        (Shape::Array(length), expr) if is_literal(expr) => {
            let value = single(expr)?;
            Ok(quote!([#value; #length]))
        }
        (Shape::Optional | Shape::Array(_), expr) => Ok(quote!(#expr)),
    }
}

/// Returns the single values in a value such as `[1, 2]` or `Some(1)`. An expression of another
/// form is returned unchanged.
pub(crate) fn elements<'a>(expr: &'a Expr, shape: Shape<'_>) -> Vec<&'a Expr> {
    match (shape, expr) {
        (Shape::Optional, Expr::Call(call)) if is_path(&call.func, "Some") => {
            call.args.iter().collect()
        }
        (Shape::Array(_), Expr::Array(array)) => array.elems.iter().collect(),
        (_, expr) => vec![expr],
    }
}

/// Converts a single value to a constant expression.
pub(crate) fn single(expr: &Expr, leaf: Leaf, ty: &Type) -> Result<TokenStream> {
    if let Some(text) = string(expr) {
        return from_text(text, leaf, ty);
    }
    let number = Number::of(expr);
    match (leaf, number) {
        (Leaf::Fixed, Some(number)) => fixed(expr, &number, ty),
        (Leaf::Float, Some(Number { decimals: 0, digits, .. })) => {
            // The literal of a float parameter may lack a decimal point, as in `5`.
            let literal = Literal::f64_unsuffixed(digits.unsigned_abs() as f64);
            Ok(if digits < 0 {
                quote_spanned!(expr.span()=> -#literal)
            } else {
                quote_spanned!(expr.span()=> #literal)
            })
        }
        (Leaf::Duration, Some(_)) => {
            Err(Error::new_spanned(expr, "a duration needs a unit, for example \"1.5 s\""))
        }
        (Leaf::Bytes, _) => match expr {
            Expr::Lit(ExprLit { lit: Lit::ByteStr(bytes), .. }) => {
                Ok(byte_vec(expr, ty, &bytes.value()))
            }
            expr => Ok(quote!(#expr)),
        },
        _ => Ok(quote!(#expr)),
    }
}

/// Converts a string literal to a constant expression.
fn from_text(text: &LitStr, leaf: Leaf, ty: &Type) -> Result<TokenStream> {
    let refuse = |reason: &str| Err(Error::new_spanned(text, reason));
    let (span, content) = (text.span(), text.value());
    match leaf {
        Leaf::Duration => match micros(&content) {
            Some(micros) => Ok(quote_spanned! {span=>
                <#ty>::from_duration(__support::Duration::from_micros(#micros))
            }),
            None => refuse("expected a duration such as \"1.5 s\", \"250 ms\" or \"10 us\""),
        },
        Leaf::Fixed => match Number::parse(&content) {
            Some(number) => fixed(text, &number, ty),
            None => refuse("expected a decimal number such as 12.5"),
        },
        Leaf::Line => Ok(quote_spanned!(span=> <#ty>::new(#text))),
        Leaf::String if content.is_empty() => Ok(quote_spanned!(span=> <#ty>::new())),
        Leaf::String => refuse(
            "a `heapless::String` in a constant is always empty; use `datakit_core::files::Line` for \
             text with a default",
        ),
        Leaf::Bytes => match hex(&content) {
            Some(bytes) => Ok(byte_vec(text, ty, &bytes)),
            None => refuse("expected two hexadecimal digits per byte, such as \"0aff\""),
        },
        Leaf::Ipv4 => match content.parse::<Ipv4Addr>() {
            Ok(address) => {
                let bytes = address.octets();
                Ok(quote_spanned!(span=> <#ty>::new([#(#bytes),*])))
            }
            Err(_) => refuse("expected an IPv4 address such as \"192.168.0.1\""),
        },
        Leaf::Mac => match hex(&content).and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()) {
            Some(bytes) => Ok(quote_spanned!(span=> <#ty>::new([#(#bytes),*]))),
            None => refuse("expected an Ethernet address such as \"02:00:00:12:ab:ff\""),
        },
        Leaf::Bool | Leaf::Integer | Leaf::Float => refuse("expected a value without quotes"),
        Leaf::Other => refuse("expected an expression of the type, such as `Mode::Auto`"),
    }
}

fn byte_vec(at: &impl Spanned, ty: &Type, bytes: &[u8]) -> TokenStream {
    quote_spanned!(at.span()=> <#ty>::from_array([#(#bytes),*]))
}

fn fixed(at: &impl Spanned, number: &Number, ty: &Type) -> Result<TokenStream> {
    let Ok(digits) = i64::try_from(number.digits) else {
        return Err(Error::new(at.span(), "the number is too large"));
    };
    let decimals = number.decimals;
    Ok(quote_spanned!(at.span()=> <#ty>::new(#digits, #decimals)))
}

/// The minimum and maximum of a range such as `1..=10`.
pub(crate) struct Bounds<'a> {
    pub(crate) low: Option<&'a Expr>,
    pub(crate) high: Option<&'a Expr>,
}

impl<'a> Bounds<'a> {
    /// # Errors
    /// Returns an error if `range` does not have the form `low..=high`, `low..` or `..=high`.
    pub(crate) fn of(range: &'a Expr) -> Result<Bounds<'a>> {
        match range {
            Expr::Range(range)
                if matches!((range.limits, &range.end), (RangeLimits::HalfOpen(_), Some(_))) =>
            {
                Err(Error::new_spanned(
                    range,
                    "a range includes its end; write `..=` instead of `..`",
                ))
            }
            Expr::Range(range) if range.start.is_some() || range.end.is_some() => {
                Ok(Bounds { low: range.start.as_deref(), high: range.end.as_deref() })
            }
            range => Err(Error::new_spanned(
                range,
                "expected a range such as `1..=10`, `1..` or `..=10`",
            )),
        }
    }
}

/// A literal number, which equals `digits` / 10^`decimals`.
#[derive(Clone, Copy)]
pub(crate) struct Number {
    pub(crate) digits: i128,
    pub(crate) decimals: u8,
}

impl Number {
    /// Returns the number if `expr` is a literal.
    pub(crate) fn of(expr: &Expr) -> Option<Number> {
        match expr {
            Expr::Lit(ExprLit { lit: Lit::Int(int), .. }) => {
                Some(Number { digits: int.base10_parse().ok()?, decimals: 0 })
            }
            Expr::Lit(ExprLit { lit: Lit::Float(float), .. }) => {
                Number::parse(float.base10_digits())
            }
            Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => {
                let number = Number::of(&unary.expr)?;
                Some(Number { digits: -number.digits, ..number })
            }
            Expr::Group(group) => Number::of(&group.expr),
            Expr::Paren(paren) => Number::of(&paren.expr),
            _ => None,
        }
    }

    /// Parses a decimal number such as `-12.50` and drops trailing zeros after the decimal point.
    /// Returns `None` if the text is not a number or has an exponent or too many digits.
    pub(crate) fn parse(text: &str) -> Option<Number> {
        let magnitude = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
        let fraction = fraction.trim_end_matches('0');
        let digits = format!("{whole}{fraction}");
        if whole.is_empty()
            || digits.len() > 30
            || !digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        let digits: i128 = digits.parse().ok()?;
        let digits = if text.starts_with('-') { -digits } else { digits };
        Some(Number { digits, decimals: fraction.len().try_into().ok()? })
    }

    /// Returns whether this number is less than `other`.
    pub(crate) fn is_below(self, other: Number) -> bool {
        // A product saturates if it does not fit into 128 bits. In that case, the compiler still
        // checks the numbers in the generated assertion.
        let scale = |number: Number, decimals: u8| {
            number.digits.saturating_mul(10i128.saturating_pow(decimals.into()))
        };
        scale(self, other.decimals) < scale(other, self.decimals)
    }

    /// Returns whether this number is a multiple of `step`, which must not be zero.
    pub(crate) fn is_multiple_of(self, step: Number) -> bool {
        let scale = |decimals: u8| 10i128.saturating_pow(decimals.into());
        let digits = self.digits.saturating_mul(scale(step.decimals));
        digits % step.digits.saturating_mul(scale(self.decimals)) == 0
    }
}

/// Converts a duration with a unit, such as `1.5 s`, to microseconds.
fn micros(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(end)?;
    let factor = match unit.trim() {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "min" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return None,
    };
    let number = Number::parse(number)?;
    let scale = 10i128.checked_pow(number.decimals.into())?;
    let value = number.digits.checked_mul(factor)?;
    (value % scale == 0).then_some(value / scale)?.try_into().ok()
}

/// Parses bytes, each written as two hexadecimal digits. The bytes may be separated by `:`, `-`,
/// `_` or a space.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !b":-_ ".contains(byte)).collect();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pairs =
        digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect()
}

fn string(expr: &Expr) -> Option<&LitStr> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text),
        Expr::Group(group) => string(&group.expr),
        _ => None,
    }
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Lit(_)) || string(expr).is_some() || Number::of(expr).is_some()
}

fn is_path(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Path(path) if path.path.is_ident(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_converted_to_microseconds() {
        for (text, value) in [
            ("1.5 s", 1_500_000),
            ("250ms", 250_000),
            ("10 us", 10),
            ("2 min", 120_000_000),
            ("0.5 h", 1_800_000_000),
        ] {
            assert_eq!(micros(text), Some(value), "{text}");
        }
        for text in ["", "1", "s", "1 sec", "0.5 us", "-1 s", "1..5 s", "99999999999999 h"] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_compared_exactly() {
        let number = |text| Number::parse(text).unwrap();
        assert!(number("0.1").is_below(number("0.11")) && !number("1.0").is_below(number("1")));
        assert!(number("-2").is_below(number("-1.5")));
        assert!(number("0.75").is_multiple_of(number("0.25")));
        assert!(!number("0.3").is_multiple_of(number("0.25")));
        for text in ["", ".", ".5", "1e3", "1.2.3", "x"] {
            assert!(Number::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn byte_strings_are_read_in_hexadecimal() {
        assert_eq!(hex("0a:FF-1_2 3"), None);
        assert_eq!(hex("0a:FF"), Some(vec![10, 255]));
        assert_eq!((hex(""), hex("0g")), (Some(vec![]), None));
    }
}
