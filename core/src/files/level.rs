//! Files that let clients read and set log levels. Each log source has a directory that contains a
//! `doc` file and a `level` file.

use core::fmt::{self, Write};
use core::str::FromStr;
use core::task::{Context, Poll};

use super::display::{Plain, Quoted};
use super::input::{resize, trimmed};
use super::param::Value;
use super::pieces::{self, PieceTarget};
use super::render::{Count, render};
use crate::vfs::{
    Client, Error, File, FileStat, FixedText, OpenFile, OpenMode, Result, Text, read_at,
};

/// A log level. The levels are ordered from silent to most verbose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Level {
    /// Logs nothing.
    Quiet,
    /// Logs only the program's regular output.
    App,
    /// Logs errors.
    Error,
    /// Logs warnings.
    #[default]
    Warning,
    /// Logs normal operation.
    Info,
    /// Logs details for debugging.
    Debug,
}

impl Level {
    /// All levels, from silent to most verbose.
    pub const ALL: [Level; 6] =
        [Level::Quiet, Level::App, Level::Error, Level::Warning, Level::Info, Level::Debug];

    /// Returns the name of this level, as it appears in a `level` file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Quiet => "quiet",
            Level::App => "app",
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    /// Names that other programs use for these levels.
    const ALIASES: [(&'static str, Level); 3] =
        [("off", Level::Quiet), ("warn", Level::Warning), ("trace", Level::Debug)];

    /// Returns all names that [`from_name`](Level::from_name) accepts.
    pub fn accepted_names() -> impl Iterator<Item = &'static str> {
        Level::ALL.map(Level::as_str).into_iter().chain(Level::ALIASES.map(|(name, _)| name))
    }

    /// Returns the level with the given name, or `None` if there is no such level. Also accepts
    /// `off`, `warn` and `trace`, which other programs use for [`Quiet`](Level::Quiet),
    /// [`Warning`](Level::Warning) and [`Debug`](Level::Debug).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Level> {
        let alias = || Level::ALIASES.into_iter().find(|(alias, _)| *alias == name);
        let level = Level::ALL.into_iter().find(|level| level.as_str() == name);
        level.or_else(|| alias().map(|(_, level)| level))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = Error;

    /// Parses the name of a level in the same way as [`from_name`](Level::from_name).
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if no level has this name. The error message lists the levels.
    fn from_str(name: &str) -> Result<Level> {
        Level::from_name(name).ok_or_else(|| {
            Error::Invalid.with_message(format_args!(
                "unknown level {name:?}: use one of quiet, app, error, warning, info, debug"
            ))
        })
    }
}

/// The `level` file of a log source. Reading the file returns the name of the level, followed by a
/// newline. Writing a name to the file sets the level.
///
/// ```
/// use datakit_core::files::{Doc, Level, LevelFile, Value};
/// use datakit_core::vfs::{Dir, file};
/// static RADIO: Value<Level> = Value::new(Level::Warning);
/// static RADIO_LOG: Dir = Dir::new(&[
///     file("doc", &Doc::new("the radio")),
///     file("level", &LevelFile::new(&RADIO)),
/// ]);
/// ```
#[derive(Debug)]
pub struct LevelFile {
    level: &'static Value<Level>,
}

impl LevelFile {
    /// Creates a file that lets clients read and set `level`.
    #[must_use]
    pub const fn new(level: &'static Value<Level>) -> LevelFile {
        LevelFile { level }
    }

    fn render(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "{}", Plain(self.level.get().as_str()))
    }
}

impl PieceTarget for LevelFile {
    fn set(&self, _: Client, _: u64, text: &[u8]) -> Result<()> {
        let unknown = || {
            Error::Invalid.with_message(format_args!(
                "unknown level {}: use one of quiet, app, error, warning, info, debug",
                Quoted(text.trim_ascii())
            ))
        };
        self.level.set(Level::from_name(trimmed(text)?).ok_or_else(unknown)?);
        Ok(())
    }

    fn may_continue(&self, text: &[u8]) -> bool {
        pieces::is_prefix_of_any(Level::accepted_names(), text)
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
        Poll::Ready(pieces::apply(self, open).and_then(|()| {
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
        pieces::apply(self, open)
    }

    /// Ignores a truncation to length 0, because shells truncate a file before writing to it. For
    /// any other length, truncates the level's name or pads it with zeros, and then parses the
    /// result as the new level.
    fn truncate(&self, length: u64) -> Result<()> {
        if length == 0 {
            return Ok(());
        }
        let (mut old, mut new) = (FixedText::<16>::new(), FixedText::<16>::new());
        render(&mut old, |mut out| self.render(&mut out))?;
        resize(old.bytes(), length, &mut new)?;
        self.set(Client::PROGRAM, 0, new.bytes())
    }

    fn chmod(&self, _: u32) -> Result<()> {
        Err(Error::NotPermitted)
    }

    fn remove(&self) -> Result<()> {
        Err(Error::NotPermitted)
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("log level: one of")?;
        Level::ALL.into_iter().try_for_each(|level| write!(out, " {}", Plain(level.as_str())))
    }
}
