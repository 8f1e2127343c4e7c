//! The file of a parameter.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::{Flags, ParamInfo, ParamType, Proposed, Rule, Value};
use crate::files::pieces::{self, PieceTarget};
use crate::files::util::{Count, Plain, Quoted, check_plain_mode, render};
use crate::vfs::{Client, Error, File, FileStat, OpenFile, OpenMode, Result, read_at};

/// A value and the constant part of its parameter. Together, they are a file that shows and sets
/// the value.
///
/// [`Param`](super::Param) is a file with the same behaviour that can be stored in a table.
pub struct Field<'a, T: ParamType> {
    value: &'a Value<T>,
    info: &'a ParamInfo<T>,
    rule: Option<&'a dyn Rule>,
}

impl<'a, T: ParamType> Field<'a, T> {
    /// Creates the file that shows and sets `value`.
    #[must_use]
    pub const fn new(value: &'a Value<T>, info: &'a ParamInfo<T>) -> Field<'a, T> {
        Field { value, info, rule: None }
    }

    /// Checks `rule` before a written value is set, in addition to the check of the `info`. All
    /// parameters that the rule reads should have this rule.
    #[must_use]
    pub const fn rule(self, rule: &'a dyn Rule) -> Field<'a, T> {
        Field { rule: Some(rule), ..self }
    }

    /// Writes the value and a newline.
    fn render_line(&self, out: &mut dyn Write) -> fmt::Result {
        if self.info.flags.contains(Flags::WRITE_ONLY) {
            return Ok(());
        }
        self.value.get().render(&self.info.limits, out)?;
        out.write_str("\n")
    }

    #[inline(never)]
    fn render_text(&self, open: &mut OpenFile<'_>) -> Result<()> {
        render(open.text, |mut out| self.render_line(&mut out))
    }

    /// Parses `text`.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] with a message that names the allowed values.
    fn parse(&self, text: &[u8]) -> Result<T> {
        let step = self.info.step_size();
        T::parse(text, &self.info.limits)
            .filter(|value| step.digits == 0 || value.is_multiple(text, step))
            .ok_or_else(|| Error::Invalid.with_message(Refusal { info: self.info, text }))
    }

    /// Calls the parameter's check function and checks its rule, if there are any.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] with the message of the function or of the rule.
    fn check_value(&self, value: &T, proposed: &Proposed<'_>) -> Result<()> {
        let refused = |reason| Error::Invalid.with_message(Plain(reason));
        self.info.check.map_or(Ok(()), |check| check(value, proposed).map_err(refused))?;
        self.rule.map_or(Ok(()), |rule| rule.check(proposed).map_err(refused))
    }

    /// Parses `text` and checks the value.
    ///
    /// # Errors
    /// Returns the errors of [`parse`](Field::parse) and [`check_value`](Field::check_value).
    fn accept(&self, text: &[u8], proposed: &Proposed<'_>) -> Result<T> {
        let value = self.parse(text)?;
        self.check_value(&value, proposed).map(|()| value)
    }

    fn writer(&self, client: Client) -> Writer<'_, T> {
        Writer { field: self, client }
    }

    fn check_writable(&self) -> Result<()> {
        if self.info.flags.contains(Flags::READ_ONLY) { Err(Error::ReadOnlyFile) } else { Ok(()) }
    }
}

impl<T: ParamType> fmt::Debug for Field<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field").field("info", self.info).finish_non_exhaustive()
    }
}

