//! Parameters are values that clients can read and set. A [`Value`] stores the value of a
//! parameter, and a [`Param`] is the file through which clients read and set the value. The type of
//! the value implements [`ParamType`].
//!
//! To add a type of parameter, implement [`ParamType`] for the type of its value. To add a
//! parameter, put a [`Param`] into a [`Dir`](crate::vfs::Dir).

mod boolean;
mod choice;
mod duration;
mod hex;
mod ipv4;
mod line;
mod mac;
mod number;

use core::cell::Cell;
use core::fmt::{self, Write};
use core::future::poll_fn;
use core::task::{Context, Poll};

use embassy_sync::blocking_mutex::CriticalSectionMutex;

use super::pieces::{self, PieceTarget};
use super::util::{Count, Plain, Quoted, check_plain_mode, render};
pub use choice::Choice;
pub use duration::{Micros, Millis};
pub use ipv4::Ipv4;
pub use mac::Mac;

use crate::vfs::{Error, File, FileStat, OpenFile, OpenMode, Result, Waiter, Waiters, read_at};

/// A value that is shared by the program and its files. A value can be set from an interrupt
/// handler. The value is the only part of a [`Param`] that is kept in RAM.
pub struct Value<T> {
    inner: CriticalSectionMutex<(Cell<T>, Cell<u32>)>,
}

/// The tasks that wait for a value to change. One list serves all values, because a separate list
/// for each value would triple the RAM that a parameter needs. If another value changes, a waiting
/// task is woken, compares two version numbers and waits again.
static WAITERS: Waiters<8> = Waiters::new();

impl<T> Value<T> {
    /// Creates a value that is initially set to `initial`.
    #[must_use]
    pub const fn new(initial: T) -> Value<T> {
        Value { inner: CriticalSectionMutex::new((Cell::new(initial), Cell::new(0))) }
    }

    /// Replaces the value and wakes the tasks that are waiting for a change.
    pub fn set(&self, value: T) {
        let old = self.inner.lock(|(cell, version)| {
            version.set(version.get().wrapping_add(1));
            cell.replace(value)
        });
        WAITERS.wake();
        // Drop the old value outside the critical section, because its destructor may take a long
        // time.
        drop(old);
    }

    /// Returns the number of times that the value has been set, modulo 2^32.
    pub fn version(&self) -> u32 {
        self.inner.lock(|(_, version)| version.get())
    }

    /// Waits until the [version](Value::version) differs from `seen` and returns the new version.
    ///
    /// # Cancel safety
    /// No change is lost if the future is dropped, because the next call detects changes that have
    /// occurred in the meantime.
    pub async fn changed(&self, seen: u32) -> u32 {
        let mut waiter = Waiter::new();
        poll_fn(|cx| {
            // Register the waker before comparing the versions, so that a change between the two
            // steps wakes the task.
            WAITERS.register(&mut waiter, cx.waker());
            let version = self.version();
            if version == seen { Poll::Pending } else { Poll::Ready(version) }
        })
        .await
    }
}

impl<T: Clone + Default> Value<T> {
    /// Returns a copy of the value.
    pub fn get(&self) -> T {
        self.get_with_version().0
    }

    pub(super) fn get_with_version(&self) -> (T, u32) {
        self.inner.lock(|(cell, version)| {
            // Take the value out of the cell, clone it and put it back, all within the critical
            // section. A `RefCell` would allow cloning in place but is 4 bytes larger than a
            // `Cell`.
            let value = cell.take();
            let copy = value.clone();
            cell.set(value);
            (copy, version.get())
        })
    }
}

impl<T: Clone + Default + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&self.get()).finish()
    }
}

/// A function that checks a new value before the parameter is set. The error message should name
/// the valid values.
type Hook<T> = fn(T) -> core::result::Result<(), &'static str>;

/// A file through which clients read and set a [`Value`].
///
/// Reading the file returns the value as text, followed by a newline. Text written to the file is
/// parsed and checked as a whole before the value is set. If the text is refused, the error is
/// returned by the request that completes the value, such as a write that ends with a newline. All
/// parts of a parameter except the value are constant and stay in flash.
///
/// ```
/// use datakit_core::files::{Param, Value};
/// use datakit_core::vfs::{Dir, file};
/// static GAIN: Value<f32> = Value::new(1.0);
/// static ROOT: Dir = Dir::new(&[
///     file("gain", &Param::new(&GAIN).range(0.0, 10.0).unit("dB").doc("front-end gain")),
/// ]);
/// assert_eq!(GAIN.get(), 1.0);
/// ```
pub struct Param<T: ParamType + 'static> {
    value: &'static Value<T>,
    limits: T::Limits,
    unit: &'static str,
    doc: &'static str,
    hook: Option<Hook<T>>,
    read_only: bool,
}

