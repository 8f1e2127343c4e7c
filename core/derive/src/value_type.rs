//! Recognizes value types by name.

use syn::{Expr, GenericArgument, PathArguments, Type};

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
        match last_segment(ty).as_deref() {
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

fn last_segment(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        Type::Group(group) => last_segment(&group.elem),
        Type::Paren(paren) => last_segment(&paren.elem),
        _ => None,
    }
}