impl<T: ParamType> File for Field<'_, T> {
    fn stat(&self) -> FileStat {
        let stat = Count::stat(|count| self.render_line(count));
        if self.info.flags.contains(Flags::READ_ONLY) { stat.read_only() } else { stat }
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
        Poll::Ready(pieces::apply(&self.writer(open.client), open).and_then(|()| {
            if !open.state.partial && (offset == 0 || open.text.bytes().is_empty()) {
                self.render_text(open)?;
            }
            read_at(open.text.bytes(), offset, buf)
        }))
    }

    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        self.check_writable()?;
        pieces::write(&self.writer(open.client), open, offset, data)
    }

    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        pieces::apply(&self.writer(open.client), open)
    }

    fn truncate(&self, _: u64) -> Result<()> {
        self.check_writable()
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        check_plain_mode(mode)
    }

    #[cfg(feature = "params")]
    fn with_parameter(&self, with: &mut dyn FnMut(&dyn crate::params::Parameter)) {
        with(self);
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        self.info.allowed(out)?;
        if self.info.flags.contains(Flags::READ_ONLY) {
            out.write_str(", read-only")?;
        }
        if self.info.doc.is_empty() { Ok(()) } else { write!(out, ": {}", Plain(self.info.doc)) }
    }
}

/// A parameter and the client that sets it.
struct Writer<'a, T: ParamType> {
    field: &'a Field<'a, T>,
    client: Client,
}

impl<T: ParamType> PieceTarget for Writer<'_, T> {
    fn set(&self, _: u64, text: &[u8]) -> Result<()> {
        let Field { value, .. } = self.field;
        let text = text.trim_ascii();
        let with_text = |address, with: &mut dyn FnMut(&[u8])| {
            if address == value.address() {
                with(text);
            }
        };
        let accepted = self.field.accept(text, &Proposed::new(&with_text))?;
        drop(value.replace(accepted));
        value.notify(self.client);
        Ok(())
    }

    fn may_continue(&self, text: &[u8]) -> bool {
        T::may_continue(text, &self.field.info.limits)
    }
}

/// The error message for a refused value, such as `"abc" is not a number from 0 to 10 dB`.
struct Refusal<'a, T: ParamType> {
    info: &'a ParamInfo<T>,
    text: &'a [u8],
}

impl<T: ParamType> fmt::Display for Refusal<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not ", Quoted(self.text))?;
        self.info.allowed(f)
    }
}

#[cfg(feature = "params")]
impl<T: ParamType> crate::params::Parameter for Field<'_, T> {
    fn address(&self) -> usize {
        self.value.address()
    }

    fn version(&self) -> u32 {
        self.value.version()
    }

    fn flags(&self) -> Flags {
        self.info.flags
    }

    fn unit(&self) -> &'static str {
        self.info.unit
    }

    fn doc(&self) -> &'static str {
        self.info.doc
    }

    fn step(&self) -> super::Step {
        self.info.step_size()
    }

    fn render(&self, out: &mut dyn Write) -> fmt::Result {
        self.value.get().render(&self.info.limits, out)
    }

    fn render_default(&self, out: &mut dyn Write) -> fmt::Result {
        let default = self.info.default_value();
        default.map_or(Ok(()), |default| default.render(&self.info.limits, out))
    }

    fn is_default(&self) -> bool {
        self.info.default_value().is_none_or(|default| *default == self.value.get())
    }

    fn check(&self, text: &[u8], proposed: &Proposed<'_>) -> Result<()> {
        self.accept(text, proposed).map(drop)
    }

    fn check_limits(&self, text: &[u8]) -> Result<()> {
        self.parse(text).map(drop)
    }

    fn check_current(&self, proposed: &Proposed<'_>) -> Result<()> {
        self.check_value(&self.value.get(), proposed)
    }

    fn store(&self, text: &[u8]) -> bool {
        let value = T::parse(text, &self.info.limits);
        value.map(|value| self.value.replace(value)).is_some()
    }

    fn reset(&self) {
        if let Some(default) = self.info.default_value() {
            drop(self.value.replace(default.clone()));
        }
    }

    fn notify(&self, client: Client) {
        self.value.notify(client);
    }

    fn schema(&self, out: &mut dyn Write) -> fmt::Result {
        T::schema(&self.info.limits, out)
    }

    fn is_json(&self) -> bool {
        T::JSON
    }
}
