//! Recognizes value types by name.

use syn::{Error, Expr, GenericArgument, PathArguments, PathSegment, Result, Type};

/// The type of a single value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    Bool,
    Integer,
    Float,
    Duration,
    Fixed,
    Line,
    /// A `heapless::String`, which can be a constant only if it is empty.
    String,
    /// A `heapless::Vec` of bytes.
    Bytes,
    Ipv4,
    Mac,
    /// Any other type, such as an enum that implements `Choice`.
    Other,
}

impl Leaf {
    /// Recognizes a type by the last segment of its path.
    fn of(ty: &Type) -> Leaf {
        match last_segment(ty).map(|segment| segment.ident.to_string()).as_deref() {
            Some("bool") => Leaf::Bool,
            Some("u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64") => Leaf::Integer,
            Some("f32" | "f64") => Leaf::Float,
            Some("Millis" | "Micros") => Leaf::Duration,
            Some("Fixed") => Leaf::Fixed,
            Some("Line") => Leaf::Line,
            Some("String") => Leaf::String,
            Some("Vec") => Leaf::Bytes,
            Some("Ipv4") => Leaf::Ipv4,
            Some("Mac") => Leaf::Mac,
            _ => Leaf::Other,
        }
    }

    /// Returns whether the values of the type are ordered and can be limited to a range.
    pub(crate) fn has_range(self) -> bool {
        match self {
            Leaf::Integer | Leaf::Float | Leaf::Duration | Leaf::Fixed | Leaf::Other => true,
            Leaf::Bool | Leaf::Line | Leaf::String | Leaf::Bytes | Leaf::Ipv4 | Leaf::Mac => false,
        }
    }
}

/// The type of a value.
pub(crate) struct ValueType<'a> {
    pub(crate) shape: Shape<'a>,
    pub(crate) leaf: Leaf,
    /// The Rust type of each single value.
    pub(crate) leaf_type: &'a Type,
}

/// The number of single values in a value.
#[derive(Clone, Copy)]
pub(crate) enum Shape<'a> {
    One,
    /// One or none.
    Optional,
    /// An array whose length is this expression.
    Array(&'a Expr),
}

impl<'a> ValueType<'a> {
    pub(crate) fn of(ty: &'a Type) -> ValueType<'a> {
        let (shape, leaf_type) = match ty {
            Type::Array(array) => (Shape::Array(&array.len), &*array.elem),
            ty => match option_argument(ty) {
                Some(argument) => (Shape::Optional, argument),
                None => (Shape::One, ty),
            },
        };
        ValueType { shape, leaf: Leaf::of(leaf_type), leaf_type }
    }

    /// Returns whether this crate recognizes the type as a value type. Any other type is a
    /// parameter struct, unless the field has the `#[param]` attribute.
    pub(crate) fn is_known(&self) -> bool {
        match self.shape {
            Shape::Optional => true,
            Shape::One | Shape::Array(_) => {
                self.leaf != Leaf::Other || option_argument(self.leaf_type).is_some()
            }
        }
    }
}

/// Checks that a type is not one of those that cannot be parameters but are often tried, such as
/// `usize`. Without this check, the compiler would report only which trait the type does not
/// implement.
///
/// # Errors
/// Returns an error that names the type to use instead.
pub(crate) fn check_supported(ty: &Type) -> Result<()> {
    if let Type::Array(array) = ty {
        return check_supported(&array.elem);
    }
    let Some(argument) = option_argument(ty) else {
        return instead(ty).map_or(Ok(()), |reason| Err(Error::new_spanned(ty, reason)));
    };
    if option_argument(argument).is_some() {
        return Err(Error::new_spanned(
            ty,
            "clients could not distinguish `None` from `Some(None)`; use only one `Option`",
        ));
    }
    check_supported(argument)
}

/// Returns the reason to use another type.
fn instead(ty: &Type) -> Option<&'static str> {
    const TEXT: &str = "a text has a maximum length; use `heapless::String<N>` or \
                        `datakit_core::files::Line<N>`";
    if let Type::Reference(reference) = ty {
        let segment = last_segment(&reference.elem)?;
        return (segment.ident == "str").then_some(TEXT);
    }
    let segment = last_segment(ty)?;
    match (segment.ident.to_string().as_str(), argument_count(segment)) {
        ("usize", 0) => Some("the size of a `usize` depends on the processor; use `u32` or `u64`"),
        ("isize", 0) => Some("the size of an `isize` depends on the processor; use `i32` or `i64`"),
        ("u128", 0) => Some("an integer has at most 64 bits; use `u64`"),
        ("i128", 0) => Some("an integer has at most 64 bits; use `i64`"),
        ("char", 0) => Some("a `char` is not a parameter; use `datakit_core::files::Line<4>`"),
        // Unlike these types, the types of `heapless` have a capacity as their last argument.
        ("String", 0) => Some(TEXT),
        ("Vec", 1) => Some("a byte string has a maximum length; use `heapless::Vec<u8, N>`"),
        _ => None,
    }
}

/// Returns the number of generic arguments.
fn argument_count(segment: &PathSegment) -> usize {
    match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => arguments.args.len(),
        _ => 0,
    }
}

/// Returns `T` if the type is `Option<T>`.
fn option_argument(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last().filter(|segment| segment.ident == "Option")?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(argument) => Some(argument),
        _ => None,
    }
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        Type::Group(group) => last_segment(&group.elem),
        Type::Paren(paren) => last_segment(&paren.elem),
        _ => None,
    }
}
