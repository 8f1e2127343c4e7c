//! The arguments of the `#[param(..)]`, `#[params(..)]`, and `#[choice(..)]` attributes.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, LitStr, Meta, Path, Result};

/// The arguments of `#[param(..)]` on a field.
#[derive(Default)]
pub(crate) struct ParamAttributes {
    pub(crate) default: Option<Expr>,
    pub(crate) range: Option<Expr>,
    pub(crate) step: Option<Expr>,
    pub(crate) unit: Option<LitStr>,
    pub(crate) doc: Option<LitStr>,
    pub(crate) name: Option<LitStr>,
    pub(crate) check: Option<Expr>,
    pub(crate) flags: Flags,
    /// The position of the `line` argument in the source code, if the argument is present.
    pub(crate) line: Option<Span>,
}

/// The boolean properties of a parameter.
#[derive(Default, Clone, Copy)]
pub(crate) struct Flags {
    pub(crate) read_only: bool,
    pub(crate) write_only: bool,
    pub(crate) restart: bool,
    pub(crate) volatile: bool,
}

/// The arguments of `#[params(..)]` (on a struct or a field) and `#[choice(..)]`.
#[derive(Default)]
pub(crate) struct ContainerAttributes {
    pub(crate) check: Option<Expr>,
    pub(crate) name: Option<LitStr>,
    /// The path of `datakit_core`.
    pub(crate) krate: Option<Path>,
}

impl ParamAttributes {
    /// Parses the `param` attributes. Returns `None` if there are none.
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Option<ParamAttributes>> {
        let mut arguments = ParamAttributes::default();
        let found = parse(attributes, "param", |meta| arguments.parse_argument(&meta))?;
        Ok(found.then_some(arguments))
    }

    fn parse_argument(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        match meta.path.get_ident().map(ToString::to_string).as_deref() {
            Some("default") => set(&mut self.default, meta, meta.value()?.parse()?),
            Some("range") => set(&mut self.range, meta, meta.value()?.parse()?),
            Some("step") => set(&mut self.step, meta, meta.value()?.parse()?),
            Some("unit") => set(&mut self.unit, meta, one_line(meta)?),
            Some("doc") => set(&mut self.doc, meta, one_line(meta)?),
            Some("name") => set(&mut self.name, meta, meta.value()?.parse()?),
            Some("check") => set(&mut self.check, meta, meta.value()?.parse()?),
            Some("line") => set(&mut self.line, meta, meta.path.span()),
            Some("flags") => meta.parse_nested_meta(|flag| self.flags.parse_flag(&flag)),
            _ => Err(meta.error(
                "unknown argument; expected `default`, `range`, `step`, `unit`, `doc`, `name`, \
                 `check`, `line` or `flags(..)`",
            )),
        }
    }
}

impl Flags {
    fn parse_flag(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let flag = match meta.path.get_ident().map(ToString::to_string).as_deref() {
            Some("read_only") => &mut self.read_only,
            Some("write_only") => &mut self.write_only,
            Some("restart" | "reboot") => &mut self.restart,
            Some("volatile") => &mut self.volatile,
            _ => {
                return Err(meta.error(
                    "unknown flag; expected `read_only`, `write_only`, `restart` or `volatile`",
                ));
            }
        };
        *flag = true;
        if self.read_only && self.write_only {
            return Err(meta.error("a parameter cannot be both `read_only` and `write_only`"));
        }
        Ok(())
    }
}

impl ContainerAttributes {
    /// Parses the attributes named `attribute`, which may have only the arguments in `allowed`.
    pub(crate) fn parse(
        attributes: &[Attribute],
        attribute: &str,
        allowed: &[&str],
    ) -> Result<ContainerAttributes> {
        let mut arguments = ContainerAttributes::default();
        parse(attributes, attribute, |meta| {
            let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            match name.as_str() {
                name if !allowed.contains(&name) => {
                    let allowed = allowed.join("` or `");
                    Err(meta.error(format!("unknown argument; expected `{allowed}`")))
                }
                "check" => set(&mut arguments.check, &meta, meta.value()?.parse()?),
                "name" => set(&mut arguments.name, &meta, meta.value()?.parse()?),
                _ => set(&mut arguments.krate, &meta, meta.value()?.call(Path::parse_mod_style)?),
            }
        })?;
        Ok(arguments)
    }
}

/// Calls `each` for every argument of the attributes named `name`. Returns whether there are any
/// such attributes.
fn parse(
    attributes: &[Attribute],
    name: &str,
    mut each: impl FnMut(ParseNestedMeta<'_>) -> Result<()>,
) -> Result<bool> {
    let mut found = false;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(name)) {
        found = true;
        if !matches!(attribute.meta, Meta::Path(_)) {
            attribute.parse_nested_meta(&mut each)?;
        }
    }
    Ok(found)
}

fn set<T>(argument: &mut Option<T>, meta: &ParseNestedMeta<'_>, value: T) -> Result<()> {
    match argument.replace(value) {
        Some(_) => Err(meta.error("this argument occurs twice")),
        None => Ok(()),
    }
}

/// Parses a string that must not contain control characters, because it is displayed on one line.
fn one_line(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let text: LitStr = meta.value()?.parse()?;
    if text.value().contains(char::is_control) {
        return Err(Error::new_spanned(text, "the text must not contain control characters"));
    }
    Ok(text)
}
