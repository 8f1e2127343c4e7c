//! Levels of logging as files: a directory for each source of log lines, with `doc` and `level`.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::pieces::{self, Valued};
use super::value::Value;
use super::write::{Count, Plain, Quoted, render, resize, trimmed};
use crate::vfs::{Error, File, FileStat, FixedText, OpenFile, OpenMode, Result, Text, read_at};

/// How much a source of log lines says, from nothing to everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Level {
    /// Nothing.
    Quiet,
    /// What the program is there to say.
    App,
    /// What went wrong.
    Error,
    /// What may be wrong.
    #[default]
    Warning,
    /// What happens.
    Info,
    /// What the authors want to know.
    Debug,
}

impl Level {
    /// All of them, from nothing to everything.
    pub const ALL: [Level; 6] =
        [Level::Quiet, Level::App, Level::Error, Level::Warning, Level::Info, Level::Debug];

    /// The name that files have it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Level::Quiet => "quiet",
            Level::App => "app",
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    /// The level of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// The file `level` of a source: reads as the name and a newline, a written name sets it.
///
/// ```
/// use datakit_core::files::{Doc, Level, LevelFile, Value};
/// use datakit_core::vfs::{Dir, file};
/// static RADIO: Value<Level> = Value::new(Level::Warning);
/// static RADIO_LOG: Dir = Dir::new(&[file("doc", &Doc::new("the radio")), file("level", &LevelFile::new(&RADIO))]);
/// ```
pub struct LevelFile {
    level: &'static Value<Level>,
}

impl LevelFile {
    /// A file of this level.
    #[must_use]
    pub const fn new(level: &'static Value<Level>) -> LevelFile {
        LevelFile { level }
    }

    fn render(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "{}", Plain(self.level.get().name()))
    }
}

impl Valued for LevelFile {
    fn set(&self, _: u64, text: &[u8]) -> Result<()> {
        let unknown = || {
            Error::Invalid.with_message(format_args!("unknown level {}", Quoted(text.trim_ascii())))
        };
        self.level.set(Level::named(trimmed(text)?).ok_or_else(unknown)?);
        Ok(())
    }

    fn goes_on(&self, text: &[u8]) -> bool {
        pieces::begins(Level::ALL.map(Level::name), text)
    }
}

impl File for LevelFile {
    fn stat(&self) -> FileStat {
        Count::stat(|count| self.render(count))
    }

    fn open(&self, open: &mut OpenFile<'_>, mode: OpenMode) -> Result<()> {
        open.state.partial = mode.truncate;
        if mode.truncate { Ok(()) } else { render(open.text, |mut out| self.render(&mut out)) }
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
                render(open.text, |mut out| self.render(&mut out))?;
            }
            read_at(open.text.bytes(), offset, buf)
        }))
    }

    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        pieces::write(self, open, offset, data)
    }

    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        pieces::end(self, open)
    }

    /// To 0 leaves the level alone: a shell does that before it writes. Any other length is a write
    /// of the text cut or padded.
    fn truncate(&self, length: u64) -> Result<()> {
        if length == 0 {
            return Ok(());
        }
        let (mut old, mut new) = (FixedText::<16>::new(), FixedText::<16>::new());
        render(&mut old, |mut out| self.render(&mut out))?;
        resize(old.bytes(), length, &mut new)?;
        self.set(0, new.bytes())
    }

    fn chmod(&self, _: u32) -> Result<()> {
        Err(Error::NotPermitted)
    }

    fn remove(&self) -> Result<()> {
        Err(Error::NotPermitted)
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("level of logging, one of")?;
        Level::ALL.into_iter().try_for_each(|level| write!(out, " {}", Plain(level.name())))
    }
}
