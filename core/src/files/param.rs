//! A value as a file.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::parameter::{Choice, Number, ParamType};
use super::pieces::{self, Valued};
use super::value::Value;
use super::write::{Count, Plain, Quoted, render};
use crate::vfs::{Error, File, FileStat, OpenFile, OpenMode, Result, read_at};

/// Asked before a new value is set, with that value; an error is a text that says what would be
/// right.
type Hook<T> = fn(T) -> core::result::Result<(), &'static str>;

/// A [`Value`] as a file: reads as its text and a newline; what is written is parsed, checked and
/// set as one, and the reason of a refusal goes back on the request that ends it: the write, where
/// that has a newline. All of it is constant and stays in flash but for the value.
///
/// ```
/// use datakit_core::files::{Param, Value};
/// use datakit_core::vfs::{Dir, file};
/// static GAIN: Value<f32> = Value::new(1.0);
/// static ROOT: Dir = Dir::new(&[file("gain", &Param::new(&GAIN).range(0.0, 10.0).unit("dB").doc("front-end gain"))]);
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

/// The budget of one more parameter: 64 bytes of flash, its texts not counted, and 12 bytes of RAM.
/// A first value that is not 0 is in both.
#[cfg(target_pointer_width = "32")]
const _: () = {
    assert!(
        size_of::<Param<u32>>() + size_of::<crate::vfs::Entry>() + size_of::<Value<u32>>() <= 64
    );
    assert!(size_of::<Value<u32>>() <= 12);
};

impl<T: ParamType> Param<T> {
    /// A file of this value.
    #[must_use]
    pub const fn new(value: &'static Value<T>) -> Param<T> {
        Param { value, limits: T::ANY, unit: "", doc: "", hook: None, read_only: false }
    }

    /// The unit, for people: it is not part of the text that is read or written.
    #[must_use]
    pub const fn unit(self, unit: &'static str) -> Param<T> {
        Param { unit, ..self }
    }

    /// What it is for, in a few words.
    #[must_use]
    pub const fn doc(self, doc: &'static str) -> Param<T> {
        Param { doc, ..self }
    }

    /// Refuses writes: the program sets the value.
    #[must_use]
    pub const fn read_only(self) -> Param<T> {
        Param { read_only: true, ..self }
    }

    /// Asks `hook` before a written value is set: it may refuse, or bring the value to the
    /// hardware.
    #[must_use]
    pub const fn hook(self, hook: Hook<T>) -> Param<T> {
        Param { hook: Some(hook), ..self }
    }

    fn render(&self, out: &mut dyn Write) -> fmt::Result {
        self.value.get().render(&self.limits, out)?;
        out.write_str("\n")
    }

    #[inline(never)]
    fn refresh(&self, open: &mut OpenFile<'_>) -> Result<()> {
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
    /// Refuses values below `low` and above `high`.
    #[must_use]
    pub const fn range(self, low: T, high: T) -> Param<T> {
        Param { limits: (low, high), ..self }
    }
}

impl Param<Choice> {
    /// The names to choose from, at most 256.
    #[must_use]
    pub const fn names(self, names: &'static [&'static str]) -> Param<Choice> {
        assert!(names.len() <= 256, "a choice has at most 256 names");
        Param { limits: names, ..self }
    }
}

impl<T: ParamType> File for Param<T> {
    fn stat(&self) -> FileStat {
        let stat = Count::stat(|count| self.render(count));
        if self.read_only { stat.read_only() } else { stat }
    }

    fn open(&self, open: &mut OpenFile<'_>, mode: OpenMode) -> Result<()> {
        // A shell truncates before it writes: the value stays, and this open file reads as empty.
        open.state.partial = mode.truncate;
        if mode.truncate { Ok(()) } else { self.refresh(open) }
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(pieces::end(self, open).and_then(|()| {
            if !open.state.partial && (offset == 0 || open.text.bytes().is_empty()) {
                self.refresh(open)?;
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
        pieces::end(self, open)
    }

    fn truncate(&self, _: u64) -> Result<()> {
        if self.read_only { Err(Error::ReadOnlyFile) } else { Ok(()) }
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        super::write::plain(mode)
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        self.allowed(out)?;
        if self.read_only {
            out.write_str(", read-only")?;
        }
        if self.doc.is_empty() { Ok(()) } else { write!(out, ": {}", Plain(self.doc)) }
    }
}

impl<T: ParamType> Valued for Param<T> {
    fn set(&self, _: u64, text: &[u8]) -> Result<()> {
        let value = T::parse(text.trim_ascii(), &self.limits).ok_or_else(|| self.refusal(text))?;
        if let Some(hook) = self.hook {
            hook(value.clone()).map_err(|why| Error::Invalid.with_message(Plain(why)))?;
        }
        self.value.set(value);
        Ok(())
    }

    fn goes_on(&self, text: &[u8]) -> bool {
        T::goes_on(text, &self.limits)
    }
}

/// `"abc" is not a number from 0 to 10 dB`
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