/// Checks that a parameter takes up at most 12 bytes of RAM, and at most 64 bytes of flash
/// excluding its strings. A nonzero initial value is also stored in flash and is copied to RAM at
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
    #[must_use]
    pub const fn new(value: &'static Value<T>) -> Param<T> {
        Param { value, limits: T::ANY, unit: "", doc: "", hook: None, read_only: false }
    }

    /// Sets the unit. The unit appears only in descriptions and error messages. The text that is
    /// read or written does not contain the unit.
    #[must_use]
    pub const fn unit(self, unit: &'static str) -> Param<T> {
        Param { unit, ..self }
    }

    /// Sets the description, which should be only a few words long.
    #[must_use]
    pub const fn doc(self, doc: &'static str) -> Param<T> {
        Param { doc, ..self }
    }

    /// Makes the file refuse writes. Use this method for a value that clients must not set.
    #[must_use]
    pub const fn read_only(self) -> Param<T> {
        Param { read_only: true, ..self }
    }

    /// Calls `hook` before a written value is set. The hook may refuse the value or pass it on to
    /// the hardware.
    #[must_use]
    pub const fn hook(self, hook: Hook<T>) -> Param<T> {
        Param { hook: Some(hook), ..self }
    }

    fn render(&self, out: &mut dyn Write) -> fmt::Result {
        self.value.get().render(&self.limits, out)?;
        out.write_str("\n")
    }

    #[inline(never)]
    fn render_text(&self, open: &mut OpenFile<'_>) -> Result<()> {
        render(open.text, |mut out| self.render(&mut out))
    }

    fn refusal(&self, data: &[u8]) -> Error {
        Error::Invalid.with_message(Refusal { param: self, text: data.trim_ascii() })
    }

    fn allowed(&self, out: &mut dyn Write) -> fmt::Result {
        T::allowed(&self.limits, out)?;
        if self.unit.is_empty() { Ok(()) } else { write!(out, " {}", Plain(self.unit)) }
    }
}

impl<T: Number> Param<T> {
    /// Refuses values below `low` or above `high`.
    #[must_use]
    pub const fn range(self, low: T, high: T) -> Param<T> {
        Param { limits: (low, high), ..self }
    }
}

impl<T: ParamType> fmt::Debug for Param<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Param { unit, doc, read_only, .. } = self;
        f.debug_struct("Param")
            .field("unit", unit)
            .field("doc", doc)
            .field("read_only", read_only)
            .finish_non_exhaustive()
    }
}

impl<T: ParamType> File for Param<T> {
    fn stat(&self) -> FileStat {
        let stat = Count::stat(|count| self.render(count));
        if self.read_only { stat.read_only() } else { stat }
    }

    fn open(&self, open: &mut OpenFile<'_>, mode: OpenMode) -> Result<()> {
        // Keep the value when the file is truncated, because shells truncate a file before writing
        // to it. Subsequent reads through this open file return no bytes.
        open.state.partial = mode.truncate;
        if mode.truncate { Ok(()) } else { self.render_text(open) }
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(pieces::apply(self, open).and_then(|()| {
            if !open.state.partial && (offset == 0 || open.text.bytes().is_empty()) {
                self.render_text(open)?;
            }
            read_at(open.text.bytes(), offset, buf)
        }))
    }

    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        if self.read_only {
            Err(Error::ReadOnlyFile)
        } else {
            pieces::write(self, open, offset, data)
        }
    }

    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        pieces::apply(self, open)
    }

    fn truncate(&self, _: u64) -> Result<()> {
        if self.read_only { Err(Error::ReadOnlyFile) } else { Ok(()) }
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        check_plain_mode(mode)
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        self.allowed(out)?;
        if self.read_only {
            out.write_str(", read-only")?;
        }
        if self.doc.is_empty() { Ok(()) } else { write!(out, ": {}", Plain(self.doc)) }
    }
}

impl<T: ParamType> PieceTarget for Param<T> {
    fn set(&self, _: u64, text: &[u8]) -> Result<()> {
        let value = T::parse(text.trim_ascii(), &self.limits).ok_or_else(|| self.refusal(text))?;
        if let Some(hook) = self.hook {
            hook(value.clone()).map_err(|reason| Error::Invalid.with_message(Plain(reason)))?;
        }
        self.value.set(value);
        Ok(())
    }

    fn may_continue(&self, text: &[u8]) -> bool {
        T::may_continue(text, &self.limits)
    }
}

/// The error message for a refused value, such as `"abc" is not a number from 0 to 10 dB`.
struct Refusal<'a, T: ParamType + 'static> {
    param: &'a Param<T>,
    text: &'a [u8],
}

impl<T: ParamType> fmt::Display for Refusal<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not ", Quoted(self.text))?;
        self.param.allowed(f)
    }
}

/// A type that the value of a [`Param`] can have. The trait defines how values of the type are
/// parsed, rendered and limited.
pub trait ParamType: Clone + Default + Send {
    /// A restriction on the values, for example a range.
    type Limits: Copy + Sync;

    /// Limits that allow every value of the type.
    const ANY: Self::Limits;

    /// Parses `text`, which has no leading or trailing white space. Returns `None` if `text` is not
    /// a valid value or is outside the limits. `text` is a byte slice because most types need no
    /// UTF-8 check.
    fn parse(text: &[u8], limits: &Self::Limits) -> Option<Self>;

    /// Returns whether `text`, which contains no newline, could be the beginning of a longer value.
    /// If this method returns `false`, `text` is parsed immediately, without waiting until the
    /// value is complete.
    fn may_continue(text: &[u8], limits: &Self::Limits) -> bool {
        let _ = (text, limits);
        true
    }

    /// Writes the value, without a newline.
    fn render(&self, limits: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result;

    /// Writes a description of the allowed values, for example `a number from 0 to 10`.
    fn allowed(limits: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result;
}

/// A [`ParamType`] whose values can be limited to a range.
pub trait Number: ParamType<Limits = (Self, Self)> + Copy {}
