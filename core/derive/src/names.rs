//! Names of files and choices, and descriptions from documentation comments.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt;
use syn::{Attribute, Error, Expr, ExprLit, Lit, LitStr, Meta, Result};

/// The number of bytes that a name may have.
const LENGTHS: RangeInclusive<usize> = 1..=255;

/// A name and its position in the source code.
pub(crate) struct Name {
    pub(crate) text: String,
    span: Span,
}

impl Name {
    /// Returns the name set by an attribute, or the identifier in kebab case if no attribute sets
    /// one.
    ///
    /// # Errors
    /// Returns an error if the name is not allowed.
    pub(crate) fn new(ident: &Ident, set: Option<&LitStr>) -> Result<Name> {
        let Some(set) = set else { return Name::of_ident(ident) };
        let name = set.value();
        let allowed = |c: char| !c.is_whitespace() && !c.is_control() && !"/\"\\".contains(c);
        if !LENGTHS.contains(&name.len())
            || name == "."
            || name == ".."
            || !name.chars().all(allowed)
        {
            return Err(Error::new_spanned(
                set,
                "a name has 1 to 255 bytes, contains no white space, control character, `/`, `\"` or \
                 `\\`, and is neither `.` nor `..`",
            ));
        }
        Ok(Name { text: name, span: set.span() })
    }

    /// Checks only the length, because the characters of an identifier are allowed in a name.
    fn of_ident(ident: &Ident) -> Result<Name> {
        let text = kebab_case(&ident.unraw().to_string());
        if !LENGTHS.contains(&text.len()) {
            let reason = format!(
                "the identifier becomes a name of {} bytes, but a name has 1 to 255 bytes; add \
                 `name = \"...\"`",
                text.len()
            );
            return Err(Error::new(ident.span(), reason));
        }
        Ok(Name { text, span: ident.span() })
    }
}

/// Checks that no two names are equal.
///
/// # Errors
/// Returns an error that points to the second of two equal names.
pub(crate) fn check_unique<'a>(names: impl IntoIterator<Item = &'a Name>) -> Result<()> {
    let mut seen = HashMap::new();
    for name in names {
        if seen.insert(&name.text, ()).is_some() {
            return Err(Error::new(name.span, format!("the name `{}` is used twice", name.text)));
        }
    }
    Ok(())
}

/// Converts an identifier to kebab case, for example `low_pass` to `low-pass`, `SlowBlink` to
/// `slow-blink` and `TCPPort` to `tcp-port`.
fn kebab_case(ident: &str) -> String {
    let chars: Vec<char> = ident.trim_matches('_').chars().collect();
    let mut name = String::new();
    for (i, c) in chars.iter().enumerate() {
        let after_lower =
            i > 0 && chars.get(i - 1).is_some_and(|c| c.is_lowercase() || c.is_numeric());
        let before_lower = i > 0 && chars.get(i + 1).is_some_and(|c| c.is_lowercase());
        if c.is_uppercase() && (after_lower || before_lower) && !name.ends_with('-') {
            name.push('-');
        }
        if *c == '_' {
            name.push('-');
        } else {
            name.extend(c.to_lowercase());
        }
    }
    name
}

/// Returns the first paragraph of the documentation comment as one line, without the final period.
pub(crate) fn description(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value()),
            _ => None,
        },
        _ => None,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let paragraph = text.lines().map(str::trim).skip_while(|line| line.is_empty());
    let paragraph: Vec<_> = paragraph.take_while(|line| !line.is_empty()).collect();
    let text = paragraph.join(" ");
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn identifiers_become_kebab_case() {
        for (ident, name) in [
            ("period", "period"),
            ("low_pass", "low-pass"),
            ("_hidden", "hidden"),
            ("SlowBlink", "slow-blink"),
            ("TCPPort", "tcp-port"),
            ("Sine2Wave", "sine2-wave"),
            ("X", "x"),
        ] {
            assert_eq!(kebab_case(ident), name);
        }
    }

    #[test]
    fn description_is_the_first_paragraph_on_one_line() {
        let attributes: [Attribute; 5] = [
            parse_quote!(#[doc = " From one flash"]),
            parse_quote!(#[inline]),
            parse_quote!(#[doc = " to the next."]),
            parse_quote!(#[doc = ""]),
            parse_quote!(#[doc = " More."]),
        ];
        assert_eq!(description(&attributes), "From one flash to the next");
        assert_eq!(description(&[]), "");
    }
}
