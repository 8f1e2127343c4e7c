//! `#[derive(Params)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Expr, Fields, Ident, Index, Path, Result, parse_quote};

use crate::attributes::ContainerAttributes;
use crate::field::{ENTRIES_ERROR, ENTRIES_MAX, Field, Kind, Param};
use crate::names::check_unique;

/// Returns the path to `datakit_core`.
pub(crate) fn core_path(set: Option<Path>) -> Path {
    set.unwrap_or_else(|| parse_quote!(::datakit_core))
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "`Params` can be derived only for a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(
            &input.ident,
            "`Params` can be derived only for a struct with named fields, because a field gives a file \
             its name",
        ));
    };
    if !input.generics.params.is_empty() {
        let reason = "`Params` cannot be derived for a generic struct, because the descriptions of the \
                      parameters are constants";
        return Err(Error::new_spanned(&input.generics, reason));
    }
    if let Some(param) = input.attrs.iter().find(|attribute| attribute.path().is_ident("param")) {
        return Err(Error::new_spanned(
            param,
            "`#[param(...)]` belongs on a field; the attribute of a struct is `#[params(...)]`",
        ));
    }
    let attributes = ContainerAttributes::parse(&input.attrs, "params", &["check", "crate"])?;
    let fields = all(fields.named.iter().map(Field::new))?;
    if fields.len() > ENTRIES_MAX {
        return Err(Error::new_spanned(&input.ident, ENTRIES_ERROR));
    }
    check_unique(fields.iter().map(|field| &field.name))?;
    let params = format_ident!("{}Params", input.ident);
    Ok(Struct { input, params, fields, check: attributes.check }
        .generate(&core_path(attributes.krate)))
}

/// Returns all values, or all errors if there are any.
fn all<T>(results: impl Iterator<Item = Result<T>>) -> Result<Vec<T>> {
    let (mut values, mut errors) = (Vec::new(), None::<Error>);
    for result in results {
        match (result, &mut errors) {
            (Ok(value), _) => values.push(value),
            (Err(error), Some(errors)) => errors.combine(error),
            (Err(error), None) => errors = Some(error),
        }
    }
    errors.map_or(Ok(values), Err)
}

struct Struct<'a> {
    input: &'a DeriveInput,
    /// The name of the generated struct.
    params: Ident,
    fields: Vec<Field<'a>>,
    check: Option<Expr>,
}

