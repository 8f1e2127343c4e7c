#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod assertion;
mod attributes;
mod choice;
mod constant;
mod field;
mod names;
mod params;
#[cfg(test)]
mod tests;
mod value_type;

#[cfg(doctest)]
#[doc = include_str!("../tests/compile_fail.md")]
mod compile_fail {}

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Generates a parameter struct, which represents a directory, from a settings struct. This crate's
/// README describes the attributes.
#[proc_macro_derive(Params, attributes(param, params))]
pub fn derive_params(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    params::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `Choice` for an enum, so that it can be used as a parameter type. The name of a
/// variant is its identifier in kebab case, such as `slow-blink` for `SlowBlink`. The
/// `#[choice(name = "...")]` attribute on a variant sets a different name.
#[proc_macro_derive(Choice, attributes(choice))]
pub fn derive_choice(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    choice::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
