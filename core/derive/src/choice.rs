//! `#[derive(Choice)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result, Variant};

use crate::attributes::ContainerAttributes;
use crate::names::{Name, check_unique};
use crate::params::core_path;

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "`Choice` can be derived only for an enum"));
    };
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "`Choice` cannot be derived for a generic enum",
        ));
    }
    if data.variants.is_empty() {
        return Err(Error::new_spanned(&input.ident, "a choice has at least one variant"));
    }
    let mut names = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(variant, "a variant of a choice has no fields"));
        }
        let attributes = ContainerAttributes::parse(&variant.attrs, "choice", &["name"])?;
        names.push(Name::new(&variant.ident, attributes.name.as_ref())?);
    }
    check_unique(&names)?;
    let attributes = ContainerAttributes::parse(&input.attrs, "choice", &["crate"])?;
    let krate = core_path(attributes.krate);
    let ident = &input.ident;
    // `#[derive(Default)]` uses the same attribute.
    let is_default =
        |variant: &&Variant| variant.attrs.iter().any(|a| a.path().is_ident("default"));
    let initial = data.variants.iter().find(is_default).map(|variant| &variant.ident);
    let initial = initial.map(|variant| quote!(const INITIAL: Self = Self::#variant;));
    let variants = data.variants.iter().map(|variant| &variant.ident);
    let names = names.iter().map(|name| &name.text);
    Ok(quote! {
        impl #krate::files::Choice for #ident {
            const ALL: &'static [Self] = &[#(Self::#variants),*];
            const NAMES: &'static [&'static str] = &[#(#names),*];
            #initial
        }
    })
}
