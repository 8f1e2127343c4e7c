//! Parameters are values that clients can read and set. A [`Value`] stores the value of a
//! parameter, and a [`Param`] is the file through which clients read and set it. The type of the
//! value implements [`ParamType`].
//!
//! To add a parameter, put a [`Param`] into a [`Dir`](crate::vfs::Dir). To add a parameter type,
//! implement [`ParamType`] for the type of its value, and add the type to:
//!
//! - `core/derive/src/value_type.rs`, so that the derive macro recognizes it
//! - `core/docs/params.schema.json` and `core/docs/parameters.md`, which describe the schema
//! - `std-adapter/client/src/params/schema.rs`, so that clients check values before they send them

mod array;
mod boolean;
mod change_count;
mod choice;
mod duration;
mod field;
mod file;
mod fixed;
mod hex;
mod info;
mod ipv4;
mod line;
mod mac;
mod number;
mod option;
mod outer;
mod param_type;
mod parameter;
mod proposed;
mod value;

use core::fmt;
use core::task::{Context, Poll};

#[cfg(feature = "params")]
pub(crate) use change_count::{change_count, count_change};
pub use choice::Choice;
pub use duration::{Micros, Millis};
pub use field::Field;
pub use file::ParamFile;
#[cfg(feature = "params")]
pub(crate) use file::Staging;
pub use fixed::Fixed;
pub use info::{Check, Description, Flags, ParamInfo};
pub use ipv4::Ipv4;
pub use line::Line;
pub use mac::Mac;
pub use outer::{Checked, Outer, Unchecked};
pub use param_type::{Number, ParamType, Step, StepUnit};
pub use parameter::Parameter;
#[cfg(feature = "params")]
pub(crate) use proposed::NewTexts;
pub use proposed::{Proposed, Rule};
pub use value::Value;
pub(super) use value::wait_for_change;
#[cfg(feature = "params")]
pub(crate) use value::waiters as value_waiters;

use crate::vfs::{File, FileStat, OpenFile, OpenMode, Result};

/// A file that lets clients read and set a [`Value`].
///
/// Reading the file returns the value as text, followed by a newline. Text written to the file is
/// parsed and checked as a whole before the value is set. If the text is rejected, the error is
/// returned by the request that completes the value, such as a write that ends with a newline. All
/// parts of a parameter except its value are constant and stay in flash.
///
/// With the `params` feature, a client can follow the value by opening the file for reading only,
/// with the append flag (see [`OpenMode::follows`]). The first read then returns the value, and
/// each further read waits until the value is set again. If the file is opened in any other mode, a
/// read never waits, because many clients keep reading until they receive 0 bytes. Only the open
/// mode tells the server whether a client wants to wait for the next value.
///
/// ```
/// use datakit_core::files::{Param, Value};
/// use datakit_core::vfs::{Dir, file};
/// static GAIN: Value<f32> = Value::new(1.0);
/// static ROOT: Dir = Dir::new(&[
///     file("gain", &Param::new(&GAIN).range(0.0, 10.0).unit(&"dB").doc("front-end gain")),
/// ]);
/// assert_eq!(GAIN.get(), 1.0);
/// ```
#[derive(Debug)]
pub struct Param<T: ParamType + 'static> {
    value: &'static Value<T>,
    info: ParamInfo<T>,
}

/// Checks that a parameter takes up at most 12 bytes of RAM, and at most 64 bytes of flash in
/// addition to its strings. A nonzero initial value is also stored in flash and is copied to RAM at
/// startup.
#[cfg(target_pointer_width = "32")]
const _: () = {
    assert!(
        size_of::<Param<u32>>() + size_of::<crate::vfs::Entry>() + size_of::<Value<u32>>() <= 64
    );
    assert!(size_of::<Value<u32>>() <= 12);
};

impl<T: ParamType> Param<T> {
    /// Creates a file for reading and writing `value`.
    ///
    /// If the value is an element of an array, a reference to the file needs a `const` block:
    ///
    /// ```
    /// use datakit_core::files::{Param, Value};
    /// use datakit_core::vfs::{Dir, file};
    /// static GAINS: [Value<u8>; 2] = [const { Value::new(1) }; 2];
    /// static ROOT: Dir = Dir::new(&[
    ///     file("0", const { &Param::new(&GAINS[0]) }),
    ///     file("1", const { &Param::new(&GAINS[1]) }),
    /// ]);
    /// ```
    #[must_use]
    pub const fn new(value: &'static Value<T>) -> Param<T> {
        Param::with_info(value, ParamInfo::new())
    }

    /// Creates a file for reading and writing `value`, with the given limits, default, unit and
    /// description.
    #[must_use]
    pub const fn with_info(value: &'static Value<T>, info: ParamInfo<T>) -> Param<T> {
        Param { value, info }
    }

    /// Sets the default, like [`ParamInfo::default`].
    #[must_use]
    pub const fn default(self, default: T) -> Param<T> {
        Param { info: self.info.default(default), value: self.value }
    }

    /// Sets the unit, like [`ParamInfo::unit`].
    #[must_use]
    pub const fn unit(self, unit: &'static &'static str) -> Param<T> {
        Param { info: self.info.unit(unit), value: self.value }
    }

    /// Sets the description, like [`ParamInfo::doc`].
    #[must_use]
    pub const fn doc(self, doc: &'static str) -> Param<T> {
        Param { info: self.info.doc(doc), value: self.value }
    }

    /// Makes the file read-only, like [`ParamInfo::read_only`].
    #[must_use]
    pub const fn read_only(self) -> Param<T> {
        Param { info: self.info.read_only(), value: self.value }
    }

    /// Calls `check` before a written value is set, like [`ParamInfo::check`].
    #[must_use]
    pub const fn check(self, check: Check<T>) -> Param<T> {
        Param { info: self.info.check(check), value: self.value }
    }

    const fn field(&self) -> Field<'_, T> {
        Field::new(self.value, &self.info)
    }
}

impl<T: Number> Param<T> {
    /// Rejects values below `low` or above `high`, like [`ParamInfo::range`].
    #[must_use]
    pub const fn range(self, low: T::Bound, high: T::Bound) -> Param<T> {
        Param { info: self.info.range(low, high), value: self.value }
    }
}

impl<T: ParamType> File for Param<T> {
    fn stat(&self) -> FileStat {
        ParamFile::new(&self.field()).stat()
    }

    fn open(&self, open: &mut OpenFile<'_>, mode: OpenMode) -> Result<()> {
        ParamFile::new(&self.field()).open(open, mode)
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        ParamFile::new(&self.field()).poll_read(open, cx, offset, buf)
    }

    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        ParamFile::new(&self.field()).write(open, offset, data)
    }

    fn truncate(&self, length: u64) -> Result<()> {
        ParamFile::new(&self.field()).truncate(length)
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        ParamFile::new(&self.field()).chmod(mode)
    }

    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        ParamFile::new(&self.field()).flush(open)
    }

    #[cfg(feature = "params")]
    fn with_parameter(&self, with: &mut crate::vfs::WithParameter<'_>) {
        ParamFile::new(&self.field()).with_parameter(with);
    }

    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        ParamFile::new(&self.field()).describe(out)
    }
}
