//! The types of message fields: integers, data, lists, and fields that exist only in some dialects.

use core::fmt;
use core::marker::PhantomData;

use super::{Dialect, Reader, Str, Writer};

/// A value that can be a field in a message.
pub trait Field<'a>: Sized {
    /// Decodes the value at the front of `reader`. If decoding fails, `reader` records the error
    /// and reports it in [`finish`](Reader::finish).
    fn decode(reader: &mut Reader<'a>) -> Self;

    /// Appends the value to `writer`. If the value does not fit, `writer` records an overflow and
    /// reports it in [`finish`](Writer::finish).
    fn encode(&self, writer: &mut Writer<'_>);

    /// Formats the value concisely for a one-line trace.
    fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

macro_rules! integers {
    ($($type:ty)*) => { $(
        impl<'a> Field<'a> for $type {
            #[inline]
            fn decode(reader: &mut Reader<'a>) -> Self {
                reader.number(size_of::<$type>()) as $type
            }

            #[inline]
            fn encode(&self, writer: &mut Writer<'_>) {
                writer.number(size_of::<$type>(), u64::from(*self));
            }

            fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )* };
}

integers! { u8 u16 u32 u64 }

/// File content, encoded as `count[4]` followed by that many arbitrary bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Data<'a>(pub &'a [u8]);

impl<'a> Field<'a> for Data<'a> {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Self {
        let count = u32::decode(reader);
        // A count that does not fit into `usize` is larger than any frame.
        Data(reader.take_bytes(usize::try_from(count).unwrap_or(usize::MAX)))
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) {
        match u32::try_from(self.0.len()) {
            Ok(count) => writer.number(4, count.into()),
            Err(_) => writer.overflow(),
        }
        writer.bytes(self.0);
    }

    fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Data<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=usize} bytes", self.0.len());
    }
}

/// A list, encoded as `count[2]` followed by that many values. The list borrows either the bytes of
/// a decoded frame or the values to encode.
#[derive(Clone, Copy)]
pub enum List<'a, T> {
    /// The bytes of a decoded frame. Decoding checks every value. The iterator of a list that was
    /// not created by decoding stops at the first malformed value.
    Wire {
        /// Number of values.
        count: u16,
        /// The bytes of the values.
        bytes: &'a [u8],
    },
    /// The values to encode.
    Slice(&'a [T]),
}

impl<'a, T: Field<'a> + Copy> List<'a, T> {
    /// Returns an iterator that decodes the values one by one.
    #[inline]
    pub fn iter(&self) -> Iter<'a, T> {
        match *self {
            // The values in a list are encoded in the same way in every dialect.
            List::Wire { count, bytes } => {
                Iter(ListSource::Wire(count, Reader::new(bytes, Dialect::Legacy), PhantomData))
            }
            List::Slice(values) => Iter(ListSource::Slice(values.iter())),
        }
    }

    /// Returns the number of values.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            List::Wire { count, .. } => usize::from(*count),
            List::Slice(values) => values.len(),
        }
    }

    /// Returns whether the list is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An iterator over the values of a [`List`].
#[derive(Clone, Debug)]
pub struct Iter<'a, T>(ListSource<'a, T>);

#[derive(Clone, Debug)]
enum ListSource<'a, T> {
    Wire(u16, Reader<'a>, PhantomData<T>),
    Slice(core::slice::Iter<'a, T>),
}

impl<'a, T: Field<'a> + Copy> Iterator for Iter<'a, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            ListSource::Wire(left, reader, _) => {
                *left = left.checked_sub(1)?;
                let value = T::decode(reader);
                reader.check().ok().map(|()| value)
            }
            ListSource::Slice(values) => values.next().copied(),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            ListSource::Wire(left, ..) => (0, Some(usize::from(*left))),
            ListSource::Slice(values) => values.size_hint(),
        }
    }
}

impl<'a, T> From<&'a [T]> for List<'a, T> {
    #[inline]
    fn from(values: &'a [T]) -> Self {
        List::Slice(values)
    }
}

impl<'a, T, const N: usize> From<&'a [T; N]> for List<'a, T> {
    #[inline]
    fn from(values: &'a [T; N]) -> Self {
        List::Slice(values)
    }
}

impl<'a, T: Field<'a> + Copy> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    #[inline]
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// Compares the values, whether they are encoded or decoded.
impl<'a, T: Field<'a> + Copy + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<'a, T: Field<'a> + Copy + Eq> Eq for List<'a, T> {}

impl<'a, T: Field<'a> + Copy + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(feature = "defmt")]
impl<'a, T: Field<'a> + Copy + defmt::Format> defmt::Format for List<'a, T> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "[");
        for value in self.iter() {
            defmt::write!(f, " {}", value);
        }
        defmt::write!(f, " ]");
    }
}

impl<'a, T: Field<'a> + Copy> Field<'a> for List<'a, T> {
    fn decode(reader: &mut Reader<'a>) -> Self {
        let count = u16::decode(reader);
        let all = reader.rest();
        for _ in 0..count {
            T::decode(reader);
            if reader.check().is_err() {
                break;
            }
        }
        let bytes = all.get(..all.len().saturating_sub(reader.rest().len())).unwrap_or_default();
        List::Wire { count, bytes }
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.count(self.len());
        match self {
            List::Wire { bytes, .. } => writer.bytes(bytes),
            List::Slice(values) => values.iter().for_each(|value| value.encode(writer)),
        }
    }

    fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, value) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            value.trace(f)?;
        }
        f.write_str("]")
    }
}

/// The `n_uname[4]` field of Tauth and Tattach. In 9P2000, which lacks this field, the value
/// decodes as [`NONE`](Numeric::NONE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Numeric(pub u32);

impl Numeric {
    /// NONUNAME, which means that only the name identifies the user.
    pub const NONE: Self = Self(!0);
}

impl<'a> Field<'a> for Numeric {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Self {
        if reader.dialect() == Dialect::Legacy { Self::NONE } else { Self(u32::decode(reader)) }
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) {
        if writer.dialect() != Dialect::Legacy {
            self.0.encode(writer);
        }
    }

    fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE { f.write_str("none") } else { self.0.trace(f) }
    }
}

/// The `extension[s]` field of Tcreate, which exists only in 9P2000.u. In 9P2000.u, `None` encodes
/// as an empty string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Extension<'a>(pub Option<Str<'a>>);

impl<'a> Field<'a> for Extension<'a> {
    fn decode(reader: &mut Reader<'a>) -> Self {
        Self((reader.dialect() == Dialect::Unix).then(|| Str::decode(reader)))
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        if writer.dialect() == Dialect::Unix {
            self.0.unwrap_or_default().encode(writer);
        }
    }

    fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.unwrap_or_default().trace(f)
    }
}

/// The `errno[4]` field of Rerror, which exists only in 9P2000.u. In other dialects, the value
/// decodes as 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Errno(pub u32);

impl<'a> Field<'a> for Errno {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Self {
        Self(if reader.dialect() == Dialect::Unix { u32::decode(reader) } else { 0 })
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) {
        if writer.dialect() == Dialect::Unix {
            self.0.encode(writer);
        }
    }

    fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.trace(f)
    }
}

/// The `datasync[4]` field of Tfsync. If a request from an older client lacks this field, the value
/// decodes as 0. The field is always encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Datasync(pub u32);

impl<'a> Field<'a> for Datasync {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Self {
        Self(if reader.is_empty() { 0 } else { u32::decode(reader) })
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) {
        self.0.encode(writer);
    }

    fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.trace(f)
    }
}
