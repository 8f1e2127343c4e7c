//! A stream of the latest value.

use core::fmt;
use core::task::{Context, Poll};

use super::stream::poll_stream;
use super::value::Value;
use super::write::{Compare, Plain, render};
use crate::vfs::{File, FileStat, OpenFile, OpenMode, Result, Waiters};

/// A stream: the current value at once, then whenever its text has become another one. Values
/// between two reads are skipped but for the last. `WAITERS` tasks that wait for it are woken at
/// once, further ones in turn ([`Waiters`]).
pub struct Live<T, const WAITERS: usize = 4> {
    value: Value<T>,
    waiters: Waiters<WAITERS>,
    format: fn(&T, &mut dyn fmt::Write) -> fmt::Result,
    doc: &'static str,
}

impl<T, const WAITERS: usize> Live<T, WAITERS> {
    /// A stream with a first value; `format` makes a text of a value, with its newline.
    #[must_use]
    pub const fn new(initial: T, format: fn(&T, &mut dyn fmt::Write) -> fmt::Result) -> Self {
        Live { value: Value::new(initial), waiters: Waiters::new(), format, doc: "" }
    }

    /// What it is for, in a few words.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// Replaces the value and wakes the readers. May be called from an interrupt.
    pub fn publish(&self, value: T) {
        self.value.set(value);
        self.waiters.wake();
    }
}

impl<T: Clone + Default, const WAITERS: usize> Live<T, WAITERS> {
    /// A copy of the current value.
    pub fn get(&self) -> T {
        self.value.get()
    }

    /// Puts the current value in place of what was delivered, if its text is another one.
    fn refill(&self, open: &mut OpenFile<'_>) -> Result<bool> {
        if open.state.next == self.value.version() {
            return Ok(false);
        }
        let (value, version) = self.value.with_version();
        open.state.next = version;
        let mut compare = Compare::new(open.text.bytes());
        if (self.format)(&value, &mut compare).is_ok() && compare.same() {
            return Ok(false);
        }
        open.state.taken = 0;
        render(open.text, |out| (self.format)(&value, out))?;
        Ok(!open.text.bytes().is_empty())
    }
}

impl<T: Clone + Default, const WAITERS: usize> File for Live<T, WAITERS> {
    fn stat(&self) -> FileStat {
        FileStat::new(0).read_only()
    }

    fn open(&self, open: &mut OpenFile<'_>, _: OpenMode) -> Result<()> {
        let (value, version) = self.value.with_version();
        open.state.next = version;
        render(open.text, |out| (self.format)(&value, out))
    }

    fn may_block(&self) -> bool {
        true
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        poll_stream(open, cx, (offset, buf), &self.waiters, |open| self.refill(open))
    }

    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("stream")?;
        if self.doc.is_empty() { Ok(()) } else { write!(out, ": {}", Plain(self.doc)) }
    }
}