impl Struct<'_> {
    fn generate(&self, krate: &Path) -> TokenStream {
        let (plain, params) = (&self.input.ident, &self.params);
        let definition = self.definition(krate);
        let constants = self.constants();
        let fields = self.fields_impl();
        let rule = self.rule_impl();
        let name = params.to_string();
        quote! {
            #definition

            const _: () = {
                use #krate::files::fields::derive_support as __support;

                #constants
                #fields
                #rule

                #[automatically_derived]
                impl #krate::files::Params for #plain {
                    type Params<__O: __support::Outer> = #params<__O>;
                }

                #[automatically_derived]
                impl #params {
                    /// The number of directory levels.
                    pub const DEPTH: u8 = <Self as #krate::files::fields::Fields>::DEPTH;

                    /// Creates the parameters with their defaults.
                    #[must_use]
                    pub const fn new() -> Self {
                        <Self as #krate::files::fields::Fields>::NEW
                    }
                }

                #[automatically_derived]
                impl<__O: __support::Outer> #params<__O> {
                    /// Returns the values of all fields. All fields are read in one critical
                    /// section.
                    #[must_use]
                    pub fn load(&self) -> #plain {
                        __support::load(self)
                    }

                    /// Sets all fields in one critical section. The values are not checked.
                    pub fn store(&self, new: &#plain) {
                        __support::store(self, new);
                    }

                    /// Returns the number of times that fields have been set, modulo 2^32.
                    #[must_use]
                    pub fn version(&self) -> u32 {
                        #krate::files::fields::Fields::version(self)
                    }

                    /// Waits until the version differs from `seen` and returns the new version.
                    ///
                    /// # Cancel safety
                    /// No change is lost if the future is dropped, because the next call detects
                    /// changes that have occurred in the meantime.
                    pub async fn changed(&self, seen: u32) -> u32 {
                        __support::changed(self, seen).await
                    }
                }

                #[automatically_derived]
                impl ::core::default::Default for #params {
                    fn default() -> Self {
                        Self::new()
                    }
                }

                #[automatically_derived]
                impl<__O: __support::Outer> ::core::fmt::Debug for #params<__O> {
                    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                        f.debug_struct(#name).finish_non_exhaustive()
                    }
                }
            };
        }
    }

    /// The parameter struct.
    fn definition(&self, krate: &Path) -> TokenStream {
        let (plain, params, vis) = (&self.input.ident, &self.params, &self.input.vis);
        let doc = format!("The parameters of [`{plain}`].");
        let support = quote!(#krate::files::fields);
        let outer = self.outer_of_directories(&support);
        let fields = self.fields.iter().map(|field| {
            let Field { ident, vis, ty, docs, .. } = field;
            let ty = match &field.kind {
                Kind::Value(_) => quote!(#krate::files::Value<#ty>),
                Kind::Array(_, _, length) => {
                    let info = self.array_info(field);
                    quote!(#support::Values<#info, { #length }, #outer>)
                }
                Kind::Directory => {
                    quote_spanned!(ty.span()=> <#ty as #krate::files::Params>::Params<#outer>)
                }
            };
            let doc = format!("The parameter `{}`.", field.name.text);
            let doc = docs.is_empty().then(|| quote!(#[doc = #doc]));
            quote!(#doc #(#docs)* #vis #ident: #ty)
        });
        let infos =
            self.fields.iter().filter(|field| matches!(field.kind, Kind::Array(..))).map(|field| {
                let info = self.array_info(field);
                quote! {
                    #[doc(hidden)]
                    #[allow(non_camel_case_types)]
                #[derive(Debug)]
                    #vis struct #info;
                }
            });
        quote! {
            #[doc = #doc]
            #vis struct #params<__O: #support::Outer = #support::Unchecked> {
                #(#fields,)*
                __outer: __O,
            }
            #(#infos)*
        }
    }

    /// Returns the type that holds the rule for the values in subdirectories. The rule is the
    /// struct's own rule or, if the struct has none, the rule of the struct that contains it.
    fn outer_of_directories(&self, support: &TokenStream) -> TokenStream {
        if self.check.is_some() { quote!(#support::Checked) } else { quote!(__O) }
    }

    /// Returns the name of the type that provides the constants of an array.
    fn array_info(&self, field: &Field<'_>) -> Ident {
        format_ident!("__{}_{}", self.params, field.ident)
    }

    /// The descriptions of the parameters.
    fn constants(&self) -> TokenStream {
        let constants = self.fields.iter().map(|field| match &field.kind {
            Kind::Value(Param { initial, info, assertion }) => {
                let (name, initial_name, ty) = (info_name(field), initial_name(field), field.ty);
                quote! {
                    #[allow(non_upper_case_globals)]
                    const #initial_name: #ty = #initial;
                    #[allow(non_upper_case_globals)]
                    const #name: &__support::ParamInfo<#ty> = #info;
                    #assertion
                }
            }
            Kind::Array(Param { initial, info, assertion }, ty, _) => {
                let name = self.array_info(field);
                quote! {
                    #[automatically_derived]
                    impl __support::ArrayInfo for #name {
                        type Type = #ty;
                        const INITIAL: #ty = #initial;
                        const INFO: &'static __support::ParamInfo<#ty> = #info;
                    }
                    #assertion
                }
            }
            Kind::Directory => TokenStream::new(),
        });
        quote!(#(#constants)*)
    }

    fn fields_impl(&self) -> TokenStream {
        let (plain, params) = (&self.input.ident, &self.params);
        let idents: Vec<_> = self.fields.iter().map(|field| field.ident).collect();
        let names = self.fields.iter().map(|field| &field.name.text);
        let new = self.fields.iter().map(|field| match &field.kind {
            Kind::Value(_) => {
                let initial = initial_name(field);
                quote!(__support::Value::new(#initial))
            }
            Kind::Array(..) | Kind::Directory => quote!(__support::Fields::NEW),
        });
        let each = |value: &dyn Fn(&Ident, usize) -> TokenStream,
                    directory: &dyn Fn(&Ident, usize) -> TokenStream| {
            let each = self.fields.iter().enumerate().map(|(index, field)| match &field.kind {
                Kind::Value(_) => value(field.ident, index),
                Kind::Array(..) | Kind::Directory => directory(field.ident, index),
            });
            each.collect::<Vec<_>>()
        };
        let changed_types = self.fields.iter().map(|field| self.changed_type(field));
        let values = each(
            &|ident, _| quote!(self.#ident.get()),
            &|ident, _| quote!(__support::Fields::values(&self.#ident)),
        );
        let proposed = each(
            &|ident, _| quote!(proposed.get(&self.#ident)),
            &|ident, _| quote!(__support::Fields::proposed(&self.#ident, proposed)),
        );
        let replace = each(
            &|ident, _| quote!(__support::replace_value(&self.#ident, &new.#ident)),
            &|ident, _| quote!(__support::Fields::replace(&self.#ident, &new.#ident)),
        );
        let notify = each(
            &|ident, index| {
                let index = Index::from(index);
                quote!(__support::notify_value(&self.#ident, changed.#index))
            },
            &|ident, index| {
                let index = Index::from(index);
                quote!(__support::Fields::notify(&self.#ident, &changed.#index))
            },
        );
        let versions = each(
            &|ident, _| quote!(self.#ident.version()),
            &|ident, _| quote!(__support::Fields::version(&self.#ident)),
        );
        let depth = self.fields.iter().filter(|field| !matches!(field.kind, Kind::Value(_))).map(|field| {
            let ty = self.directory_type(field);
            quote!(let depth = __support::depth_above(<#ty as __support::Fields>::DEPTH, depth);)
        });
        let directory = self.directory_fn();
        let with_file = self.with_file_fn();
        quote! {
            #[automatically_derived]
            #[allow(clippy::declare_interior_mutable_const, clippy::borrow_interior_mutable_const)]
            impl<__O: __support::Outer> __support::Fields for #params<__O> {
                type Plain = #plain;
                type Changed = (#(#changed_types,)*);
                const NEW: Self = #params { #(#idents: #new,)* __outer: __O::NEW };
                const DEPTH: u8 = {
                    let depth = 1;
                    #(#depth)*
                    depth
                };
                const IS_CHECKED: bool = __O::IS_CHECKED;
                const NAMES: __support::Names = __support::Names::List(&[#(#names),*]);

                #directory
                #with_file

                fn set_outer(&self, rule: &'static (dyn __support::Rule + ::core::marker::Sync)) {
                    __support::Outer::set(&self.__outer, rule);
                }

                fn proposed(&self, proposed: &__support::Proposed<'_>) -> #plain {
                    #plain { #(#idents: #proposed),* }
                }

                fn values(&self) -> #plain {
                    #plain { #(#idents: #values),* }
                }

                fn replace(&self, new: &#plain) -> Self::Changed {
                    (#(#replace,)*)
                }

                fn notify(&self, changed: &Self::Changed) {
                    #(#notify;)*
                }

                fn version(&self) -> u32 {
                    0u32 #(.wrapping_add(#versions))*
                }
            }
        }
    }

    /// Returns the type of a field that is a directory.
    fn directory_type(&self, field: &Field<'_>) -> TokenStream {
        let outer = self.outer_of_directories(&quote!(__support));
        match &field.kind {
            Kind::Array(_, _, length) => {
                let info = self.array_info(field);
                quote!(__support::Values<#info, { #length }, #outer>)
            }
            Kind::Directory | Kind::Value(_) => {
                let ty = field.ty;
                quote!(<#ty as __support::Params>::Params<#outer>)
            }
        }
    }

    fn changed_type(&self, field: &Field<'_>) -> TokenStream {
        match &field.kind {
            Kind::Value(_) => quote!(bool),
            Kind::Array(..) | Kind::Directory => {
                let ty = self.directory_type(field);
                quote!(<#ty as __support::Fields>::Changed)
            }
        }
    }

    fn directory_fn(&self) -> TokenStream {
        let rule = match self.check {
            Some(_) => quote!(::core::option::Option::Some(self)),
            None => quote!(__support::Outer::rule(&self.__outer)),
        };
        let arms: Vec<_> = (0u8..)
            .zip(&self.fields)
            .filter(|(_, field)| !matches!(field.kind, Kind::Value(_)))
            .map(|(index, field)| {
                let ident = field.ident;
                quote!(#index => ::core::option::Option::Some(__support::directory(&self.#ident, #rule)))
            })
            .collect();
        if arms.is_empty() {
            return TokenStream::new();
        }
        quote! {
            fn directory(&'static self, index: u8) -> ::core::option::Option<__support::Node> {
                match index {
                    #(#arms,)*
                    _ => ::core::option::Option::None,
                }
            }
        }
    }

    /// Fields of the same type share one match arm.
    fn with_file_fn(&self) -> TokenStream {
        let mut groups: Vec<(String, Vec<(u8, &Field<'_>)>)> = Vec::new();
        for (index, field) in
            (0u8..).zip(&self.fields).filter(|(_, field)| matches!(field.kind, Kind::Value(_)))
        {
            let ty = field.ty;
            let ty = quote!(#ty).to_string();
            match groups.iter_mut().find(|(of, _)| *of == ty) {
                Some((_, members)) => members.push((index, field)),
                None => groups.push((ty, vec![(index, field)])),
            }
        }
        let rule = match self.check {
            Some(_) => quote!(.rule(self)),
            None => quote!(.outer_rule(&self.__outer)),
        };
        let arms = groups.iter().map(|(_, members)| {
            let indices = members.iter().map(|(index, _)| index);
            let pairs = members.iter().enumerate().map(|(at, (index, field))| {
                let (ident, info) = (field.ident, info_name(field));
                // The last arm must match all remaining indices.
                if at + 1 == members.len() {
                    quote!(_ => (&self.#ident, #info))
                } else {
                    quote!(#index => (&self.#ident, #info))
                }
            });
            quote! {
                #(#indices)|* => {
                    let (value, info) = match index { #(#pairs,)* };
                    with.call(&__support::ParamFile::new(&__support::Field::new(value, info) #rule));
                }
            }
        });
        quote! {
            fn with_file(&self, index: u8, with: &mut __support::WithFile<'_>) {
                match index {
                    #(#arms)*
                    _ => {}
                }
            }
        }
    }

    /// Generates the rule that calls the struct's check function.
    fn rule_impl(&self) -> TokenStream {
        let Some(check) = &self.check else { return TokenStream::new() };
        let (plain, params) = (&self.input.ident, &self.params);
        let check = quote_spanned! {check.span()=>
            let check: fn(&#plain) -> ::core::result::Result<(), &'static str> = #check;
        };
        quote! {
            #[automatically_derived]
            impl<__O: __support::Outer> __support::Rule for #params<__O> {
                fn check(&self, proposed: &__support::Proposed<'_>) -> ::core::result::Result<(), &'static str> {
                    #check
                    check(&__support::Fields::proposed(self, proposed))?;
                    match __support::Outer::rule(&self.__outer) {
                        ::core::option::Option::Some(rule) => rule.check(proposed),
                        ::core::option::Option::None => ::core::result::Result::Ok(()),
                    }
                }
            }
        }
    }
}

fn info_name(field: &Field<'_>) -> Ident {
    format_ident!("__INFO_{}", field.ident)
}

fn initial_name(field: &Field<'_>) -> Ident {
    format_ident!("__INITIAL_{}", field.ident)
}
